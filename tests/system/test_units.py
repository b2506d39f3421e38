#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""usher as a system service: the packages on a machine with systemd, used as administrators use them."""

import json
import re

import world
import tap

# What root may do on such a machine, and must not be able to do as one of our services.
ATTEMPTS = {
    "write to /usr": "touch /usr/attempt && rm /usr/attempt",
    "write to /etc": "touch /etc/attempt && rm /etc/attempt",
    "see homes": "test -e /root/.profile",
    "make a namespace": "unshare --user true",
    "mount": "mount -t tmpfs tmpfs /mnt && umount /mnt",
    "make a device": "mknod /tmp/attempt c 1 3 && rm /tmp/attempt",
    "make a set-user-ID file": "touch /tmp/attempt && chmod 4755 /tmp/attempt && rm /tmp/attempt",
    "become somebody else": "setpriv --reuid=1 --clear-groups true",
    "set the name of the host": 'hostname "$(hostname)"',
    "set its personality": "setarch --addr-no-randomize true",
    "read all packets": "perl -e 'socket(S, 17, 3, 0) or exit 1'",
}
OPEN_NETWORK_SOCKET = {"open a network socket": "perl -e 'socket(S, 2, 1, 0) or exit 1'"}

# Lines of a unit that say who runs when, which is another matter here. Its folders are in use.
NOT_SANDBOX = re.compile(r"^(Type|ExecStart|ExecReload|Restart\w*|WatchdogSec|User|\w+Directory\w*|EnvironmentFile"
                         r"|Condition\w+|FileDescriptorStoreMax)=.*\n", re.MULTILINE)


