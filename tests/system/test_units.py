#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""usher as a system service: the packages on a machine with systemd, used as administrators use them."""

import os
import unittest

import world
import tap

SERVICES = ("usherd.service", "usher-exec.service")


class Units(world.SystemTest):
    """One machine, from the installation to the switch."""

    def restart_basic(self):
        self.systemctl("restart", "usher-basic")
        self.wait_provider()

    def wait_provider(self):
        self.wait_until(lambda: len(self.service("echo")["providers"]) == 1, "usher-basic to be registered")

    # Begin

    def test_packages_are_installed(self):
        self.install_usher()
        for unit in SERVICES:
            self.assertEqual(self.systemctl("is-active", unit), "active\n")
            self.assertEqual(self.systemctl("is-enabled", unit), "enabled\n")
        self.assertEqual(self.systemctl("is-enabled", "usher-basic", check=False), "disabled\n")
        self.assertEqual(self.systemctl("is-system-running", "--wait"), "running\n")

    def test_nothing_listens_before_somebody_says_so(self):
        self.assertEqual(self.machine.run("ss", "-Hltun"), "")

    def test_service_is_offered(self):
        self.offer("echo")
        self.machine.run("usherctl", "reload")
        self.systemctl("enable", "--now", "usher-basic")
        self.assertEqual(self.ask(7), "hello\n")

    def test_reload_by_systemctl(self):
        client, pid = self.connect(7), self.main_pid("usherd")
        self.offer("time")
        self.systemctl("reload", "usherd")
        self.wait_until(lambda: len(self.status()["services"]) == 2, "the service time")
        self.assertEqual(len(self.ask_bytes(37)), 4)
        self.assertEqual(self.finish(client), "hello\n")
        self.assertEqual(self.main_pid("usherd"), pid)

    def ask_bytes(self, port):
        with self.machine.connect(port) as client:
            return client.recv(16)

    def test_store_has_listeners_and_rendezvous(self):
        n_sockets = sum(len(service["listeners"]) + 1 for service in self.status()["services"])
        self.assertEqual(n_sockets, 4)
        self.assertEqual(self.property("usherd", "NFileDescriptorStore"), str(n_sockets))

    # Restarts

    def test_who_waits_is_served_after_a_restart(self):
        self.systemctl("stop", "usher-basic")
        clients = [self.connect(7) for _ in range(8)]
        pid = self.main_pid("usherd")
        self.systemctl("restart", "usherd")
        self.assertNotEqual(self.main_pid("usherd"), pid)
        self.systemctl("start", "usher-basic")
        self.assertEqual([self.finish(client) for client in clients], ["hello\n"] * 8)

    def park(self, n):
        """Clients whose provider has died before it had claimed the first of them, and is not started again."""
        self.drop_in("usher-basic.service", "[Service]\nRestart=no\n")
        self.systemctl("kill", "--signal=STOP", "usher-basic")
        clients = [self.connect(7) for _ in range(n)]
        self.wait_until(lambda: self.service("echo")["unclaimed"] > 0, "a connection on its way")
        self.systemctl("kill", "--signal=KILL", "usher-basic")
        self.drop_in("usher-basic.service", "")
        self.wait_until(lambda: self.service("echo")["parked"] > 0, "connections to be parked")
        return clients

    def test_parked_connections_outlive_a_restart(self):
        clients = self.park(4)
        self.systemctl("restart", "usherd")
        self.assertGreater(self.service("echo")["parked"], 0)
        self.systemctl("start", "usher-basic")
        self.assertEqual([self.finish(client) for client in clients], ["hello\n"] * 4)

    def test_usherd_is_killed(self):
        client, pid = self.connect(7), self.main_pid("usherd")
        client.sendall(b"a")
        self.assertEqual(client.recv(1), b"a")
        self.systemctl("kill", "--signal=KILL", "usherd")
        self.wait_until(lambda: self.main_pid("usherd") not in (0, pid), "another usherd")
        self.assertEqual(self.ask(7), "hello\n")
        self.assertEqual(self.finish(client), "hello\n")  # it has stayed where it was

    def test_provider_is_killed(self):
        pid = self.main_pid("usher-basic")
        self.systemctl("kill", "--signal=KILL", "usher-basic")
        self.assertEqual(self.ask(7), "hello\n")
        self.assertNotEqual(self.main_pid("usher-basic"), pid)

    def test_watchdog_ends_one_that_hangs(self):
        self.drop_in("usherd.service", "[Service]\nWatchdogSec=1\n")
        self.systemctl("restart", "usherd")
        pid = self.main_pid("usherd")
        self.systemctl("kill", "--signal=STOP", "usherd")
        client = self.connect(7)
        self.assertEqual(self.finish(client), "hello\n")
        self.assertNotEqual(self.main_pid("usherd"), pid)
        self.assertIn("watchdog", self.machine.run("journalctl", "-u", "usherd", "-b", "--no-pager", "-g", "atchdog").lower())
        self.drop_in("usherd.service", "")

    # End

    def test_all_is_back_after_a_reboot(self):
        self.machine.reboot()
        self.assertEqual(self.systemctl("is-system-running", "--wait"), "running\n")
        self.assertEqual(self.ask(7), "hello\n")

    def test_machine_is_switched_off(self):
        self.assertEqual(self.machine.power_off(), 0)


if __name__ == "__main__":
    tap.main()
