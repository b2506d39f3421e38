# SPDX-License-Identifier: MIT
"""Sockets that are lent: the borrower dies, is replaced, usherd is reloaded, upgraded, killed, and nothing
that waits in them is lost. The programs are echo-udp of libusher(3), and providers of this process."""

import contextlib
import errno
import signal
import socket

import harness
import network
import processes
import protocol
import tap
from manager import FakeManager
from upgrades import UpgradeTest

ECHO_UDP = harness.BUILD_DIR / "services/libusher/examples/echo-udp"
UDP = 'service echo-udp {{ listen = {{"udp:127.0.0.1:0"}} {} }}\n'
TCP = 'service one {{ listen = {{"tcp:127.0.0.1:0"}} deliver = "listener" {} }}\n'


class LendTest(harness.UsherTest):
    def datagrams(self, address):
        """A client's socket for an address as the status has it: udp:127.0.0.1:7."""
        host, _, port = address.removeprefix("udp:").rpartition(":")
        client = self.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(processes.DEADLINE)
        client.connect((host, int(port)))
        return client

    def borrower(self, usherd, service, n=1, **options):
        """A provider of this process that has been told what is lent to it: `n` sockets."""
        provider = self.provider(usherd, service, takes_listeners=True, **options)
        self.assertEqual(len(provider.receive_listeners()), n)
        return provider

    def borrower_of(self, usherd, service):
        """The number of the provider that has the first listener."""
        return usherd.service(service)["listeners"][0]["lent_to"]

    def wait_borrower(self, usherd, service, number):
        usherd.wait_until(lambda: self.borrower_of(usherd, service) == number, f"provider {number} to borrow")

    def ask_echo(self, client, text):
        client.send(text)
        self.assertEqual(client.recv(100), text)

    def check_backlog(self, clients, provider):
        """Whoever has connected is accepted by the borrower, in order."""
        lent, = provider.lent
        lent.socket.settimeout(processes.DEADLINE)
        for client in clients:
            accepted, address = lent.socket.accept()
            with accepted:
                self.assertEqual(address, client.getsockname())


class Programs(LendTest):
    """echo-udp, once or more often."""

    def start_program_as(self, number):
        program = self.start_program(self.usherd, ECHO_UDP)
        self.usherd.wait_until(lambda: number in [provider["number"] for provider in
                                                  self.usherd.service("echo-udp")["providers"]], "it to register")
        return program

    def start(self, more="", **options):
        self.usherd = self.start_usherd(UDP.format(more), **options)
        self.client = self.datagrams(self.usherd.addresses("echo-udp")[0])

    def test_the_next_one_serves_when_one_is_killed(self):
        self.start()
        programs = [self.start_program_as(number) for number in (1, 2, 3)]
        for number, program in enumerate(programs, 1):
            self.wait_borrower(self.usherd, "echo-udp", number)
            self.ask_echo(self.client, b"who is there?")
            program.kill()
        self.wait_borrower(self.usherd, "echo-udp", None)
        self.client.send(b"is anybody there?")
        self.start_program_as(4)
        self.assertEqual(self.client.recv(100), b"is anybody there?")

    def test_the_newest_one_takes_over(self):
        self.start('providers { takeover = "newest" }')
        first = self.start_program_as(1)
        self.ask_echo(self.client, b"one")
        self.start_program_as(2)
        self.assertEqual(first.wait(processes.DEADLINE), 0)
        self.wait_borrower(self.usherd, "echo-udp", 2)
        self.ask_echo(self.client, b"two")

    def test_pause_leaves_datagrams_in_the_socket(self):
        self.start()
        self.start_program_as(1)
        self.ask_echo(self.client, b"one")
        self.assertIn("ok", self.usherd.ask("pause echo-udp"))
        self.wait_borrower(self.usherd, "echo-udp", None)
        self.assertEqual(self.usherd.service("echo-udp")["state"], "paused")
        self.assertIn("ok", self.usherd.ask("resume echo-udp"))
        self.ask_echo(self.client, b"two")

    def test_a_killed_usherd_is_not_missed(self):
        manager = FakeManager()
        self.start(manager=manager)
        program = self.start_program_as(1)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            manager.wait_names(lambda names: len(names) == 2, "the manager to keep both sockets")
            self.usherd.restart(number)
            self.ask_echo(self.client, b"again")
            self.wait_borrower(self.usherd, "echo-udp", 1)
            self.ask_echo(self.client, b"and again")
        self.assertIsNone(program.poll())

    def test_it_serves_while_usherd_is_dead(self):
        manager = FakeManager()
        self.start(manager=manager)
        self.start_program_as(1)
        self.ask_echo(self.client, b"one")
        manager.wait_names(lambda names: len(names) == 2, "the manager to keep both sockets")
        self.usherd.kill()
        self.ask_echo(self.client, b"two")
        self.usherd.start()
        self.wait_borrower(self.usherd, "echo-udp", 1)
        self.ask_echo(self.client, b"three")

    def test_without_a_manager_the_end_of_usherd_frees_the_port(self):
        port = network.free_port()
        self.usherd = self.start_usherd(f'service echo-udp {{ listen = {{"udp:127.0.0.1:{port}"}} }}')
        client = self.datagrams(f"udp:127.0.0.1:{port}")
        self.start_program_as(1)
        self.ask_echo(client, b"one")
        self.usherd.stop()
        deadline = processes.Deadline()
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
            while deadline.left("the port to be free"):
                with contextlib.suppress(OSError):
                    other.bind(("127.0.0.1", port))
                    break
        self.usherd.process.stderr.close()
        self.usherd.start()
        self.start_program_as(1)
        self.wait_borrower(self.usherd, "echo-udp", 1)
        self.ask_echo(client, b"two")


