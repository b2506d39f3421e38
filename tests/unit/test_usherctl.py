# SPDX-License-Identifier: MIT
"""usherctl against an usherd of a few lines that answers what a test wants it to answer."""

import copy
import errno
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))

import tap

USHERCTL = os.environ["USHERCTL"]
SECONDS = 20
NOBODY = 65534
UNKNOWN_UID = 87654321

NO_TOTALS = dict.fromkeys(
    ("accepted", "taken_over", "claimed", "released", "forwarded", "redispatched", "declined",
     "parked", "expired", "given_up", "reset", "forwards_refused", "lost", "touched"), 0)

STATUS = {
    "version": "0.1.0", "pid": 4711, "uptime_seconds": 11533,
    "program": "/usr/sbin/usherd", "upgrades": 0, "config": "/etc/usher/usher.conf", "run_dir": "/run/usher", "log_messages_dropped": 0,
    "notifications_dropped": 0,
    "services": [
        {"name": "echo", "state": "serving", "paused": False,
         "listeners": [{"address": "tcp:127.0.0.1:7", "state": "open"},
                       {"address": "tcp:[::1]:7", "state": "retrying"}],
         "rendezvous": "/run/usher/echo.sock", "balance": "least", "instances": 1024,
         "max_providers": 16, "in_service": 8, "unclaimed": 1, "waiting": 0, "parked": 0,
         "providers": [
             {"number": 1, "pid": 12345, "uid": 0, "name": "usher-basic",
              "unit": "usher-basic.service", "status": "all is well", "state": "ready",
              "weight": 1, "credit": 1021, "unclaimed": 1, "in_service": 3, "served": 900,
              "standby": False},
             {"number": 3, "pid": 991, "uid": UNKNOWN_UID, "unit": None, "name": "",
              "status": "", "state": "stuck", "weight": 2, "credit": 0, "unclaimed": 0,
              "in_service": 5, "served": 12, "standby": True}],
         "totals": {**NO_TOTALS, "accepted": 921, "claimed": 920, "released": 912, "lost": 1}},
        {"name": "web", "state": "waiting", "paused": False,
         "listeners": [{"address": f"tcp:{port}", "state": "paused"} for port in range(8000, 9000)],
         "rendezvous": "/run/usher/web.sock", "balance": "round_robin", "instances": 4096,
         "max_providers": 16, "in_service": 0, "unclaimed": 0, "waiting": 0, "parked": 2,
         "providers": [], "totals": NO_TOTALS}],
    "disabled": ["chargen", "time"]}

TABLE = """\
usherd 0.1.0, pid 4711, up 3 h 12 min, /etc/usher/usher.conf

SERVICE  STATE    IN SERVICE  IN HAND  WAITING  ADDRESSES
  NO    PID  USER      UNIT         STATE  CREDIT  IN HAND  IN SERVICE  SERVED

echo     serving      8/1024        1        0  tcp:127.0.0.1:7, tcp:[::1]:7 (retrying)
   1  12345  root      usher-basic  ready    1021        1           3     900
      usher-basic: all is well
   3    991  87654321  -            stuck       0        0           5      12
  totals: 921 accepted, 920 claimed, 912 released, 1 lost

web      waiting      0/4096        0        2  tcp:8000, tcp:8001 and 998 more

disabled: chargen, time
"""

TABLE_OF_WEB = """\
usherd 0.1.0, pid 4711, up 3 h 12 min, /etc/usher/usher.conf

SERVICE  STATE    IN SERVICE  IN HAND  WAITING  ADDRESSES

web      waiting      0/4096        0        2  tcp:8000, tcp:8001 and 998 more
"""


class FakeUsherd:
    """Answers each request with what `answers` has for it: an object, or bytes as they are."""

    def __init__(self, run_dir, answers, user):
        self.answers = answers
        self.requests = []
        self.path = Path(run_dir) / "control.sock"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.path.chmod(0o666)
        os.seteuid(user)  # SO_PEERCRED says who has called listen(2)
        self.socket.listen()
        os.seteuid(os.getuid())
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client:
                self.answer(client)

    def answer(self, client):
        request = client.recv(300).decode()
        self.requests.append(request)
        answer = self.answers.get(request.rstrip("\n"), {"error": "unknown request"})
        try:
            client.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
        except BrokenPipeError:
            pass

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


