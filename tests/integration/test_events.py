# SPDX-License-Identifier: MIT
"""usherctl events, and the request behind it: what happens, told to those who follow it."""

import json
import os
import select
import socket
import subprocess

import harness
import network
import processes
import tap

CONFIG = """
service one { listen = {"tcp:127.0.0.1:0"} }
service two { listen = {"tcp:127.0.0.1:0"} log_address = none }
service no { listen = {"tcp:127.0.0.1:0"} no_access = {"127.0.0.0/8"} log_on_failure = {} }
service slow { listen = {"tcp:127.0.0.1:0"} rate = {1, "1h"} }
service lot { listen = {"tcp:127.0.0.1:0"} instances = 2 }
"""


class Follower:
    """One who has asked for events."""

    def __init__(self, usherd, request="events"):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(processes.DEADLINE)
        self.socket.connect(str(usherd.run_dir / "control.sock"))
        self.socket.sendall(request.encode() + b"\n")
        self.lines = self.socket.makefile("rb")
        self.first = self.next()

    def next(self):
        return json.loads(self.lines.readline())

    def wait(self, event, **members):
        """The next one of this name that has these members."""
        while True:
            heard = self.next()
            if heard["event"] == event and members.items() <= heard.items():
                return heard

    def close(self):
        self.lines.close()
        self.socket.close()


class Events(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG)

    def follow(self, request="events"):
        follower = self.closing(Follower(self.usherd, request))
        self.assertEqual(follower.first, {"event": "following"})
        return follower

    def test_life_of_a_connection(self):
        follower = self.follow()
        provider = self.provider(self.usherd, "one", name="server")
        registered = follower.wait("registered")
        self.assertEqual((registered["service"], registered["provider"], registered["provider_pid"]),
                         ("one", "server", os.getpid()))
        client = self.connect(self.usherd.addresses("one")[0])
        [connection] = provider.take_and_claim(1)
        start = follower.wait("start")
        self.assertEqual((start["service"], start["peer"], start["listener"], start["provider"]),
                         ("one", "127.0.0.1", self.usherd.addresses("one")[0], "server"))
        provider.finish(connection)
        client.close()
        end = follower.wait("end")
        self.assertEqual((end["connection"], end["reason"]), (start["connection"], "released"))
        self.assertGreater(end["duration_usec"], 0)
        self.assertGreaterEqual(end["time_usec"], start["time_usec"])
        provider.close()
        follower.wait("gone", service="one", provider="server")

    def test_refusals_and_delays(self):
        follower = self.follow()
        self.provider(self.usherd, "no")
        provider = self.provider(self.usherd, "slow")
        self.assertIsNone(network.answer(self.usherd.addresses("no")[0]))
        refused = follower.wait("refused")
        self.assertEqual((refused["service"], refused["reason"], refused["peer"]), ("no", "no_access", "127.0.0.1"))
        self.connect(self.usherd.addresses("slow")[0])
        provider.take_and_claim(1)
        self.connect(self.usherd.addresses("slow")[0])
        follower.wait("delayed", service="slow", reason="rate")

    def test_a_connection_that_is_parked(self):
        follower = self.follow()
        provider = self.provider(self.usherd, "lot", credit=1)
        self.connect(self.usherd.addresses("lot")[0])
        provider.take(1)
        provider.close()
        follower.wait("parked", service="lot", peer="127.0.0.1")
        another = self.provider(self.usherd, "lot")
        another.finish(*another.take_and_claim(1))

    def test_what_the_administrator_does(self):
        follower = self.follow()
        provider = self.provider(self.usherd, "one", name="server")
        for request, event in (("pause one", "paused"), ("resume one", "resumed"), ("reload", "reloaded")):
            self.assertTrue(self.usherd.ask(request)["ok"])
            follower.wait(event)
        self.usherd.ask("drain one")
        follower.wait("draining", service="one", provider="server", reason="administrator")
        provider.close()

    def test_services_are_chosen(self):
        follower = self.follow("events one lot")
        self.provider(self.usherd, "two", name="unwanted")
        self.provider(self.usherd, "lot", name="wanted")
        self.assertEqual(follower.next()["provider"], "wanted")
        wrong = self.closing(Follower(self.usherd, "events one three"))
        self.assertIn("no service 'three'", wrong.first["error"])
        for none in ("events ", "events  "):  # an empty variable in a script: no services are not all of them
            self.assertIn("no service '", self.closing(Follower(self.usherd, none)).first["error"])

    def test_log_address_holds_here_too(self):
        follower = self.follow("events two")
        provider = self.provider(self.usherd, "two")
        self.connect(self.usherd.addresses("two")[0])
        provider.take_and_claim(1)
        self.assertNotIn("peer", follower.wait("start"))

    def test_one_who_never_reads_holds_nobody_up(self):
        """Each connection is three events; usherd's part of what is not read has a limit."""
        silent = self.follow()
        provider = self.provider(self.usherd, "one", credit=1000)
        address = self.usherd.addresses("one")[0]
        for _ in range(1500):
            client = network.connect(address)
            provider.finish(*provider.take_and_claim(1))
            client.close()
        self.usherd.wait_until(lambda: self.usherd.service("one")["totals"]["released"] == 1500, "the last one")
        n_lines = n_lost = 0
        while n_lines + n_lost < 3001:  # and that the provider has registered
            heard = silent.next()
            n_lost += heard.get("n", 0)
            n_lines += heard["event"] != "lost"
        self.assertEqual(n_lines + n_lost, 3001)

    def test_the_end_of_followers(self):
        followers = [self.follow() for _ in range(16)]
        full = self.closing(Follower(self.usherd))
        self.assertIn("16 processes follow already", full.first["error"])
        followers[3].close()
        self.usherd.wait_until(lambda: Follower(self.usherd, "events").first == {"event": "following"}, "a place")


