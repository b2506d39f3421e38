# SPDX-License-Identifier: MIT
"""usherd is reloaded under load, with good configurations and bad ones: no client notices."""

import itertools
import re
import subprocess

import chaos
import network

ONE = 'service one {{ listen = {{"tcp:127.0.0.1:{one}"}} {more} }}\n'
TWO = 'service two {{ listen = {{"tcp:127.0.0.1:{two}"}} }}\n'
THREE = 'service three {{ listen = {{"tcp:127.0.0.1:{two}", "tcp:127.0.0.1:{three}"}} }}\n'

# Everything around the service that is used changes, and its own limits, but not its address.
GOOD = (
    ONE + TWO,
    ONE.replace("{more}", "instances = 500 socket {{ nodelay = true backlog = 100 }}") + THREE,
    ONE.replace("{more}", "claim_timeout = 1min providers {{ balance = round_robin }}"),
)


class Reload(chaos.ChaosTest):
    def setUp(self):
        super().setUp()
        self.ports = {name: network.free_port() for name in ("one", "two", "three")}
        self.usherd = self.start_usherd(self.text(GOOD[0]))
        self.taken_port = self.endings.enter_context(network.occupied_port())
        self.endings.callback(self.reload, GOOD[0])

    def text(self, services):
        return services.format(**self.ports, more="")

    def reload(self, services):
        """Returns whether usherd has taken it."""
        self.usherd.write_config(self.text(services))
        return self.ask()

    def ask(self):
        self.usherd.read_notifications()  # what waits to be read would be memory that grows
        return self.usherd.ask("reload").get("ok", False)

    # What is wrong

    def broken(self):
        return self.reload(TWO + "service one { listen = ".replace("{", "{{"))

    def port_taken(self):
        return self.reload(TWO + f'service one {{{{ listen = {{{{"tcp:127.0.0.1:{self.taken_port}"}}}} }}}}\n')

    def user_missing(self):
        return self.reload(TWO + ONE.replace("{more}", 'providers {{ users = {{"no-such-user"}} }}'))

    def file_vanishes(self):
        return self.reload(TWO + 'include("vanished.conf")\n')

    def configuration_vanishes(self):
        self.usherd.config.unlink()
        return self.ask()

    def snapshot(self):
        """What a reload may change: services, listeners with their sockets, limits, who is registered."""
        services = [
            {**service, "state": None, "in_service": None, "unclaimed": None, "waiting": None, "totals": None,
             "parked": None, "waiting_time": None, "handoff_time": None,
             "providers": [(one["number"], one["pid"]) for one in service["providers"]]}
            for service in self.usherd.status()["services"]]
        found = subprocess.run(["ss", "-Hltne"], capture_output=True, text=True, check=True).stdout
        return services, [sorted(re.findall(rf"127\.0\.0\.1:{port} .*ino:(\d+)", found))
                          for port in self.ports.values()]

    def check_changes_nothing(self, reload_wrongly):
        before = self.snapshot()
        self.assertFalse(reload_wrongly())
        self.assertEqual(self.snapshot(), before, reload_wrongly.__name__)

    def test_reloads_under_load(self):
        n_reloads = chaos.size(200, 1000)
        providers = self.providers(self.usherd, "one")
        self.warm_up(self.usherd, "one")
        clients = self.clients(self.usherd, "one", 5_000_000)
        bad = itertools.cycle([self.broken, self.port_taken, self.user_missing, self.file_vanishes,
                               self.configuration_vanishes])
        for number in range(n_reloads // 2):
            self.assertTrue(self.reload(GOOD[number % len(GOOD)]))
            self.check_changes_nothing(next(bad))
        self.assertFalse(clients.is_over())
        clients.let_end()
        clients.wait()
        ledger = self.ledger()
        self.figure("1,000 reloads under load" if chaos.IS_SOAK else "reloads under load",
                    f"{n_reloads} reloads, half of them broken, and {len(ledger)} connections: {ledger}",
                    len(ledger["served"]) == len(ledger))
        self.check_ledger(ledger)
        self.assertEqual(ledger.stamps.n_registrations, 4)
        self.check_settled(self.usherd, providers, "one")
