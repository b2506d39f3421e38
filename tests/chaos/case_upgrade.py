# SPDX-License-Identifier: MIT
"""usherd is upgraded in place, again and again, with clients who wait, clients who are being served, and
new ones: nobody notices, and no provider registers anew."""

import time

import chaos

CONFIG = """
defaults {
    instances = 20000
    providers { max = 64 }
    park { timeout = "1h" }
}
service load { listen = {"tcp:127.0.0.1:0"} }
service held { listen = {"tcp:127.0.0.1:0"} }
service parked { listen = {"tcp:127.0.0.1:0"} }
"""


class Upgrade(chaos.ChaosTest):
    n = chaos.size(1000, 5000)  # of those who wait, and of those in service
    n_upgrades = chaos.size(20, 100)

    def upgrade(self):
        """Returns how many milliseconds usherctl would have waited."""
        self.usherd.read_notifications()
        begin = time.monotonic()
        answer = self.usherd.ask("upgrade")
        self.assertTrue(answer.get("ok"), answer)
        return (time.monotonic() - begin) * 1000

    def test_upgrades_under_load(self):
        self.usherd = self.start_usherd(CONFIG)
        providers = self.providers(self.usherd, "load")
        held = self.hold()
        self.park(self.usherd, "parked", self.n)
        load = self.clients(self.usherd, "load", 5_000_000)
        longest_ms = max(self.upgrade() for _ in range(self.n_upgrades))
        self.assertFalse(load.is_over())
        load.let_end()
        load.wait()
        self.check_still_there()
        heirs = self.providers(self.usherd, "parked")
        held.let_end()
        self.wait_all()
        ledger = self.ledger()
        n_reconnections = ledger.stamps.n_registrations - 4 - 2 - 4
        self.figure(f"{self.n_upgrades} upgrades, {self.n:,} parked, {self.n:,} in service",
                    f"{len(ledger):,} connections: {ledger}; {n_reconnections} provider reconnections; the "
                    f"longest upgrade took {longest_ms:.0f} ms, the longest wait {load.latency_ms(100):.0f} ms",
                    len(ledger["served"]) == len(ledger) and not n_reconnections)
        self.check_ledger(ledger)
        self.assertEqual(n_reconnections, 0)
        self.check_settled(self.usherd, providers, "load")
        self.check_settled(self.usherd, heirs, "parked")

    def hold(self):
        """Clients who are being served, and want something more in the end."""
        self.providers(self.usherd, "held", 2, credit=self.n)
        clients = self.clients(self.usherd, "held", self.n, parallel=self.n, n_answers=2)
        clients.wait_word("answered")
        self.usherd.wait_service("held", in_service=self.n, unclaimed=0)
        return clients

    def check_still_there(self):
        self.assertEqual(self.usherd.status()["upgrades"], self.n_upgrades)
        self.usherd.wait_service("held", in_service=self.n, accepted=self.n, unclaimed=0)
        self.usherd.wait_service("parked", parked=self.n, accepted=self.n)