class Rules(LendTest):
    """Who gets what, as the status and LISTENERS say it."""

    def test_status_shows_who_has_which(self):
        usherd = self.start_usherd('service mixed { listen = {"tcp:127.0.0.1:0", "udp:127.0.0.1:0"} }')
        provider = self.borrower(usherd, "mixed", name="both")
        lent, = provider.lent
        self.assertEqual((lent.index, lent.type, f"udp:{lent.address[0]}:{lent.address[1]}"),
                         (1, socket.SOCK_DGRAM, usherd.addresses("mixed")[1]))
        listeners = usherd.service("mixed")["listeners"]
        self.assertEqual([(one["state"], one["lent_to"]) for one in listeners], [("open", None), ("lent", 1)])
        self.assertTrue(usherd.provider("mixed", "both")["takes_listeners"])
        self.assertEqual(usherd.service("mixed")["state"], "serving")

    def test_connections_and_datagrams_on_one_registration(self):
        usherd = self.start_usherd('service mixed { listen = {"tcp:127.0.0.1:0", "udp:127.0.0.1:0"} }')
        addresses = usherd.addresses("mixed")
        provider = self.borrower(usherd, "mixed")
        datagrams = self.datagrams(addresses[1])
        for text in (b"one", b"two"):
            client = self.connect(addresses[0])
            datagrams.send(text)
            connection, = provider.take_and_claim(1)
            self.assertEqual(connection.listener, 0)
            provider.finish(connection)
            self.assertEqual(network.read_all(client), b"")
            self.assertEqual(provider.lent[0].socket.recv(100), text)

    def test_who_takes_no_listeners_is_refused_where_there_is_nothing_else(self):
        usherd = self.start_usherd(TCP.format(""))
        with self.assertRaises(protocol.Refused) as caught:
            self.provider(usherd, "one")
        self.assertEqual(caught.exception.error, errno.EOPNOTSUPP)
        self.assertIn("USHER_LISTENERS", caught.exception.reason)
        usherd.wait_log("may not register: the service lends its sockets")

    @harness.needs_root
    def test_only_who_may_register_gets_a_socket(self):
        usherd = self.start_usherd(TCP.format('providers { users = {"games"} }'))
        path = usherd.rendezvous("one")

        def register(say):
            try:
                protocol.Provider(path).register(takes_listeners=True)
                say("registered")
            except (protocol.Refused, PermissionError) as error:
                say(f"refused {error}")

        self.assertEqual(self.child(register, "games").hear(), "registered")
        self.assertTrue(self.child(register, harness.STRANGER_USER).hear().startswith("refused"))

    def test_what_a_borrower_has_shut_down_listens_again(self):
        usherd = self.start_usherd(TCP.format(""))
        address = usherd.addresses("one")[0]
        bad = self.borrower(usherd, "one")
        bad.lent[0].socket.shutdown(socket.SHUT_RD)
        with self.assertRaises(ConnectionRefusedError):
            self.connect(address)
        bad.close()
        usherd.wait_log("did not listen any more")
        client = self.connect(address)
        self.check_backlog([client], self.borrower(usherd, "one"))

    def test_what_a_borrower_has_connected_hears_everybody_again(self):
        usherd = self.start_usherd(UDP.format(""))
        client = self.datagrams(usherd.addresses("echo-udp")[0])
        bad = self.borrower(usherd, "echo-udp")
        bad.lent[0].socket.connect(("127.0.0.1", 9))
        bad.close()
        usherd.wait_log("was connected to one peer")
        client.send(b"hello")
        other = self.borrower(usherd, "echo-udp")
        self.assertEqual(other.lent[0].socket.recv(100), b"hello")

    def test_usherd_sleeps_while_clients_come(self):
        usherd = self.start_usherd(TCP.format(""))
        provider, address = self.borrower(usherd, "one"), usherd.addresses("one")[0]
        usherd.wait_idle()
        before = usherd.count_wakeups()
        clients = [self.connect(address) for _ in range(50)]
        self.check_backlog(clients, provider)
        usherd.wait_idle()
        self.assertEqual(usherd.count_wakeups(), before)


