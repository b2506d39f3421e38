# SPDX-License-Identifier: MIT
"""deliver = "pass" to programs that have never heard of usher: Debian's packages, unpacked and not installed."""

import os
import re
import socket
import subprocess
import sys
import unittest
from pathlib import Path

import harness
import network
import processes
import tap

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import packages  # pylint: disable=wrong-import-position


def fetch(*names):
    """The programs of the packages, from the folder that the build keeps them in."""
    try:
        return packages.Programs(names, Path(os.environ["BUILD_DIR"]) / "packages")
    except packages.Unavailable as reason:
        raise unittest.SkipTest(f"no {names[0]}: {reason}") from reason


MAIN_CF = """\
compatibility_level = 3.6
config_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
import_environment = MAIL_CONFIG LD_LIBRARY_PATH MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME
export_environment = LD_LIBRARY_PATH TZ LANG=C
mail_owner = news
setgid_group = games
default_privs = nobody
myhostname = mail.example
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_protocols = all
smtpd_peername_lookup = no
smtpd_recipient_restrictions = reject
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
"""

MASTER_CF = """\
smtpd pass - - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
"""


class Postfix:
    """master(8), with smtpd(8) as a "pass" service, in a folder of its own."""

    def __init__(self, folder, programs):
        self.programs = programs
        self.folder = folder / "postfix"
        root = self.programs.root
        if not (root / "usr/lib/postfix/sbin/master").exists():
            raise unittest.SkipTest("Postfix is installed, and not in a folder of its own")
        for name in ("etc", "log", "data", "queue", *(f"queue/{name}" for name in (
                "pid", "private", "public", "active", "incoming", "deferred", "hold", "maildrop", "saved",
                "corrupt", "defer", "bounce", "flush", "trace"))):
            (self.folder / name).mkdir(parents=True)
            (self.folder / name).chmod(0o755)
        for name in ("data", *(f"queue/{path.name}" for path in (self.folder / "queue").iterdir())):
            os.chown(self.folder / name, harness.user_id("news"), -1)
        os.chown(self.folder / "queue/pid", 0, 0)
        (self.folder / "etc/main.cf").write_text(MAIN_CF.format(folder=self.folder, root=root))
        (self.folder / "etc/master.cf").write_text(MASTER_CF)
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "usr/lib/postfix") + ":" +
                            self.programs.environment["LD_LIBRARY_PATH"], "MAIL_CONFIG": str(self.folder / "etc")}
        self.path = self.folder / "queue/private/smtpd"
        self.process = None

    def start(self):
        master = self.programs.root / "usr/lib/postfix/sbin/master"
        output = open(self.folder / "log/master.log", "wb")
        self.process = subprocess.Popen([str(master), "-c", str(self.folder / "etc"), "-d"], env=self.environment,
                                        stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder)
        output.close()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(processes.DEADLINE)

    def log(self):
        return "".join(path.read_text() for path in sorted((self.folder / "log").iterdir()))


class Smtp(harness.UsherTest):
    @harness.needs_root
    def setUp(self):
        super().setUp()
        programs = fetch("postfix")  # while there is a network
        network.enter_network_namespace()
        self.folder.chmod(0o755)
        self.postfix = Postfix(self.folder, programs)
        self.endings.callback(self.postfix.stop)
        self.usherd = self.start_usherd(
            f'service smtp {{ listen = {{"tcp:25"}} deliver = "pass"\n'
            f'pass {{ path = "{self.postfix.path}" attributes = "postfix" }} }}\n')

    def talk(self, client):
        """EHLO to QUIT; everything that Postfix says."""
        lines = client.makefile("rwb")

        def answer():
            text = []
            while not text or text[-1][3:4] == b"-":
                text.append(lines.readline())
            return b"".join(text).decode()

        try:
            said = answer()
        except TimeoutError:
            raise AssertionError(self.postfix.log()) from None
        for line in "EHLO client.example", "QUIT":
            lines.write(line.encode() + b"\r\n")
            lines.flush()
            said += answer()
        return said

    def test_a_session_with_the_client_s_true_address(self):
        client = self.connect("tcp:127.0.0.1:25", source=("127.0.0.77", 0))
        self.postfix.start()  # later than its first client
        said = self.talk(client)
        self.assertRegex(said, r"(?s)^220 mail\.example ESMTP Postfix.*250[ -]mail\.example.*221 2\.0\.0 Bye\r\n$")
        self.assertEqual(client.recv(1), b"")
        for _ in range(3):
            self.talk(self.connect("tcp:127.0.0.1:25", source=("127.0.0.78", 0)))
        self.talk(self.connect("tcp:[::1]:25"))
        self.usherd.wait_service("smtp", released=5, lost=0, unclaimed=0)
        wanted = (r"connect from unknown\[127\.0\.0\.77\]", r"disconnect from unknown\[127\.0\.0\.77\] ehlo=1 quit=1",
                  r"connect from unknown\[127\.0\.0\.78\]", r"connect from unknown\[::1\]")
        processes.wait_file(
            self.postfix.folder / "log", lambda: all(re.search(pattern, self.postfix.log()) for pattern in wanted),
            "what Postfix says of its clients")
        self.assertNotIn("warning", self.postfix.log())


HAPROXY_CFG = """\
global
  maxconn 100
defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 10s
frontend front
  bind sockpair@{number}
  http-request return status 200 content-type text/plain string "served"
"""


class Http(harness.UsherTest):
    """HAProxy's sockpair@ reads descriptors from a socket that it was started with: one for datagrams, that is
    bound to a path, will do. (HAProxy 2.6 does not ask for the address of a client that came that way.)"""

    def setUp(self):
        super().setUp()
        self.folder.chmod(0o755)
        self.haproxy = fetch("haproxy")

    def start_haproxy(self, receiver):
        config = self.folder / "haproxy.cfg"
        config.write_text(HAPROXY_CFG.format(number=receiver.fileno()))
        with open(self.folder / "haproxy.log", "wb") as log:
            process = subprocess.Popen(
                [str(self.haproxy.find("haproxy")), "-db", "-f", str(config)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=[receiver.fileno()], env=self.haproxy.environment)
        self.endings.callback(self.end_program, process)

    def test_each_client_is_served(self):
        path = self.folder / "haproxy.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            path.chmod(0o666)
            self.start_haproxy(receiver)
        usherd = self.start_usherd(
            f'service http {{ listen = {{"tcp:127.0.0.1:0"}} deliver = "pass"\n'
            f'pass {{ path = "{path}" type = "dgram" }} }}\n')
        for _ in range(20):
            client = self.connect(usherd.addresses("http")[0])
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = network.read_all(client)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"), answer)
            self.assertTrue(answer.endswith(b"\r\n\r\nserved"), answer)
        usherd.wait_service("http", released=20, lost=0)


if __name__ == "__main__":
    tap.main()
