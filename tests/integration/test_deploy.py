# SPDX-License-Identifier: MIT
"""Providers come and go by themselves: takeover, standby, draining, pause, and connections given on."""

import collections
import os
import signal
import socket
import struct
import subprocess
import threading

import harness
import kernels
import network
import processes
import protocol
import tap

ONE = 'service one {{ listen = {{"tcp:127.0.0.1:0"}} {} }}\n'


class DeployTest(harness.UsherTest):
    def start(self, settings=""):
        self.usherd = self.start_usherd(ONE.format(settings))
        self.address = self.usherd.addresses("one")[0]

    def usherctl(self, *arguments):
        return subprocess.run([harness.USHERCTL, "--run-dir", self.usherd.run_dir, *arguments],
                              capture_output=True, text=True, timeout=processes.DEADLINE, check=False)

    def check_usherctl(self, *arguments):
        answer = self.usherctl(*arguments)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        return answer.stdout

    def reload(self, config):
        self.usherd.write_config(config)
        self.assertTrue(self.usherd.ask("reload")["ok"])

    def ask_name(self):
        return network.read_all(self.connect(self.address)).decode().strip()


class Takeover(DeployTest):
    def test_any_number_of_generations(self):
        """Each gets all that is new, and finishes what it has, while younger ones come."""
        self.start("providers { takeover = newest }")
        generations = []
        for number in range(10):
            provider = self.provider(self.usherd, "one", name=f"version {number}")
            if generations:
                self.assertEqual(generations[-1][0].receive_draining(), protocol.REPLACED)
            client = self.connect(self.address)
            generations.append((provider, client, *provider.take_and_claim(1)))
        states = collections.Counter(one["state"] for one in self.usherd.service("one")["providers"])
        self.assertEqual(states, {"draining": 9, "ready": 1})
        for provider, client, connection in generations:
            connection.socket.sendall(b"until the end")
            provider.finish(connection)
            self.assertEqual(network.read_all(client), b"until the end")
            provider.close()
        self.usherd.wait_service("one", accepted=10, released=10, lost=0, n_providers=0)

    def test_clients_notice_nothing_of_five_deployments(self):
        self.start("providers { takeover = newest }")
        names, is_over = collections.Counter(), threading.Event()

        def keep_asking():
            while not is_over.is_set():
                with network.connect(self.address) as client:
                    names[network.read_all(client)] += 1

        asking = threading.Thread(target=keep_asking)
        asking.start()
        try:
            for number in range(6):
                self.serving_child(self.usherd, "one", str(number))
                name = f"{number}\n".encode()
                self.usherd.wait_until(lambda name=name: names[name] > 20, "the new version to serve")
        finally:
            is_over.set()
            asking.join()
        self.assertEqual(set(names), {f"{number}\n".encode() for number in range(6)})
        self.usherd.wait_service("one", accepted=sum(names.values()), lost=0, parked=0, waiting=0)

    def test_program_that_was_replaced_finishes_and_ends(self):
        """usher-basic, by way of libusher."""
        self.usherd = self.start_usherd(
            'service echo { listen = {"tcp:127.0.0.1:0"} providers { takeover = newest } }\n')
        address = self.usherd.addresses("echo")[0]
        old = self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.usherd.wait_service("echo", n_providers=1)
        early = self.connect(address)
        early.sendall(b"to the old one")
        self.assertEqual(network.read_exactly(early, 14), b"to the old one")
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.usherd.wait_log("is replaced by provider 2")
        late = self.connect(address)
        late.sendall(b"to the new one")
        self.assertEqual(network.read_exactly(late, 14), b"to the new one")
        early.sendall(b"still there")
        self.assertEqual(network.read_exactly(early, 11), b"still there")
        self.assertIsNone(old.poll())
        early.shutdown(socket.SHUT_WR)
        self.assertEqual(network.read_all(early), b"")
        old.wait(processes.DEADLINE)
        self.usherd.wait_service("echo", n_providers=1, lost=0)

    def test_a_reload_begins_and_ends_takeovers(self):
        self.start()
        first, second = (self.provider(self.usherd, "one") for _ in range(2))
        self.reload(ONE.format("providers { takeover = newest }"))
        self.assertFalse(first.has_message() or second.has_message())
        third = self.provider(self.usherd, "one")
        self.assertEqual([first.receive_draining(), second.receive_draining()], [protocol.REPLACED] * 2)
        self.reload(ONE.format(""))
        self.provider(self.usherd, "one")
        self.assertFalse(third.has_message())


