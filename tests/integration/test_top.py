# SPDX-License-Identifier: MIT
"""usherctl top, in a terminal that tmux(1) is: what stands on its screen, and what keys do."""

import json
import re
import signal
import subprocess

import harness
import network
import protocol
import tap
from processes import DEADLINE
from terminal import Terminal

CONFIG = """
service echo { listen = {"tcp:127.0.0.1:0"} instances = 20000 }
service web { listen = {"tcp:127.0.0.1:0"} unavailable = refuse }
"""
TITLES = "SERVICE      STATE     ACC/S REF/S REL/S IN SERVICE CREDIT          MEDIAN   P99"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*3[0-7]m")


class Top(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG)

    def command(self, *options):
        return [harness.USHERCTL, "--run-dir", self.usherd.run_dir, "top", "--interval", "0.1", *options]

    def top(self, width=80, height=24, *, options=(), **environment):
        variables = {"LC_ALL": "C.UTF-8", "TERM": "screen", "NO_COLOR": "", **environment}
        return self.closing(Terminal(self.folder, self.command(*options), width, height, **variables))

    def visit(self, service):
        with network.connect(self.usherd.addresses(service)[0]) as client:
            network.read_all(client)

    def check_quits(self, terminal):
        terminal.press("q")
        lines = terminal.wait("^restored$")
        self.assertIn("status 0", [line.strip() for line in lines])

    def test_screen_of_80_columns(self):
        self.serving_child(self.usherd, "echo", "first", credit=8)
        terminal = self.top()
        lines = terminal.wait("Enter providers$")
        self.assertEqual(len(lines), 24)
        self.assertRegex(lines[0], rf"^usherd [\d.]+, pid {self.usherd.pid}, up \d+ ")
        self.assertRegex(lines[1], "^2 services, 0 in service, 0 waiting; ")
        self.assertEqual(lines[3], TITLES)
        self.assertRegex(lines[4], "^echo +serving +[0-9-]+ +[0-9-]+ +[0-9-]+ +0/20k █{15} +- +-$")
        self.assertRegex(lines[5], "^web +refusing +[0-9-]+ +[0-9-]+ +[0-9-]+ +0/1024 - +- +-$")
        self.assertEqual(lines[6:23], [""] * 17)
        self.assertRegex(lines[23], "^q quit +[?] help +s order: name +space hold +Enter providers$")
        self.check_quits(terminal)

    def test_rates(self):
        self.serving_child(self.usherd, "echo", "first")
        terminal = self.top()
        latency = r"[\d.]+(?:µs|ms|s)"
        terminal.wait(rf"^echo +serving +(0\.)?[1-9].* {latency} +{latency}$", lambda: self.visit("echo"))
        terminal.wait(r"^echo +serving +0 +0 +0 ")

    def test_credit_and_connections_in_service(self):
        provider = self.provider(self.usherd, "echo", credit=4, name="half")
        terminal = self.top(LC_ALL="C")
        terminal.wait(r"^echo .* 0/20k #{15} ")
        clients = [self.connect(self.usherd.addresses("echo")[0]) for _ in range(2)]
        connections = []
        while len(connections) < len(clients):
            connections += provider.receive_connections()
        provider.send(protocol.claim(connections[-1].sequence))
        terminal.wait(r"^echo .* 2/20k #{8}\.{7} ")
        terminal.wait(r", 2 in service,")
        for connection in connections:
            self.closing(connection)

    def test_keys(self):
        self.serving_child(self.usherd, "web", "my-server")
        terminal = self.top()
        terminal.wait("^web +serving")
        terminal.press("Down", "Enter")
        terminal.wait("^ +1 my-server +ready")
        terminal.press("Enter")
        terminal.wait("^$")
        terminal.press("s")
        terminal.wait("order: accepted")
        terminal.press("?")
        terminal.wait("^q +quit$")
        terminal.press("?")
        terminal.wait("^SERVICE")
        terminal.press("Space")
        terminal.wait("^held: space goes on")
        terminal.press("Space")
        terminal.wait("space hold")
        self.check_quits(terminal)

    def test_list_longer_than_the_screen_is_scrolled(self):
        services = "".join(f"service s{i:02} {{ listen = {{\"tcp:127.0.0.1:0\"}} }}\n" for i in range(40))
        self.usherd = self.start_usherd(services)
        terminal = self.top(options=["--interval", "3600"])
        self.check_shows(terminal, "s00", "s18")
        terminal.press("PgDn")
        self.check_shows(terminal, "s01", "s19")
        terminal.press("PgDn", "PgDn")
        self.check_shows(terminal, "s21", "s39")
        terminal.press("PgUp", "PgUp", "PgUp")
        self.check_shows(terminal, "s00", "s18")

    def check_shows(self, terminal, first, last):
        terminal.wait(f"^{first} ")
        terminal.wait(f"^{last} ")
        lines = terminal.lines()
        self.assertEqual((lines[4][:3], lines[22][:3]), (first, last))

    def test_small_terminal_has_fewer_columns_and_no_line_that_goes_on(self):
        terminal = self.top(40, 10)
        lines = terminal.wait("^q quit")
        self.assertEqual(lines[3], "SERVICE      STATE     ACC/S IN SERVICE")
        self.assertRegex(lines[4], "^echo +waiting +[0-9-]+ +0/20k$")
        self.assertEqual(len(lines), 10)
        self.assertRegex(lines[9], "^q quit")

    def test_another_size_is_drawn_at_once(self):
        terminal = self.top(40, 10, options=["--interval", "3600"])
        terminal.wait("^SERVICE +STATE +ACC/S +IN SERVICE$")
        terminal.resize(80, 24)
        self.assertEqual(len(terminal.wait(f"^{re.escape(TITLES)}$")), 24)
        terminal.resize(1, 1)
        terminal.resize(12, 6)
        terminal.wait("^SERVICE$")
        self.assertEqual(len(terminal.lines()), 6)
        terminal.resize(40, 7)
        terminal.press("?")
        terminal.wait("^q quit  any other key: back$")
        self.check_quits(terminal)

    def test_colours_are_for_terminals_that_have_them(self):
        self.serving_child(self.usherd, "echo", "first")
        for environment, has_colours in ({}, True), ({"TERM": "vt100"}, False), ({"NO_COLOR": "1"}, False):
            terminal = self.top(**environment)
            terminal.wait("^echo +serving")
            self.assertEqual(bool(COLOUR.search(terminal.text_with_attributes())), has_colours, environment)

    def test_usherd_that_goes_and_comes_back(self):
        terminal = self.top()
        terminal.wait("^echo +waiting")
        self.usherd.stop()
        terminal.wait("usherd is not running: .*asking again|usherd is not running: no control socket")
        self.usherd.process.stderr.close()
        self.usherd.start()
        lines = terminal.wait(f"pid {self.usherd.pid}, ")
        self.assertEqual(lines[2], "")

    def test_hostile_texts_of_providers_do_not_reach_the_terminal(self):
        self.provider(self.usherd, "web", name="x\u202ez")
        terminal = self.top()
        terminal.wait("^web +serving")
        terminal.press("Down", "Enter")
        terminal.wait(r"^ +1 x\?+z +ready")
        self.assertRegex(terminal.lines()[0], "^usherd ")

    def test_count(self):
        terminal = self.top(options=["--count", "2"])
        self.assertIn("status 0", [line.strip() for line in terminal.wait("^restored$")])

    def test_signal_restores_the_terminal(self):
        terminal = self.top()
        terminal.wait("^echo +waiting")
        terminal.press("C-c")
        terminal.wait("^restored$")

    def run_without_terminal(self, *options, **more):
        return subprocess.run(self.command(*options), capture_output=True, text=True, timeout=DEADLINE,
                              check=False, stdin=subprocess.DEVNULL, **more)

    def test_without_a_terminal_it_says_what_to_do(self):
        result = self.run_without_terminal()
        self.assertEqual((result.returncode, result.stdout), (64, ""))
        self.assertIn("--json top", result.stderr)

    def test_terminals_that_are_unknown_or_have_no_screen(self):
        for term in "no-such-terminal", "dumb":
            # ncurses does not free what it began with
            terminal = self.top(TERM=term, ASAN_OPTIONS="detect_leaks=0")
            terminal.wait("^status 64$")
            terminal.wait(f"'{term}': set TERM")

    def test_json_is_a_line_each_time(self):
        self.serving_child(self.usherd, "echo", "first")
        result = self.run_without_terminal("--json", "--count", "2")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertGreater(line["seconds"], 0.09)
            self.assertEqual([service["name"] for service in line["services"]], ["echo", "web"])
            self.assertEqual(line["services"][0]["accepted_per_second"], 0)

    def test_json_tells_that_usherd_has_gone(self):
        with subprocess.Popen(self.command("--json"), stdout=subprocess.PIPE, text=True) as process:
            self.assertIn("services", json.loads(process.stdout.readline()))
            self.usherd.stop()
            while "error" not in (line := json.loads(process.stdout.readline())):
                pass
            process.send_signal(signal.SIGTERM)
        self.assertIn("usherd is not running", line["error"])


if __name__ == "__main__":
    tap.main()
