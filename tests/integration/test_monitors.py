# SPDX-License-Identifier: MIT
"""Monitors: who may look at usherd, and change nothing."""

import json
import os
import socket
import subprocess

import harness
import processes
import tap

EX_NOPERM = 77
SERVICE = 'service one { listen = "tcp:127.0.0.1:0" }\n'
MONITORS = 'monitors { users = {"%s"} }\n' % harness.STRANGER_USER
FOR_MONITORS = ("status", "metrics", "events", "events one", "explain 192.0.2.1 one", "follow")
ONLY_FOR_OWNERS = ("reload", "upgrade", "state", "pause one", "resume one", "drain one")


@harness.needs_root
class Monitors(harness.UsherTest):
    def usherctl(self, usherd, *arguments):
        return subprocess.run(
            [self.copy_for_others(harness.USHERCTL), "-r", usherd.run_dir, *arguments], user=harness.STRANGER_USER,
            group=processes.group_id(harness.STRANGER_USER), extra_groups=[], capture_output=True, text=True,
            timeout=processes.DEADLINE, check=False)

    @staticmethod
    def ask(usherd, request):
        """The first line of the answer to a stranger's request."""
        os.seteuid(processes.user_id(harness.STRANGER_USER))
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(processes.DEADLINE)
                client.connect(str(usherd.run_dir / "control.sock"))
                client.sendall(request.encode() + b"\n")
                return json.loads(client.makefile().readline())
        finally:
            os.seteuid(0)

    def test_a_monitor_may_look(self):
        usherd = self.start_usherd(SERVICE + MONITORS)
        for request in FOR_MONITORS:
            with self.subTest(request=request):
                self.assertNotIn("error", self.ask(usherd, request))

    def test_a_monitor_sees_the_status(self):
        result = self.usherctl(self.start_usherd(SERVICE + MONITORS), "--json", "status")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(json.loads(result.stdout)["services"][0]["name"], "one")

    def test_a_member_of_a_group_does_too(self):
        group = processes.group_id(harness.STRANGER_USER)
        usherd = self.start_usherd(SERVICE + "monitors { groups = {%d} }\n" % group)
        self.assertEqual(self.usherctl(usherd, "status").returncode, 0)

    def test_a_monitor_changes_nothing(self):
        usherd = self.start_usherd(SERVICE + MONITORS)
        for request in ONLY_FOR_OWNERS:
            with self.subTest(request=request):
                answer = self.ask(usherd, request)
                self.assertEqual(answer["exit_status"], EX_NOPERM)
                self.assertIn("permission denied: monitors may look", answer["error"])
        self.assertEqual(self.usherctl(usherd, "pause", "one").returncode, EX_NOPERM)
        self.assertFalse(usherd.service("one")["paused"])
        self.assertEqual(usherd.status()["upgrades"], 0)

    def follow(self, usherd, monitor):
        """What a follower hears: a file, whose first line is read already and returned, too."""
        if monitor:
            os.seteuid(processes.user_id(harness.STRANGER_USER))
        try:
            client = self.closing(socket.socket(socket.AF_UNIX))
            client.settimeout(processes.DEADLINE)
            client.connect(str(usherd.run_dir / "control.sock"))
            client.sendall(b"events\n")
        finally:
            os.seteuid(0)
        lines = self.closing(client.makefile("rb"))
        return lines, json.loads(lines.readline())

    def test_monitors_follow_in_half_of_the_places(self):
        usherd = self.start_usherd(SERVICE + MONITORS)
        for _ in range(8):
            self.assertEqual(self.follow(usherd, True)[1], {"event": "following"})
        self.assertIn("of monitors half as many", self.follow(usherd, True)[1]["error"])
        self.assertEqual(self.follow(usherd, False)[1], {"event": "following"})

    def test_who_is_not_named_any_more_hears_no_more(self):
        usherd = self.start_usherd(SERVICE + MONITORS)
        monitor, root = self.follow(usherd, True)[0], self.follow(usherd, False)[0]
        usherd.ask("reload")
        self.assertEqual(json.loads(monitor.readline())["event"], "reloaded")
        usherd.write_config(SERVICE)
        usherd.ask("reload")
        self.assertEqual(monitor.readline(), b"")
        self.assertEqual([json.loads(root.readline())["event"] for _ in range(2)], ["reloaded"] * 2)

    def test_a_reload_names_others(self):
        usherd = self.start_usherd(SERVICE + MONITORS)
        self.assertEqual(self.usherctl(usherd, "status").returncode, 0)
        usherd.write_config(SERVICE)
        usherd.ask("reload")
        self.assertEqual(self.usherctl(usherd, "status").returncode, EX_NOPERM)
        usherd.write_config(SERVICE + MONITORS)
        usherd.ask("reload")
        self.assertEqual(self.usherctl(usherd, "status").returncode, 0)
        usherd.remember_fds()


if __name__ == "__main__":
    tap.main()