class Standby(DeployTest):
    def test_standby_serves_while_no_other_can(self):
        self.start("providers { takeover = newest }")
        regular = self.serving_child(self.usherd, "one", "regular")
        self.serving_child(self.usherd, "one", "standby", standby=True)
        self.assertEqual({self.ask_name() for _ in range(10)}, {"regular"})
        regular.kill()
        self.usherd.wait_service("one", n_providers=1)
        self.assertEqual({self.ask_name() for _ in range(10)}, {"standby"})
        self.serving_child(self.usherd, "one", "next")
        self.assertEqual({self.ask_name() for _ in range(10)}, {"next"})
        states = {one["name"]: (one["state"], one["standby"]) for one in self.usherd.service("one")["providers"]}
        self.assertEqual(states, {"standby": ("ready", True), "next": ("ready", False)})

    def test_standby_takes_what_is_too_much(self):
        self.start()
        regular = self.provider(self.usherd, "one", credit=2)
        standby = self.provider(self.usherd, "one", credit=5, standby=True)
        for _ in range(5):
            self.connect(self.address)
        regular.take_and_claim(2)
        standby.take_and_claim(3)

    def test_standby_takes_over_from_the_dead(self):
        self.start()
        regular = self.holding_child(self.usherd, "one", "regular", credit=10)
        clients = [self.connect(self.address) for _ in range(10)]
        self.usherd.wait_service("one", unclaimed=10)
        self.serving_child(self.usherd, "one", "standby", standby=True)
        regular.kill()
        self.assertEqual([network.read_all(client) for client in clients], [b"standby\n"] * 10)


class Drain(DeployTest):
    def test_a_provider_that_asks(self):
        self.start()
        provider = self.provider(self.usherd, "one")
        provider.send(protocol.message(protocol.DRAIN))
        self.assertEqual(provider.receive_draining(), protocol.ASKED)

    def test_a_removed_service_says_so(self):
        self.start()
        provider = self.provider(self.usherd, "one")
        self.reload("")
        self.assertEqual(provider.receive_draining(), protocol.ENDING)
        self.usherd.wait_until(lambda: not self.usherd.status()["services"], "the service to be over")
        self.usherd.remember_fds()

    def test_the_administrator_drains_one_by_its_number(self):
        self.start()
        first, second = (self.provider(self.usherd, "one") for _ in range(2))
        self.assertIn("1 provider was told to drain", self.check_usherctl("drain", "one/1"))
        self.assertEqual(first.receive_draining(), protocol.ADMINISTRATOR)
        self.usherd.wait_log(r"provider 1 .* is told by the administrator to drain")
        for _ in range(4):
            self.connect(self.address)
        second.take_and_claim(4)
        self.assertFalse(first.has_message())

    def test_the_administrator_drains_by_name(self):
        self.start()
        blue, green, other_blue = (
            self.provider(self.usherd, "one", name=name) for name in ("blue", "green", "blue"))
        self.assertIn("2 providers were told to drain", self.check_usherctl("drain", "one/blue"))
        self.assertEqual(blue.receive_draining(), protocol.ADMINISTRATOR)
        self.assertEqual(other_blue.receive_draining(), protocol.ADMINISTRATOR)
        self.assertFalse(green.has_message())

    def test_the_administrator_drains_a_whole_service(self):
        self.start()
        providers = [self.provider(self.usherd, "one", standby=number == 0) for number in range(3)]
        self.check_usherctl("drain", "one")
        self.assertEqual([provider.receive_draining() for provider in providers],
                         [protocol.ADMINISTRATOR] * 3)
        client = self.connect(self.address)
        self.usherd.wait_service("one", state="waiting", accepted=0)
        self.serving_child(self.usherd, "one", "next")
        self.assertEqual(network.read_all(client), b"next\n")

    def test_mistakes_of_the_administrator(self):
        self.start()
        self.provider(self.usherd, "one", name="blue")
        for name in ("two", "one/2", "one/green", "one/", "two/1"):
            with self.subTest(name):
                answer = self.usherctl("drain", name)
                self.assertNotEqual(answer.returncode, 0)
                self.assertNotEqual(answer.stderr, "")
        self.assertEqual(self.usherd.provider("one", "blue")["state"], "ready")

    def test_drained_program_finishes_and_ends(self):
        self.usherd = self.start_usherd('service echo { listen = {"tcp:127.0.0.1:0"} }\n')
        program = self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.usherd.wait_service("echo", n_providers=1)
        client = self.connect(self.usherd.addresses("echo")[0])
        client.sendall(b"hello")
        self.assertEqual(network.read_exactly(client, 5), b"hello")
        self.check_usherctl("drain", "echo")
        client.sendall(b"again")
        self.assertEqual(network.read_exactly(client, 5), b"again")
        self.assertIsNone(program.poll())
        client.close()
        program.wait(processes.DEADLINE)
        self.usherd.wait_service("echo", n_providers=0, lost=0)


