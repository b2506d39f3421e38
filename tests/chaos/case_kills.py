# SPDX-License-Identifier: MIT
"""usherd is killed, and the service manager starts it again with the sockets that it keeps."""

import random
import signal
import time

import chaos
from manager import FakeManager

CONFIG = """
service one {
    listen = {"tcp:127.0.0.1:0"}
    instances = 20000
    providers { max = 64 }
    park { timeout = "1h" }
}
"""

BATCH = 16  # what usherd has in hand at once: the connections of one message


class Kills(chaos.ChaosTest):
    n_kills = chaos.size(15, 200)

    def test_killed_under_load(self):
        usherd = self.start_usherd(CONFIG, manager=FakeManager())
        providers = self.providers(usherd, "one")
        clients = self.clients(usherd, "one", 5_000_000, parallel=100)
        killed_at = []
        for _ in range(self.n_kills):
            usherd.watch(random.uniform(0.05, 1.0 if chaos.IS_SOAK else 0.4))
            killed_at.append(time.monotonic())
            usherd.restart(signal.SIGKILL)
        self.assertFalse(clients.is_over())
        clients.let_end()
        clients.wait()
        ledger = self.ledger()
        n_lost = max(ledger.count_by_time("lost", killed_at))
        longest_ms = clients.latency_ms(100)
        self.figure(f"usherd killed {self.n_kills} times under load",
                    f"{len(ledger):,} connections: {ledger}; at most {n_lost} lost by one kill; "
                    f"the longest wait {longest_ms:.0f} ms",
                    n_lost <= BATCH and not ledger["doubled"] and longest_ms < 1000)
        self.check_ledger(ledger, n_lost=BATCH * self.n_kills)
        self.assertLessEqual(n_lost, BATCH)
        self.check_settled(usherd, providers, "one")


class Restart(chaos.ChaosTest):
    n = chaos.size(1000, 10_000)

    def check_parked(self, number):
        """Those who are parked are served by the next usherd."""
        usherd = self.start_usherd(CONFIG, manager=FakeManager())
        self.park(usherd, "one", self.n)
        begin = time.monotonic()
        usherd.restart(number)
        seconds = time.monotonic() - begin
        usherd.wait_service("one", parked=self.n)
        providers = self.providers(usherd, "one")
        self.wait_all()
        ledger = self.ledger()
        self.figure(f"{self.n:,} parked over {number.name} and restart",
                    f"{len(ledger['served']):,} of {self.n:,} served; restarted in {seconds:.2f} s",
                    len(ledger["served"]) == self.n)
        self.check_ledger(ledger)
        self.check_settled(usherd, providers, "one")

    def test_parked_when_restarted(self):
        self.check_parked(signal.SIGTERM)

    def test_parked_when_killed(self):
        self.check_parked(signal.SIGKILL)
