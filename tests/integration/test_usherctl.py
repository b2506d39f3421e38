# SPDX-License-Identifier: MIT
"""usherctl as an administrator sees it."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import harness
import processes
import protocol
import tap

CONFIG = """
service one { listen = {"tcp:127.0.0.1:0"} }
service two { listen = {"tcp:127.0.0.1:0"} disable = true }
"""


def members(value):
    """The names of all members of a JSON value."""
    if isinstance(value, list):
        return set().union(*map(members, value))
    if isinstance(value, dict):
        return set(value).union(*map(members, value.values()))
    return set()


class Usherctl(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG)

    def usherctl(self, *arguments):
        return subprocess.run(
            [str(harness.USHERCTL), "--run-dir", str(self.usherd.run_dir), *map(str, arguments)],
            capture_output=True, text=True, timeout=processes.DEADLINE, check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"})

    def test_status_shows_services_and_providers(self):
        provider = self.provider(self.usherd, "one", name="my-server")
        provider.send(protocol.status("all is well"))
        self.usherd.wait_until(
            lambda: self.usherd.provider("one", "my-server")["status"] == "all is well", "the text")
        result = self.usherctl("status")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for text in ("one", self.usherd.addresses("one")[0], "my-server", str(os.getpid()), "all is well", "two"):
            self.assertIn(text, result.stdout)
        self.assertNotIn("\x1b", result.stdout)

    def test_status_has_colours_only_on_a_terminal(self):
        leader, follower = pty.openpty()
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        result = subprocess.run(
            [str(harness.USHERCTL), "--run-dir", str(self.usherd.run_dir), "status"], stdout=follower,
            env=environment, timeout=processes.DEADLINE, check=False)
        os.close(follower)
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"\x1b[", os.read(leader, 65536))
        os.close(leader)

    def test_status_as_json(self):
        result = self.usherctl("status", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        status = json.loads(result.stdout)
        self.assertEqual([service["name"] for service in status["services"]], ["one"])
        self.assertEqual(status["disabled"], ["two"])

    def test_manual_has_every_member_of_the_status(self):
        self.provider(self.usherd, "one")
        page = (Path(__file__).resolve().parents[2] / "man/usherctl.8").read_text()
        documented = set(re.findall(r"\w+", " ".join(re.findall(r"^\.It Dv (.+)", page, re.MULTILINE))))
        self.assertEqual(members(json.loads(self.usherctl("status", "--json").stdout)) - documented, set())

    def test_hostile_texts_of_providers_do_not_reach_the_terminal(self):
        name = "caf\u00e9 \u202egnp.exe"  # reads "cafe exe.png" where U+202E turns the direction
        self.provider(self.usherd, "one", name=name)
        self.assertRegex(self.usherctl("status").stdout, "      caf\u00e9 \\?+gnp.exe\n")
        status = json.loads(self.usherctl("status", "--json").stdout)
        self.assertEqual(status["services"][0]["providers"][0]["name"], name)

    def test_check_lists_what_is_disabled(self):
        result = self.usherctl("check", self.usherd.config)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"\btwo\b")

    def test_check_of_a_bad_file_fails_with_its_lines(self):
        path = self.folder / "bad.conf"
        path.write_text("service x { listen = {\"tcp:127.0.0.1:no-such-service\"} }\n")
        result = self.usherctl("check", path)
        self.assertEqual(result.returncode, 78)
        self.assertRegex(result.stderr, rf"{re.escape(str(path))}:\d+: .*no-such-service")

    def test_without_usherd_it_says_that_usherd_is_not_running(self):
        self.usherd.stop()
        result = self.usherctl("status")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("usherd is not running", result.stderr)

    @harness.needs_root
    def test_stranger_is_told_who_may(self):
        result = subprocess.run(
            [self.copy_for_others(harness.USHERCTL), "--run-dir", str(self.usherd.run_dir), "status"],
            capture_output=True, text=True, user=harness.STRANGER_USER, extra_groups=[],
            timeout=processes.DEADLINE, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("root", result.stderr)

    def tell(self, *arguments):
        result = self.usherctl(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def test_paused_service_lets_clients_wait_until_it_is_resumed(self):
        provider = self.provider(self.usherd, "one")
        self.assertIn("one", self.tell("pause", "one"))
        self.assertRegex(self.tell("status"), "(?m)^one +paused ")
        client = self.connect(self.usherd.addresses("one")[0])
        self.assertEqual(self.usherd.service("one")["totals"]["accepted"], 0)
        self.assertEqual(self.usherd.service("one")["listeners"][0]["state"], "paused")
        self.assertIn("one", self.tell("resume", "one"))
        connection, = provider.take_and_claim(1)
        self.assertEqual(connection.peer, client.getsockname()[:2])
        self.assertNotIn("paused", self.tell("status"))

    def test_pause_survives_a_reload(self):
        self.tell("pause", "one")
        self.tell("reload")
        self.assertTrue(self.usherd.service("one")["paused"])

    def test_drain_by_number_by_name_and_all(self):
        named, numbered, last = (self.provider(self.usherd, "one", name=name) for name in ("a", "b", "c"))
        number = self.usherd.provider("one", "b")["number"]
        for target, provider in ((f"one/{number}", numbered), ("one/a", named), ("one", last)):
            self.assertFalse(provider.has_message())
            self.assertIn("1", self.tell("drain", target))
            self.assertEqual(provider.receive_draining(), protocol.ADMINISTRATOR)
        self.assertEqual({entry["state"] for entry in self.usherd.service("one")["providers"]}, {"draining"})

    def test_what_is_not_there_cannot_be_told_anything(self):
        for arguments in (("pause", "none"), ("resume", "none"), ("drain", "none"), ("drain", "one/none"),
                          ("pause", "two")):
            with self.subTest(arguments):
                result = self.usherctl(*arguments)
                self.assertEqual((result.returncode, result.stdout), (1, ""))
                self.assertRegex(result.stderr, "^usherctl: .*" + arguments[1].partition("/")[0])

    def test_upgrade_keeps_process_and_provider(self):
        provider = self.provider(self.usherd, "one", name="stays")
        before = self.usherd.status()
        self.assertRegex(self.tell("upgrade"), r"(?m)^upgraded from \d+\.\d+\.\d+ to \d+\.\d+\.\d+")
        after = self.usherd.status()
        self.assertEqual((after["pid"], after["upgrades"]), (before["pid"], before["upgrades"] + 1))
        self.assertEqual(after["services"][0]["providers"], before["services"][0]["providers"])
        self.connect(self.usherd.addresses("one")[0])
        provider.take_and_claim(1)

    def test_unknown_command_is_a_usage_error(self):
        result = self.usherctl("frobnicate")
        self.assertEqual(result.returncode, 64)
        self.assertIn("--help", result.stderr)


if __name__ == "__main__":
    tap.main()
