# SPDX-License-Identifier: MIT
"""The fake service manager keeps and passes sockets as systemd does."""

import json
import os
import socket
import subprocess
import sys

import harness
import tap
from manager import FakeManager
from processes import DEADLINE, Deadline, find_readable

# What a program was passed: the descriptors that it has, and what it was told about them.
SHOW = """
import json, os
fds = [int(name) for name in os.listdir("/proc/self/fd")]
is_open = lambda fd: os.path.exists(f"/proc/self/fd/{fd}")
print(json.dumps({
    "fds": {fd: os.fstat(fd).st_ino for fd in fds if fd > 2 and is_open(fd)},
    "is_ours": os.environ.get("LISTEN_PID") == str(os.getpid()),
    "n": os.environ.get("LISTEN_FDS"), "names": os.environ.get("LISTEN_FDNAMES")}))
"""


class Manager(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.start()

    def start(self, **options):
        self.manager = self.closing(FakeManager(**options))
        path = str(self.folder / f"notify-{id(self.manager)}")
        self.manager.bind(path)
        self.sender = self.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.sender.connect(path)
        self.sender.settimeout(DEADLINE)

    def pair(self):
        return [self.closing(one) for one in socket.socketpair()]

    def tell(self, text, *sockets):
        """Say it, and wait until it was heard."""
        socket.send_fds(self.sender, [text.encode()], [one.fileno() for one in sockets])
        self.assertEqual(self.hear(), text)

    def hear(self):
        deadline = Deadline()
        while not find_readable([self.manager], deadline.left("a message")):
            pass
        return self.manager.recv(4096).decode()

    def store(self, name, one, more=""):
        self.tell(f"FDSTORE=1\n{more}FDNAME={name}", one)

    def run_passed(self):
        """What a program that it starts sees."""
        command = [sys.executable, "-c", SHOW]
        return json.loads(subprocess.run(
            command, check=True, stdout=subprocess.PIPE,
            preexec_fn=self.manager.prepare(command, os.environ)).stdout)

    def test_sockets_are_passed_the_newest_first(self):
        pairs = [self.pair()[0] for _ in range(3)]
        for number, one in enumerate(pairs):
            self.store(f"n{number}", one)
        passed = self.run_passed()
        inodes = [os.fstat(one.fileno()).st_ino for one in reversed(pairs)]
        self.assertEqual([passed["fds"][str(fd)] for fd in (3, 4, 5)], inodes)
        self.assertEqual(passed["names"], "n2:n1:n0")
        self.assertEqual(passed["n"], "3")
        self.assertTrue(passed["is_ours"])
        self.assertEqual(passed, self.run_passed())

    def test_nothing_is_passed_of_an_empty_store(self):
        passed = self.run_passed()
        self.assertIsNone(passed["n"])

    def test_socket_is_kept_once_under_its_first_name(self):
        one, _ = self.pair()
        self.store("first", one)
        self.store("second", one)
        self.assertEqual(self.manager.names(), ["first"])

    def test_all_of_a_name_are_removed(self):
        for name in ("a", "b", "a"):
            self.store(name, self.pair()[0])
        self.tell("FDSTOREREMOVE=1\nFDNAME=a")
        self.assertEqual(self.manager.names(), ["b"])

    def test_socket_that_hangs_up_is_dropped(self):
        one, other = self.pair()
        self.store("polled", one)
        other.close()
        self.manager.wait_names(lambda names: not names, "the store to drop it")

    def test_socket_that_hangs_up_stays_with_fdpoll_0(self):
        one, other = self.pair()
        self.store("kept", one, "FDPOLL=0\n")
        other.close()
        self.tell("STATUS=later")
        self.assertEqual(self.manager.names(), ["kept"])

    def test_what_does_not_fit_is_closed(self):
        self.start(max_fds=1)
        self.store("first", self.pair()[0])
        one, other = self.pair()
        self.store("second", one)
        one.close()
        self.assertEqual(other.recv(1), b"")
        self.assertEqual(self.manager.names(), ["first"])
        self.assertEqual(self.manager.n_refused, 1)

    def test_messages_are_heard_one_by_one(self):
        for text in ("READY=1", "STATUS=x"):
            self.sender.send(text.encode())
        self.assertEqual([self.hear(), self.hear()], ["READY=1", "STATUS=x"])
        self.assertRaises(BlockingIOError, self.manager.recv, 4096)

    def test_manager_that_does_not_read(self):
        self.manager.stop_reading()
        self.sender.setblocking(False)
        n_sent = 0
        with self.assertRaises(BlockingIOError):
            while True:
                self.sender.send(b"STATUS=unread")
                n_sent += 1
        self.assertEqual(find_readable([self.manager], 0), [])
        self.manager.go_on_reading()
        for _ in range(n_sent):
            self.assertEqual(self.hear(), "STATUS=unread")

    def test_last_words_are_heard_before_the_next_start(self):
        one, _ = self.pair()
        socket.send_fds(self.sender, [b"FDSTORE=1\nFDNAME=last"], [one.fileno()])
        self.assertEqual(self.run_passed()["names"], "last")
        self.assertRaises(BlockingIOError, self.manager.recv, 4096)


if __name__ == "__main__":
    tap.main()
