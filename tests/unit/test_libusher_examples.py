# SPDX-License-Identifier: MIT
"""The programs in services/libusher/examples: libusher(3) shows the first word for word, and all of
them serve the connections of an usherd made of a few lines.
"""

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
HELLO, WELCOME, CONNECTIONS, CLAIM, RELEASE, DRAIN, DRAINING = 1, 2, 4, 6, 7, 12, 13


class Manual(unittest.TestCase):
    def test_program_in_the_manual_is_the_one_that_is_built(self):
        page = (ROOT / "man/libusher.3").read_text(encoding="utf-8")
        block = page.split("\n.Sh EXAMPLES\n")[1].split("\n.Bd -literal", 1)[1].split("\n.Ed\n")[0]
        program = (ROOT / "services/libusher/examples/hello.c").read_text(encoding="utf-8")
        self.assertEqual(block.split("\n", 1)[1].replace("\\e", "\\") + "\n",
                         program.expandtabs(8))


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
        self.send(WELCOME, struct.pack("=HHI64s", 1, 0, 0, service.encode()))

    def end_program(self):
        self.program.kill()
        self.program.wait()

    def send(self, message_type, body=b"", sockets=()):
        socket.send_fds(self.channel, [HEADER.pack(message_type, 0, 0) + body],
                        [each.fileno() for each in sockets])

    def expect(self, message_type):
        self.assertEqual(HEADER.unpack_from(self.channel.recv(4096))[0], message_type)

    def give(self):
        """Hand a connection over; returns the client's end."""
        client, server = socket.socketpair()
        self.addCleanup(client.close)
        client.settimeout(SECONDS)
        self.sequence += 1
        with server:
            server.setblocking(False)
            self.send(CONNECTIONS,
                      struct.pack("=QQQIIH22x", self.sequence, 1, 0, 0, 0, socket.AF_UNIX), [server])
        return client

    def expect_greeting(self, greeting):
        client = self.give()
        self.expect(CLAIM)
        with client.makefile("rb") as answer:
            self.assertEqual(answer.read(), greeting)
        self.expect(RELEASE)

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
        self.send(DRAINING)
        self.assertEqual(self.program.wait(SECONDS), 0)


if __name__ == "__main__":
    tap.main()