class Pause(DeployTest):
    def test_clients_wait_while_the_service_is_paused(self):
        self.start('unavailable = "refuse"')
        self.serving_child(self.usherd, "one", "a")
        self.check_usherctl("pause", "one")
        self.usherd.wait_service("one", state="paused", paused=True)
        clients = [self.connect(self.address) for _ in range(5)]
        self.reload(ONE.format('unavailable = "reset"'))
        self.usherd.wait_service("one", state="paused", accepted=0)
        self.check_usherctl("resume", "one")
        self.assertEqual([network.read_all(client) for client in clients], [b"a\n"] * 5)
        self.usherd.wait_service("one", state="serving", paused=False)

    def test_paused_without_providers_nobody_is_refused(self):
        self.start('unavailable = "refuse"')
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address)
        self.check_usherctl("pause", "one")
        client = self.connect(self.address)
        self.serving_child(self.usherd, "one", "a")
        self.check_usherctl("resume", "one")
        self.assertEqual(network.read_all(client), b"a\n")

    def test_what_was_accepted_is_handed_over(self):
        self.start()
        victim = self.holding_child(self.usherd, "one", "victim", credit=3)
        clients = [self.connect(self.address) for _ in range(3)]
        self.usherd.wait_service("one", unclaimed=3)
        self.check_usherctl("pause", "one")
        victim.kill()
        self.usherd.wait_service("one", parked=3)
        self.serving_child(self.usherd, "one", "heir")
        self.assertEqual([network.read_all(client) for client in clients], [b"heir\n"] * 3)
        self.check_usherctl("resume", "one")


FORWARDING = """
service login { listen = {"tcp:127.0.0.1:0"} providers { forward = {"imap", "login", "off"} %s } }
service imap { listen = {"tcp:127.0.0.1:0"} instances = 100 providers { forward = {"login"} } }
service smtp { listen = {"tcp:127.0.0.1:0"} }
service off { listen = {"tcp:127.0.0.1:0"} disable = true }
"""


TRUSTING = """
service login { listen = {"tcp:127.0.0.1:0"} providers { forward = {"imap"} set_peer = true } }
service imap { listen = {"tcp:127.0.0.1:0"} no_access = {"198.51.100.0/24"} log_on_success = {"host"} }
"""


