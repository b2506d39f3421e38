# SPDX-License-Identifier: MIT
"""Restarted or killed under a service manager that keeps sockets: clients wait, and are served."""

import contextlib
import os
import signal
import socket
from pathlib import Path

import harness
import network
import processes
import protocol
import tap
from manager import FakeManager

EX_CONFIG = 78


def without_numbers(names):
    """Of what is stored: listener.1.one is listener.one."""
    return sorted(".".join(name.split(".")[::2]) for name in names)


class RestartTest(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.manager = FakeManager()
        self.usherd = self.start_usherd(self.service(), manager=self.manager)
        self.address = self.usherd.addresses("one")[0]
        self.endings.callback(self.leave)

    def leave(self):
        """Back to the first configuration, for the comparison of descriptors."""
        if self.usherd.is_running():
            self.usherd.write_config(self.service())
            self.usherd.ask("reload")

    def service(self, name="one", more="", address="tcp:127.0.0.1:0"):
        return f'service {name} {{ listen = {{"{address}"}} {more} }}\n'

    def stored(self):
        """What the manager keeps, without the numbers."""
        return without_numbers(self.manager.names())

    def wait_stored(self, *names):
        self.manager.wait_names(
            lambda stored: without_numbers(stored) == sorted(names), f"the store to hold {names}")

    def park(self, n):
        """Clients that were accepted and whose provider has died; each has said its number."""
        dead = self.holding_child(self.usherd, "one", "dead", credit=n)
        clients = []
        processes.stop_process(self.usherd.pid)  # so that they come many in one message
        for number in range(n):
            clients.append(self.connect(self.address))
            clients[-1].sendall(f"{number:8}".encode())
        os.kill(self.usherd.pid, signal.SIGCONT)
        self.usherd.wait_service("one", unclaimed=n)
        dead.kill()
        self.usherd.wait_service("one", parked=n, unclaimed=0)
        return clients

    def check_served(self, clients, provider):
        """All of them come, in their order, and nobody twice."""
        connections = provider.take_and_claim(len(clients))
        numbers = [int(network.read_exactly(connection.socket, 8)) for connection in connections]
        self.assertEqual(numbers, list(range(len(clients))))
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in clients}, {b""})


class Store(RestartTest):
    """What is in it."""

    def test_listeners_and_rendezvous(self):
        self.wait_stored("listener.one", "rendezvous.one")
        self.usherd.write_config(self.service() + self.service("two"))
        self.assertIn("ok", self.usherd.ask("reload"))
        self.wait_stored("listener.one", "rendezvous.one", "listener.two", "rendezvous.two")
        self.usherd.write_config(self.service())
        self.assertIn("ok", self.usherd.ask("reload"))
        self.wait_stored("listener.one", "rendezvous.one")

    def test_a_listener_that_moves_gets_the_other_name(self):
        port = network.free_port()
        for name in ("two", "three", "two"):
            self.usherd.write_config(self.service() + self.service(name, address=f"tcp:127.0.0.1:{port}"))
            self.assertIn("ok", self.usherd.ask("reload"))
            self.wait_stored("listener.one", "rendezvous.one", f"listener.{name}", f"rendezvous.{name}")

    def test_a_reload_that_fails_leaves_nothing_behind(self):
        with network.occupied_port() as port:
            self.usherd.write_config(self.service() + self.service("two") +
                                     self.service("three", address=f"tcp:127.0.0.1:{port}"))
            self.assertIn("error", self.usherd.ask("reload"))
        self.wait_stored("listener.one", "rendezvous.one")

    def test_parked_connections(self):
        clients = self.park(3)
        self.wait_stored("listener.one", "rendezvous.one", "parking.one")
        provider = self.provider(self.usherd, "one")
        self.check_served(clients, provider)
        self.wait_stored("listener.one", "rendezvous.one")

    def test_a_manager_that_hangs_is_no_hindrance(self):
        self.manager.stop_reading()
        clients = self.park(3)
        provider = self.provider(self.usherd, "one", credit=3)
        self.check_served(clients, provider)
        self.manager.go_on_reading()
        self.wait_stored("listener.one", "rendezvous.one")

    def test_stopping_leaves_it_to_the_manager(self):
        self.usherd.stop()
        self.assertEqual(self.stored(), ["listener.one", "rendezvous.one"])
        self.assertTrue((self.usherd.run_dir / "one.sock").is_socket())
        self.assertFalse((self.usherd.run_dir / "control.sock").exists())


