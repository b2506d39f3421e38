# SPDX-License-Identifier: MIT
"""Providers die in every way there is, while thousands of clients come: only what they had claimed goes
with them."""

import chaos
import kernels

CONFIG = """
service one {
    listen = {"tcp:127.0.0.1:0"}
    providers { max = 64 }
}
"""

WAYS = ("kill", "stop", "close", "exit")


class Deaths(chaos.ChaosTest):
    make_kernel = None  # usherd runs on this kernel as it is
    row = "providers killed"

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG, before_exec=self.make_kernel)
        first = self.providers(self.usherd, "one")
        self.warm_up(self.usherd, "one")
        first.end()

    def check_deaths(self, n, end_ms, seconds):
        """`n` connections while one of four providers is ended every `end_ms`."""
        mortals = self.providers(self.usherd, "one", end_ms=end_ms, ways=WAYS)
        self.load(self.usherd, "one", n, seconds)
        n_ended = mortals.end()
        survivors = self.providers(self.usherd, "one", 2)
        self.load(self.usherd, "one", 100)
        ledger = self.ledger()
        self.figure(f"{self.row} every {end_ms} ms, {n:,} connections",
                    f"{len(ledger['lost'])} lost before a claim, {len(ledger['doubled'])} served twice; "
                    f"{n_ended} deaths, {len(ledger['lost in provider'])} lost with their provider, "
                    f"{self.usherd.service('one')['totals']['redispatched']} given to another one",
                    not ledger["lost"] and not ledger["doubled"])
        self.check_ledger(ledger, deaths=True)
        self.check_settled(self.usherd, survivors, "one")
        self.check_totals(ledger)

    def check_totals(self, ledger):
        """usherd has the same account of it."""
        totals = self.usherd.service("one")["totals"]
        self.assertEqual(totals["accepted"], len(ledger))
        self.assertGreaterEqual(totals["lost"], len(ledger["lost in provider"]))

    def test_one_every_10_ms(self):
        self.check_deaths(chaos.size(20_000, 100_000), 10, 600)

    def test_one_every_second(self):
        self.check_deaths(chaos.size(20_000, 1_000_000), 1000 if chaos.IS_SOAK else 200, 1800)


class DeathsOnLinux61(Deaths):
    make_kernel = staticmethod(kernels.linux_6_1)
    row = "the same on Linux 6.1"


class DeathsSeenByTheChannelAlone(Deaths):
    make_kernel = staticmethod(kernels.without_pidfd)
    row = "the same without pidfds"