class Units(world.SystemTest):
    """One machine, from the installation to the switch."""

    def list_units(self):
        """Those of the package."""
        names = self.machine.run("ls", "/lib/systemd/system").splitlines()
        return {name.removesuffix(".service") for name in names if re.fullmatch(r"usher.*\.service", name)}

    # Begin

    def test_packages_are_installed(self):
        self.install_usher()
        preset = self.machine.run("cat", "/lib/systemd/system-preset/90-usher.preset")
        enabled = set(re.findall(r"^enable (\S+)\.service$", preset, re.MULTILINE))
        self.assertIn("usherd", enabled)
        for unit in self.list_units():
            with self.subTest(unit):
                is_enabled = self.systemctl("is-enabled", unit, check=False) == "enabled\n"
                is_active = self.systemctl("is-active", unit, check=False) == "active\n"
                self.assertEqual((is_enabled, is_active), (unit in enabled, unit in enabled))
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

    def test_reload_by_systemctl_tells_of_errors(self):
        wrong = "/etc/usher/services.d/wrong.conf"
        self.write(wrong, "service wrong { lissen = {} }\n")
        with self.assertRaisesRegex(AssertionError, "ended with 1:"):
            self.systemctl("reload", "usherd")
        self.assertRegex(self.machine.run("journalctl", "--unit", "usherd"), f"{wrong}:1: unknown option 'lissen'")
        self.machine.run("rm", wrong)
        self.systemctl("reload", "usherd")

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
        self.assertIn("usherd.service: Watchdog timeout", self.machine.run("journalctl", "--boot", "--unit=usherd"))
        self.drop_in("usherd.service", "")

    # Socket units

    def test_listener_of_a_socket_unit_is_adopted(self):
        self.offer("daytime")
        self.systemctl("stop", "usherd")
        self.write("/run/systemd/system/usherd.socket", "[Socket]\nListenStream=127.0.0.1:13\n")
        self.systemctl("daemon-reload")
        self.systemctl("start", "usherd.socket")
        self.assertRegex(self.ask(13), r"\d\d:\d\d:\d\d")  # it starts usherd
        self.assertEqual(self.ask(7), "hello\n")

    def test_and_left_to_the_unit_by_a_stop(self):
        self.systemctl("stop", "usherd")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(7)
        self.assertRegex(self.ask(13), r"\d\d:\d\d:\d\d")
        self.assertEqual(self.systemctl("is-active", "usherd.socket", "usherd.service"), "active\nactive\n")

    # Rights

    def attempt(self, attempts, sandbox=""):
        """The names of those that succeed for root in a unit with these lines."""
        script = "".join(f"if {command}; then echo '{name}'; fi\n" for name, command in attempts.items())
        self.write("/usr/local/bin/attempt", f"#!/bin/sh\nexec 2>/dev/null\n{script}")
        self.machine.run("chmod", "+x", "/usr/local/bin/attempt")
        self.write("/run/systemd/system/attempt.service", f"""{sandbox or "[Service]"}
[Service]
Type=oneshot
ExecStart=/usr/local/bin/attempt
StandardOutput=truncate:/run/attempt
""")
        self.systemctl("daemon-reload")
        self.systemctl("start", "attempt")
        return set(self.machine.run("cat", "/run/attempt").splitlines())

    def attempt_as(self, unit, attempts):
        """The same with all that the unit takes from it, but still as root."""
        lines = self.machine.run("cat", f"/lib/systemd/system/{unit}.service")
        return self.attempt(attempts, NOT_SANDBOX.sub("", lines))

    def test_attempts_succeed_for_root(self):
        attempts = ATTEMPTS | OPEN_NETWORK_SOCKET
        self.assertEqual(self.attempt(attempts), set(attempts))

    def test_sandbox_forbids_them(self):
        for unit in self.list_units() - {"usher-exec"}:  # which has to start anything as anybody
            with self.subTest(unit):
                self.assertEqual(self.attempt_as(unit, ATTEMPTS), set())

    def test_only_who_needs_the_network_has_it(self):
        can_open = {unit for unit in self.list_units() if self.attempt_as(unit, OPEN_NETWORK_SOCKET)}
        self.assertEqual(can_open, {"usherd", "usher-exec", "usher-redirect"})

    def read_proc(self, unit):
        """The lines of /proc/PID/status."""
        text = self.machine.run("cat", f"/proc/{self.main_pid(unit)}/status")
        return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))

    def test_processes_have_no_rights(self):
        capabilities = {"usherd": 1 << 10, "usher-basic": 0}  # CAP_NET_BIND_SERVICE
        users = {"usherd": "usher", "usher-basic": "usher-basic"}
        for unit, allowed in capabilities.items():
            with self.subTest(unit):
                status = self.read_proc(unit)
                self.assertEqual(int(status["CapEff"], 16) & ~allowed, 0)
                self.assertEqual(int(status["CapBnd"], 16) & ~allowed, 0)
                self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
                user = self.machine.run("id", "--user", users[unit]).strip()
                self.assertEqual(set(status["Uid"].split()), {user})

    def is_visible(self, unit, pid):
        """Whether the user of the unit sees that process, where its own one is."""
        user = self.property(unit, "User")
        script = f"if test -d /proc/{pid}; then echo yes; else echo no; fi"
        answer = self.machine.run(
            "nsenter", "--mount", f"--target={self.main_pid(unit)}",
            "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "sh", "-c", script)
        return answer == "yes\n"

    def test_processes_see_no_others(self):
        for unit in ("usherd", "usher-basic"):
            with self.subTest(unit):
                self.assertTrue(self.is_visible(unit, "self"))
                self.assertFalse(self.is_visible(unit, 1))

    def test_provider_without_network_serves_it(self):
        pids = [self.main_pid(unit) for unit in ("usherd", "usher-basic")]
        self.assertNotEqual(*(self.machine.run("readlink", f"/proc/{pid}/ns/net") for pid in pids))
        devices = self.machine.run("nsenter", "--net", f"--target={pids[1]}", "ip", "-oneline", "link")
        self.assertRegex(devices, r"\A1: lo: [^\n]*\n\Z")
        self.assertEqual(self.ask(7), "hello\n")

    def test_metrics_as_their_manual_says(self):
        """A user of its own, who is no more than a monitor, and a unit without network."""
        self.offer("metrics")
        self.machine.run("sed", "-i", "s/^# monitors/monitors/", "/etc/usher/usher.conf")
        self.machine.run("sh", "-ec", "usherctl check && usherctl reload")
        self.systemctl("enable", "--now", "usher-metrics")
        answer = self.ask(19119, "GET /metrics HTTP/1.0\r\n\r\n")
        self.assertRegex(answer, r"\AHTTP/1\.1 200 ")
        self.assertIn('\nusher_providers{service="metrics",state="ready"} 1\n', answer)

    # Journal

    def journal(self, *matches):
        output = self.machine.run("journalctl", "--boot", "--output=json", *matches)
        return [json.loads(line) for line in output.splitlines()]

    def test_journal_has_fields(self):
        self.write("/etc/usher/services.d/closed.conf", """service closed {
    listen = {"tcp:127.0.0.1:2000"}
    sensor = true                       # needs no provider
    no_access = {"127.0.0.0/8"}
}
""")
        self.machine.run("usherctl", "reload")
        with self.assertRaises(ConnectionResetError), self.machine.connect(2000) as client:
            client.recv(1)
        (entry,) = self.wait_until(
            lambda: self.journal("USHER_SERVICE=closed", "USHER_REASON=no_access"), "the refusal")
        self.assertRegex(entry["USHER_PEER"], r"^127\.0\.0\.1\b")
        self.assertEqual(entry["_SYSTEMD_UNIT"], "usherd.service")
        explained = self.machine.run("journalctl", "--boot", "--catalog", f"MESSAGE_ID={entry['MESSAGE_ID']}")
        self.assertIn("-- Subject: A client of closed was refused", explained)
        pid = str(self.main_pid("usher-basic"))
        entries = self.journal("USHER_SERVICE=echo", f"USHER_PROVIDER_PID={pid}")
        self.assertTrue(any("has registered" in entry["MESSAGE"] for entry in entries), entries)

    # End

    def test_all_is_back_after_a_reboot(self):
        self.machine.reboot()
        self.assertEqual(self.systemctl("is-system-running", "--wait"), "running\n")
        self.assertEqual(self.ask(7), "hello\n")

    def test_machine_is_switched_off(self):
        self.assertEqual(self.machine.power_off(), 0)


if __name__ == "__main__":
    tap.main()