class Restart(RestartTest):
    """By SIGTERM, as for systemctl restart. The next class does the same with SIGKILL."""

    SIGNAL = signal.SIGTERM

    def restart(self):
        self.usherd.wait_idle()  # the manager has been told of everything
        self.usherd.restart(self.SIGNAL)

    def test_clients_in_the_backlog_are_served_afterwards(self):
        clients = [self.connect(self.address) for _ in range(20)]
        self.restart()
        self.assertEqual(self.usherd.addresses("one"), [self.address])  # of port 0
        self.serving_child(self.usherd, "one", "late")
        self.assertEqual({network.read_all(client) for client in clients}, {b"late\n"})

    def test_clients_that_come_meanwhile_are_served_afterwards(self):
        os.kill(self.usherd.pid, self.SIGNAL)
        self.usherd.wait_end()
        clients = [self.connect(self.address) for _ in range(20)]
        self.usherd.process.stderr.close()
        self.usherd.start()
        self.serving_child(self.usherd, "one", "late")
        self.assertEqual({network.read_all(client) for client in clients}, {b"late\n"})

    def test_parked_connections_are_served_afterwards(self):
        clients = self.park(500)  # in more than one lot
        self.restart()
        self.usherd.wait_service("one", parked=500, taken_over=500, accepted=0)
        provider = self.provider(self.usherd, "one", credit=500)
        self.check_served(clients, provider)
        self.usherd.wait_service("one", parked=0, released=500, lost=0)
        self.wait_stored("listener.one", "rendezvous.one")

    def test_parked_connections_outlive_several_ends(self):
        clients = self.park(5)
        for _ in range(3):
            self.restart()
        provider = self.provider(self.usherd, "one")
        self.check_served(clients, provider)

    def test_a_provider_that_registers_meanwhile_waits(self):
        os.kill(self.usherd.pid, self.SIGNAL)
        self.usherd.wait_end()
        provider = self.closing(protocol.Provider(self.usherd.rendezvous("one")))
        provider.send(protocol.hello(name="early"))
        client = self.connect(self.address)
        self.usherd.process.stderr.close()
        self.usherd.start()
        connection, = provider.take_and_claim(1)
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")

    def test_a_program_registers_again(self):
        port = network.free_port()
        self.usherd.write_config(self.service() + self.service("time", address=f"tcp:127.0.0.1:{port}"))
        self.assertIn("ok", self.usherd.ask("reload"))
        self.start_program(self.usherd, harness.USHER_BASIC, "time")
        self.usherd.wait_service("time", n_providers=1)
        for _ in range(3):
            self.restart()
            self.assertEqual(len(network.read_all(self.connect(f"tcp:127.0.0.1:{port}"))), 4)

    def test_unix_listeners_keep_their_files(self):
        path = self.folder / "unix.sock"
        self.folder.chmod(0o777)
        self.usherd.write_config(self.service() + self.service("two", address=f"unix:{path}"))
        self.restart()
        inode, client = path.stat().st_ino, self.connect(f"unix:{path}")
        self.restart()
        self.assertEqual(path.stat().st_ino, inode)
        self.serving_child(self.usherd, "two", "unix")
        self.assertEqual(network.read_all(client), b"unix\n")

    def test_a_unix_listener_whose_file_is_gone_is_made_anew(self):
        path = self.folder / "unix.sock"
        self.folder.chmod(0o777)
        self.usherd.write_config(self.service() + self.service("two", address=f"unix:{path}"))
        self.restart()
        path.unlink()
        self.restart()
        self.serving_child(self.usherd, "two", "unix")
        self.assertEqual(network.read_all(self.connect(f"unix:{path}")), b"unix\n")
        self.wait_stored("listener.one", "rendezvous.one", "listener.two", "rendezvous.two")

    def test_a_refusing_listener_listens_again(self):
        refusing = self.service(more="unavailable = refuse")
        self.usherd.write_config(refusing)
        self.assertIn("ok", self.usherd.ask("reload"))
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address)
        self.restart()
        self.assertEqual(self.usherd.addresses("one"), [self.address])
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address)
        self.serving_child(self.usherd, "one", "one")
        self.usherd.wait_service("one", state="serving")  # its WELCOME came before
        self.assertEqual(network.read_all(self.connect(self.address)), b"one\n")

    def test_a_pause_does_not_outlive_it(self):
        self.assertIn("ok", self.usherd.ask("pause one"))
        self.restart()
        self.serving_child(self.usherd, "one", "one")
        self.assertEqual(network.read_all(self.connect(self.address)), b"one\n")

    def test_after_an_upgrade_the_same_is_kept(self):
        clients = self.park(3)
        self.assertIn("ok", self.usherd.ask("upgrade"))
        self.wait_stored("listener.one", "rendezvous.one", "parking.one")
        self.restart()
        self.assertEqual(self.usherd.addresses("one"), [self.address])
        self.assertIn("ok", self.usherd.ask("upgrade"))
        provider = self.provider(self.usherd, "one")
        self.check_served(clients, provider)
        self.wait_stored("listener.one", "rendezvous.one")