class Usherctl(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="usher-test-ctl-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)

    def usherd(self, user=os.geteuid(), **answers):
        fake = FakeUsherd(self.folder, answers, user)
        self.addCleanup(fake.stop)
        return fake

    def run_plainly(self, *arguments, program=USHERCTL, environment=None, **more):
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}, **more)

    def usherctl(self, *arguments, **more):
        return self.run_plainly("-r", str(self.folder), *arguments, **more)

    def assert_ok(self, result, stdout):
        self.assertEqual((result.stderr, result.returncode), ("", 0))
        self.assertEqual(result.stdout, stdout)

    def assert_fails(self, result, status, *words, stdout=""):
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertEqual(result.stdout, stdout)
        for word in words:
            self.assertIn(word, result.stderr)

    def config(self, text):
        path = self.folder / "usher.conf"
        path.write_text(text)
        return str(path)


class Status(Usherctl):
    def test_is_a_table(self):
        usherd = self.usherd(status=STATUS)
        self.assert_ok(self.usherctl("status"), TABLE)
        self.assertEqual(usherd.requests, ["status\n"])

    def test_of_one_service(self):
        self.usherd(status=STATUS)
        self.assert_ok(self.usherctl("status", "web"), TABLE_OF_WEB)

    def test_of_a_service_that_is_not_there(self):
        self.usherd(status=STATUS)
        self.assert_fails(self.usherctl("status", "web", "smtp"), 1, "no service 'smtp'",
                          "'usherctl status' lists")

    def test_as_json_is_the_object_of_usherd(self):
        self.usherd(status=STATUS)
        result = self.usherctl("--json", "status")
        self.assertEqual(json.loads(result.stdout), STATUS)
        self.assertEqual(result.returncode, 0)

    def test_units_come_from_usherctl(self):
        status = copy.deepcopy(STATUS)
        del status["services"][0]["providers"][0]["unit"]
        status["services"][0]["providers"][0]["pid"] = 0  # of no process, and so of no unit
        self.usherd(status=status)
        providers = json.loads(self.usherctl("status", "--json").stdout)["services"][0]["providers"]
        self.assertEqual([provider["unit"] for provider in providers], [None, None])

    def test_as_json_of_one_service(self):
        self.usherd(status=STATUS)
        status = json.loads(self.usherctl("status", "--json", "web").stdout)
        self.assertEqual(status["services"], STATUS["services"][1:])

    def test_who_has_a_listener_that_is_lent(self):
        status = copy.deepcopy(STATUS)
        status["services"][0]["listeners"][0] |= {"state": "lent", "lent_to": 3}
        status["services"][0]["listeners"][1] |= {"lent_to": None}
        self.usherd(status=status)
        self.assertIn("  tcp:127.0.0.1:7 (lent to 3), tcp:[::1]:7 (retrying)\n", self.usherctl("status").stdout)

    def test_ordinary_rows_fit_80_columns(self):
        ordinary = TABLE.replace(" (retrying)", "")
        self.assertLessEqual(max(map(len, ordinary.splitlines())), 80)

    def test_uptime_has_its_two_largest_units(self):
        status = copy.deepcopy(STATUS)
        usherd = self.usherd(status=status)
        for seconds, words in ((5, "up 5 s"), (725, "up 12 min 5 s"), (7260, "up 2 h 1 min"),
                               (356400, "up 4 d 3 h")):
            status["uptime_seconds"] = seconds
            self.assertIn(f", {words}, ", self.usherctl("status").stdout)
        self.assertEqual(len(usherd.requests), 4)

    def test_dropped_log_messages_are_told(self):
        self.usherd(status={**STATUS, "log_messages_dropped": 7})
        self.assertIn("\n7 log messages were dropped", self.usherctl("status").stdout)

    def test_upgrades_are_counted(self):
        self.usherd(status={**STATUS, "upgrades": 2})
        self.assertIn(", up 3 h 12 min, upgrades: 2, /etc/", self.usherctl("status").stdout)

    def test_waiting_is_with_those_that_are_parked(self):
        status = copy.deepcopy(STATUS)
        status["services"][1].update(waiting=3, parked=40)
        self.usherd(status=status)
        self.assertIn("waiting      0/4096        0       43  tcp", self.usherctl("status").stdout)

    def test_service_that_is_paused(self):
        status = copy.deepcopy(STATUS)
        status["services"][0]["paused"] = True
        status["services"][1].update(paused=True, state="draining")
        self.usherd(status=status)
        self.assertRegex(self.usherctl("status").stdout, "(?m)^echo +paused +8/")
        self.assertRegex(self.usherctl("status").stdout, "(?m)^web +draining +0/")

    def test_standby_provider(self):
        status = copy.deepcopy(STATUS)
        standby = status["services"][0]["providers"][1]
        self.usherd(status=status)
        for state, shown in (("ready", "standby"), ("full", "full"), ("draining", "draining")):
            standby["state"] = state
            self.assertRegex(self.usherctl("status").stdout, rf"(?m)^   3 +991 +87654321 +- +{shown} ")

    def test_receiver(self):
        status = copy.deepcopy(STATUS)
        status["services"][1]["receiver"] = {
            "path": "/run/web.receiver", "state": "full", "in_flight": 16, "passed": 4711, "unread": 0}
        self.usherd(status=status)
        self.assertIn("\n  receiver /run/web.receiver: full, 16 in flight, 4711 passed\n",
                      self.usherctl("status").stdout)

    def test_every_total_is_shown_in_words(self):
        status = copy.deepcopy(STATUS)
        status["services"][0]["totals"] = dict(zip(NO_TOTALS, range(1, 99)))
        self.usherd(status=status)
        self.assertIn(
            "  totals: 1 accepted, 2 taken over, 3 claimed, 4 released, 5 forwarded, 6 redispatched, "
            "7 declined, 8 parked, 9 expired, 10 given up, 11 reset, 12 forwards refused, 13 lost, "
            "14 touched\n", self.usherctl("status").stdout)

    def test_no_services_at_all(self):
        self.usherd(status={**STATUS, "services": [], "disabled": []})
        self.assert_ok(self.usherctl("status"), TABLE.splitlines(keepends=True)[0])

    def test_wide_characters_are_aligned(self):
        status = copy.deepcopy(STATUS)
        status["services"][0]["providers"][0]["unit"] = "\u65e5\u672c\u8a9e\u00e9"
        self.usherd(status=status)
        lines = self.usherctl("status").stdout.splitlines()
        self.assertIn("   1  12345  root      \u65e5\u672c\u8a9e\u00e9  ready    1021", lines[6])
        self.assertIn("   3    991  87654321  -        stuck       0", lines[8])

    def test_control_characters_do_not_reach_the_terminal(self):
        status = copy.deepcopy(STATUS)
        status["services"][0]["providers"][0].update(
            name="\x1b[31m\x9b2J\nforged", status="\r\u202e", unit="\t")
        self.usherd(status=status)
        for arguments in (("status",), ("status", "--json")):
            result = self.usherctl(*arguments)
            self.assertEqual(result.returncode, 0)
            self.assertEqual([c for c in result.stdout if not c.isprintable() and c != "\n"], [])
            self.assertNotIn("\nforged", result.stdout)

    def test_invisible_characters_are_shown_on_the_terminal_and_kept_in_json(self):
        invisible = "\u00ad\u061c\u200b\u200d\u200f\u2028\u202e\u2060\u2066\ufeff\ufff9\U000e0041"
        status = copy.deepcopy(STATUS)
        status["services"][0]["providers"][0]["name"] = f"a{invisible}z"
        self.usherd(status=status)
        self.assertRegex(self.usherctl("status").stdout, r"      a\?+z: all is well\n")
        result = self.usherctl("status", "--json").stdout
        self.assertTrue(result.isascii())
        self.assertEqual(json.loads(result), status)

    def test_names_are_legible_in_the_c_locale_too(self):
        status = copy.deepcopy(STATUS)
        status["services"][0]["providers"][0]["name"] = "caf\u00e9"
        self.usherd(status=status)
        self.assertIn("caf??: all", self.usherctl("status", environment={"LC_ALL": "C"}).stdout)
        self.assertIn("caf\u00e9: all", self.usherctl("status").stdout)

    def output_on_terminal(self, **environment):
        leader, follower = pty.openpty()
        with os.fdopen(leader, "rb", buffering=0) as reader:
            subprocess.run(
                [USHERCTL, "-r", str(self.folder), "status", "web"], stdout=follower, check=True,
                timeout=SECONDS, env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **environment})
            os.close(follower)
            return b"".join(iter(lambda: self.read_terminal(reader), b""))

    @staticmethod
    def read_terminal(reader):
        """The next part, which may not be all of it; nothing at its end, for which a terminal has an error."""
        try:
            return reader.read(65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def test_colours_are_for_terminals(self):
        self.usherd(status=STATUS)
        self.assertIn(b"\x1b[33mwaiting\x1b[0m", self.output_on_terminal())
        self.assertNotIn(b"\x1b", self.output_on_terminal(NO_COLOR="1"))
        self.assertNotIn(b"\x1b", self.output_on_terminal(TERM="dumb"))

    def test_full_disk_is_a_failure(self):
        self.usherd(status=STATUS)
        with open("/dev/full", "wb") as full:
            result = subprocess.run([USHERCTL, "-r", str(self.folder), "status"], stdout=full,
                                    stderr=subprocess.PIPE, timeout=SECONDS, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"standard output", result.stderr)


class Answers(Usherctl):
    """What can go wrong between usherctl and usherd."""

    def test_no_socket(self):
        self.assert_fails(self.usherctl("status"), 1, "usherd is not running",
                          f"{self.folder}/control.sock", "systemctl start usherd")

    def test_socket_that_nobody_serves(self):
        FakeUsherd(self.folder, {}, os.geteuid()).stop()
        self.assert_fails(self.usherctl("status"), 1, "usherd is not running", "nobody answers")

    def test_error_of_usherd(self):
        self.usherd(status={"error": "it is \x1b too late"})
        self.assert_fails(self.usherctl("status"), 1, "usherctl: it is ? too late\n")

    def test_usherd_says_which_exit_status(self):
        self.usherd(status={"error": "permission denied: no", "exit_status": 77})
        self.assert_fails(self.usherctl("status"), 77, "permission denied: no")

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_socket_that_we_may_not_use(self):
        usherd = self.usherd(status=STATUS)
        usherd.path.chmod(0o600)
        program = shutil.copy(USHERCTL, self.folder)
        os.chmod(program, 0o755)
        self.assert_fails(self.usherctl("status", program=program, user=NOBODY), 77,
                          "permission denied", "as root")

    def test_answers_that_are_not_understood(self):
        usherd = self.usherd()
        for answer in (b"{", b"[]", b"{} {}", b"\xff\xfe", b'"text"', b'{"a": 1'):
            with self.subTest(answer):
                usherd.answers["status"] = answer
                self.assert_fails(self.usherctl("status"), 1, "not understood", "same version")

    def test_no_answer(self):
        self.usherd(status=b"")
        self.assert_fails(self.usherctl("status"), 1, "without an answer")

    def test_path_that_is_too_long(self):
        self.assert_fails(self.run_plainly("-r", "/" + 100 * "x", "status"), 1, "too long")


class Check(Usherctl):
    def test_of_a_good_file(self):
        path = self.config('service b { listen = {"tcp:127.0.0.1:7"} }\n'
                           'service c { listen = {"tcp:127.0.0.1:8"} disable = true }\n'
                           'service a { listen = {"tcp:127.0.0.1:9"} disable = true }\n')
        self.assert_ok(self.usherctl("check", path), f"{path}: OK, 3 services, 2 disabled: a, c\n")

    def test_of_a_file_with_one_service(self):
        path = self.config('service b { listen = {"tcp:127.0.0.1:7"} }\n')
        self.assert_ok(self.usherctl("check", path), f"{path}: OK, 1 service\n")

    def test_of_a_bad_file(self):
        path = self.config('service b { listen = {"tcp:127.0.0.1:no-such-service"} }\n')
        self.assert_fails(self.usherctl("check", path), 78, f"{path}:1: ", "no-such-service")

    def test_of_a_missing_file(self):
        self.assert_fails(self.usherctl("check", "/none/usher.conf"), 78, "/none/usher.conf")


class Reload(Usherctl):
    GOOD = 'service b { listen = {"tcp:127.0.0.1:7"} }\n'

    def test_checks_then_reloads(self):
        status = {**STATUS, "config": self.config(self.GOOD)}
        usherd = self.usherd(status=status, reload={"ok": True, "message": "1 service added"})
        self.assert_ok(self.usherctl("reload"), "1 service added\n")
        self.assertEqual(usherd.requests, ["status\n", "reload\n"])

    def test_bad_file_is_not_given_to_usherd(self):
        path = self.config("nonsense\n")
        usherd = self.usherd(status={**STATUS, "config": path}, reload={"ok": True, "message": ""})
        self.assert_fails(self.usherctl("reload"), 78, f"{path}:1: ", "nothing was changed")
        self.assertEqual(usherd.requests, ["status\n"])

    def test_lines_of_usherd_are_shown(self):
        answer = {"error": "the configuration was not changed", "lines": ["a:1: bad", "a:2: worse"]}
        self.usherd(status={**STATUS, "config": self.config(self.GOOD)}, reload=answer)
        result = self.usherctl("reload")
        self.assert_fails(result, 78)
        self.assertEqual(result.stderr,
                         "a:1: bad\na:2: worse\nusherctl: the configuration was not changed\n")

    def test_usherd_that_is_not_running(self):
        self.assert_fails(self.usherctl("reload"), 1, "usherd is not running")


class Services(Usherctl):
    """Commands that usherd is told for each service."""

    def test_drain_one_provider(self):
        usherd = self.usherd(**{"drain web/3": {"ok": True, "message": "web: 1 provider drains"}})
        self.assert_ok(self.usherctl("drain", "web/3"), "web: 1 provider drains\n")
        self.assertEqual(usherd.requests, ["drain web/3\n"])

    def test_name_of_a_provider_may_have_blanks(self):
        usherd = self.usherd(**{"drain web/my server": {"ok": True, "message": "told"}})
        self.assert_ok(self.usherctl("drain", "web/my server"), "told\n")
        self.assertEqual(usherd.requests, ["drain web/my server\n"])

    def test_pause_and_resume_several(self):
        for command in ("pause", "resume"):
            with self.subTest(command):
                usherd = self.usherd(**{f"{command} {name}": {"ok": True, "message": f"{name}: done"}
                                        for name in ("web", "echo")})
                self.assert_ok(self.usherctl(command, "web", "echo"), "web: done\necho: done\n")
                self.assertEqual(usherd.requests, [f"{command} web\n", f"{command} echo\n"])
                usherd.path.unlink()

    def test_one_that_is_not_there_does_not_keep_the_others(self):
        self.usherd(**{"pause b": {"error": "no service 'b'"},
                       "pause a": {"ok": True, "message": "a: paused"},
                       "pause c": {"ok": True, "message": "c: paused"}})
        result = self.usherctl("pause", "a", "b", "c")
        self.assertEqual((result.returncode, result.stdout), (1, "a: paused\nc: paused\n"))
        self.assertEqual(result.stderr, "usherctl: no service 'b'\n")

    def test_names_that_are_no_names(self):
        usherd = self.usherd()
        for name in ("a\nupgrade", 1100 * "x", 3000 * "x"):
            with self.subTest(name):
                self.assert_fails(self.usherctl("drain", name), 64, "at most 63 bytes")
        self.assertEqual([request for request in usherd.requests if request], [])


class Upgrade(Usherctl):
    STATE = {"format": 1, "services": [{"name": "caf\u00e9"}]}
    ACCEPTED = "usherd 0.2.0 can go on from the state of usherd 0.1.0\n"
    ACCEPTS = f"echo '{ACCEPTED.strip()}'"  # a script that takes any state
    UPGRADED = {"ok": True, "message": "upgraded from 0.1.0 to 0.2.0"}

    def program(self, script):
        """A new usherd: a shell script that finds its folder in $0."""
        path = self.folder / "usherd"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def upgradable(self, script, upgrade=None, **more):
        return self.usherd(state={"program": self.program(script), "state": self.STATE},
                           upgrade=self.UPGRADED if upgrade is None else upgrade, **more)

    def test_program_is_tried_on_the_state_first(self):
        usherd = self.upgradable('echo "$@" > "$0.arguments"; cat > "$0.state"; ' + self.ACCEPTS)
        self.assert_ok(self.usherctl("upgrade"), self.ACCEPTED + "upgraded from 0.1.0 to 0.2.0\n")
        self.assertEqual(usherd.requests, ["state\n", "upgrade\n"])
        self.assertEqual((self.folder / "usherd.arguments").read_text(), "--check-state\n")
        self.assertEqual(json.loads((self.folder / "usherd.state").read_text()), self.STATE)

    def test_program_that_refuses_is_not_upgraded_to(self):
        usherd = self.upgradable('echo "usherd: format 1 is unknown" >&2; exit 1')
        self.assert_fails(self.usherctl("upgrade"), 1, "usherd: format 1 is unknown\n",
                          f"cannot be upgraded to {self.folder}/usherd", "nothing was changed")
        self.assertEqual(usherd.requests, ["state\n"])

    def test_program_that_is_no_usherd_is_not_upgraded_to(self):
        for script in ("exit 0", "echo hello"):
            with self.subTest(script):
                usherd = self.upgradable(script)
                self.assert_fails(self.usherctl("upgrade"), 1, "this is no usherd", f"{self.folder}/usherd",
                                  "nothing was changed")
                self.assertEqual(usherd.requests, ["state\n"])
                usherd.path.unlink()

    def test_program_that_crashes_is_not_upgraded_to(self):
        usherd = self.upgradable("kill -SEGV $$")
        self.assert_fails(self.usherctl("upgrade"), 1, "nothing was changed")
        self.assertEqual(usherd.requests, ["state\n"])

    def test_program_that_is_not_there(self):
        usherd = self.usherd(state={"program": "/none/usherd", "state": self.STATE})
        self.assert_fails(self.usherctl("upgrade"), 1, "cannot run the program: No such file",
                          "/none/usherd", "nothing was changed")
        self.assertEqual(usherd.requests, ["state\n"])

    def test_program_need_not_read_the_state(self):
        state = {"long": 1000 * 1000 * "x"}
        self.usherd(state={"program": self.program(self.ACCEPTS), "state": state}, upgrade=self.UPGRADED)
        self.assert_ok(self.usherctl("upgrade"), self.ACCEPTED + "upgraded from 0.1.0 to 0.2.0\n")

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_program_is_tried_as_the_user_of_usherd(self):
        self.upgradable('read pid name state parent group session rest < /proc/self/stat\n'
                        'echo "I am $(id -u), session $((session - pid))" >&2; exit 1', user=NOBODY)
        self.assert_fails(self.usherctl("upgrade"), 1, f"I am {NOBODY}, session 0\n")

    @unittest.skipIf(os.geteuid() != 0, "needs root")
    def test_program_does_not_see_our_environment(self):
        self.upgradable('echo "secret: $SECRET" >&2; exit 1', user=NOBODY)
        self.assert_fails(self.usherctl("upgrade", environment={"SECRET": "sesame"}), 1, "secret: \n")

    def test_program_gets_none_of_our_descriptors(self):
        self.upgradable('for fd in 0 1 2 "$(cat "$0.fd")"; do readlink /proc/$$/fd/$fd; done; exit 1')
        with open(self.folder / "secret", "wb") as secret:
            (self.folder / "usherd.fd").write_text(str(secret.fileno()))
            result = self.usherctl("upgrade", pass_fds=[secret.fileno()])
        self.assert_fails(result, 1)
        words = result.stderr.splitlines()[:-2]
        self.assertEqual([word.partition(" ")[0] for word in words],
                         ["/memfd:usherd-state", "/memfd:usherd-words", "/memfd:usherd-words"])

    def test_words_of_the_program_cannot_disturb_the_terminal(self):
        self.upgradable("printf '\\033[31mred\\n\\nblue'; exit 1")
        self.assert_fails(self.usherctl("upgrade"), 1, "?[31mred\nblue\n")

    def test_program_that_says_more_than_anybody_reads(self):
        self.upgradable(f"{self.ACCEPTS}; yes | head -c 1000000; exit 0")
        result = self.usherctl("upgrade")
        self.assertEqual(result.returncode, 0)
        self.assertLess(len(result.stdout), 100000)
        self.assertTrue(result.stdout.endswith("y\nupgraded from 0.1.0 to 0.2.0\n"))

    def test_configuration_that_the_program_refuses(self):
        usherd = self.upgradable('echo "a:1: bad" >&2; exit 78')
        result = self.usherctl("upgrade")
        self.assert_fails(result, 78, "a:1: bad\n", "nothing was changed")
        self.assertNotIn("state", result.stderr)
        self.assertEqual(usherd.requests, ["state\n"])

    def test_closed_standard_input(self):
        self.upgradable(f'cat > "$0.state"; {self.ACCEPTS}')
        result = self.run_plainly("-c", f'exec {USHERCTL} -r {self.folder} upgrade <&-', program="/bin/sh")
        self.assert_ok(result, self.ACCEPTED + "upgraded from 0.1.0 to 0.2.0\n")
        self.assertEqual(json.loads((self.folder / "usherd.state").read_text()), self.STATE)

    def test_refusal_of_usherd(self):
        answer = {"error": "the configuration was not changed", "lines": ["a:1: bad"]}
        self.upgradable(self.ACCEPTS, upgrade=answer)
        self.assert_fails(self.usherctl("upgrade"), 78, "a:1: bad\nusherctl: the configuration",
                          stdout=self.ACCEPTED)

    def test_usherd_that_ends_during_the_upgrade(self):
        self.upgradable(self.ACCEPTS, upgrade=b"")
        self.assert_fails(self.usherctl("upgrade"), 1, "usherd ended during the upgrade",
                          "journalctl -u usherd", "'usherctl status'", stdout=self.ACCEPTED)

    def test_usherd_that_knows_no_upgrade(self):
        usherd = self.usherd()
        self.assert_fails(self.usherctl("upgrade"), 1, "unknown request")
        self.assertEqual(usherd.requests, ["state\n"])

    def test_state_that_is_not_understood(self):
        usherd = self.usherd()
        for answer in ({}, {"program": "/bin/true"}, {"state": {}}, {"program": 3, "state": {}}):
            with self.subTest(answer):
                usherd.answers["state"] = answer
                self.assert_fails(self.usherctl("upgrade"), 1, "cannot be tried", "nothing was changed")


class Json(Usherctl):
    """--json of what is not a picture of usherd."""

    def as_json(self, *arguments, status=0):
        result = self.usherctl("--json", *arguments)
        self.assertEqual(result.returncode, status, result.stderr)
        return json.loads(result.stdout)

    def test_answers_are_those_of_usherd(self):
        config = self.config('service a { listen = "tcp:127.0.0.1:0" }\n')
        reloaded = {"ok": True, "message": "services: none", "warnings": ["a: warning: \u00e4"]}
        self.usherd(status={**STATUS, "config": config}, reload=reloaded, **{"pause a": {"ok": True, "message": "a"}})
        self.assertEqual(self.as_json("reload"), reloaded)
        self.assertEqual(self.as_json("pause", "a"), {"ok": True, "message": "a"})

    def test_one_object_for_each_service(self):
        answers = [{"ok": True, "message": name} for name in "ab"]
        self.usherd(**{"drain a": answers[0], "drain b": answers[1]})
        result = self.usherctl("--json", "drain", "a", "b").stdout
        first, end = json.JSONDecoder().raw_decode(result)
        self.assertEqual([first, json.loads(result[end:])], answers)

    def test_errors_are_sentences(self):
        self.usherd(**{"pause a": {"error": "no service 'a'"}})
        self.assert_fails(self.usherctl("--json", "pause", "a"), 1, "no service 'a'")

    def test_upgrade_says_nothing_besides(self):
        program = self.folder / "usherd"
        program.write_text(f"#!/bin/sh\necho '{Upgrade.ACCEPTED.strip()}'\n")
        program.chmod(0o755)
        self.usherd(state={"program": str(program), "state": {}}, upgrade=Upgrade.UPGRADED)
        self.assertEqual(self.as_json("upgrade"), Upgrade.UPGRADED)

    def test_check(self):
        path = self.config('service a { listen = "tcp:80" }\nservice b { listen = "tcp:81" disable = true }\n')
        self.assertEqual(self.as_json("check", path),
                         {"ok": True, "errors": [], "warnings": [], "services": ["a"], "disabled": ["b"]})
        path = self.config("bogus = 1\n")
        answer = self.as_json("check", path, status=78)
        self.assertFalse(answer["ok"])
        self.assertIn(f"{path}:1: unknown option 'bogus'", answer["errors"][0])

    def test_convert(self):
        path = self.folder / "inetd.conf"
        path.write_bytes(b"# caf\xe9\necho stream tcp nowait root internal\nwrong\n")
        answer = self.as_json("convert", str(path))
        self.assertIn("# caf?\nservice echo {", answer["configuration"])
        [warning] = answer["warnings"]
        self.assertEqual((warning["file"], warning["line"]), (str(path), 3))

    def test_explain_and_its_exit_statuses(self):
        for outcome, status in (("admitted", 0), ("refused", 2), ("waiting", 3)):
            with self.subTest(outcome):
                answer = {"service": "a", "client": "unix", "outcome": outcome, "reason": None, "checks": []}
                usherd = FakeUsherd(self.folder, {"explain unix a": answer}, os.geteuid())
                try:
                    self.assertEqual(self.as_json("explain", "unix", "a", status=status), answer)
                finally:
                    usherd.stop()
                    (self.folder / "control.sock").unlink(missing_ok=True)


class CommandLine(Usherctl):
    def test_usage_errors(self):
        for arguments, words in (((), "no command"), (("stat",), "unknown command: stat"),
                                 (("reload", "now"), "too many arguments for reload"),
                                 (("check", "a", "b"), "too many arguments for check"),
                                 (("pause",), "no service was given for pause"),
                                 (("drain",), "no service was given for drain"),
                                 (("upgrade", "now"), "too many arguments for upgrade"),
                                 (("explain", "192.0.2.1"), "an address and a service are needed"),
                                 (("top", "web"), "too many arguments for top"),
                                 (("-d", "0.09", "top"), "0.1 to 3600 seconds, not 0.09"),
                                 (("-d", "3601", "top"), "0.1 to 3600 seconds, not 3601"),
                                 (("-d", "nan", "top"), "0.1 to 3600 seconds, not nan"),
                                 (("-d", "1x", "top"), "0.1 to 3600 seconds, not 1x"),
                                 (("-n", "0", "top"), "--count of 1"), (("-n", "x", "top"), "--count of 1"),
                                 (("-n", "1", "status"), "do not go with status"),
                                 (("-d", "1", "status"), "do not go with status"),
                                 (("--frobnicate", "status"), "frobnicate")):
            with self.subTest(arguments):
                self.assert_fails(self.run_plainly(*arguments), 64, words, "usherctl")

    def test_version(self):
        self.assertRegex(self.run_plainly("--version").stdout, r"^usherctl \d+\.\d+\.\d+\n$")

    def test_run_dir_is_the_option_then_the_environment(self):
        self.usherd(status=STATUS)
        environment = {"USHER_RUN_DIR": str(self.folder)}
        self.assert_ok(self.run_plainly("status", environment=environment), TABLE)
        self.assert_fails(self.run_plainly("--run-dir=/none", "status", environment=environment), 1,
                          "/none/control.sock")

    def test_manual_has_every_command_and_exit_status(self):
        page = (ROOT / "man/usherctl.8").read_text(encoding="utf-8")
        commands = re.findall(r"^  ([a-z]+) ", self.run_plainly("--help").stdout, re.MULTILINE)
        self.assertEqual(
            commands, ["status", "events", "explain", "metrics", "top", "check", "convert", "reload", "drain", "pause",
                       "resume", "upgrade"])
        for command in commands:
            self.assertRegex(page, rf"(?m)^\.It Cm {command}\b")
        for status in (0, 1, 2, 3, 64, 69, 77, 78):
            self.assertRegex(page, rf"(?m)^\.It {status}\b")


if __name__ == "__main__":
    tap.main()
