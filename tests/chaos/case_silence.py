# SPDX-License-Identifier: MIT
"""Nobody reads what usherd has to say, or there is no room for it: the service does not notice, and what
was dropped is counted."""

import os
import re
import socket

import chaos
import harness
import processes

CONFIG = 'service one { listen = {"tcp:127.0.0.1:0"} }\n'
MANY_MISTAKES = "".join(f"service bad{number} {{ }}\n" for number in range(50))  # a line of the log for each

# What the manager has to be told about these waits in memory: some of what may grow (chaos.py).
MAX_UNREAD_RELOADS = 200

# Standard error is a FIFO; what the harness reads stays open, and gets nothing.
WITH_STDERR = ["sh", "-c", 'exec "$@" 9>&2 2>"$0"']

# In a mount namespace of its own, where /dev/log is a socket of ours.
WITH_DEV = ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
            'touch "$0/null"; mount --bind /dev/null "$0/null"; mount --rbind "$0" /dev; exec "$@"']
WITH_SMALL_DISK = ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                   'mount -t tmpfs -o size=64k,mode=777 none "$0"; exec "$@"']


class Silence(chaos.ChaosTest):
    def check_not_affected(self, row, usherd, say):
        """Clients come while usherd says a lot; returns how many of its messages were dropped."""
        n = chaos.size(5000, 100_000)
        providers = self.providers(usherd, "one")
        say()  # so that what waits to be read has its place in the first measurement of memory
        self.warm_up(usherd, "one")
        clients = self.clients(usherd, "one", n)
        while not clients.is_over():
            say()
        clients.wait()
        ledger = self.ledger()
        status = usherd.status()
        n_dropped = status["log_messages_dropped"] + status["notifications_dropped"]
        self.figure(row, f"{ledger}; {n_dropped} messages dropped", len(ledger["served"]) == len(ledger))
        self.check_ledger(ledger)
        self.check_settled(usherd, providers, "one")
        return n_dropped

    def make_talking(self, log=None, **options):
        """An usherd, and a function that makes it say more than fits into any buffer, bit by bit."""
        usherd = self.make_usherd(CONFIG, **options)
        if log:
            usherd.settings = usherd.settings.replace('"stderr"', f'"{log}"')
        usherd.write_config(CONFIG)

        def talk():
            usherd.write_config(CONFIG + MANY_MISTAKES)
            for _ in range(60):
                usherd.ask("reload")
                usherd.read_notifications()
            usherd.write_config(CONFIG)

        return usherd, talk

    def test_standard_error_is_not_read(self):
        fifo = self.folder / "stderr"
        os.mkfifo(fifo)
        fifo_fd = os.open(fifo, os.O_RDWR)
        self.endings.callback(os.close, fifo_fd)
        usherd, talk = self.make_talking(wrapper=[*WITH_STDERR, fifo])
        usherd.start()
        self.assertGreater(self.check_not_affected("standard error not read", usherd, talk), 0)
        self.check_drops_are_told(fifo_fd, usherd)

    def check_drops_are_told(self, fd, usherd):
        """As soon as somebody reads again."""
        text, deadline = b"", processes.Deadline()
        while not (told := re.search(rb"messages dropped: (\d+)", text)):
            deadline.left("the number of dropped messages")
            text += os.read(fd, 65536)
        self.assertLessEqual(int(told[1]), usherd.status()["log_messages_dropped"])

    @harness.needs_root
    def test_dev_log_is_not_read(self):
        dev = self.folder / "dev"
        dev.mkdir()
        log = self.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        log.bind(str(dev / "log"))
        os.chmod(dev / "log", 0o666)
        usherd, talk = self.make_talking("syslog", wrapper=[*WITH_DEV, dev])
        usherd.start()
        self.assertGreater(self.check_not_affected("/dev/log not read", usherd, talk), 0)

    @harness.needs_root
    def test_disk_is_full(self):
        disk = self.folder / "disk"
        disk.mkdir()
        usherd, talk = self.make_talking(disk / "log", wrapper=[*WITH_SMALL_DISK, disk])
        usherd.start()
        self.assertGreater(self.check_not_affected("disk full", usherd, talk), 0)

    def test_notify_socket_is_not_read(self):
        """There is room for all of this to wait: the manager is told when it reads again."""
        usherd = self.start_usherd(CONFIG)
        n_reloads = 0

        def reload():
            nonlocal n_reloads
            if n_reloads < MAX_UNREAD_RELOADS:
                n_reloads += 1
                usherd.ask("reload")
            else:
                usherd.watch(0.01)

        self.assertEqual(self.check_not_affected("notify socket not read", usherd, reload), 0)
        for _ in range(n_reloads):
            usherd.wait_notification("RELOADING", "1")
            usherd.wait_notification("READY", "1")
