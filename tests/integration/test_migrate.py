# SPDX-License-Identifier: MIT
"""The recipes of usher-migrate(7), carried out as they stand there, with folders of the test's in place of /etc."""

import re
import shlex
import socket
import subprocess
from pathlib import Path

import harness
import network
import processes
import tap

PAGE = Path(__file__).parents[2] / "man/usher-migrate.7"
USHER_EXEC = harness.BUILD_DIR / "services/exec/usher-exec"
USHERCTL = harness.BUILD_DIR / "inetd/usherctl/usherctl"

USHER_BASIC = harness.BUILD_DIR / "services/basic/usher-basic"
SHIPPED = PAGE.parents[1] / "etc/services.d"

# daytime is among the examples that are installed, too.
INETD_CONF = """
daytime	stream	tcp	nowait	root	internal
7979	stream	tcp	nowait	daemon	/bin/cat	cat
7980	stream	tcp	nowait	daemon	/bin/cat	cat -n
"""

XINETD_CONF = """
defaults
{
	only_from = 127.0.0.1
}
service cat
{
	type = UNLISTED
	port = 7979
	socket_type = stream
	wait = no
	user = daemon
	server = /bin/cat
}
"""


def read_recipe(title):
    """The files of a recipe as a dict, and its commands."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^\.Ss {re.escape(title)}\n(.*?)(?=^\.S[sh] )", text, re.MULTILINE | re.DOTALL)[1]
    files = dict(re.findall(r"^\.Pa (\S+) :\n\.Bd .*?\n(.*?)^\.Ed", section, re.MULTILINE | re.DOTALL))
    return files, re.findall(r"^\.Dl # (.*)$", section, re.MULTILINE)


def setUpModule():
    network.enter_network_namespace()


class Recipe(harness.UsherTest):
    def setUp(self):
        super().setUp()
        (self.folder / "etc").mkdir()
        self.usherd = self.make_usherd("")
        self.examples = self.usherd.folder / "services.d"
        self.examples.mkdir()
        for example in SHIPPED.glob("*.conf"):
            self.write(f"/etc/usher/services.d/{example.name}", example.read_text())
        self.stopped = []

    def move(self, text):
        """A text with the test's folders in place of the system's."""
        return text.replace("/etc/usher", str(self.usherd.folder)).replace("/etc/", f"{self.folder}/etc/")

    def write(self, name, text):
        """A file of the recipe. usher.conf has besides what the one that is installed has."""
        path = Path(self.move(name))
        text = self.move(text)
        if path == self.usherd.config:
            text = self.usherd.settings + 'include("services.d/*.conf")\n' + text
        path.write_text(text)
        path.chmod(0o644)
        return path

    def start(self):
        self.usherd.start()
        self.start_program(self.usherd, USHER_EXEC, "-c", self.usherd.config, "-u", harness.USHERD)
        self.start_program(self.usherd, USHER_BASIC)
        self.wait_served()

    def wait_served(self):
        self.usherd.wait_until(
            lambda: all(one["providers"] for one in self.usherd.status()["services"]), "providers")

    def run_program(self, program, *arguments, output=None):
        result = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True,
                                timeout=processes.DEADLINE, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        if output:
            Path(output).write_text(result.stdout)

    def carry_out(self, command):
        words = shlex.split(self.move(command))
        if words[:2] == ["usherd", "--check"]:
            self.run_program(harness.USHERD, "--check", self.usherd.config)
        elif words[:3] == ["systemctl", "disable", "--now"]:
            self.stopped += words[3:]
        elif words == ["systemctl", "enable", "--now", "usherd", "usher-exec"]:
            self.start()
        elif words == ["usherctl", "check"]:
            self.run_program(USHERCTL, "check", self.usherd.config)
        elif words == ["usherctl", "reload"]:
            self.run_program(USHERCTL, "-r", self.usherd.run_dir, "reload")
            self.wait_served()
        elif words[0] == "rm":
            Path(words[1]).unlink()
        elif words[:2] == ["usherctl", "convert"] and words[3] == ">":
            self.write("/etc/usher/usher.conf", "")  # the page says to take the line out
            self.run_program(USHERCTL, "convert", words[2], output=words[4])
        else:
            self.fail(f"the page has a command that this test does not know: {command}")

    def talk(self, port):
        client = self.connect(f"tcp:127.0.0.1:{port}")
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        return network.read_all(client)

    def follow(self, title, begin=lambda: None):
        """Write the files, call `begin`, then run the commands."""
        files, commands = read_recipe(title)
        self.assertTrue(files and commands)
        for name, text in files.items():
            self.write(name, text)
        begin()
        for command in commands:
            self.carry_out(command)

    def test_from_inetd(self):
        self.write("/etc/inetd.conf", INETD_CONF)
        self.follow("From inetd")
        self.assertEqual(self.stopped, ["inetd"])
        self.assertIn("service 7979", (self.examples / "inetd.conf").read_text())
        self.assertIn("service daytime", (self.examples / "inetd.conf").read_text())
        self.assertEqual([self.talk(7979), self.talk(7980)], [b"hello\n", b"     1\thello\n"])
        self.assertRegex(network.read_all(self.connect("tcp:127.0.0.1:13")), rb"\d\d:\d\d:\d\d")

    def test_from_xinetd(self):
        self.write("/etc/xinetd.conf", XINETD_CONF)
        self.follow("From xinetd")
        self.assertEqual(self.stopped, ["xinetd"])
        self.assertEqual(self.talk(7979), b"hello\n")

    def test_from_systemd(self):
        self.usherd.write_config('include("services.d/*.conf")\n')
        self.follow("From systemd, Accept=yes", self.start)
        self.assertEqual(self.stopped, ["cat.socket"])
        self.assertEqual(self.talk(7979), b"hello\n")


if __name__ == "__main__":
    tap.main()
