# SPDX-License-Identifier: MIT
"""usherctl explain: what would become of a client, and what then does become of it."""

import json
import os
import subprocess

import harness
import network
import processes
import tap

ADMITTED, REFUSED, WAITING = 0, 2, 3
CONFIG = """
service open { listen = {"tcp:127.0.0.1:0"} instances = 2 }
service rules { listen = {"tcp:127.0.0.1:0"} refused_to = banner
    only_from = {"10.0.0.0/8", "2001:db8::/32"}
    no_access = {"10.1.0.0/16"} }
service few { listen = {"tcp:127.0.0.1:0"} per_source = 1 }
service rate { listen = {"tcp:127.0.0.1:0"} rate = {1, "1h"} }
service limits { listen = {"tcp:127.0.0.1:0"} rate = {1, "1h"} max_load = 10000 }
service load { listen = {"tcp:127.0.0.1:0"} max_load = 0.01 }
service often { listen = {"tcp:127.0.0.1:0"} per_source_rate = {1, "1h"} }
service refusing { listen = {"tcp:127.0.0.1:0"} unavailable = refuse }
service trap { listen = {"tcp:127.0.0.1:0"} sensor = true deny_time = forever }
service banner { listen = {} }
service lent { listen = {"udp:127.0.0.1:0"} no_access = {"192.0.2.1"} }
service local { listen = {"unix:%s/local"} }
"""


