# SPDX-License-Identifier: MIT
"""Files of inetd and xinetd: the same under those and under usherd with usher-exec, the answers compared."""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import harness
import network
import processes
import tap

sys.path.append(str(Path(__file__).parent.parent / "bench"))
import packages  # noqa: E402

USHER_EXEC = harness.BUILD_DIR / "services/exec/usher-exec"
USHER_BASIC = harness.BUILD_DIR / "services/basic/usher-basic"
USHERCTL = harness.BUILD_DIR / "inetd/usherctl/usherctl"

# Several inetds cannot be installed at the same time: see packages.py. What cannot be had is skipped.
PROGRAMS = {}

# What a program tells of itself: its arguments, who it is, what its sockets are.
TELL = 'tr "\\0" " " < /proc/$$/cmdline; echo; id -un; id -gn; readlink /proc/$$/fd/0 | tr -d "[0-9]"'

# Answers one datagram and ends: what inetd calls wait.
ANSWER = """
import os, socket
udp = socket.socket(fileno=0)
data, sender = udp.recvfrom(100)
udp.sendto(b'<' + data + b'>', sender)
"""

INETD_CONF = """
# a comment
echo	stream	tcp	nowait	root	internal
discard	stream	tcp	nowait	root	internal
time	stream	tcp	nowait	root	internal
4001	stream	tcp	nowait	daemon	/bin/sh	-sh {script} one 2
4002	stream	tcp4	nowait.1000	bin:sys	/bin/sh	sh {script}
127.0.0.1:4003	stream	tcp	nowait	nobody	/bin/cat
	cat -E
4004	dgram	udp	wait	nobody	{python}	python {answer}
4005	stream	tcp	wait	nobody	{python}	python {accept}
{folder}/s.sock	stream	unix	nowait	root	/bin/cat	cat -n
#<off># 4006	stream	tcp	nowait	root	/bin/cat	cat
walld/1	dgram	rpc/udp	wait	root	/bin/cat	cat
localhost:4007	stream	tcp	nowait	nobody	/bin/cat	cat
localhost:4008	stream	tcp4	nowait	nobody	/bin/cat	cat
nosuch.invalid:4009	stream	tcp	nowait	nobody	/bin/cat	cat
"""

XINETD_CONF = """
defaults
{{
	log_type = FILE {folder}/log/xinetd.log
	log_on_success = HOST
	only_from = 127.0.0.0
	instances = 50
}}
includedir {folder}/xinetd.d
"""

XINETD_D = {
    "tell": """
service tell
{{
	type = UNLISTED
	port = 4001
	socket_type = stream
	wait = no
	user = daemon
	group = sys
	server = /bin/sh
	server_args = {script} one 2
	nice = 3
}}
""", "named": """
service named
{{
	type = UNLISTED
	port = 4002
	socket_type = stream
	wait = no
	user = 2
	group = 3
	flags = NAMEINARGS KEEPALIVE
	server = /bin/sh
	server_args = -sh {script} x
	umask = 027
	env = A=b
}}
""", "closed": """
service closed
{{
	type = UNLISTED
	port = 4003
	socket_type = stream
	wait = no
	user = root
	server = /bin/cat
	only_from = 10.0.0.1
}}
""", "bound": """
service bound
{{
	type = UNLISTED
	port = 4005
	socket_type = stream
	wait = no
	user = root
	bind = localhost
	flags = IPv4
	server = /bin/cat
	only_from = 0.0.0.0
}}
""", "udp": """
service udp
{{
	type = UNLISTED
	port = 4004
	socket_type = dgram
	wait = yes
	user = nobody
	server = {python}
	server_args = {answer}
	only_from = 0.0.0.0
}}
""", "off": """
service off
{{
	disable = yes
	type = UNLISTED
	port = 4006
	socket_type = stream
	wait = no
	user = root
	server = /bin/cat
}}
""", "editor~": "service x\n", "saved.rpmsave": "service x\n",
}

ACCEPT = """
import socket
client = socket.socket(fileno=0).accept()[0]
client.sendall(client.recv(100).upper())
"""