class Kill(Restart):
    SIGNAL = signal.SIGKILL

    def test_unclaimed_connections_are_served_by_who_has_them(self):
        provider = self.provider(self.usherd, "one")
        client = self.connect(self.address)
        self.usherd.wait_service("one", unclaimed=1)
        self.restart()
        connection, = provider.take(1)
        connection.socket.sendall(b"served\n")
        connection.close()
        self.assertEqual(network.read_all(client), b"served\n")


class ChangedConfiguration(RestartTest):
    """Between the end and the next start."""

    def restart_with(self, config):
        self.usherd.wait_idle()
        self.usherd.stop()
        self.usherd.process.stderr.close()
        self.usherd.write_config(config)
        self.usherd.start()

    def test_what_is_no_more_configured_is_closed(self):
        clients = self.park(2)
        waiting = self.connect(self.address)
        self.restart_with(self.service("two"))
        self.wait_stored("listener.two", "rendezvous.two")
        for client in (*clients, waiting):
            with self.assertRaises(ConnectionResetError):
                network.read_all(client)
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address)
        self.assertFalse((self.usherd.run_dir / "one.sock").exists())

    def test_a_listener_may_belong_to_another_service(self):
        port = network.free_port()
        self.usherd.write_config(self.service("two", address=f"tcp:127.0.0.1:{port}"))
        self.assertIn("ok", self.usherd.ask("reload"))
        client = self.connect(f"tcp:127.0.0.1:{port}")
        self.restart_with(self.service("three", address=f"tcp:127.0.0.1:{port}"))
        self.wait_stored("listener.three", "rendezvous.three")
        self.serving_child(self.usherd, "three", "moved")
        self.assertEqual(network.read_all(client), b"moved\n")

    def test_from_one_address_to_all_and_back(self):
        port = network.free_port()
        self.restart_with(self.service(address=f"tcp:127.0.0.1:{port}"))
        for address in (f"tcp:{port}", f"tcp:127.0.0.1:{port}", f"tcp:0.0.0.0:{port}"):
            self.restart_with(self.service(address=address))
            self.assertEqual(self.usherd.addresses("one"), [address])
            self.wait_stored("listener.one", "rendezvous.one")
            child = self.serving_child(self.usherd, "one", "one")
            self.assertEqual(network.read_all(self.connect(f"tcp:127.0.0.1:{port}")), b"one\n")
            child.kill()

    def test_a_start_that_fails_loses_nothing(self):
        clients = self.park(2)
        waiting = self.connect(self.address)
        waiting.sendall(b"%8d" % 2)
        self.usherd.stop()
        self.usherd.process.stderr.close()
        with network.occupied_port() as port:
            self.usherd.write_config(self.service() + self.service("two", address=f"tcp:127.0.0.1:{port}"))
            self.check_start_fails(self.usherd, f"cannot listen on tcp:127.0.0.1:{port}")
        self.usherd.process.stderr.close()
        self.usherd.write_config("nonsense")
        self.check_start_fails(self.usherd, "nonsense", EX_CONFIG)
        self.usherd.process.stderr.close()
        self.usherd.write_config(self.service())
        self.usherd.start()
        self.assertEqual(self.usherd.addresses("one"), [self.address])
        provider = self.provider(self.usherd, "one")
        self.check_served([*clients, waiting], provider)

    def test_sockets_that_are_not_usherd_s_are_left_alone(self):
        self.usherd.stop()
        self.usherd.process.stderr.close()
        other, peer = (self.closing(one) for one in socket.socketpair())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect(self.usherd.environment["NOTIFY_SOCKET"])
            socket.send_fds(notify, [b"FDSTORE=1\nFDNAME=somebody.else\nFDPOLL=0"], [other.fileno()])
            self.usherd.start()
        self.usherd.wait_log("has passed a descriptor of the name 'somebody.else'")
        peer.sendall(b"still open")
        self.assertEqual(other.recv(16), b"still open")
        self.serving_child(self.usherd, "one", "one")
        self.assertEqual(network.read_all(self.connect(self.address)), b"one\n")


