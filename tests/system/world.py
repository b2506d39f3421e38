# SPDX-License-Identifier: MIT
"""A machine for the cases of a class, and what administrators and clients do there."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("lib", "packaging")]

import built
from image import Image, Unavailable
from machine import DEADLINE, Machine

# Packages of Debian: one that calls update-inetd(8), another super-server, and what debian/tests need.
OTHERS = ("nullidentd", "openbsd-inetd", "netcat-openbsd")
OLD_VERSION = "0.0.1-1"


def repack(package, version, folder):
    """The same package as an earlier version, as an upgrade has it installed."""
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary, "tree")
        subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
        control = tree / "DEBIAN/control"
        text = re.sub(r"^Version: .*$", f"Version: {version}", control.read_text(), flags=re.MULTILINE)
        control.write_text(re.sub(r"(libusher0) \(>?= [^)]*\)", r"\1", text))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, folder],
                       stdout=subprocess.DEVNULL, check=True)


class SystemTest(unittest.TestCase):
    """The cases of a class are one story on one machine; where there can be none all are skipped."""

    machine = None
    reason = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            cls.reason = "only root can start containers"
            return
        folder = built.build()
        packages = tempfile.TemporaryDirectory(prefix="usher-packages-")
        cls.addClassCleanup(packages.cleanup)
        cls.packages = Path(packages.name)
        cls.packages.chmod(0o755)
        for name in built.PACKAGES:
            os.link(built.find(folder, name), cls.packages / f"{name}.deb")
        try:
            cls._start_machine()
        except Unavailable as error:
            cls.reason = str(error)

    @classmethod
    def _start_machine(cls):
        image = Image([cls.packages / f"{name}.deb" for name in built.PACKAGES], OTHERS)
        cls.addClassCleanup(image.close)
        cls.machine = Machine(image, cls.packages)
        cls.addClassCleanup(cls.machine.close)

    def setUp(self):
        if self.reason:
            self.skipTest(self.reason)

    # Administrators

    def install(self, *what):
        return self.apt("--no-install-recommends", "--no-remove", "install", *what)

    def apt(self, *arguments):
        return self.machine.run("apt-get", "--quiet", "--yes", *arguments, seconds=80)

    def install_usher(self):
        return self.install(*(f"/packages/{name}.deb" for name in built.PACKAGES))

    def systemctl(self, *arguments, **options):
        return self.machine.run("systemctl", *arguments, **options)

    def property(self, unit, name):
        return self.systemctl("show", "--property", name, "--value", unit).strip()

    def main_pid(self, unit):
        """The id inside."""
        return int(self.property(unit, "MainPID"))

    def status(self):
        return json.loads(self.machine.run("usherctl", "--json", "status"))

    def service(self, name):
        return next(service for service in self.status()["services"] if service["name"] == name)

    def write(self, path, text):
        self.machine.run("sh", "-ec", 'mkdir -p "$(dirname "$1")"; cat >"$1"', "sh", path, input=text)

    def drop_in(self, unit, text):
        self.write(f"/run/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def offer(self, *names):
        """Enable examples as their comments say."""
        files = [f"/etc/usher/services.d/{name}.conf" for name in names]
        self.machine.run("sed", "-i", "s/disable = true/disable = false/", *files)

    # Clients

    def ask(self, port, text="hello\n"):
        """What a new client is answered when it has said this, up to the end."""
        with self.machine.connect(port) as client:
            return self.finish(client, text)

    @staticmethod
    def finish(client, text="hello\n"):
        """Say it, and read up to the end."""
        client.sendall(text.encode())
        client.shutdown(1)
        with client.makefile() as answer:
            return answer.read()

    def connect(self, port):
        client = self.machine.connect(port)
        self.addCleanup(client.close)
        return client

    def wait_until(self, is_true, what):
        """Ask until it is true: systemd has no event for who is no part of it."""
        end = time.monotonic() + DEADLINE
        while not (result := is_true()):
            if time.monotonic() > end:
                journal = self.machine.run("journalctl", "--boot", "--lines=20")
                raise AssertionError(f"waited too long for {what}; the journal is:\n{journal}")
        return result