def setUpModule():
    for names in (("openbsd-inetd",), ("xinetd",), ("update-inetd",)):
        with contextlib.suppress(packages.Unavailable):
            PROGRAMS[names[0]] = packages.Programs(names, harness.BUILD_DIR / "packages")
    network.enter_network_namespace()


def talk(port, line=b"hello\n", host="127.0.0.1"):
    """What a service says to a line and the end; an exception's name if it does not come to that.

    Whoever is reset is told so in words that depend on how far he was.
    """
    try:
        with socket.create_connection((host, port), processes.DEADLINE) as client:
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
            return network.read_all(client)
    except ConnectionRefusedError:
        return "ConnectionRefusedError"
    except OSError as error:
        if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            raise
        return "ConnectionResetError"


def ask(port, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(processes.DEADLINE)
        client.connect(("127.0.0.1", port))
        client.send(data)
        return client.recv(1000)


def talk_unix(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(processes.DEADLINE)
        client.connect(str(path))
        client.sendall(b"line\n")
        client.shutdown(socket.SHUT_WR)
        return network.read_all(client)


def list_listening(*which):
    return subprocess.run(["ss", "-Hln", *which], capture_output=True, text=True, check=True).stdout


def wait_listening(process, port):
    """Until it listens, of which there is no event: it is looked at until the process ends. Returns whether it does."""
    deadline = processes.Deadline()
    pidfd = os.pidfd_open(process.pid)
    try:
        while not list_listening("-t", f"sport = :{port}"):
            if select.select([pidfd], [], [], min(0.02, deadline.left(f"port {port} to be listened on")))[0]:
                return False
        return True
    finally:
        os.close(pidfd)


def wait_free():
    """Until no port is taken: a program may outlive the super-server that has run it, for which there is no event."""
    deadline = processes.Deadline()
    while taken := list_listening("-tu"):
        deadline.left(f"these to be closed:\n{taken}")


class Compat(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.names = {"folder": self.folder, "python": "/usr/bin/python3"}  # everybody may run it
        for name, text in (("script", TELL), ("answer", ANSWER), ("accept", ACCEPT)):
            self.names[name] = self.write(f"{name}.txt", text)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    def write_xinetd(self):
        for name, text in XINETD_D.items():
            self.write(f"xinetd.d/{name}", text.format(**self.names))
        (self.folder / "log").mkdir()
        (self.folder / "log").chmod(0o777)  # xinetd writes there as root, and usherd as another user
        return self.write("xinetd.conf", XINETD_CONF.format(**self.names))

    def start_usher(self, config):
        """usherd with that, and all who serve it."""
        usherd = self.start_usherd(config)
        self.start_program(usherd, USHER_EXEC, "-c", usherd.config, "-u", harness.USHERD)
        self.start_program(usherd, USHER_BASIC)
        self.wait_served(usherd)
        return usherd

    def wait_served(self, usherd):
        usherd.wait_until(lambda: all(service["providers"] for service in usherd.status()["services"]),
                          "all services to have a provider")

    @contextlib.contextmanager
    def running(self, name, program, *arguments, port):
        """Another super-server, until the end of the block."""
        if name not in PROGRAMS:
            self.skipTest(f"{name} cannot be had")
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(PROGRAMS[name].find(program)), *map(str, arguments)], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, env=PROGRAMS[name].environment, start_new_session=True)
        try:
            self.assertTrue(wait_listening(process, port), log.read_text())
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(processes.DEADLINE)
            wait_free()


class Inetd(Compat):
    def answers(self):
        return {
            "echo": talk(7),
            "echo by IPv6": talk(7, host="::1"),
            "discard": talk(9),
            "time": len(talk(37, b"")),
            "tell": talk(4001, b""),
            "tell by IPv6": talk(4001, b"", host="::1"),
            "group": talk(4002, b""),
            "no IPv6": talk(4002, host="::1"),
            "continued": talk(4003),
            "one address": talk(4003, host="127.0.0.2"),
            "datagram": [ask(4004, b"1"), ask(4004, b"2")],
            "wait": [talk(4005), talk(4005)],
            "unix": talk_unix(self.folder / "s.sock"),
            "off": talk(4006),
            "name": [talk(4007), talk(4007, host="::1"), talk(4007, host="127.0.0.2")],
            "name, IPv4": [talk(4008), talk(4008, host="::1")],
            "unknown name": talk(4009),
        }

    def test_same_answers_as_from_openbsd_inetd(self):
        file = self.write("inetd.conf", INETD_CONF.format(**self.names))
        with self.running("openbsd-inetd", "inetd", "-i", file, port=4001):
            expected = self.answers()
        self.start_usher(f'inetd_conf("{file}")')
        self.assertEqual(self.answers(), expected)
        self.assertEqual(expected["datagram"], [b"<1>", b"<2>"])
        self.assertIn(b"daemon", expected["tell"])

    def test_line_that_is_left_out_is_told(self):
        file = self.write("inetd.conf", INETD_CONF.format(**self.names))
        usherd = self.start_usher(f'inetd_conf("{file}")')
        result = self.run_usherd("--check", usherd.config)
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stderr, r"inetd.conf:14: warning: .*rpcbind")

    def test_names_are_not_looked_up_for_programs(self):
        file = self.write("inetd.conf", INETD_CONF.format(**self.names))
        usherd = self.make_usherd(f'inetd_conf("{file}")')
        usherd.write_config(f'inetd_conf("{file}")')
        programs = json.loads(self.run_usherd("--programs", "-c", usherd.config).stdout)["services"]
        self.assertEqual(programs["4009"]["listeners"][0]["host"], "nosuch.invalid")
        self.assertEqual(programs["4003"]["listeners"], [{"address": "tcp:127.0.0.1:4003", "lent": False}])

    def test_update_inetd_and_a_reload(self):
        if "update-inetd" not in PROGRAMS:
            self.skipTest("update-inetd cannot be had")
        file = self.write("inetd.conf", "4001\tstream\ttcp4\tnowait\troot\t/bin/cat\tcat\n")
        usherd = self.start_usher(f'inetd_conf("{file}")')

        def update(*arguments):
            root = PROGRAMS["update-inetd"].root
            subprocess.run(["perl", root / "usr/sbin/update-inetd", "--file", file, *arguments], check=True,
                           env={**os.environ, "PERL5LIB": str(root / "usr/share/perl5"),
                                "UPDATE_INETD_FAKE_IT": "1"}, capture_output=True)
            self.assertIn("ok", usherd.ask("reload"))
            self.wait_served(usherd)
            return [talk(4001), talk(4002)]

        refused = "ConnectionRefusedError"
        self.assertEqual(update("--add", r"4002\tstream\ttcp4\tnowait\troot\t/bin/cat\tcat -n"),
                         [b"hello\n", b"     1\thello\n"])
        self.assertEqual(update("--disable", "4001"), [refused, b"     1\thello\n"])
        self.assertEqual(update("--enable", "4001"), [b"hello\n", b"     1\thello\n"])
        self.assertEqual(update("--remove", "4002"), [b"hello\n", refused])


