# SPDX-License-Identifier: MIT
"""The basic services, by the text of their RFCs, from the client's side of a real socket."""

import calendar
import socket
import struct
import subprocess
import time

import harness
import network
import packages
import processes
import tap

SERVICES = "".join(
    f'service {name} {{ listen = {{"tcp:127.0.0.1:0", "tcp:[::1]:0"}} instances = 4096 }}\n'
    for name in ("echo", "discard", "chargen", "daytime", "time"))

CACHE = harness.BUILD_DIR / "test-programs"

SECONDS_FROM_1900_TO_1970 = 2208988800
CLOCK_REALTIME_COARSE = 5


def second_of_last_tick():
    """What time(2) says: for some milliseconds of each second still the one before."""
    return int(time.clock_gettime(CLOCK_REALTIME_COARSE))


class Basic(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(SERVICES)
        self.basic = self.start_program(self.usherd, harness.USHER_BASIC)
        for name in ("echo", "discard", "chargen", "daytime", "time"):
            self.usherd.wait_service(name, n_providers=1, state="serving")

    def client(self, service, listener=0):
        return self.connect(self.usherd.addresses(service)[listener])

    def test_echo_sends_back_what_it_gets(self):
        client = self.client("echo")
        client.sendall(b"hello\n")
        self.assertEqual(network.read_exactly(client, 6), b"hello\n")
        client.sendall(b"\0\xff\r\n")
        self.assertEqual(network.read_exactly(client, 4), b"\0\xff\r\n")

    def test_echo_over_ipv6(self):
        client = self.client("echo", listener=1)
        client.sendall(b"six")
        self.assertEqual(network.read_exactly(client, 3), b"six")

    def test_echo_answers_everything_after_a_half_close(self):
        client = self.client("echo")
        data = bytes(range(256)) * 100
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(network.read_all(client), data)

    def test_echo_waits_for_a_slow_reader_and_loses_nothing(self):
        client = self.client("echo")
        client.setblocking(False)
        sent = 0
        try:
            while True:
                sent += client.send(bytes([sent % 251]) * 4096)
        except BlockingIOError:
            pass
        client.settimeout(processes.DEADLINE)
        client.shutdown(socket.SHUT_WR)
        other = self.client("echo")
        other.sendall(b"meanwhile")
        self.assertEqual(network.read_exactly(other, 9), b"meanwhile")
        self.assertEqual(len(network.read_all(client)), sent)

    def test_discard_never_answers_and_ends_with_the_client(self):
        client = self.client("discard")
        client.sendall(b"x" * 100000)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(network.read_all(client), b"")

    def test_chargen_sends_the_shifting_lines(self):
        ring = bytes(range(32, 127))
        data = network.read_exactly(self.client("chargen"), 74 * 200)
        for number in range(200):
            line = data[74 * number:74 * number + 74]
            start = number % 95
            self.assertEqual(line, (ring * 2)[start:start + 72] + b"\r\n")

    def test_chargen_ignores_what_it_gets(self):
        client = self.client("chargen")
        client.sendall(b"x" * 10000)
        self.assertTrue(network.read_exactly(client, 148).endswith(b"\r\n"))

    def test_chargen_does_not_mind_a_client_that_goes_in_the_middle(self):
        client = self.client("chargen")
        network.read_exactly(client, 100)
        network.reset(client)
        self.usherd.wait_service("chargen", released=1, in_service=0)

    def test_daytime_is_one_line_of_now(self):
        before = second_of_last_tick()
        text = network.read_all(self.client("daytime"))
        self.assertRegex(text, rb"\A[\x20-\x7e]+\r\n\Z")
        self.assertTrue(
            any(time.strftime("%H:%M:%S", clock(now)).encode() in text
                for now in range(before, int(time.time()) + 1) for clock in (time.localtime, time.gmtime)),
            text)

    def test_time_is_seconds_since_1900(self):
        before = second_of_last_tick()
        data = network.read_all(self.client("time"))
        self.assertEqual(len(data), 4)
        seconds = struct.unpack("!I", data)[0] - SECONDS_FROM_1900_TO_1970
        self.assertTrue(before <= seconds <= int(time.time()), seconds)

    def test_connections_are_counted_and_released(self):
        for _ in range(20):
            network.read_all(self.client("time"))
        self.usherd.wait_service("time", accepted=20, claimed=20, released=20, in_service=0, unclaimed=0)

    def test_two_thousand_at_once_and_each_gets_its_own(self):
        processes.raise_own_limit(4096)
        address = self.usherd.addresses("echo")[0]
        clients = [self.connect(address) for _ in range(2000)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        for number, client in enumerate(clients):
            expected = b"%d\n" % number
            self.assertEqual(network.read_exactly(client, len(expected)), expected)
        self.usherd.wait_service("echo", in_service=2000, unclaimed=0, lost=0)
        for client in clients:
            client.close()
        self.usherd.wait_service("echo", in_service=0, released=2000)

    def test_sigterm_ends_it_cleanly_and_clients_wait_for_the_next(self):
        self.assertEqual(self.end_program(self.basic), 0)
        self.usherd.wait_service("time", n_providers=0, state="waiting")
        client = self.client("time")
        self.start_program(self.usherd, harness.USHER_BASIC)
        self.assertEqual(len(network.read_all(client)), 4)


class Datagrams(harness.UsherTest):
    """The same over UDP, from sockets that usherd lends."""

    def setUp(self):
        super().setUp()
        services = "".join(
            f'service {name} {{ listen = {{"tcp:127.0.0.1:0", "udp:127.0.0.1:0", "udp:[::]:0"}} }}\n'
            for name in ("echo", "discard", "chargen", "daytime", "time"))
        self.usherd = self.start_usherd(services)
        self.basic = self.start_program(self.usherd, harness.USHER_BASIC)
        for name in ("echo", "discard", "chargen", "daytime", "time"):
            self.usherd.wait_service(name, n_providers=1, state="serving")

    def port(self, service, listener=1):
        return int(self.usherd.addresses(service)[listener].rpartition(":")[2])

    def client(self, family=socket.AF_INET):
        client = self.closing(socket.socket(family, socket.SOCK_DGRAM))
        client.settimeout(processes.DEADLINE)
        return client

    def ask(self, service, question, host="127.0.0.1", listener=1):
        """The answer, which has to come from whom was asked."""
        address = (host, self.port(service, listener))
        client = self.client(socket.AF_INET6 if ":" in host else socket.AF_INET)
        client.sendto(question, address)
        answer, sender = client.recvfrom(65536)
        self.assertEqual(sender[:2], address)
        return answer

    def test_echo(self):
        for question in (b"hello", b"", bytes(range(256)) * 200):
            self.assertEqual(self.ask("echo", question), question)

    def test_answer_comes_from_the_address_that_was_asked(self):
        self.assertEqual(self.ask("echo", b"six", "::1", 2), b"six")
        self.assertEqual(self.ask("echo", b"mapped", "127.0.0.9", 2), b"mapped")

    def test_daytime_and_time(self):
        self.assertRegex(self.ask("daytime", b""), rb"\A[\x20-\x7e]+-UTC\r\n\Z")
        before = second_of_last_tick()
        seconds = struct.unpack("!I", self.ask("time", b"x"))[0] - SECONDS_FROM_1900_TO_1970
        self.assertTrue(before <= seconds <= int(time.time()), seconds)

    def test_chargen_is_at_most_512_bytes(self):
        sizes = [len(self.ask("chargen", b"x")) for _ in range(100)]
        self.assertLessEqual(max(sizes), 512)
        self.assertGreater(len(set(sizes)), 10)

    def test_loop_of_two_services_ends_at_once(self):
        """A datagram to echo whose sender is chargen's own socket: as a forger would send it."""
        self.check_loop(self.port("chargen"))

    @harness.needs_root
    def test_loop_with_a_service_of_another_machine_ends_at_once(self):
        port = next(port for port in range(1023, 600, -1) if self.is_free(port))
        self.check_loop(port)

    @staticmethod
    def is_free(port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.2", port))
            except OSError:
                return False
        return True

    def check_loop(self, port):
        """From another address with this port: no answer, and a client that asks then gets its own."""
        client = self.client()
        client.bind(("127.0.0.2", port))
        client.sendto(b"loop", ("127.0.0.1", self.port("echo")))
        self.assertEqual(self.ask("echo", b"next"), b"next")
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            client.recv(16)

    def test_next_provider_gets_what_waits(self):
        self.assertEqual(self.ask("echo", b"first"), b"first")
        self.end_program(self.basic)
        self.usherd.wait_service("echo", n_providers=0)
        client = self.client()
        client.sendto(b"later", ("127.0.0.1", self.port("echo")))
        self.start_program(self.usherd, harness.USHER_BASIC)
        self.assertEqual(client.recv(16), b"later")


class UsersClients(harness.UsherTest):
    """The programs that people ask such services with: rdate, nc and socat."""

    def setUp(self):
        super().setUp()
        names = ("echo", "chargen", "daytime", "time")
        self.usherd = self.start_usherd("".join(
            f'service {name} {{ listen = {{"tcp:127.0.0.1:0", "udp:127.0.0.1:0"}} }}\n' for name in names))
        self.start_program(self.usherd, harness.USHER_BASIC)
        for name in names:
            self.usherd.wait_service(name, n_providers=1, state="serving")

    def port(self, service, is_udp=False):
        return self.usherd.addresses(service)[is_udp].rpartition(":")[2]

    def run_client(self, *command, question=b""):
        """What the program says."""
        try:
            programs = packages.Programs((command[0] if command[0] != "nc" else "netcat-openbsd",), CACHE)
            program = programs.find(command[0])
        except packages.Unavailable as error:
            self.skipTest(f"{command[0]}: {error}")
        result = subprocess.run([program, *command[1:]], env={**programs.environment, "TZ": "UTC", "LC_ALL": "C"},
                                input=question, capture_output=True, timeout=processes.DEADLINE, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_rdate(self):
        for transport in ((), ("-u",)):
            with self.subTest(transport=transport):
                before = second_of_last_tick()
                said = self.run_client("rdate", "-p", *transport, "-o", self.port("time", bool(transport)),
                                       "127.0.0.1")
                # "Sun Nov 22 06:24:33 UTC 2026"
                found = calendar.timegm(time.strptime(said.decode().strip(), "%a %b %d %H:%M:%S UTC %Y"))
                self.assertTrue(before <= found <= int(time.time()), said)

    def test_nc(self):
        self.assertEqual(self.run_client("nc", "-N", "127.0.0.1", self.port("echo"), question=b"hello\n"),
                         b"hello\n")
        self.assertRegex(self.run_client("nc", "-u", "-W", "1", "-w", "20", "127.0.0.1",
                                         self.port("daytime", True), question=b"\n"), rb"-UTC\r\n\Z")

    def test_socat(self):
        self.assertEqual(self.run_client("socat", "-t20", "-", f"TCP:127.0.0.1:{self.port('echo')}",
                                         question=b"hello\n"), b"hello\n")
        self.assertRegex(self.run_client("socat", "-u", f"TCP:127.0.0.1:{self.port('daytime')}", "-"),
                         rb"-UTC\r\n\Z")
        lines = self.run_client("socat", "-u", f"TCP:127.0.0.1:{self.port('chargen')},readbytes=740", "-")
        self.assertEqual([len(line) for line in lines.splitlines(keepends=True)], [74] * 10)


class Several(harness.UsherTest):
    def test_a_program_started_before_usherd_finds_it(self):
        usherd = self.make_usherd(SERVICES)
        self.start_program(usherd, harness.USHER_BASIC)
        usherd.start()
        client = self.connect(usherd.addresses("time")[0])
        self.assertEqual(len(network.read_all(client)), 4)

    @harness.needs_root
    def test_two_programs_of_other_users_share_a_service(self):
        users = f'providers {{ users = {{"{harness.PROVIDER_USER}", "{harness.STRANGER_USER}"}} }}'
        usherd = self.start_usherd(SERVICES.replace("instances = 4096", users))
        program = self.copy_for_others(harness.USHER_BASIC)
        for user in (harness.PROVIDER_USER, harness.STRANGER_USER):
            self.start_program(usherd, program, user=user)
        usherd.wait_service("echo", n_providers=2)
        self.assertEqual({one["uid"] for one in usherd.service("echo")["providers"]},
                         {processes.user_id(user) for user in (harness.PROVIDER_USER, harness.STRANGER_USER)})
        clients = [self.connect(usherd.addresses("echo")[0]) for _ in range(20)]
        for client in clients:
            client.sendall(b"x")
            self.assertEqual(network.read_exactly(client, 1), b"x")
        self.assertEqual([one["in_service"] for one in usherd.service("echo")["providers"]], [10, 10])

    def test_a_program_of_another_parent_serves(self):
        """setsid --fork: the program's parent is gone, init has it."""
        usherd = self.start_usherd(SERVICES)
        process = self.start_program(usherd, "setsid", "--fork", harness.USHER_BASIC)
        self.assertEqual(process.wait(processes.DEADLINE), 0)
        usherd.wait_service("time", n_providers=1)
        pid = usherd.service("time")["providers"][0]["pid"]
        self.endings.callback(processes.end_pid, pid)
        self.assertEqual(len(network.read_all(self.connect(usherd.addresses("time")[0]))), 4)


if __name__ == "__main__":
    tap.main()
