# SPDX-License-Identifier: MIT
"""The program in usher-protocol(7) is run, word for word, against an usherd made of a few lines."""

import os
import resource
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


def read_program():
    """The literal block of the section EXAMPLES, as a reader of the manual sees it."""
    page = ROOT / "man/usher-protocol.7"
    examples = page.read_text(encoding="utf-8").split("\n.Sh EXAMPLES\n")[1]
    block = examples.split("\n.Bd -literal", 1)[1].split("\n.Ed\n")[0]
    return block.split("\n", 1)[1].replace("\\e", "\\") + "\n"


class Program(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        program, path = Path(directory.name, "program.py"), Path(directory.name, "clock.sock")
        program.write_text(read_program(), encoding="utf-8")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rendezvous:
            rendezvous.bind(str(path))
            rendezvous.listen()
            rendezvous.settimeout(SECONDS)
            self.program = subprocess.Popen([sys.executable, program, path], stderr=subprocess.PIPE)
            self.addCleanup(self.end_program)
            self.channel = rendezvous.accept()[0]
        self.addCleanup(self.channel.close)
        self.channel.settimeout(SECONDS)
        self.sequence = 0

    def end_program(self):
        self.program.kill()
        self.program.wait()
        self.program.stderr.close()

    def expect(self, message_type, layout, *fields):
        data = self.channel.recv(4096)
        self.assertEqual(HEADER.unpack_from(data), (message_type, 0, 0))
        self.assertEqual(struct.unpack("=" + layout, data[HEADER.size:]), fields)

    def welcome(self):
        self.expect(1, "HHiII64s", 1, 1, 16, 1, 0, b"clock".ljust(64, b"\0"))
        self.channel.send(HEADER.pack(2, 0, 0) + struct.pack("=HHI64s", 1, 0, 0, b"clock"))

    def give(self, n):
        """Hand n connections over; returns the clients' ends."""
        pairs = [socket.socketpair() for _ in range(n)]
        body = b""
        for _, server in pairs:
            server.setblocking(False)
            self.sequence += 1
            body += struct.pack("=QQQII24s", self.sequence, 1000 + self.sequence, 0, 0, 0,
                                struct.pack("=H22x", socket.AF_UNIX))
        socket.send_fds(self.channel, [HEADER.pack(4, 0, 0) + body],
                        [server.fileno() for _, server in pairs])
        for client, server in pairs:
            self.addCleanup(client.close)
            server.close()
            client.settimeout(SECONDS)
        return [client for client, _ in pairs]

    def give_forwarded(self, data):
        """Hand over a connection that somebody has forwarded with these bytes."""
        client, server = socket.socketpair()
        self.addCleanup(client.close)
        client.settimeout(SECONDS)
        self.sequence += 1
        record = struct.pack("=QQQII24s", self.sequence, 1000 + self.sequence, 0, 0, 0,
                             struct.pack("=H22x", socket.AF_UNIX))
        with server:
            server.setblocking(False)
            socket.send_fds(self.channel, [HEADER.pack(14, 0, 0) + record
                                           + struct.pack("=64sII", b"front", 1, 0) + data],
                            [server.fileno()])
        return client

    def expect_time(self, client):
        with client.makefile("rb") as answer:
            self.assertRegex(answer.read(), rb"^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\r\n$")

    def expect_exit(self, sentence):
        self.assertEqual(self.program.stderr.read(), sentence + b"\n")
        self.assertEqual(self.program.wait(SECONDS), 1)

    def test_claims_serves_and_releases(self):
        self.welcome()
        for first, n in ((1, 1), (2, 3)):
            clients = self.give(n)
            self.expect(6, "Q", first + n - 1)
            for number, client in enumerate(clients):
                self.expect_time(client)
                self.expect(7, "Q", 1000 + first + number)

    def test_declines_what_does_not_arrive(self):
        self.welcome()
        self.give(1)  # it has opened all that it needs once this is over
        self.expect(6, "Q", 1)
        self.expect(7, "Q", 1001)
        n_open = len(os.listdir(f"/proc/{self.program.pid}/fd"))
        limits = resource.prlimit(self.program.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.program.pid, resource.RLIMIT_NOFILE, (n_open + 2, limits[1]))
        clients = self.give(4)
        self.expect(6, "Q", 3)
        self.expect(9, "QQ", 4, 5)
        self.expect(8, "QiI", 5, 14, 0)
        for number, client in enumerate(clients[:2]):
            self.expect_time(client)
            self.expect(7, "Q", 1002 + number)

    def test_serves_what_was_queued_when_usherd_is_gone(self):
        """HELLO stays unread, so that ECONNRESET comes before the connection."""
        client, = self.give(1)
        self.channel.close()
        self.expect_time(client)
        self.expect_exit(b"usherd has closed the channel")

    def test_serves_what_was_forwarded(self):
        self.welcome()
        for number, data in enumerate((b"", b"x" * 32768)):
            client = self.give_forwarded(data)
            self.expect(6, "Q", 1 + number)
            self.expect_time(client)
            self.expect(7, "Q", 1001 + number)

    def test_ends_when_it_is_drained(self):
        self.welcome()
        client, = self.give(1)
        self.channel.send(HEADER.pack(13, 0, 0) + struct.pack("=II", 2, 0))
        self.expect(6, "Q", 1)
        self.expect_time(client)
        self.expect(7, "Q", 1001)
        self.expect_exit(b"usherd wants no more of this provider")

    def test_tells_why_it_was_refused(self):
        self.channel.send(HEADER.pack(3, 0, 0) + struct.pack("=II256s", 13, 0, b"Not you."))
        self.channel.close()
        self.expect_exit(b"Not you.")


if __name__ == "__main__":
    tap.main()