class Xinetd(Compat):
    def answers(self):
        return {
            "tell": talk(4001, b""),
            "named": talk(4002, b""),
            "closed": talk(4003) or "ConnectionResetError",  # or an orderly end: who is faster?
            "udp": ask(4004, b"1"),
            "off": talk(4006),
            "name": [talk(4005), talk(4005, host="127.0.0.2"), talk(4005, host="::1")],
            "other source": talk(4001, b"", host="::1") or "ConnectionResetError",
        }

    def test_same_answers_as_from_xinetd(self):
        file = self.write_xinetd()
        with self.running("xinetd", "xinetd", "-dontfork", "-f", file, "-pidfile", self.folder / "pid", port=4001):
            expected = self.answers()
        (self.folder / "log/xinetd.log").unlink()  # it is root's
        self.start_usher(f'xinetd_conf("{file}")')
        self.assertEqual(self.answers(), expected)
        self.assertIn(b"-sh", expected["named"])
        self.assertIn(b"bin\nsys\n", expected["named"])

    def test_folder_alone(self):
        self.write_xinetd()
        self.start_usher(f'xinetd_d("{self.folder}/xinetd.d")')
        self.assertIn(b"daemon\nsys\n", talk(4001, b""))
        self.assertEqual(talk(4006), "ConnectionRefusedError")


    def test_log_of_root_is_a_warning(self):
        """usherd starts, reloads and logs, and uses the file when it is given to its user."""
        file = self.write_xinetd()
        log = self.folder / "log/xinetd.log"
        log.mkdir()
        usherd = self.start_usher(f'xinetd_conf("{file}")')
        usherd.wait_log(r"warning: service 'bound' cannot log to .*xinetd\.log: it is no regular file.*chown")
        self.assertIn(b"daemon", talk(4001, b""))
        usherd.wait_log(r"event=start service=tell .*peer=127\.0\.0\.1")
        answer = usherd.ask("reload")
        self.assertIn("ok", answer)
        self.assertRegex("\n".join(answer["warnings"]), "cannot log to .*xinetd.log")
        log.rmdir()
        self.assertEqual(usherd.ask("reload")["warnings"], [])
        self.assertTrue(log.is_file())
        log.unlink()
        log.mkdir()  # what was open is closed again
        self.assertIn("ok", usherd.ask("reload"))
        usherd.write_config(f'service own {{ listen = "tcp:4009" log_type = {{file, "{self.folder}/script.txt/x"}} }}')
        self.assertRegex(usherd.ask("reload")["lines"][0], "service 'own' cannot log to ")


