# SPDX-License-Identifier: MIT
"""Who dies loses only what was its own: killed providers, a killed usherd."""

import contextlib
import os
import signal

import harness
import kernels
import network
import processes
import protocol
import tap

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} %s }\n'


class ProviderDies(harness.UsherTest):
    make_kernel = None  # usherd runs on this kernel as it is

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(ONE % "", before_exec=self.make_kernel)
        self.address = self.usherd.addresses("one")[0]

    def test_connections_queued_at_a_killed_provider_go_to_another(self):
        victim = self.holding_child(self.usherd, "one", "victim", credit=40)
        victim.signal(signal.SIGSTOP)
        clients = [self.connect(self.address) for _ in range(40)]
        self.usherd.wait_service("one", unclaimed=40)
        for client in clients[::2]:
            client.sendall(b"impatient")
        self.serving_child(self.usherd, "one", "heir", credit=100)
        victim.kill()
        self.assertEqual([network.read_all(client) for client in clients], [b"heir\n"] * 40)
        self.usherd.wait_service("one", redispatched=40, lost=0, in_service=0)

    def test_connections_queued_at_a_killed_provider_wait_for_the_next_one(self):
        victim = self.holding_child(self.usherd, "one", "victim", credit=10)
        clients = [self.connect(self.address) for _ in range(10)]
        self.usherd.wait_service("one", unclaimed=10)
        victim.kill()
        self.usherd.wait_service("one", n_providers=0, parked=10)
        self.serving_child(self.usherd, "one", "heir")
        self.assertEqual([network.read_all(client) for client in clients], [b"heir\n"] * 10)

    def test_unread_bytes_of_the_client_reach_the_next_provider(self):
        victim = self.holding_child(self.usherd, "one", "victim")
        client = self.connect(self.address)
        client.sendall(b"first words")
        self.usherd.wait_service("one", unclaimed=1)
        victim.kill()
        heir = self.provider(self.usherd, "one", name="heir")
        connection, = heir.take_and_claim(1)
        self.assertEqual(network.read_exactly(connection.socket, 11), b"first words")

    def test_received_but_not_claimed_and_untouched_is_given_again(self):
        path = self.usherd.rendezvous("one")

        def take_without_claim(say):
            provider = protocol.Provider(path)
            provider.register()
            say("registered")
            provider.take(1)
            say("received")
            signal.pause()

        victim = self.child(take_without_claim)
        victim.hear()
        client = self.connect(self.address)
        self.assertEqual(victim.hear(), "received")
        victim.kill()
        self.serving_child(self.usherd, "one", "heir")
        self.assertEqual(network.read_all(client), b"heir\n")

    def test_claims_said_just_before_death_count(self):
        """What was claimed dies with the provider and is not served twice."""
        path = self.usherd.rendezvous("one")

        def claim_and_die(say):
            provider = protocol.Provider(path)
            provider.register()
            say("registered")
            taken = provider.take(4)
            provider.send(protocol.claim(taken[1].sequence))
            say("claimed")
            signal.pause()

        victim = self.child(claim_and_die)
        victim.hear()
        clients = [self.connect(self.address) for _ in range(4)]
        victim.hear()
        victim.kill()
        self.serving_child(self.usherd, "one", "heir")
        answers = []
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                answers.append(network.read_all(client))
        self.assertEqual(sorted(answers), [b"", b"", b"heir\n", b"heir\n"])
        self.usherd.wait_service("one", in_service=0)

    def test_touched_connection_is_not_served_twice(self):
        """A provider that wrote before its claim was on its own: nobody else may begin again."""
        path = self.usherd.rendezvous("one")

        def touch(say):
            provider = protocol.Provider(path)
            provider.register()
            say("registered")
            connection, = provider.take(1)
            connection.socket.sendall(b"too early\n")
            say("touched")
            signal.pause()

        victim = self.child(touch)
        victim.hear()
        client = self.connect(self.address)
        self.assertEqual(victim.hear(), "touched")
        self.serving_child(self.usherd, "one", "heir")
        victim.kill()
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(network.read_all(client), b"too early\n")
        self.usherd.wait_service("one", lost=1, redispatched=0)

    def test_channel_closed_without_death(self):
        provider = self.provider(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(5)]
        self.usherd.wait_service("one", unclaimed=5)
        self.serving_child(self.usherd, "one", "heir")
        provider.close()
        self.assertEqual([network.read_all(client) for client in clients], [b"heir\n"] * 5)

    def test_channel_kept_open_by_a_child_of_the_dead(self):
        """No hang-up tells of this death: usherd watches the process too, and gives it nothing more."""
        path = self.usherd.rendezvous("one")

        def leave_a_child(say):
            provider = protocol.Provider(path)
            provider.register(name="dead")
            pid = os.fork()
            if pid == 0:
                signal.pause()
            say(str(pid))
            signal.pause()

        victim = self.child(leave_a_child)
        grandchild = int(victim.hear())
        self.endings.callback(processes.end_pid, grandchild, signal.SIGKILL)
        victim.kill()
        self.usherd.wait_until(
            lambda: self.usherd.provider("one", "dead")["state"] == "quarantined", "quarantine")
        self.serving_child(self.usherd, "one", "heir")
        self.assertEqual(network.read_all(self.connect(self.address)), b"heir\n")

    def test_many_deaths_under_load_lose_nobody(self):
        """Providers are stopped with connections in their queue, then killed, again and again."""
        self.serving_child(self.usherd, "one", "steady", credit=200)
        for _ in range(20):
            victim = self.holding_child(self.usherd, "one", "victim", credit=10)
            clients = [self.connect(self.address) for _ in range(20)]
            victim.kill()
            self.assertEqual([network.read_all(client) for client in clients], [b"steady\n"] * 20)
        self.usherd.wait_service("one", accepted=400, lost=0, in_service=0)