class Usherctl(harness.UsherTest):
    def events(self, usherd, *arguments, **options):
        process = subprocess.Popen(
            [str(harness.USHERCTL), "--run-dir", str(usherd.run_dir), *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0, **options)  # what is buffered select(2) does not see
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.terminate()
        process.communicate()

    def line(self, process):
        self.assertTrue(select.select([process.stdout], [], [], processes.DEADLINE)[0], "no line came")
        return process.stdout.readline().decode()

    def wait_following(self, process):
        self.assertEqual(json.loads(self.line(process)), {"event": "following"})

    def test_lines_for_programs_and_for_people(self):
        usherd = self.start_usherd(CONFIG)
        json_lines = self.events(usherd, "--json", "events", "one")
        self.wait_following(json_lines)
        text_lines = self.events(usherd, "events", "one")
        usherd.wait_until(lambda: usherd.status()["followers"] == 2, "the second one")
        provider = self.provider(usherd, "one", name="server")
        self.assertRegex(self.line(text_lines),
                         r"^\d\d:\d\d:\d\d\.\d{3} one +registered +by server pid %d\n$" % os.getpid())
        self.assertEqual(json.loads(self.line(json_lines))["event"], "registered")
        provider.close()
        self.assertIn(" gone ", self.line(text_lines))

    def test_it_goes_on_after_an_upgrade(self):
        usherd = self.start_usherd(CONFIG)
        process = self.events(usherd, "--json", "events")
        self.wait_following(process)
        self.assertTrue(usherd.ask("upgrade")["ok"])
        heard = []
        while "reconnected" not in heard:
            heard.append(json.loads(self.line(process))["event"])
        self.assertEqual(heard, ["reloaded", "upgrading", "reconnected"])
        self.wait_following(process)
        usherd.ask("pause one")
        self.assertEqual(json.loads(self.line(process))["event"], "paused")
        usherd.remember_fds()

    def test_errors(self):
        usherd = self.start_usherd(CONFIG)
        with open("/dev/full", "wb") as full:
            result = subprocess.run([str(harness.USHERCTL), "-r", str(usherd.run_dir), "--json", "events"], stdout=full,
                                    stderr=subprocess.PIPE, timeout=processes.DEADLINE, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"output", result.stderr)
        unknown = self.events(usherd, "events", "three")
        self.assertEqual(unknown.communicate(timeout=processes.DEADLINE),
                         (b"", b"usherctl: no service 'three' is running; 'usherctl status' lists those that are\n"))
        self.assertEqual(unknown.returncode, 1)
        self.assertEqual(self.events(usherd, "events", "one two").wait(processes.DEADLINE), 64)


if __name__ == "__main__":
    tap.main()
