# SPDX-License-Identifier: MIT
"""The completions of usherctl, in the shells that they are for.

bash and fish are asked as they ask themselves; zsh has no such way, and gets its keys pressed.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import harness
import tap
from processes import DEADLINE
from terminal import Terminal

FOLDER = Path(__file__).resolve().parents[2] / "packaging/completions"
BASH_COMPLETION = "/usr/share/bash-completion/bash_completion"
CONFIG = """
service echo { listen = {"tcp:127.0.0.1:0"} }
service web-1 { listen = {"tcp:127.0.0.1:0"} }
service web-2 { listen = {"tcp:127.0.0.1:0"} }
"""


class Completions(harness.UsherTest):
    """Each of `complete` gives the words that the last word of a line may become."""

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG)
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "usherctl").symlink_to(harness.USHERCTL)
        self.work = self.folder / "work"
        self.work.mkdir()
        (self.work / "my file.conf").touch()
        (self.work / "folder").mkdir()
        self.environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(self.work), "LC_ALL": "C.UTF-8",
            "USHER_RUN_DIR": str(self.usherd.run_dir)}

    def run_shell(self, *command):
        result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False,
                                cwd=self.work, env={**os.environ, **self.environment})
        self.assertEqual(result.stderr, "")
        return set(filter(None, result.stdout.splitlines()))

    def usherctl(self, *words):
        """What usherctl itself says, without the descriptions."""
        return {line.split("\t")[0] for line in self.run_shell("usherctl", "--complete", "--", *words)}

    def bash(self, *words):
        script = (f"compopt() {{ :; }}; source {BASH_COMPLETION}; source {FOLDER}/usherctl.bash\n"
                  f"COMP_WORDS=(usherctl {shlex.join(words)}) COMP_CWORD={len(words)}\n"
                  f"COMP_LINE=${{COMP_WORDS[*]}} COMP_POINT=${{#COMP_LINE}}\n"
                  f"_usherctl usherctl {shlex.quote(words[-1])} x; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        return self.run_shell("bash", "--norc", "--noprofile", "-c", script)

    def fish(self, *words):
        line = " ".join(["usherctl", *words])
        script = f"source {FOLDER}/usherctl.fish; complete -C {shlex.quote(line)}"
        return {line.split("\t")[0] for line in self.run_shell("fish", "--no-config", "-c", script)}

    def check_all(self, words, expected):
        for shell in self.usherctl, self.bash, self.fish:
            with self.subTest(shell=shell.__name__, words=words):
                self.assertEqual(shell(*words), expected)

    def help_words(self, pattern):
        return set(re.findall(pattern, "\n".join(self.run_shell("usherctl", "--help")), re.MULTILINE))

    def test_every_command_of_the_help(self):
        commands = self.help_words(r"^  ([a-z]+) ")
        self.assertIn("status", commands)
        self.check_all([""], commands)
        self.check_all(["st"], {"status"})
        self.check_all(["--run-dir", str(self.usherd.run_dir), "--json", "st"], {"status"})

    def test_every_option_of_the_help(self):
        options = self.help_words(r"^ .*?(--[a-z-]+)")
        self.assertIn("--run-dir", options)
        self.check_all(["--"], options)
        self.check_all(["status", "--js"], {"--json"})

    def test_services(self):
        self.check_all(["status", ""], {"echo", "web-1", "web-2"})
        self.check_all(["status", "echo", "web"], {"web-1", "web-2"})
        self.check_all(["pause", "nobody"], set())

    def test_services_of_the_usherd_that_the_line_names(self):
        other = self.start_usherd('service other { listen = {"tcp:127.0.0.1:0"} }')
        self.check_all(["-r", str(other.run_dir), "resume", ""], {"other"})
        self.check_all(["resume", "--run-dir", str(other.run_dir), ""], {"other"})
        self.check_all(["-r", str(self.work), "resume", ""], set())
        self.assertEqual(self.usherctl(f"--run-dir={other.run_dir}", "resume", ""), {"other"})
        self.assertEqual(self.fish(f"--run-dir={other.run_dir}", "resume", ""), {"other"})
        self.assertEqual(self.bash("--run-dir", "=", str(other.run_dir), "resume", ""), {"other"})  # as it splits

    def test_providers_of_a_service(self):
        self.provider(self.usherd, "echo", name="first")
        self.provider(self.usherd, "echo", name="second")
        self.provider(self.usherd, "web-1", name="x\u202ey")
        self.check_all(["drain", "e"], {"echo"})
        self.check_all(["drain", "echo/"], {"echo/1", "echo/2"})
        self.check_all(["status", "echo/"], set())
        self.assertIn("echo/2\tsecond", self.run_shell("usherctl", "--complete", "--", "drain", "echo/"))
        self.assertRegex("".join(self.run_shell("usherctl", "--complete", "--", "drain", "web-1/")), r"x\?+y")

    def test_arguments_end(self):
        self.check_all(["reload", ""], set())
        self.assertEqual(self.usherctl("check", ""), {":files"})
        self.check_all(["check", "file", ""], set())
        self.assertEqual(self.usherctl("convert", "a", "b", ""), {":files"})
        self.check_all(["no-such-command", ""], set())

    def test_files_and_folders(self):
        self.assertEqual(self.bash("check", "my"), {"my file.conf"})
        self.assertEqual(self.bash("--run-dir", ""), {"folder"})
        self.assertEqual(self.fish("check", "my"), {"my file.conf"})
        self.assertEqual(self.fish("--run-dir", ""), {"folder/"})

    def test_values_of_options(self):
        self.check_all(["--type", ""], {"inetd", "xinetd"})
        self.check_all(["--interval", ""], set())

    def zsh(self):
        functions = self.folder / "functions"
        functions.mkdir()
        (functions / "_usherctl").symlink_to(FOLDER / "usherctl.zsh")
        (self.work / ".zshrc").write_text(
            f"PS1='> '; fpath=({functions} $fpath); autoload -Uz compinit; compinit -u -D; cd {self.work}\n")
        terminal = self.closing(
            Terminal(self.folder, ["zsh", "-d", "-i"], **self.environment, ZDOTDIR=self.work, TERM="screen"))
        terminal.wait("^>")
        return terminal

    def check_zsh(self, typed, expected):
        """What the line becomes, or, where there are several ways to go on, what is below it."""
        terminal = self.zsh()
        terminal.press("-l", typed)
        terminal.press("Tab")
        return terminal.wait(expected)

    def test_zsh_has_the_commands(self):
        lines = "\n".join(self.check_zsh("usherctl ", "^upgrade +-- let usherd"))
        for command in self.help_words(r"^  ([a-z]+) "):
            self.assertRegex(lines, rf"(?m)^{command} +-- ")

    def test_zsh_has_options(self):
        self.check_zsh("usherctl status --js", "^> usherctl status --json$")

    def test_zsh_has_services(self):
        self.check_zsh("usherctl status web-", r"^web-\d +web-\d +-- waiting")

    def test_zsh_has_providers(self):
        self.provider(self.usherd, "echo", name="first")
        self.check_zsh("usherctl drain echo/", "^> usherctl drain echo/1$")

    def test_zsh_has_files(self):
        self.check_zsh("usherctl check my", r"^> usherctl check my\\ file.conf$")

    def test_zsh_has_folders(self):
        self.check_zsh("usherctl -r f", "^> usherctl -r folder/")


if __name__ == "__main__":
    tap.main()
