# SPDX-License-Identifier: MIT
"""What usherd counts, for Prometheus: by usherctl, and over HTTP by usher-metrics."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import harness
import network
import processes
import protocol
import tap
import upgrades

SERVICES = """
service echo {{
    listen = {{"tcp:127.0.0.1:0"}}
    no_access = {{"127.9.0.0/16"}}
}}
service metrics {{ listen = {{"tcp:127.0.0.1:0"}}  {more} }}
"""
MANUAL = Path(__file__).resolve().parents[2] / "man/usher-metrics.8"
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="([^"\\]*)"')
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


def parse(text):
    """{(name, sorted labels): value}, each of which is there once."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        key = (name, tuple(sorted(LABEL.findall(labels or ""))))
        if key in samples:
            raise AssertionError(f"twice: {line}")
        samples[key] = float(value)
    return samples


def split_answer(answer):
    """Status, header fields and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return int(first.split(" ")[1]), fields, body


class MetricsTest(upgrades.UpgradeTest):
    """An usherd with echo, which somebody provides, and usher-metrics."""

    def setUp(self):
        harness.UsherTest.setUp(self)

    def begin(self, *arguments, more="", user=None, settings=""):
        self.usherd = self.make_usherd(settings + SERVICES.format(more=more))
        self.usherd.program = self.copy_for_others(harness.USHERD)
        self.usherd.start()
        program = self.copy_for_others(harness.USHER_METRICS) if user else harness.USHER_METRICS
        self.start_program(self.usherd, program, *arguments, user=user)
        self.usherd.wait_service("metrics", n_providers=1, state="serving")

    def samples(self):
        return parse(self.usherctl("metrics").stdout)

    def sample(self, name, **labels):
        return self.samples()[name, tuple(sorted(labels.items()))]

    def client(self, data=b""):
        client = self.connect(self.usherd.addresses("metrics")[0])
        client.sendall(data)
        return client

    def get(self, data=REQUEST):
        return split_answer(network.read_all(self.client(data)))

    def serve_echo(self, n):
        """So many connections, from their beginning to their end."""
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        address = self.usherd.addresses("echo")[0]
        for _ in range(n):
            with network.connect(address) as client:
                client.sendall(b"ping")
                network.read_exactly(client, 4)
        self.usherd.wait_service("echo", claimed=n, in_service=0)


class Metrics(MetricsTest):
    def test_promtool_has_nothing_to_say(self):
        self.begin()
        self.serve_echo(3)
        text = self.usherctl("metrics").stdout
        result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                                timeout=processes.DEADLINE, check=False)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_counters_are_those_of_status(self):
        self.begin()
        self.serve_echo(5)
        for _ in range(2):
            self.assertIsNone(network.answer(self.usherd.addresses("echo")[0], ("127.9.0.1", 0)))
        samples, status = self.samples(), self.usherd.service("echo")
        self.assertEqual(samples["usher_connections_refused_total", (("reason", "no_access"), ("service", "echo"))], 2)
        for name, n in status["totals"].items():
            name = "usher_forwards_refused_total" if name == "forwards_refused" else f"usher_connections_{name}_total"
            self.assertEqual(samples[name, (("service", "echo"),)], n, name)
        for reason, n in status["refused"].items():
            self.assertEqual(samples["usher_connections_refused_total", (("reason", reason), ("service", "echo"))], n)
        for limit, n in status["delayed"].items():
            self.assertEqual(samples["usher_delays_total", (("limit", limit), ("service", "echo"))], n)
        for state in ("waiting", "parked", "unclaimed", "in_service"):
            self.assertEqual(samples["usher_connections", (("service", "echo"), ("state", state))], status[state])
        self.check_histogram(samples, status, "usher_waiting_seconds", "waiting_time")
        self.check_histogram(samples, status, "usher_handoff_seconds", "handoff_time")

    def check_histogram(self, samples, status, name, member):
        """Buckets that count what is in those before, from those of the JSON that do not."""
        times, n = status[member], 0
        self.assertEqual(len(times["counts"]), len(times["bounds_seconds"]) + 1)
        self.assertEqual(sum(times["counts"]), status["totals"]["claimed"])
        buckets = {float(dict(labels)["le"]): value for (sample, labels), value in samples.items()
                   if sample == f"{name}_bucket" and ("service", "echo") in labels}
        for bound, count in zip([*times["bounds_seconds"], float("inf")], times["counts"]):
            n += count
            self.assertEqual(buckets[bound], n)
        self.assertEqual(samples[f"{name}_count", (("service", "echo"),)], n)
        self.assertAlmostEqual(samples[f"{name}_sum", (("service", "echo"),)], times["sum_seconds"])

    def test_time_that_a_provider_needs_is_counted(self):
        self.begin()
        provider = self.provider(self.usherd, "echo")
        self.connect(self.usherd.addresses("echo")[0])
        connection, = provider.take(1)
        self.usherd.watch(0.11)
        provider.send(protocol.claim(connection.sequence))
        self.usherd.wait_service("echo", claimed=1)
        self.assertEqual(self.sample("usher_handoff_seconds_bucket", service="echo", le="0.1"), 0)
        self.assertEqual(self.sample("usher_handoff_seconds_bucket", service="echo", le="+Inf"), 1)
        self.assertGreater(self.sample("usher_handoff_seconds_sum", service="echo"), 0.1)
        provider.finish(connection)
        self.usherd.wait_service("echo", in_service=0)

    def test_time_in_the_parking_queue_is_counted(self):
        self.begin()
        provider = self.provider(self.usherd, "echo")
        self.connect(self.usherd.addresses("echo")[0])
        provider.take(1)
        provider.close()
        self.usherd.wait_service("echo", parked=1, n_providers=0)
        self.usherd.watch(0.11)
        provider = self.provider(self.usherd, "echo")
        connection, = provider.take_and_claim(1)
        self.usherd.wait_service("echo", claimed=1)
        self.assertGreater(self.sample("usher_waiting_seconds_sum", service="echo"), 0.1)
        self.assertLess(self.sample("usher_handoff_seconds_sum", service="echo"), 0.1)
        provider.finish(connection)
        self.usherd.wait_service("echo", in_service=0)

    def test_a_service_is_in_exactly_one_state(self):
        self.begin()
        for command, expected in (("status", "waiting"), ("pause echo", "paused")):
            self.usherctl(*command.split())
            states = {dict(labels)["state"] for (name, labels), value in self.samples().items()
                      if name == "usher_service_state" and ("service", "echo") in labels and value}
            self.assertEqual(states, {expected})
            self.assertEqual(self.usherd.service("echo")["state"], expected)

    def test_reload_and_its_failure(self):
        self.begin()
        loaded = self.sample("usher_config_last_reload_success_timestamp_seconds")
        self.assertLess(abs(loaded - time.time()), 60)
        self.usherd.write_config("service {")
        self.assertIn("error", self.usherd.ask("reload"))
        self.assertEqual(self.sample("usher_config_last_reload_successful"), 0)
        self.assertEqual(self.sample("usher_config_last_reload_success_timestamp_seconds"), loaded)
        self.usherd.write_config(SERVICES.format(more=""))
        self.assertTrue(self.usherd.ask("reload")["ok"])
        self.assertEqual(self.sample("usher_config_last_reload_successful"), 1)
        self.assertGreater(self.sample("usher_config_last_reload_success_timestamp_seconds"), loaded)

    def test_upgrade_keeps_counters_and_histograms(self):
        self.begin()
        self.serve_echo(4)
        before = self.samples()
        self.upgrade()
        after = self.samples()
        names = ("usher_connections_", "usher_waiting_", "usher_handoff_")
        for key in before:
            if key[0].startswith(names) and ("service", "echo") in key[1]:
                self.assertEqual(after[key], before[key], key)
        self.assertEqual(after["usher_upgrades_total", ()], 1)
        self.assertEqual(self.get()[0], 200)

    def test_service_that_is_removed_and_comes_back_is_there_once(self):
        """While it drains there are two of that name, and no two lines may have the same labels."""
        self.begin()
        provider = self.provider(self.usherd, "echo")
        self.connect(self.usherd.addresses("echo")[0])
        connection, = provider.take(1)
        services = SERVICES.format(more="")
        for config, n in (("service metrics" + services.partition("service metrics")[2], 0), (services, 1)):
            self.usherd.write_config(config)
            self.assertTrue(self.usherd.ask("reload")["ok"])
            text = self.usherctl("metrics").stdout
            self.assertIn(("echo", "draining"),
                          [(service["name"], service["state"]) for service in self.usherd.status()["services"]])
            self.assertEqual(text.count('\nusher_connections_claimed_total{service="echo"} '), n)
        provider.send(protocol.claim(connection.sequence))
        provider.finish(connection)

    def test_reload_cuts_a_long_answer_off(self):
        """Its second part would have lines of other services than the first."""
        service = 'service s{} {{ listen = {{"tcp:127.0.0.1:0"}}  providers {{ max = 1 }} }}\n'
        services = "".join(service.format(n) for n in range(300))
        self.usherd = self.start_usherd(services)
        with network.connect(f"unix:{self.usherd.run_dir}/control.sock") as control:
            control.sendall(b"metrics\n")
            begin = network.read_exactly(control, 1)
            self.usherd.write_config(services + service.format("more"))
            self.assertTrue(self.usherd.ask("reload")["ok"])
            with self.assertRaises(json.JSONDecodeError):
                json.loads(begin + network.read_all(control))
        self.usherd.remember_fds()
        text = self.usherd.ask("metrics")["text"]
        self.assertEqual(text.count("\nusher_connections_claimed_total{"), 301)

    def test_manual_has_exactly_these_families(self):
        self.begin()
        described = set(re.findall(r"(?m)^\.It Dv (usher_\w+)", MANUAL.read_text()))
        families = set(re.findall(r"(?m)^# TYPE (\w+)", self.usherctl("metrics").stdout))
        self.assertEqual(families, described)

    def test_questions_of_the_manual_have_answers(self):
        """Asked with the labels that Prometheus adds, of samples that are as bad as the questions expect."""
        text = re.search(r"(?ms)^Questions to Prometheus.*?^\.Bd .*?\n(.*?)^\.Ed", MANUAL.read_text())[1]
        questions = [" ".join(question.split()) for question in text.split("\n\n")]
        self.assertEqual(len(questions), 4)
        self.begin()
        self.serve_echo(1)
        samples = {line.rpartition(" ")[0] for line in self.usherctl("metrics").stdout.splitlines() if line[0] != "#"}
        place = self.folder / "questions.json"
        series = [{"series": f'{sample[:-1]},job="usher",instance="a:1"}}',
                   "values": "1+60x10" if re.match(r"\w+_(total|bucket)\{", sample) else "1x10"}
                  for sample in samples if 'service="echo"' in sample]
        # The samples of a question are its answer: all that promtool can compare is that there is one.
        place.write_text(json.dumps({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [
            {"expr": f"count({question}) > bool 0", "eval_time": "10m", "exp_samples": [{"value": 1}]}
            for question in questions]}]}))
        result = subprocess.run(["promtool", "test", "rules", place], capture_output=True, text=True,
                                timeout=processes.DEADLINE, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_json_is_the_answer(self):
        self.begin()
        answer = json.loads(self.usherctl("--json", "metrics").stdout)
        self.assertEqual(answer["content_type"], "text/plain; version=0.0.4")
        self.assertIn("usher_build_info{version=", answer["text"])


class Http(MetricsTest):
    def test_get_and_head(self):
        self.begin()
        status, fields, body = self.get()
        self.assertEqual((status, fields["Content-Type"]), (200, "text/plain; version=0.0.4"))
        self.assertEqual((int(fields["Content-Length"]), fields["Connection"]), (len(body), "close"))
        self.assertEqual(parse(body.decode())["usher_uptime_seconds", ()] >= 0, True)
        status, head_fields, head_body = self.get(REQUEST.replace(b"GET", b"HEAD"))
        self.assertEqual((status, head_body), (200, b""))
        self.assertEqual(head_fields["Content-Length"], fields["Content-Length"])
        self.usherd.wait_service("metrics", in_service=0)

    def test_what_is_not_there_and_not_allowed(self):
        self.begin()
        for request, expected in ((b"GET / ", 404), (b"GET /metrics/ ", 404), (b"GET * ", 404), (b"POST /metrics ", 405),
                                  (b"DELETE /metrics ", 405), (b"GET metrics ", 400), (b"GET  /metrics ", 400)):
            status, fields, body = self.get(request + REQUEST.partition(b"/metrics ")[2])
            self.assertEqual(status, expected, request)
            self.assertEqual(int(fields["Content-Length"]), len(body))
            self.assertEqual(fields.get("Allow"), "GET, HEAD" if status == 405 else None)
        status, fields, body = self.get(REQUEST.replace(b"GET /", b"HEAD /x"))
        self.assertEqual((status, body), (404, b""))

    def test_hostile_clients(self):
        """They get an answer or the end, and nobody else notices."""
        self.begin("-t", "2")
        silent, slow = self.client(), self.client(b"GET /met")
        for data, status in ((b"\x16\x03\x01\x02\x00\x01\n", 400), (b"\0" * 64 + b"\n", 400), (b"x" * 5000, 414),
                             (b"GET /" + b"x" * 5000, 414), (REQUEST[:-2] + b"a: " + b"b" * 5000, 431),
                             (REQUEST[:-2] + b"a: b\r\n" * 5000, 431), (REQUEST * 100, 200),
                             (REQUEST.replace(b"1.1", b"3.0"), 505), (REQUEST.replace(b"\r\n", b"\n"), 400)):
            answer = self.get(data)
            self.assertEqual(answer[0], status, data[:40])
            self.assertEqual(int(answer[1]["Content-Length"]), len(answer[2]))
        network.reset(self.client(REQUEST))
        self.assertEqual(self.get()[0], 200)
        slow.sendall(b"rics")
        self.assertEqual(network.read_all(silent), b"")
        self.assertEqual(network.read_all(slow), b"")
        self.usherd.wait_service("metrics", in_service=0)

    def test_half_closed_client_is_answered(self):
        self.begin()
        client = self.client(REQUEST)
        client.shutdown(1)
        self.assertEqual(split_answer(network.read_all(client))[0], 200)

    def test_those_who_are_silent_make_room(self):
        self.begin("-c", "4", "-t", "60")
        silent = [self.client() for _ in range(10)]
        self.assertEqual(self.get()[0], 200)
        for client in silent[:8]:
            self.assertEqual(network.read_all(client), b"")

    def tally(self):
        return self.usherd.service("metrics")["providers"][0]["status"]

    def n_asked(self):
        return int(re.search(r"asked (\d+) times", self.tally())[1])

    def test_many_scrapes_ask_once(self):
        self.begin()
        begin = time.monotonic()
        clients = [self.client(REQUEST) for _ in range(100)]
        answers = {network.read_all(client) for client in clients}
        seconds = time.monotonic() - begin
        self.assertTrue(all(answer.startswith(b"HTTP/1.1 200") for answer in answers))
        self.assertLessEqual(len(answers), 1 + seconds)
        self.usherd.wait_until(lambda: " 100 served" in self.tally(), "the tally to be told")
        self.assertEqual(self.n_asked(), len(answers))

    def test_silent_usherd_is_said_and_blocks_nobody(self):
        self.begin()
        clients = [self.client(b"GET") for _ in range(3)]
        self.usherd.wait_service("metrics", in_service=3)
        os.kill(self.usherd.pid, signal.SIGSTOP)
        try:
            clients[0].sendall(REQUEST[3:])
            clients[1].sendall(REQUEST[3:].replace(b"/metrics", b"/"))
            self.assertEqual(split_answer(network.read_all(clients[1]))[0], 404)
            status, _, body = split_answer(network.read_all(clients[0]))
            self.assertEqual((status, body), (503, b"usherd did not answer in time: what it does is in its log\n"))
        finally:
            os.kill(self.usherd.pid, signal.SIGCONT)
        clients[2].sendall(REQUEST[3:])
        self.assertIn(split_answer(network.read_all(clients[2]))[0], (200, 503))
        self.usherd.wait_until(lambda: self.get()[0] == 200, "the metrics to be there again")
        self.usherd.wait_until(lambda: re.search(r" [1-9]\d* failed", self.tally()), "the tally to be told")

    @harness.needs_root
    def test_who_may_not_ask_says_so(self):
        user = harness.PROVIDER_USER
        self.begin(more=f'providers {{ users = {{"{user}"}} }}', user=user)
        status, _, body = self.get()
        self.assertEqual(status, 503)
        self.assertRegex(body.decode(), "^usherd does not tell: permission denied: .*monitors")
        self.assertRegex(self.program_logs[0].read_text(), "usher-metrics: usherd does not tell: permission denied")

    @harness.needs_root
    def test_monitor_of_its_own_user_may_ask(self):
        user = harness.PROVIDER_USER
        self.begin(more=f'providers {{ users = {{"{user}"}} }}', user=user,
                   settings=f'monitors {{ users = {{"{user}"}} }}')
        self.assertEqual(self.get()[0], 200)

    def test_restart_of_usherd(self):
        self.begin()
        self.assertEqual(self.get()[0], 200)
        self.usherd.restart()
        self.usherd.wait_service("metrics", n_providers=1, state="serving")
        self.usherd.remember_fds()
        self.usherd.wait_until(lambda: self.get()[0] == 200, "the metrics to be there again")
        self.assertEqual(self.sample("usher_connections_lost_total", service="echo"), 0)


if __name__ == "__main__":
    tap.main()
