# SPDX-License-Identifier: MIT
"""The programs in services/libusher/examples: libusher(3) shows some of them word for word, and all
of them serve the connections of an usherd made of a few lines.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

import tap

SECONDS = 20
HEADER = struct.Struct("=HHI")
HELLO, WELCOME, CONNECTIONS, LISTENERS, CLAIM, RELEASE = 1, 2, 4, 5, 6, 7
FORWARD, DRAIN, DRAINING, FORWARDED = 10, 12, 13, 14
MAY_FORWARD = 1
ASKED, REPLACED = 0, 2


class Manual(unittest.TestCase):
    def test_programs_in_the_manual_are_those_that_are_built(self):
        page = (ROOT / "man/libusher.3").read_text(encoding="utf-8")
        blocks = [block.split("\n.Ed\n")[0] for block in page.split("\n.Bd -literal")]
        shown = [block.split("\n", 1)[1].replace("\\e", "\\") + "\n"
                 for block in blocks[1:] if "SPDX-License-Identifier" in block]
        for number, name in enumerate(("hello", "login", "mailbox", "echo-udp")):
            program = (ROOT / f"services/libusher/examples/{name}.c").read_text(encoding="utf-8")
            self.assertEqual(shown[number], program.expandtabs(8))


class Examples(unittest.TestCase):
    def start(self, program, service):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rendezvous:
            rendezvous.bind(f"{directory.name}/{service}.sock")
            rendezvous.listen()
            rendezvous.settimeout(SECONDS)
            self.program = subprocess.Popen([f"{os.environ['EXAMPLES_DIR']}/{program}"],
                                            env={**os.environ, "USHER_RUN_DIR": directory.name})
            self.addCleanup(self.end_program)
            self.channel = rendezvous.accept()[0]
        self.addCleanup(self.channel.close)
        self.channel.settimeout(SECONDS)
        self.sequence = 0
        self.expect(HELLO)
        self.send(WELCOME, struct.pack("=HHI64s", 1, MAY_FORWARD, 0, service.encode()))

    def end_program(self):
        self.program.kill()
        self.program.wait()

    def send(self, message_type, body=b"", sockets=()):
        socket.send_fds(self.channel, [HEADER.pack(message_type, 0, 0) + body],
                        [each.fileno() for each in sockets])

    def expect(self, message_type):
        self.assertEqual(HEADER.unpack_from(self.channel.recv(4096))[0], message_type)

    def give(self, message_type=CONNECTIONS, more=b""):
        """Hand a connection over; returns the client's end."""
        client, server = socket.socketpair()
        self.addCleanup(client.close)
        client.settimeout(SECONDS)
        self.sequence += 1
        record = struct.pack("=QQQIIH22x", self.sequence, self.sequence, 0, 0, 0, socket.AF_UNIX)
        with server:
            server.setblocking(False)
            self.send(message_type, record + more, [server])
        return client

    def give_forwarded(self, by, data):
        return self.give(FORWARDED, struct.pack("=64sII", by, 1, 0) + data)

    def expect_forward(self):
        """The service that a connection is forwarded to, its socket, and the bytes."""
        data, fds, _, _ = socket.recv_fds(self.channel, 65536, 1)
        self.assertEqual(HEADER.unpack_from(data)[0], FORWARD)
        number, service = struct.unpack_from("=Q64s24x", data, HEADER.size)
        self.assertEqual(number, self.sequence)
        forwarded = socket.socket(fileno=fds[0])
        self.addCleanup(forwarded.close)
        return service.rstrip(b"\0"), forwarded, data[104:]

    def expect_greeting(self, greeting):
        client = self.give()
        self.expect(CLAIM)
        with client.makefile("rb") as answer:
            self.assertEqual(answer.read(), greeting)
        self.expect(RELEASE)

    def lend(self, *sockets):
        records = b"".join(struct.pack("=IIH22x", each.type, number, socket.AF_UNIX)
                           for number, each in enumerate(sockets))
        self.send(LISTENERS, records, sockets)

    def new_datagram_socket(self):
        """Bound as usherd would do it; the test keeps its copy."""
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        return bound

    def new_client(self, bound):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.connect(bound.getsockname())
        client.settimeout(SECONDS)
        return client

    def test_hello_greets_one_after_the_other(self):
        self.start("hello", "hello")
        for _ in range(3):
            self.expect_greeting(b"Hello, world.\n")

    def test_echo_poll_serves_many_at_once(self):
        self.start("echo-poll", "echo")
        clients = [self.give() for _ in range(5)]
        for message in (b"first", b"second"):
            for client in clients:
                client.send(message)
            for client in clients:
                self.assertEqual(client.recv(100), message)
        for client in clients[:3]:
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(100), b"")
        for client in clients[3:]:
            client.send(b"still here")
            self.assertEqual(client.recv(100), b"still here")

    def test_hello_sd_event_leaves_when_it_is_drained(self):
        self.start("hello-sd-event", "hello")
        self.expect_greeting(b"Hello.\n")
        self.program.send_signal(signal.SIGTERM)
        self.expect(DRAIN)
        self.expect_greeting(b"Hello.\n")  # was on its way
        self.send(DRAINING, struct.pack("=II", ASKED, 0))
        self.assertEqual(self.program.wait(SECONDS), 0)

    def test_all_end_when_a_newer_one_has_taken_over(self):
        for program, service in (("hello", "hello"), ("hello-sd-event", "hello"), ("echo-poll", "echo"),
                                 ("login", "login"), ("mailbox", "mailbox"), ("echo-udp", "echo-udp")):
            with self.subTest(program):
                self.start(program, service)
                self.send(DRAINING, struct.pack("=II", REPLACED, 0))
                self.assertEqual(self.program.wait(SECONDS), 0)

    def test_echo_poll_finishes_its_clients_after_it_was_replaced(self):
        self.start("echo-poll", "echo")
        client = self.give()
        self.send(DRAINING, struct.pack("=II", REPLACED, 0))
        client.send(b"still here")
        self.assertEqual(client.recv(100), b"still here")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.program.wait(SECONDS), 0)

    def test_echo_udp_answers_on_what_is_lent(self):
        self.start("echo-udp", "echo-udp")
        sockets = [self.new_datagram_socket() for _ in range(3)]
        clients = [self.new_client(bound) for bound in sockets]
        clients[0].send(b"before it was lent")
        self.lend(*sockets)
        self.assertEqual(clients[0].recv(100), b"before it was lent")
        for client in clients:
            client.send(b"")
            self.assertEqual(client.recv(100), b"")
        clients[2].send(b"last")
        self.assertEqual(clients[2].recv(100), b"last")

    def test_echo_udp_leaves_alone_what_is_not_lent_any_more(self):
        self.start("echo-udp", "echo-udp")
        kept, lost = self.new_datagram_socket(), self.new_datagram_socket()
        kept_client, lost_client = self.new_client(kept), self.new_client(lost)
        self.lend(kept, lost)
        lost_client.send(b"one")
        self.assertEqual(lost_client.recv(100), b"one")
        self.lend(kept)
        kept_client.send(b"two")
        self.assertEqual(kept_client.recv(100), b"two")
        self.give()  # a connection, which it ends: so it has heard what was said before
        self.expect(CLAIM)
        lost_client.send(b"three")
        kept_client.send(b"four")
        self.assertEqual(kept_client.recv(100), b"four")
        self.assertEqual(lost.recv(100), b"three")

    def test_login_forwards_whom_it_knows_with_all_that_was_said(self):
        self.start("login", "login")
        for user, service in ((b"anna sesame", b"mailbox"), (b"bert tulip", b"mailbox-old")):
            client = self.give()
            self.expect(CLAIM)
            client.send(b"LOGIN " + user[:3])
            client.send(user[3:] + b"\nCOUNT\nREA")
            self.assertEqual(client.recv(100), b"welcome\n")
            to, forwarded, data = self.expect_forward()
            self.assertEqual(to, service)
            self.assertEqual(data, b"USER " + user.split()[0] + b"\nCOUNT\nREA")
            client.send(b"D 1\n")
            self.assertEqual(forwarded.recv(100), b"D 1\n")

    def test_login_hangs_up_on_whom_it_does_not_know(self):
        self.start("login", "login")
        for said in (b"LOGIN anna tulip\n", b"LOGIN anna\n", b"\n"):
            client = self.give()
            self.expect(CLAIM)
            client.send(said)
            with client.makefile("rb") as answer:
                self.assertEqual(answer.read(), b"no such user or password\n")
            self.expect(RELEASE)

    def test_login_hangs_up_on_who_says_too_much(self):
        self.start("login", "login")
        client = self.give()
        self.expect(CLAIM)
        client.send(b"x" * 600)
        with contextlib.suppress(ConnectionResetError):  # some of it was not read
            self.assertEqual(client.recv(100), b"")
        self.expect(RELEASE)

    def test_login_serves_while_a_client_thinks(self):
        self.start("login", "login")
        self.give()
        self.expect(CLAIM)
        client = self.give()
        self.expect(CLAIM)
        client.send(b"LOGIN anna sesame\n")
        self.assertEqual(self.expect_forward()[2], b"USER anna\n")

    def test_mailbox_begins_with_what_login_has_read(self):
        self.start("mailbox", "mailbox")
        client = self.give_forwarded(b"login", b"USER anna\nCOUNT\n")
        self.expect(CLAIM)
        client.send(b"READ 1\n")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answer:
            self.assertEqual(answer.read(), b"mailbox of anna\nCOUNT\nREAD 1\n")
        self.expect(RELEASE)

    def test_mailbox_serves_nobody_whom_login_did_not_send(self):
        self.start("mailbox", "mailbox")
        for client in (self.give(), self.give_forwarded(b"front", b"USER anna\n"),
                       self.give_forwarded(b"login", b"")):
            self.expect(CLAIM)
            self.assertEqual(client.recv(100), b"")
            self.expect(RELEASE)


if __name__ == "__main__":
    tap.main()