class ProviderDiesOnLinux61(ProviderDies):
    make_kernel = staticmethod(kernels.linux_6_1)


class UsherdDies(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(
            f'service one {{ listen = {{"tcp:127.0.0.1:{network.free_port()}"}} }}\n'
            f'service time {{ listen = {{"tcp:127.0.0.1:{network.free_port()}"}} }}\n')
        self.address = self.usherd.addresses("one")[0]

    def test_connections_queued_at_a_provider_survive(self):
        provider = self.provider(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(10)]
        self.usherd.wait_service("one", unclaimed=10)
        self.usherd.kill()
        for connection in provider.take(10):
            connection.socket.sendall(b"served all the same\n")
            connection.close()
        self.assertEqual([network.read_all(client) for client in clients], [b"served all the same\n"] * 10)
        with self.assertRaises((protocol.Closed, ConnectionResetError)):
            provider.receive()
        self.usherd.start()

    def test_claimed_connections_do_not_notice(self):
        provider = self.provider(self.usherd, "one")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        self.usherd.wait_service("one", in_service=1, unclaimed=0)
        self.usherd.kill()
        client.sendall(b"ping")
        self.assertEqual(network.read_exactly(connection.socket, 4), b"ping")
        self.usherd.start()

    def test_programs_come_back_by_themselves(self):
        self.start_program(self.usherd, harness.USHER_BASIC)
        self.usherd.wait_service("time", n_providers=1)
        for _ in range(3):
            self.usherd.kill()
            self.usherd.start()
            client = self.connect(self.usherd.addresses("time")[0])
            self.assertEqual(len(network.read_all(client)), 4)

    def test_sockets_left_behind_do_not_stop_the_next_one(self):
        self.usherd.kill()
        self.assertTrue((self.usherd.run_dir / "one.sock").is_socket())
        self.usherd.start()
        self.serving_child(self.usherd, "one", "again")
        self.assertEqual(network.read_all(self.connect(self.address)), b"again\n")

    def test_rendezvous_of_a_service_that_is_no_more_is_removed(self):
        self.usherd.kill()
        self.usherd.write_config(f'service one {{ listen = {{"tcp:127.0.0.1:{network.free_port()}"}} }}\n')
        self.assertTrue((self.usherd.run_dir / "time.sock").is_socket())
        self.usherd.start()
        self.assertFalse((self.usherd.run_dir / "time.sock").exists())

    def test_unix_listener_left_behind_is_replaced(self):
        path = self.folder / "service.sock"
        self.folder.chmod(0o777)
        usherd = self.start_usherd(f'service x {{ listen = {{"unix:{path}"}} }}\n')
        usherd.kill()
        self.assertTrue(path.is_socket())
        usherd.start()
        self.serving_child(usherd, "x", "again")
        self.assertEqual(network.read_all(self.connect(f"unix:{path}")), b"again\n")


if __name__ == "__main__":
    tap.main()