class Forward(DeployTest):
    make_kernel = None  # usherd runs on this kernel as it is

    def start(self, settings=""):
        self.usherd = self.start_usherd(FORWARDING % settings, before_exec=self.make_kernel)
        self.address = self.usherd.addresses("login")[0]
        self.login = self.provider(self.usherd, "login", name="login", credit=100)

    def log_in(self, words=b"user\r\n"):
        """A client, and its connection, of which the login service has read what was sent."""
        client = self.connect(self.address)
        client.sendall(words)
        connection, = self.login.take_and_claim(1)
        self.assertEqual(network.read_exactly(connection.socket, len(words)), words)
        return client, connection

    def check_refused(self, client, pattern):
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        self.usherd.wait_log(pattern)

    def test_login_passes_the_connection_on(self):
        self.start()
        self.assertTrue(self.login.may_forward)
        imap = self.provider(self.usherd, "imap")
        client, before = self.log_in()
        self.login.forward(before, "imap", b"user\r\n")
        connection, = imap.take_and_claim(1)
        self.assertEqual((connection.data, connection.forwarded_by, connection.hops), (b"user\r\n", "login", 1))
        self.assertEqual((connection.peer, connection.accepted_ns), (before.peer, before.accepted_ns))
        self.assertEqual(connection.listener, protocol.NO_LISTENER)
        client.sendall(b"more")
        self.assertEqual(network.read_exactly(connection.socket, 4), b"more")
        connection.socket.sendall(b"welcome")
        imap.finish(connection)
        self.assertEqual(network.read_all(client), b"welcome")
        self.usherd.wait_service("login", forwarded=1, in_service=0, lost=0)
        self.usherd.wait_service("imap", taken_over=1, released=1, in_service=0, accepted=0)
        self.login.close()
        self.usherd.wait_service("login", lost=0)

    def test_as_many_bytes_as_there_may_be(self):
        self.start()
        imap = self.provider(self.usherd, "imap")
        words = bytes(number % 251 for number in range(protocol.MAX_FORWARDED_BYTES))
        _, connection = self.log_in(words)
        self.login.forward(connection, "imap", words)
        connection, = imap.take_and_claim(1)
        self.assertEqual(connection.data, words)

    def test_what_nobody_takes_is_parked_with_its_bytes(self):
        self.start()
        clients = []
        for number in range(50):
            client, connection = self.log_in()
            clients.append(client)
            self.login.forward(connection, "imap", b"%d" % number)
        self.usherd.wait_service("imap", parked=50)
        imap = self.provider(self.usherd, "imap", credit=50)
        connections = imap.take_and_claim(50)
        self.assertEqual([int(connection.data) for connection in connections], list(range(50)))
        self.assertEqual({connection.hops for connection in connections}, {1})

    def test_login_dies_right_after_it_has_forwarded(self):
        self.start()
        imap = self.provider(self.usherd, "imap")
        client, connection = self.log_in()
        self.login.forward(connection, "imap", b"last words")
        self.login.close()
        connection, = imap.take_and_claim(1)
        self.assertEqual(connection.data, b"last words")
        connection.socket.sendall(b"hello")
        self.assertEqual(network.read_exactly(client, 5), b"hello")
        self.usherd.wait_service("login", lost=0, forwarded=1)

    def test_who_got_it_dies_before_it_has_claimed(self):
        self.start()
        victim = self.holding_child(self.usherd, "imap", "victim")
        client, connection = self.log_in()
        self.login.forward(connection, "imap", b"user\r\n")
        self.usherd.wait_service("imap", unclaimed=1)
        client.sendall(b"impatient")
        victim.kill()
        heir = self.provider(self.usherd, "imap")
        connection, = heir.take_and_claim(1)
        self.assertEqual((connection.data, connection.hops), (b"user\r\n", 1))
        self.assertEqual(network.read_exactly(connection.socket, 9), b"impatient")
        self.usherd.wait_service("imap", redispatched=1, lost=0)

    def test_who_got_it_used_it_without_a_claim(self):
        """Nobody may begin anew with it."""
        self.start()
        victim = self.provider(self.usherd, "imap")
        client, connection = self.log_in()
        self.login.forward(connection, "imap", b"user\r\n")
        connection, = victim.take(1)
        connection.socket.sendall(b"touched")
        self.assertEqual(network.read_exactly(client, 7), b"touched")
        victim.close()
        self.assertEqual(network.read_all(client), b"")
        self.usherd.wait_service("imap", touched=1, lost=1, parked=0)

    def test_handing_back(self):
        self.start()
        client, connection = self.log_in()
        other = self.provider(self.usherd, "login", name="other")
        self.login.forward(connection, data=b"user\r\n")
        connection, = other.take_and_claim(1)
        self.assertEqual((connection.data, connection.forwarded_by, connection.listener), (b"user\r\n", "login", 0))
        self.assertEqual(self.usherd.provider("login", "login")["credit"], 0)
        other.finish(connection)
        self.assertEqual(network.read_all(client), b"")
        self.login.send(protocol.credit(1, 5))
        other.send(protocol.message(protocol.DRAIN))
        self.usherd.wait_until(lambda: self.usherd.provider("login", "login")["credit"] == 5, "credit")
        self.log_in()

    def test_there_and_back_again_until_it_is_too_often(self):
        self.start()
        imap = self.provider(self.usherd, "imap")
        client, connection = self.log_in()
        for hops in range(1, 9):
            sender, receiver, name = (self.login, imap, "imap") if hops % 2 else (imap, self.login, "login")
            sender.forward(connection, name)
            connection, = receiver.take_and_claim(1)
            self.assertEqual(connection.hops, hops)
        self.login.forward(connection, "imap")
        self.check_refused(client, "it goes in a circle")
        self.usherd.wait_service("login", forwards_refused=1)

    def test_who_is_forwarded_to_must_be_configured_and_run(self):
        self.start()
        for name, why in (("smtp", "does not name that service"), ("nonsense", "does not name that service"),
                          ("off", "no such service runs")):
            with self.subTest(name):
                client, connection = self.log_in()
                self.login.forward(connection, name, b"x")
                self.check_refused(client, f"forwarded a connection to '{name}', but .*{why}")
        self.usherd.wait_service("login", forwards_refused=3, in_service=0, forwarded=3)

    def test_no_more_than_its_instances(self):
        self.start()
        clients = []
        for _ in range(101):
            client, connection = self.log_in()
            clients.append(client)
            self.login.forward(connection, "imap")
        self.check_refused(clients[100], "instances of that service is reached")
        self.usherd.wait_service("imap", parked=100)
        self.provider(self.usherd, "imap", credit=100).take_and_claim(100)

    def test_who_the_client_is(self):
        """A service that reads PROXY protocol headers may say so, others may not."""
        self.start("set_peer = true")
        imap = self.provider(self.usherd, "imap", credit=1)
        for peer in (("192.0.2.7", 4711), ("2001:db8::7", 4711)):
            client, connection = self.log_in()
            self.login.forward(connection, "imap", peer=peer)
            connection, = imap.take_and_claim(1)
            self.assertEqual(connection.peer, peer)
            imap.finish(connection)
        self.reload(FORWARDING % "")
        client, connection = self.log_in()
        self.login.forward(connection, "imap", peer=("192.0.2.7", 4711))
        self.check_refused(client, r"providers \{ set_peer \} is not set")

    def test_who_the_client_is_by_libusher(self):
        """The provider, the log and the rules of the other service go by the address that was given."""
        self.usherd = self.start_usherd(TRUSTING, before_exec=self.make_kernel)
        self.start_program(self.usherd, harness.BUILD_DIR / "tests/lib/forwarder", "login", "imap")
        imap = self.provider(self.usherd, "imap", credit=1)
        client = self.connect(self.usherd.addresses("login")[0])
        client.sendall(b"192.0.2.7\nrest")
        connection, = imap.take_and_claim(1)
        self.assertEqual(connection.peer, ("192.0.2.7", 4711))
        self.assertEqual(network.read_exactly(connection.socket, 4), b"rest")
        self.usherd.wait_log(r"event=start service=imap .*peer=192\.0\.2\.7 ")
        imap.finish(connection)
        client = self.connect(self.usherd.addresses("login")[0])
        client.sendall(b"198.51.100.7\n")
        self.check_refused(client, "that service does not let this client in")

    def test_what_is_no_connection(self):
        """A channel to usherd, a listener, a pipe: they go nowhere."""
        self.start()
        listener = self.closing(socket.create_server(("127.0.0.1", 0)))
        datagrams = self.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for thing in (self.login, listener, datagrams, self.usherd.process.stderr):
            client, connection = self.log_in()
            self.login.send(protocol.forward(connection.id, "imap"), [thing.fileno()])
            connection.close()
            self.assertEqual(network.read_all(client), b"")
        self.usherd.wait_service("login", forwards_refused=4)
        self.usherd.wait_log("it is no connected stream socket")
        self.usherd.wait_service("imap", taken_over=0)

    def test_a_reload_says_who_may_forward(self):
        """To those who are registered, too; and what was allowed is no violation afterwards."""
        self.start()
        smtp, imap = self.provider(self.usherd, "smtp"), self.provider(self.usherd, "imap")
        self.assertFalse(smtp.may_forward)
        for services in (FORWARDING.replace("service smtp {", 'service smtp { providers { forward = {"imap"} }'),
                         FORWARDING):
            self.reload(services % "")
            client = self.connect(self.usherd.addresses("smtp")[0])
            connection, = smtp.take_and_claim(1)
            self.assertTrue(smtp.may_forward)
            smtp.forward(connection, "imap")
            if services == FORWARDING:
                self.check_refused(client, "forwarded a connection to 'imap', but .*does not name that service")
            else:
                imap.take_and_claim(1)

    def test_slow_closing_delays_nobody(self):
        """A refused connection on which the provider has set SO_LINGER, with data that nobody reads."""
        self.start()
        client, connection = self.log_in()
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        connection.socket.setblocking(False)
        try:
            while connection.socket.send(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        self.login.send(protocol.forward(connection.id, "smtp"), [connection.socket.fileno()])
        os.close(connection.socket.detach())
        imap = self.provider(self.usherd, "imap")
        for _ in range(5):
            self.connect(self.usherd.addresses("imap")[0])
            imap.finish(*imap.take_and_claim(1))
        client.close()

    def test_usherd_that_was_stopped_takes_what_was_forwarded_meanwhile(self):
        self.start()
        imap = self.provider(self.usherd, "imap", credit=20)
        connections = [self.log_in()[1] for _ in range(20)]
        processes.stop_process(self.usherd.pid)
        for connection in connections:
            self.login.forward(connection, "imap", b"x")
        os.kill(self.usherd.pid, signal.SIGCONT)
        imap.take_and_claim(20)


class ForwardOnLinux61(Forward):
    make_kernel = staticmethod(kernels.linux_6_1)


if __name__ == "__main__":
    tap.main()