class Explain(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.make_usherd("")
        self.usherd.write_config(CONFIG % self.usherd.folder)
        self.usherd.start()

    def usherctl(self, *arguments):
        return subprocess.run(
            [str(harness.USHERCTL), "--run-dir", str(self.usherd.run_dir), *arguments], capture_output=True,
            text=True, timeout=processes.DEADLINE, check=False)

    def explain(self, client, service):
        """The exit status, the reason, and all of it."""
        result = self.usherctl("--json", "explain", client, service)
        self.assertEqual(result.stderr, "")
        answer = json.loads(result.stdout)
        self.assertEqual(answer["outcome"],
                         {ADMITTED: "admitted", REFUSED: "refused", WAITING: "waiting"}[result.returncode])
        return result.returncode, answer["reason"], answer

    def check(self, client, service, status, reason=None):
        self.assertEqual(self.explain(client, service)[:2], (status, reason))

    def text_of(self, client, service, name):
        return next(check["text"] for check in self.explain(client, service)[2]["checks"] if check["check"] == name)

    def test_nobody_serves(self):
        self.check("192.0.2.1", "open", WAITING, "unavailable")
        self.check("192.0.2.1", "refusing", REFUSED, "unavailable")
        self.provider(self.usherd, "refusing")
        self.check("192.0.2.1", "refusing", ADMITTED)

    def test_room_and_pause(self):
        provider = self.provider(self.usherd, "open", credit=1)
        self.check("192.0.2.1", "open", ADMITTED)
        self.connect(self.usherd.addresses("open")[0])
        [connection] = provider.take_and_claim(1)
        self.usherd.wait_service("open", state="full")
        self.check("192.0.2.1", "open", WAITING, "credit")
        self.assertEqual(self.text_of("192.0.2.1", "open", "instances"), "1 of 2 connections")
        self.usherd.ask("pause open")
        self.check("192.0.2.1", "open", WAITING, "paused")
        provider.finish(connection)

    def test_rules_and_where_they_stand(self):
        self.provider(self.usherd, "rules")
        self.check("10.2.0.1", "rules", ADMITTED)
        self.check("2001:db8::1", "rules", ADMITTED)
        self.check("::ffff:10.2.0.1", "rules", ADMITTED)
        self.check("192.0.2.1", "rules", REFUSED, "only_from")
        _, reason, answer = self.explain("10.1.0.1", "rules")
        line = self.usherd.config.read_text().split("no_access")[0].count("\n") + 1
        self.assertEqual(reason, "no_access")
        self.assertEqual(answer["rule"], {"text": "10.1.0.0/16", "allows": False, "file": str(self.usherd.config),
                                          "line": line})
        self.assertEqual(answer["refused_to"], "banner")

    def test_sources_are_counted_and_explaining_counts_nothing(self):
        provider = self.provider(self.usherd, "few")
        for _ in range(3):
            self.check("127.0.0.1", "few", ADMITTED)
        self.connect(self.usherd.addresses("few")[0])
        [connection] = provider.take_and_claim(1)
        self.check("127.0.0.1", "few", REFUSED, "per_source")
        self.check("127.0.0.2", "few", ADMITTED)
        self.assertEqual(self.text_of("127.0.0.1", "few", "per_source"), "1 of 1 connections")
        self.assertEqual(self.usherd.service("few")["refused"]["per_source"], 0)
        provider.finish(connection)

    def test_rates_of_a_source(self):
        provider = self.provider(self.usherd, "often")
        self.assertEqual(self.text_of("127.0.0.1", "often", "per_source_rate"), "not more than 1 in 3600 s came")
        self.connect(self.usherd.addresses("often")[0])
        [connection] = provider.take_and_claim(1)
        self.check("127.0.0.1", "often", REFUSED, "per_source_rate")
        self.assertRegex(self.text_of("127.0.0.1", "often", "per_source_rate"),
                         r"^as many as 1 in 3600 s came: the next one may in 3[56]\d\d\.\d+ s$")
        provider.finish(connection)

    def test_limits_for_everybody(self):
        provider = self.provider(self.usherd, "rate")
        self.check("192.0.2.1", "rate", ADMITTED)
        self.connect(self.usherd.addresses("rate")[0])
        [connection] = provider.take_and_claim(1)
        self.check("192.0.2.1", "rate", WAITING, "rate")
        self.assertRegex(self.text_of("192.0.2.1", "rate", "rate"), r"^more came than it allows: goes on in 3[56]\d\d\.\d+ s$")
        self.assertEqual(self.usherd.service("rate")["delayed"]["rate"], 0)
        provider.finish(connection)

    def test_what_comes_after_the_limit_that_holds_was_not_asked(self):
        provider = self.provider(self.usherd, "limits")
        self.assertIn("is not above 10000.00", self.text_of("192.0.2.1", "limits", "max_load"))
        self.connect(self.usherd.addresses("limits")[0])
        [connection] = provider.take_and_claim(1)
        checks = self.explain("192.0.2.1", "limits")[2]["checks"]
        limits = [check["check"] for check in checks if check["check"] in ("cps", "rate", "max_load")]
        self.assertEqual(limits, ["rate"])
        provider.finish(connection)

    def test_load(self):
        if os.getloadavg()[0] <= 0.2:
            self.skipTest("the machine is idle: its load is not above any limit")
        self.provider(self.usherd, "load")
        self.check("192.0.2.1", "load", WAITING, "max_load")
        self.assertIn("the load average is above 0.01", self.text_of("192.0.2.1", "load", "max_load"))

    def test_sensors(self):
        self.provider(self.usherd, "open")
        self.check("127.0.0.1", "trap", REFUSED, "sensor")
        self.check("127.0.0.1", "open", ADMITTED)
        self.assertIsNone(network.answer(self.usherd.addresses("trap")[0]))
        self.usherd.wait_until(lambda: self.usherd.status()["denied"] == 1, "the sensor")
        self.check("127.0.0.1", "open", REFUSED, "denied")
        self.check("192.0.2.1", "open", ADMITTED)

    def test_the_kernel_decides_where_sockets_are_lent(self):
        self.check("192.0.2.1", "lent", REFUSED, "no_access")
        self.check("192.0.2.2", "lent", ADMITTED)
        self.assertIn("the kernel's filter decides", self.text_of("192.0.2.2", "lent", "lent"))
        self.assertEqual(self.text_of("192.0.2.2", "lent", "no_access"), "no rule is against it")

    def test_unix_clients(self):
        self.provider(self.usherd, "local")
        self.check("unix", "local", ADMITTED)

    def test_text_and_errors(self):
        self.provider(self.usherd, "rules")
        result = self.usherctl("explain", "192.0.2.1", "rules")
        self.assertEqual(result.returncode, REFUSED)
        lines = result.stdout.splitlines()
        self.assertEqual(lines[:2], ["rules: 192.0.2.1 would be refused: only_from",
                                     "  and be given to the service banner"])
        self.assertIn("  only_from        refuses  no rule matches", lines)
        for arguments, status, message in ((("192.0.2", "rules"), 1, "is no address of a client"),
                                           (("192.0.2.1", "none"), 1, "no service 'none' is running"),
                                           (("192.0.2.1",), 64, "an address and a service are needed")):
            with self.subTest(arguments=arguments):
                result = self.usherctl("explain", *arguments)
                self.assertEqual((result.returncode, result.stdout), (status, ""))
                self.assertIn(message, result.stderr)


if __name__ == "__main__":
    tap.main()
