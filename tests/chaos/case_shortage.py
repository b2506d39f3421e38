# SPDX-License-Identifier: MIT
"""What usherd needs is used up: it pauses, sleeps meanwhile, and then goes on where it was."""

import resource
import signal
import socket

import chaos
import harness

CONFIG = """
service one {
    listen = {"tcp:127.0.0.1:0"}
    instances = 20000
    claim_timeout = "1h"
    providers { max = 4 }
}
"""

FEW_FDS = 400
MAX_WAKEUPS = 100  # a second


def allow_few_fds():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FDS, FEW_FDS))


class Shortage(chaos.ChaosTest):
    n = 3000  # more than any of the limits, and less than the backlog

    def crowd(self, usherd):
        """Many clients who all come at once."""
        clients = self.clients(usherd, "one", self.n, parallel=self.n)
        clients.wait_word("connected")
        return clients

    def check_all_served(self, row, usherd, providers, clients, n_wakeups):
        """It was quiet, and is over."""
        clients.wait(60)
        ledger = self.ledger()
        self.figure(row, f"{n_wakeups:.0f} wake-ups a second, then {ledger}",
                    n_wakeups < MAX_WAKEUPS and len(ledger["served"]) == self.n)
        self.check_ledger(ledger)
        self.check_settled(usherd, providers, "one")
        self.assertLess(n_wakeups, MAX_WAKEUPS)

    def test_descriptor_limit(self):
        """Providers stand still with all the connections that usherd can have a descriptor for."""
        usherd = self.start_usherd(CONFIG, before_exec=allow_few_fds)
        providers = self.providers(usherd, "one", credit=FEW_FDS)
        providers.stand_still()
        clients = self.crowd(usherd)
        usherd.wait_log(r"(?i)descriptor|too many open files")
        n_wakeups = self.wakeups_per_second(usherd)
        providers.go_on()
        self.check_all_served("descriptor limit reached", usherd, providers, clients, n_wakeups)

    def test_full_send_buffers(self):
        """Providers stand still with as many messages in their queues as there is room for."""
        usherd = self.start_usherd(CONFIG)
        providers = self.providers(usherd, "one", credit=4096)
        providers.stand_still()
        # One after the other, so that each is a message of its own: it is their number that fills a buffer.
        clients = self.clients(usherd, "one", self.n, parallel=self.n, rate=2000)
        usherd.wait_until(lambda: self.are_blocked(usherd), "full channels")
        n_wakeups = self.wakeups_per_second(usherd)
        providers.go_on()
        self.check_all_served("send buffers full", usherd, providers, clients, n_wakeups)

    @staticmethod
    def are_blocked(usherd):
        return all(one["state"] == "blocked" for one in usherd.service("one")["providers"])

    @harness.needs_root
    def test_too_many_descriptors_in_flight(self):
        """Another process of usherd's user has as many in unread queues as usherd may have open."""
        usherd = self.start_usherd(CONFIG, before_exec=allow_few_fds)
        providers = self.providers(usherd, "one", credit=FEW_FDS)
        glutton = self.child(keep_in_flight, harness.USHERD_USER)
        self.assertEqual(glutton.hear(), "full")
        clients = self.crowd(usherd)
        usherd.wait_until(lambda: usherd.service("one")["waiting"] > 0, "somebody to wait")
        n_wakeups = self.wakeups_per_second(usherd)
        glutton.kill()
        self.check_all_served("ETOOMANYREFS", usherd, providers, clients, n_wakeups)

    def test_no_memory_for_messages(self):
        """sendmsg(2) has no buffers for a while. Only that call is traced: the others cost no wake-up."""
        usherd = self.start_usherd(CONFIG, inject="sendmsg:error=ENOBUFS:when=50..70")
        providers = self.providers(usherd, "one", 1)
        clients = self.clients(usherd, "one", self.n, parallel=self.n)
        usherd.wait_until(lambda: self.are_blocked(usherd), "a provider that nothing can be sent to")
        n_wakeups = self.wakeups_per_second(usherd, 1.0)
        self.check_all_served("ENOBUFS", usherd, providers, clients, n_wakeups)


def keep_in_flight(say):
    """Descriptors in a queue that nobody reads, more than usherd's limit."""
    raise_to = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (raise_to, raise_to))
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for _ in range(FEW_FDS // 200 + 1):
        socket.send_fds(pair[0], [b"x"], [0] * 200)
    say("full")
    signal.pause()
