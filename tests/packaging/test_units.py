# SPDX-License-Identifier: MIT
"""What is installed for systemd, by systemd's own judgement: the units are right, and their sandboxes tight."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap

BUILD_DIR = Path(os.environ["BUILD_DIR"])
OPTIONS = {option["name"]: option["value"] for option in json.loads(
    (BUILD_DIR / "meson-info/intro-buildoptions.json").read_text())}
PREFIX = OPTIONS["prefix"]

# The exposure that systemd-analyze(1) may find, in tenths; None: it needs all rights, and its unit says why.
EXPOSURE = {
    "usherd": 15,
    "usher-banner": 20,
    "usher-basic": 20,
    "usher-exec": None,
    "usher-metrics": 20,
    "usher-redirect": 20,
    "usher-tcpmux": 20,
}


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


class Units(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = Path(tempfile.mkdtemp(prefix="usher-units-"))
        cls.addClassCleanup(shutil.rmtree, cls.root)
        subprocess.run(["meson", "install", "-C", BUILD_DIR, "--no-rebuild", "--quiet", "--destdir", cls.root],
                       check=True, stdout=subprocess.DEVNULL)
        cls.units = sorted(cls.root.rglob("*.service"))

    def find(self, pattern):
        found = list(self.root.rglob(pattern))
        self.assertEqual(len(found), 1, found)
        return found[0]

    def in_root(self, path):
        """As the path is called where the root is /."""
        return "/" + str(path.relative_to(self.root))

    def settings(self, unit):
        """The assignments of a unit: what was said last."""
        return dict(line.split("=", 1) for line in unit.read_text().splitlines()
                    if "=" in line and not line.startswith("#"))

    def test_all_units_are_installed(self):
        self.assertIn("usherd", [unit.stem for unit in self.units])
        for unit in self.units:
            self.assertIn(unit.stem, EXPOSURE)

    def verify(self, unit, *changes):
        """What systemd-analyze(1) says to a unit, as if its programs were installed, after these changes."""
        text = re.sub(rf"^(Exec\w+=)(?={PREFIX})", rf"\1{self.root}", unit.read_text(), flags=re.MULTILINE)
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        with tempfile.TemporaryDirectory(prefix="usher-unit-") as folder:
            judged = Path(folder, unit.name)
            judged.write_text(text)
            return run("systemd-analyze", "verify", "--man=no", judged)

    def test_units_are_right(self):
        for unit in self.units:
            with self.subTest(unit=unit.name):
                result = self.verify(unit)
                self.assertEqual((result.stdout, result.returncode), ("", 0))

    def test_what_is_wrong_would_be_found(self):
        unit = self.find("usherd.service")
        for change in (("/sbin/usherd", "/sbin/nobody"), ("ProtectHome=yes", "ProtectHome=perhaps"),
                       ("LogsDirectory=", "LogDirectory="), ("@system-service", "@system-servant")):
            with self.subTest(change=change):
                self.assertNotEqual(self.verify(unit, change).stdout, "")

    def test_manuals_that_units_name_are_installed(self):
        for unit in self.units:
            for name, section in re.findall(r"man:([\w.-]+)\((\d)\)", unit.read_text()):
                self.find(f"{name}.{section}*")

    def test_sandboxes_are_tight(self):
        for unit in self.units:
            if EXPOSURE[unit.stem] is None:
                continue
            with self.subTest(unit=unit.name):
                result = run("systemd-analyze", "security", "--offline=yes", "--no-pager",
                             f"--threshold={EXPOSURE[unit.stem]}", unit)
                self.assertEqual(result.returncode, 0, result.stdout)

    def test_providers_have_no_network(self):
        for unit in self.units:
            has_network = unit.stem in ("usherd", "usher-exec", "usher-redirect")
            self.assertEqual(self.settings(unit).get("PrivateNetwork"), None if has_network else "yes", unit.name)

    def test_programs_may_have_as_many_descriptors_as_anywhere(self):
        """usher-exec gives them the soft limit that it was started with; some close all there may be."""
        soft, hard = map(int, self.settings(self.find("usher-exec.service"))["LimitNOFILE"].split(":"))
        self.assertEqual(soft, 1024)
        self.assertEqual(str(hard), self.settings(self.find("usher-basic.service"))["LimitNOFILE"])

    def test_users_of_units_are_made(self):
        made = {line.split()[1] for line in self.find("sysusers.d/usher.conf").read_text().splitlines()
                if line.startswith("u ")}
        wanted = {self.settings(unit).get("User", "root") for unit in self.units} - {"root"}
        self.assertEqual(wanted - made, set())
        self.assertEqual(len(wanted), len(self.units) - 1, "each has a user of its own")

    def make(self, tool, *options, file):
        result = run(tool, *options, f"--root={self.root}", self.find(file))
        self.assertEqual(result.returncode, 0, result.stdout)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_users_and_folder_are_made(self):
        (self.root / "etc").mkdir(exist_ok=True)
        self.make("systemd-sysusers", file="sysusers.d/usher.conf")
        users = {line.split(":")[0]: int(line.split(":")[2])
                 for line in (self.root / "etc/passwd").read_text().splitlines()}
        self.assertIn("usher-basic", users)
        self.make("systemd-tmpfiles", "--create", file="tmpfiles.d/usher.conf")
        status = (self.root / OPTIONS["rundir"].lstrip("/")).stat()
        self.assertEqual((status.st_uid, status.st_mode & 0o777), (users["usher"], 0o755))

    def test_preset_decides_about_every_unit(self):
        words = [line.split() for line in self.find("90-usher.preset").read_text().splitlines()
                 if line and not line.startswith("#")]
        self.assertEqual({word[0] for word in words}, {"enable", "disable"})
        named = {word[1] for word in words}
        self.assertEqual({unit.name for unit in self.units} - named, set())

    @unittest.skipIf(PREFIX == "/usr", "/usr has its configuration in /etc")
    def test_prefix_keeps_everything(self):
        """Who installs into a folder of his own has nothing elsewhere."""
        installed = json.loads(subprocess.check_output(["meson", "introspect", "--installed", BUILD_DIR]))
        self.assertEqual([path for path in installed.values() if not path.startswith(PREFIX + "/")], [])


if __name__ == "__main__":
    tap.main()
