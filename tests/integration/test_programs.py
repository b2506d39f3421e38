# SPDX-License-Identifier: MIT
"""usher-exec with the programs that inetd's users have: from Debian's packages, on their own ports.

The packages are fetched and unpacked, not installed (tests/lib/packages.py); the tests run in a world
of their own (world.py).
"""

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import unittest

import harness
import network
import packages
import processes
import tap
import world

USHER_EXEC = harness.BUILD_DIR / "services/exec/usher-exec"
CACHE = harness.BUILD_DIR / "test-programs"

PACKAGES = {
    "git": ("git",),
    "finger": ("fingerd", "finger"),
    "rsync": ("rsync",),
    "ssh": ("openssh-server", "openssh-client"),
    "telnet": ("inetutils-telnetd", "tcpd"),
    "tftp": ("tftpd-hpa",),
}
fetched = {}
obstacle = ""  # why there is no world of our own

SSH_USER = "somebody"
SSH_USER_ID = 4242


def fetch(names):
    """The programs of some packages, or why they can't be had."""
    try:
        return packages.Programs(names, CACHE)
    except packages.Unavailable as error:
        return error


def setUpModule():
    """Fetch all before there is no network any more."""
    global obstacle
    if harness.IS_ROOT:
        fetched.update({key: fetch(names) for key, names in PACKAGES.items()})
    folder = tempfile.TemporaryDirectory(prefix="usher-world-")
    unittest.addModuleCleanup(folder.cleanup)
    try:
        world.enter(folder.name)
        unittest.addModuleCleanup(subprocess.run, ["umount", "/etc"], check=True)
    except unittest.SkipTest as reason:
        obstacle = str(reason)


def quote(words):
    return ", ".join(f'"{word}"' for word in words)


