# SPDX-License-Identifier: MIT
"""Names of hosts in only_from and no_access: who is asked, when, and who does not wait for it."""

import os
import signal
import subprocess
import threading

import harness
import nameserver
import network
import processes
import tap


@harness.needs_root
class Names(harness.UsherTest):
    @classmethod
    def setUpClass(cls):
        network.enter_network_namespace()

    def setUp(self):
        super().setUp()
        self.addresses = {"one.example": ["192.0.2.1"], "two.example": ["192.0.2.2"]}
        self.server = self.closing(nameserver.NameServer(self.addresses))
        self.port = network.free_port()

    def services(self, rules):
        return f'service a {{ listen = {{"tcp:127.0.0.1:{self.port}"}}\n{rules} }}\n'

    def start(self, rules):
        usherd = self.make_usherd(self.services(rules))
        usherd.before_exec = nameserver.use_only_this(usherd.folder)
        return usherd.start()

    def reload(self, usherd, rules):
        usherd.write_config(self.services(rules))
        answer = usherd.ask("reload")
        self.assertEqual(answer.get("ok"), True, answer)
        return answer

    def reload_meanwhile(self, usherd, rules):
        """A reload that waits: a function that waits for its answer."""
        answers = []
        usherd.write_config(self.services(rules))
        thread = threading.Thread(target=lambda: answers.append(usherd.ask("reload")))
        thread.start()
        self.assertTrue(self.server.asked.acquire(timeout=processes.DEADLINE))

        def wait():
            thread.join(processes.DEADLINE)
            return answers[0]

        return wait

    def run_program(self, program, *arguments, folder):
        return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False,
                              timeout=processes.DEADLINE, preexec_fn=nameserver.use_only_this(folder))

    def test_a_reload_asks_again(self):
        usherd = self.start("no_access = one.example")
        self.assertIn("1 unchanged", self.reload(usherd, "no_access = one.example")["message"])
        self.addresses["one.example"] = ["192.0.2.7"]
        self.assertIn("1 changed", self.reload(usherd, "no_access = one.example")["message"])
        self.assertIn("1 unchanged", self.reload(usherd, 'no_access = "192.0.2.7"')["message"])

    def test_clients_are_refused_by_name(self):
        self.addresses["here.example"] = ["127.0.0.1"]
        usherd = self.start("no_access = one.example")
        self.serving_child(usherd, "a", "x")
        address = f"tcp:127.0.0.1:{self.port}"
        self.assertEqual(network.read_all(self.connect(address)), b"x\n")
        self.reload(usherd, "no_access = here.example")
        with self.assertRaises(ConnectionResetError):
            network.read_all(self.connect(address))
        self.reload(usherd, "only_from = here.example")
        self.assertEqual(network.read_all(self.connect(address)), b"x\n")
        self.reload(usherd, "only_from = nosuch.example")
        with self.assertRaises(ConnectionResetError):
            network.read_all(self.connect(address))

    def listen_by_name(self, *names):
        return f"service a {{ listen = {{{', '.join(f'{chr(34)}tcp:{name}:{self.port}{chr(34)}' for name in names)}}} }}"

    def listeners(self, usherd):
        return [listener["address"] for listener in usherd.service("a")["listeners"]]

    def test_listening_by_name(self):
        """The addresses are those of the last start or reload; a name without any changes nothing."""
        self.addresses["here.example"] = ["127.0.0.1", "127.0.0.2"]
        usherd = self.make_usherd(self.listen_by_name("here.example"))
        usherd.before_exec = nameserver.use_only_this(usherd.folder)
        usherd.start()
        self.serving_child(usherd, "a", "x")
        self.assertEqual(network.read_all(self.connect(f"tcp:127.0.0.2:{self.port}")), b"x\n")
        self.assertEqual(self.listeners(usherd), [f"tcp:127.0.0.{i}:{self.port}" for i in (1, 2)])
        self.addresses["here.example"] = ["127.0.0.2", "127.0.0.3"]
        self.assertIn("1 changed", usherd.ask("reload")["message"])
        self.assertEqual(self.listeners(usherd), [f"tcp:127.0.0.{i}:{self.port}" for i in (2, 3)])
        usherd.remember_fds()
        usherd.write_config(self.listen_by_name("here.example", "nosuch.example"))
        self.assertRegex("\n".join(usherd.ask("reload")["lines"]), "'nosuch.example' has no address")
        self.assertEqual(network.read_all(self.connect(f"tcp:127.0.0.3:{self.port}")), b"x\n")

    def test_start_with_an_unknown_name(self):
        usherd = self.make_usherd(self.listen_by_name("nosuch.example"))
        usherd.before_exec = nameserver.use_only_this(usherd.folder)
        self.check_start_fails(usherd, "listen: the name 'nosuch.example' has no address", os.EX_CONFIG)

    def test_network_of_the_file(self):
        usherd = self.start("no_access = testnet")
        self.assertIn("1 unchanged", self.reload(usherd, 'no_access = "198.51.100.0/24"')["message"])

    def test_unknown_name_is_a_warning_everywhere(self):
        warning = r"usher\.conf:\d+: warning: only_from: the name 'nosuch\.example' cannot be looked up: .+"
        usherd = self.start("only_from = nosuch.example")
        usherd.wait_log(warning)
        answer = self.reload(usherd, "only_from = {nosuch.example, one.example}")
        self.assertRegex("\n".join(answer["warnings"]), warning)
        usherd.wait_log(warning)
        for program, arguments in ((harness.USHERD, ["--check"]), (harness.USHERCTL, ["check"])):
            result = self.run_program(program, *arguments, str(usherd.config), folder=usherd.folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertRegex(result.stderr, warning)
        result = self.run_program(harness.USHERCTL, "--run-dir", str(usherd.run_dir), "reload", folder=usherd.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr.count("warning: "), 1)

    def test_domain_is_an_error(self):
        usherd = self.start("only_from = one.example")
        usherd.write_config(self.services("only_from = .example"))
        self.assertRegex("\n".join(usherd.ask("reload")["lines"]), "'.example' is a domain, which cannot be decided")

    def test_nobody_waits_for_a_reload_that_waits(self):
        usherd = self.start("no_access = one.example")
        self.serving_child(usherd, "a", "x")
        self.addresses["two.example"] = None
        wait = self.reload_meanwhile(usherd, "no_access = two.example")
        self.assertEqual(network.read_all(self.connect(f"tcp:127.0.0.1:{self.port}")), b"x\n")
        self.assertIn("ask again", usherd.ask("reload")["error"])
        self.assertIn("ask again", usherd.ask("upgrade")["error"])
        answer = wait()
        self.assertIn("1 changed", answer["message"])
        self.assertRegex(answer["warnings"][0], "'two.example' cannot be looked up: no answer within the time")

    def test_signal_meanwhile_reloads_once_more(self):
        usherd = self.start("no_access = one.example")
        self.addresses["two.example"] = None
        wait = self.reload_meanwhile(usherd, "no_access = two.example")
        usherd.write_config(self.services('no_access = "192.0.2.9"'))
        usherd.process.send_signal(signal.SIGHUP)
        usherd.ask("status")  # it has seen the signal
        self.assertIn("1 changed", wait()["message"])
        usherd.wait_log("reloaded: .* 1 changed")
        usherd.wait_log("reloaded: .* 1 changed")
        self.assertIn("1 unchanged", self.reload(usherd, 'no_access = "192.0.2.9"')["message"])

    def test_stop_while_a_reload_waits(self):
        usherd = self.start("no_access = one.example")
        self.addresses["two.example"] = None
        usherd.write_config(self.services("no_access = two.example"))
        usherd.process.send_signal(signal.SIGHUP)
        self.assertTrue(self.server.asked.acquire(timeout=processes.DEADLINE))
        usherd.stop()

    def test_upgrade_waits_too(self):
        usherd = self.start("no_access = one.example")
        usherd.write_config(self.services("no_access = two.example"))
        self.assertRegex(usherd.ask("upgrade")["message"], "^upgraded from ")
        usherd.remember_fds()


if __name__ == "__main__":
    tap.main()