class WithoutStore(harness.UsherTest):
    """A manager that keeps nothing just closes what it is sent."""

    def test_restart_as_ever(self):
        manager = FakeManager(max_fds=0)
        port = network.free_port()
        usherd = self.start_usherd(f'service one {{ listen = {{"tcp:127.0.0.1:{port}"}} }}\n', manager=manager)
        for number in (signal.SIGTERM, signal.SIGKILL):
            usherd.restart(number)
            child = self.serving_child(usherd, "one", "one")
            self.assertEqual(network.read_all(self.connect(f"tcp:127.0.0.1:{port}")), b"one\n")
            child.kill()
        self.assertEqual(manager.names(), [])
        self.assertGreater(manager.n_refused, 0)
        self.assertTrue(Path(usherd.rendezvous("one")).is_socket())
        usherd.wait_service("one", n_providers=0)


class SocketUnits(harness.UsherTest):
    """Listeners that the service manager has bound."""

    def setUp(self):
        super().setUp()
        self.manager = FakeManager()
        self.listener = self.closing(socket.create_server(("127.0.0.1", network.free_port())))
        self.listener.setblocking(False)
        self.address = f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"
        self.manager.units["usherd.socket"] = self.listener

    def service(self, address):
        return f'service one {{ listen = {{"{address}"}} }}\n'

    def is_listening(self):
        return self.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1

    def check_served(self, client):
        with contextlib.closing(protocol.Provider(self.usherd.rendezvous("one"))) as provider:
            provider.register(credit=1)
            connection = provider.take_and_claim(1)[0]
            connection.socket.sendall(b"x")
            provider.finish(connection)
        self.assertEqual(network.read_all(client), b"x")

    def start(self, address):
        self.usherd = self.start_usherd(self.service(address), manager=self.manager)

    def test_who_came_before_usherd_is_served(self):
        client = self.connect(self.address)
        self.start(self.address)
        self.check_served(client)
        self.assertNotIn("closed", self.usherd.read_whole_log())

    def test_after_a_restart_it_is_passed_twice_and_is_one(self):
        self.start(self.address)
        self.manager.wait_names(lambda names: len(names) == 2, "the listener to be stored, too")
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.usherd.restart(number)
            self.check_served(self.connect(self.address))
            self.assertNotIn("closed", self.usherd.read_whole_log())
        self.assertEqual(without_numbers(self.manager.names()), ["listener.one", "rendezvous.one"])

    def test_stop_leaves_it_to_the_manager(self):
        self.start(self.address)
        self.usherd.stop()
        self.assertTrue(self.is_listening())

    def test_reload_without_it_ends_it(self):
        self.start(self.address)
        self.usherd.write_config(self.service("tcp:127.0.0.1:0"))
        self.assertIn("ok", self.usherd.ask("reload"))
        self.assertFalse(self.is_listening())
        self.usherd.write_config(self.service(self.address))
        self.usherd.restart()
        self.check_served(self.connect(self.address))

    def test_what_is_not_configured_is_named_and_closed(self):
        self.start("tcp:127.0.0.1:0")
        self.usherd.wait_log(f"a socket bound to {self.address}, where no service listens: closed")
        self.assertFalse(self.is_listening())

    def test_failed_start_leaves_it(self):
        self.usherd = self.make_usherd(self.service(self.address) +
                                       'service two { listen = {"tcp:192.0.2.1:1"} }', manager=self.manager)
        self.usherd.launch()
        self.assertEqual(self.usherd.wait_end(), harness.EX_OSERR)
        self.assertTrue(self.is_listening())
        self.assertNotIn("where no service listens", self.usherd.log)


if __name__ == "__main__":
    tap.main()