class Convert(Compat):
    def convert(self, *arguments):
        return subprocess.run([str(USHERCTL), *map(str, arguments)], capture_output=True, text=True,
                              timeout=processes.DEADLINE, check=False)

    def test_what_is_printed_runs(self):
        file = self.write("inetd.conf", INETD_CONF.format(**self.names))
        result = self.convert("convert", file)
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stderr, r"inetd.conf:14: warning: .*rpcbind")
        self.start_usher(result.stdout.replace("tcp:nosuch.invalid", "tcp:localhost"))  # an error there
        self.assertEqual(talk(4003), b"hello$\n")
        self.assertEqual(talk(4009), b"hello\n")

    def test_machine_without_ipv6(self):
        """A kernel that was told to do without IPv6 still has it, but no address: nothing of it is listened on."""
        file = self.write("inetd.conf", "4001 stream tcp nowait root /bin/cat\n"
                                        "localhost:4002 stream tcp nowait root /bin/cat\n")
        result = subprocess.run(["unshare", "--net", USHERCTL, "convert", file], capture_output=True, text=True,
                                timeout=processes.DEADLINE, check=True)
        self.assertIn('listen = {"tcp:0.0.0.0:4001"}', result.stdout)
        self.assertIn('listen = {"tcp4:localhost:4002"}', result.stdout)

    def test_form_is_recognised_or_said(self):
        xinetd, inetd = self.write_xinetd(), self.write("inetd.conf", "4001 stream tcp nowait root /bin/cat\n")
        self.assertIn("service tell", self.convert("convert", xinetd).stdout)
        self.assertIn("service tell", self.convert("convert", self.folder / "xinetd.d").stdout)
        self.assertIn("service 4001", self.convert("convert", inetd).stdout)
        self.assertNotIn("service", self.convert("convert", "--type", "xinetd", inetd).stdout)
        self.assertEqual(self.convert("convert", xinetd, inetd).returncode, 0)

    def test_what_cannot_be_read(self):
        inetd = self.write("inetd.conf", "4001 stream tcp nowait root /bin/cat\n")
        result = self.convert("convert", self.folder / "none", inetd)
        self.assertEqual(result.returncode, 1)
        self.assertIn("none cannot be read: No such file or directory", result.stderr)
        self.assertIn("service 4001", result.stdout)
        self.assertIn("cannot be read", self.convert("convert", "/dev/zero").stderr)
        folder = self.folder / "folder"
        folder.mkdir()
        (folder / "x").symlink_to(self.folder / "none")
        self.assertTrue(self.convert("convert", folder).stderr.startswith(f"{folder}: warning: '{folder}/x' is left out"))

    def test_wrong_usage(self):
        for arguments, message in ((("convert",), "no file was given for convert"),
                                   (("--type", "x", "convert", "y"), "expected --type inetd or xinetd"),
                                   (("--type", "inetd", "status"), "--type does not go with status")):
            result = self.convert(*arguments)
            self.assertEqual(result.returncode, os.EX_USAGE)
            self.assertIn(message, result.stderr)


if __name__ == "__main__":
    tap.main()