class Programs(harness.UsherTest):
    def setUp(self):
        super().setUp()
        if obstacle:
            self.skipTest(obstacle)

    def fetched(self, key):
        programs = fetched[key]
        if isinstance(programs, packages.Unavailable):
            self.skipTest(f"{key}: {programs}")
        return programs

    def begin(self, key, program, *args, listen, name=None, more=""):
        """A service of this program, which is one of the packages `key`."""
        self.programs = self.fetched(key)
        path = self.programs.find(program)
        libraries = self.programs.environment["LD_LIBRARY_PATH"]
        self.usherd = self.start_usherd(f"""
service {key} {{
    listen = {{"{listen}"}}
    log_on_success = {{"pid", "exit"}}
    {more}
    exec {{
        program = "{path}"
        name = "{name or path}"
        args = {{{quote(args)}}}
        env = {{"LD_LIBRARY_PATH={libraries}"}}
    }}
}}
""")
        self.exec = self.start_program(self.usherd, USHER_EXEC, "-c", self.usherd.config,
                                       "-u", harness.USHERD)
        self.usherd.wait_service(key, n_providers=1)

    def run_client(self, program, *arguments, **options):
        """What a program of the packages says."""
        result = subprocess.run(
            [self.programs.find(program), *map(str, arguments)], capture_output=True, text=True,
            env=self.programs.environment, stdin=subprocess.DEVNULL, timeout=processes.DEADLINE,
            check=False, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_finger(self):
        finger = self.fetched("finger").find("finger")
        self.begin("finger", "in.fingerd", "-p", finger, listen="tcp:127.0.0.1:79")
        client = self.connect("tcp:127.0.0.1:79")
        client.sendall(b"root\r\n")
        self.assertRegex(network.read_all(client), rb"Login: root\s+Name: ")

    def test_git_daemon(self):
        source = self.folder / "srv/project"
        source.mkdir(parents=True)
        (source / "README").write_text("hello\n")
        self.begin("git", "git", "daemon", "--inetd", "--export-all", f"--base-path={self.folder}/srv",
                   listen="tcp:127.0.0.1:9418")
        git = ["-C", source, "-c", "user.name=a", "-c", "user.email=a@example.org"]
        self.run_client("git", *git, "init", "-q")
        self.run_client("git", *git, "add", ".")
        self.run_client("git", *git, "commit", "-q", "-m", "first")
        self.run_client("git", "clone", "-q", "git://127.0.0.1/project", self.folder / "clone")
        self.assertEqual((self.folder / "clone/README").read_text(), "hello\n")
        self.usherd.wait_service("git", released=1, in_service=0)

    def test_rsync_daemon(self):
        (self.folder / "files").mkdir()
        (self.folder / "files/one").write_text("first\n")
        config = self.folder / "rsyncd.conf"
        config.write_text(f"use chroot = no\n[files]\npath = {self.folder}/files\ncomment = all of them\n")
        self.begin("rsync", "rsync", "--daemon", f"--config={config}", listen="tcp:127.0.0.1:873")
        self.assertRegex(self.run_client("rsync", "rsync://127.0.0.1/"), r"^files\s+all of them")
        self.assertRegex(self.run_client("rsync", "rsync://127.0.0.1/files/"), r"(?m) one$")
        self.run_client("rsync", "rsync://127.0.0.1/files/one", self.folder / "copy")
        self.assertEqual((self.folder / "copy").read_text(), "first\n")

    def make_key(self, name):
        path = self.folder / name
        self.run_client("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        return path

    def begin_sshd(self):
        """One user, one key, and what Debian's package would have prepared."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        shutil.chown(home, SSH_USER_ID, SSH_USER_ID)
        world.add_user("sshd", 4241, "/run/sshd", "/usr/sbin/nologin")
        world.add_user(SSH_USER, SSH_USER_ID, home)
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(f"HostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/user.pub\n"
                          "StrictModes no\nUsePAM no\nPasswordAuthentication no\n")
        self.begin("ssh", "sshd", "-i", "-f", config, listen="tcp:127.0.0.1:22")
        self.make_key("host")
        self.user_key = self.make_key("user")

    def ssh(self, *arguments):
        return self.run_client(
            "ssh", "-F", "none", "-i", self.user_key, "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={self.folder}/known", "-o", "StrictHostKeyChecking=accept-new",
            "-o", "BatchMode=yes", *arguments)

    def test_sshd(self):
        self.begin_sshd()
        said = self.ssh(f"{SSH_USER}@127.0.0.1", "id -u; echo $SSH_CONNECTION; ls /proc/self/fd | wc -l")
        self.assertRegex(said, rf"^{SSH_USER_ID}\n127\.0\.0\.1 \d+ 127\.0\.0\.1 22\n")
        self.assertRegex(self.ssh("-tt", f"{SSH_USER}@127.0.0.1", "tty"), r"^/dev/pts/\d+")
        self.usherd.wait_service("ssh", released=2, in_service=0)

    TFTP_READ, TFTP_DATA, TFTP_ACK = 1, 3, 4
    TFTP_BLOCK = 512

    def begin_tftp(self, name, port=69):
        """A client that has asked for a file, by RFC 1350."""
        client = self.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(processes.DEADLINE)
        client.sendto(struct.pack("!H", self.TFTP_READ) + name.encode() + b"\0octet\0", ("127.0.0.1", port))
        return client

    def read_tftp(self, clients):
        """Of several files a block of each in turn, to their ends."""
        texts = {client: b"" for client in clients}
        while clients:
            for client in list(clients):
                packet, server = client.recvfrom(2048)
                kind, number = struct.unpack("!HH", packet[:4])
                self.assertEqual(kind, self.TFTP_DATA, packet)
                texts[client] += packet[4:]
                client.sendto(struct.pack("!HH", self.TFTP_ACK, number), server)
                if len(packet) - 4 < self.TFTP_BLOCK:
                    clients.remove(client)
        return list(texts.values())

    def test_tftpd(self):
        folder = self.folder / "tftp"
        folder.mkdir(mode=0o755)
        names = ("one", "two")
        for name in names:
            (folder / name).write_text(name * 1000)
        self.endings.callback(self.end_tftpd)  # after usher-exec, or that starts the next one
        self.begin("tftp", "in.tftpd", "--secure", folder, listen="udp:127.0.0.1:69")
        texts = self.read_tftp([self.begin_tftp(name) for name in names])
        self.assertEqual(texts, [name.encode() * 1000 for name in names])

    def end_tftpd(self):
        """It waits a quarter of an hour for more clients, and outlives usher-exec."""
        for log in self.program_logs:
            for pid in re.findall(r"event=start .*pid=(\d+)", log.read_text()):
                processes.end_pid(int(pid))

    def begin_telnetd(self):
        telnet = self.fetched("telnet")
        with contextlib.suppress(FileNotFoundError):
            os.unlink("/etc/hosts.allow")
        self.addCleanup(self.deny, "")
        self.begin("telnet", "tcpd", listen="tcp:127.0.0.1:23", name=telnet.find("telnetd"))

    @staticmethod
    def deny(rule):
        with open("/etc/hosts.deny", "w") as file:
            file.write(rule)

    def telnet(self):
        """What telnetd says until it asks who it is, or ends."""
        will, wont, do, dont, interpret = 251, 252, 253, 254, 255
        client, text = self.connect("tcp:127.0.0.1:23"), b""
        refusals = {do: wont, will: dont}
        while not text.rstrip().endswith(b"login:") and (byte := client.recv(1)):
            if byte[0] != interpret:
                text += byte
                continue
            command = client.recv(1)[0]
            if command in (will, wont, do, dont):
                option = client.recv(1)
                if command in refusals:
                    client.sendall(bytes([interpret, refusals[command]]) + option)
        return text

    def test_telnetd_behind_tcpd(self):
        self.begin_telnetd()
        self.deny("")
        self.assertRegex(self.telnet(), rb"login:\s*$")
        self.deny("telnetd: 127.0.0.1\n")
        self.assertEqual(self.telnet(), b"")


if __name__ == "__main__":
    tap.main()
