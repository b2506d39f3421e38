# SPDX-License-Identifier: MIT
"""Monitors: who may look at usherd, and change nothing."""

import json
import subprocess

import harness
import processes
import tap

EX_NOPERM = 77
SERVICE = 'service one { listen = "tcp:127.0.0.1:0" }\n'
MONITORS = 'monitors { users = {"%s"} }\n' % harness.STRANGER_USER
ONLY_FOR_OWNERS = ("reload", "upgrade", "pause one", "resume one", "drain one")


@harness.needs_root
class Monitors(harness.UsherTest):
    def usherctl(self, usherd, *arguments):
        return subprocess.run(
            [self.copy_for_others(harness.USHERCTL), "-r", usherd.run_dir, *arguments], user=harness.STRANGER_USER,
            group=processes.group_id(harness.STRANGER_USER), extra_groups=[], capture_output=True, text=True,
            timeout=processes.DEADLINE, check=False)

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
                result = self.usherctl(usherd, *request.split())
                self.assertEqual((result.returncode, result.stdout), (EX_NOPERM, ""))
                self.assertIn("permission denied: monitors may look", result.stderr)
        self.assertFalse(usherd.service("one")["paused"])
        self.assertEqual(usherd.status()["upgrades"], 0)

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