class Changes(LendTest):
    """The backlog survives what happens to usherd and to borrowers."""

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(TCP.format(""))
        self.address = self.usherd.addresses("one")[0]
        self.endings.callback(self.reload, "")

    def reload(self, more, services=TCP):
        self.usherd.write_config(services.format(more))
        self.assertIn("ok", self.usherd.ask("reload"))

    def test_the_borrower_dies_with_clients_in_the_backlog(self):
        child = self.holding_child(self.usherd, "one", "dead", takes_listeners=True)
        clients = [self.connect(self.address) for _ in range(10)]
        child.kill()
        self.check_backlog(clients, self.borrower(self.usherd, "one"))

    def test_reload_changes_nothing_for_the_borrower(self):
        provider = self.borrower(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(5)]
        self.reload("socket { backlog = 100 }")
        self.assertFalse(provider.has_message())
        self.check_backlog(clients, provider)

    def test_reload_adds_and_removes_listeners(self):
        provider = self.borrower(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(5)]
        two = TCP.replace('"tcp:127.0.0.1:0"', '"tcp:127.0.0.1:0", "udp:127.0.0.1:0"')
        self.reload("", two)
        self.assertEqual([lent.type for lent in provider.receive_listeners()],
                         [socket.SOCK_STREAM, socket.SOCK_DGRAM])
        self.reload("")
        self.assertEqual(len(provider.receive_listeners()), 1)
        self.check_backlog(clients, provider)

    def test_reload_makes_usherd_accept_what_is_in_the_backlog(self):
        provider = self.borrower(self.usherd, "one", credit=5)
        clients = [self.connect(self.address) for _ in range(5)]
        self.reload("", TCP.replace('deliver = "listener"', ""))
        self.assertEqual(provider.receive_listeners(), [])
        connections = provider.take_and_claim(5)
        self.assertEqual({one.peer for one in connections}, {client.getsockname() for client in clients})
        provider.finish(*connections)

    def test_a_removed_service_takes_its_sockets_back(self):
        provider = self.borrower(self.usherd, "one")
        self.usherd.write_config('service two { listen = {"tcp:127.0.0.1:0"} }')
        self.assertIn("ok", self.usherd.ask("reload"))
        self.assertEqual(provider.receive_listeners(), [])
        self.assertEqual(provider.receive_draining(), protocol.ENDING)
        with self.assertRaises(ConnectionRefusedError):
            self.connect(self.address)


class Killed(LendTest):
    def test_backlog_survives_usherd(self):
        manager = FakeManager()
        usherd = self.start_usherd(TCP.format(""), manager=manager)
        address = usherd.addresses("one")[0]
        provider = self.borrower(usherd, "one")
        manager.wait_names(lambda names: len(names) == 2, "the manager to keep both sockets")
        clients = [self.connect(address) for _ in range(5)]
        usherd.restart(signal.SIGKILL)
        clients += [self.connect(address) for _ in range(5)]
        self.check_backlog(clients, provider)  # who still has its copy
        clients = [self.connect(address) for _ in range(5)]
        provider.close()
        self.check_backlog(clients, self.borrower(usherd, "one"))


class Upgraded(UpgradeTest, LendTest):
    def test_the_borrower_notices_nothing(self):
        self.usherd.write_config(TCP.format(""))
        self.assertIn("ok", self.usherd.ask("reload"))
        self.endings.callback(self.usherd.ask, "reload")
        self.endings.callback(self.usherd.write_config, self.service())
        first, second = self.borrower(self.usherd, "one"), self.borrower(self.usherd, "one", n=0)
        clients = [self.connect(self.address) for _ in range(5)]
        for _ in range(2):
            self.upgrade()
        self.assertFalse(first.has_message() or second.has_message())
        self.assertEqual(self.borrower_of(self.usherd, "one"), 1)
        self.check_backlog(clients, first)
        clients = [self.connect(self.address) for _ in range(5)]
        first.close()
        self.assertEqual(len(second.receive_listeners()), 1)
        self.check_backlog(clients, second)


if __name__ == "__main__":
    tap.main()
