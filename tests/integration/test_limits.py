# SPDX-License-Identifier: MIT
"""Limits that are reached, and left again."""

import os
import re
import resource
import signal
import socket

import harness
import network
import processes
import protocol
import tap

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} instances = 4096 socket { backlog = 4096 } }\n'


FEW_FDS = 300


def allow_few_fds():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FDS, FEW_FDS))


class Many(harness.UsherTest):
    def test_two_thousand_connections_wait_for_a_provider_and_none_is_lost(self):
        processes.raise_own_limit(4096)
        usherd = self.start_usherd(ONE)
        address = usherd.addresses("one")[0]
        clients = [self.connect(address) for _ in range(2000)]
        usherd.wait_service("one", accepted=0, state="waiting")
        self.serving_child(usherd, "one", "a", credit=64)
        for client in clients:
            self.assertEqual(network.read_all(client), b"a\n")
        usherd.wait_service("one", accepted=2000, released=2000, lost=0)

    def test_two_thousand_connections_in_hand_at_once(self):
        processes.raise_own_limit(8192)
        usherd = self.start_usherd(ONE)
        provider = self.provider(usherd, "one", credit=4096)
        connections = []
        for _ in range(20):
            for _ in range(100):
                self.connect(usherd.addresses("one")[0])
            connections += provider.take_and_claim(100)
        usherd.wait_service("one", in_service=2000, unclaimed=0)
        if usherd.fds_ready is not None:
            self.assertLessEqual(len(usherd.list_fds()), len(usherd.fds_ready) + 3)
        for start in range(0, 2000, 500):
            provider.finish(*connections[start:start + 500])
        usherd.wait_service("one", in_service=0, released=2000)


class Descriptors(harness.UsherTest):
    def test_limit_reached_and_left_again(self):
        """accept4 fails with EMFILE: the listener rests, says so once, and comes back by itself."""
        usherd = self.start_usherd(ONE.replace("socket", "providers { max = 2 } socket"),
                                   before_exec=allow_few_fds)
        providers = [self.provider(usherd, "one", credit=FEW_FDS // 2) for _ in range(2)]
        address = usherd.addresses("one")[0]
        clients = [self.connect(address) for _ in range(FEW_FDS)]
        usherd.wait_log(r"(?i)descriptor|too many open files")
        before = usherd.cpu_ticks()
        usherd.watch(1.0)
        self.assertLessEqual(usherd.cpu_ticks() - before, 10)
        self.assertLessEqual(len(re.findall(r"(?i)too many open files|descriptor", usherd.read_whole_log())), 2)
        # Claims make room: usherd closes its copies.
        n_taken = 0
        while n_taken < FEW_FDS:
            for provider in processes.find_readable(providers, processes.DEADLINE):
                connections = provider.receive_connections()
                provider.send(protocol.claim(connections[-1].sequence))
                n_taken += len(connections)
                for connection in connections:
                    connection.socket.sendall(b"at last")
                    connection.close()
        self.assertEqual({network.read_all(client) for client in clients}, {b"at last"})
        usherd.wait_service("one", accepted=FEW_FDS, lost=0)

    def test_emfile_by_injection_for_a_while(self):
        usherd = self.start_usherd(ONE, inject="accept4:error=EMFILE:when=3..6")
        self.serving_child(usherd, "one", "a")
        for _ in range(10):
            self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")

    def test_accept_errors_that_mean_next_please(self):
        for error in ("ECONNABORTED", "EPROTO", "ENETDOWN", "EPERM"):
            with self.subTest(error):
                usherd = self.start_usherd(ONE, inject=f"accept4:error={error}:when=3..6")
                self.serving_child(usherd, "one", "a")
                for _ in range(10):
                    self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")

    def test_provider_at_its_own_limit_loses_nothing(self):
        """libusher notices what did not arrive and hands it back; others, or it later, serve it."""
        usherd = self.start_usherd(ONE.replace("one", "echo"))
        basic = self.start_program(usherd, "prlimit", "--nofile=40", harness.USHER_BASIC, "-c", 1000, "echo")
        usherd.wait_service("echo", n_providers=1)
        clients = [self.connect(usherd.addresses("echo")[0]) for _ in range(60)]
        for client in clients:
            client.sendall(b"x")
        n_answered = 0
        while n_answered < 60:
            ready = processes.find_readable(clients, processes.DEADLINE)
            self.assertTrue(ready, f"{n_answered} were answered")
            for client in ready:
                self.assertEqual(client.recv(1), b"x")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.recv(1), b"")
                clients.remove(client)
                n_answered += 1
        usherd.wait_service("echo", lost=0, in_service=0, unclaimed=0)
        self.assertIsNone(basic.poll())


class Rest(harness.UsherTest):
    def test_idle_usherd_sleeps(self):
        usherd = self.start_usherd(ONE)
        self.holding_child(usherd, "one", "idle")
        usherd.wait_idle()
        before = usherd.count_wakeups()
        usherd.watch(1.0)
        self.assertLessEqual(usherd.count_wakeups() - before, 3)

    def test_client_that_resets_before_it_is_accepted(self):
        usherd = self.start_usherd(ONE)
        address = usherd.addresses("one")[0]
        for _ in range(10):
            network.reset(network.connect(address))
        client = self.connect(address)
        self.serving_child(usherd, "one", "a")
        self.assertEqual(network.read_all(client), b"a\n")
        usherd.wait_service("one", in_service=0, unclaimed=0)

    def test_stopped_usherd_keeps_clients_in_the_backlog(self):
        usherd = self.start_usherd(ONE)
        self.serving_child(usherd, "one", "a")
        address = usherd.addresses("one")[0]
        processes.stop_process(usherd.pid)
        clients = [self.connect(address) for _ in range(50)]
        os.kill(usherd.pid, signal.SIGCONT)
        self.assertEqual([network.read_all(client) for client in clients], [b"a\n"] * 50)

    def test_full_queue_of_a_provider_is_back_pressure(self):
        """More connections than its socket's buffer takes messages: nothing is lost, nobody blocked."""
        processes.raise_own_limit(4096)
        usherd = self.start_usherd(ONE)
        provider = self.provider(usherd, "one", credit=2000)
        clients = []
        for _ in range(600):  # one by one, so that each is a message of its own
            clients.append(self.connect(usherd.addresses("one")[0]))
            usherd.wait_idle()
        provider.take_and_claim(600)
        usherd.wait_service("one", in_service=600, unclaimed=0)
        provider.send(protocol.message(protocol.DRAIN))


if __name__ == "__main__":
    tap.main()
