# SPDX-License-Identifier: MIT
"""The Debian packages, by the judgement of Debian's tools, and by what Debian's policy wants of a super-server."""

import hashlib
import os
import re
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

import built
import tap
import tree

# What lintian only mentions, and we do not follow.
MENTIONED = {
    "debian-watch-file-is-missing": "there is no place where releases are published",
    "no-homepage-field": "and no other one",
    "package-supports-alternative-init-but-no-init.d-script": "of what runs from the beginning there is one",
}

# Where each package may have files.
FOLDERS = {
    "usher": r"/etc/(usher|init\.d)/|/lib/systemd/|/usr/lib/(systemd/catalog|sysusers\.d|tmpfiles\.d)/|/usr/sbin/|/usr/share/",
    "libusher0": r"/usr/lib/[^/]+/libusher\.so\.0|/usr/share/(doc|lintian)/",
    "libusher-dev": r"/usr/include/|/usr/lib/[^/]+/(libusher\.so$|pkgconfig/)|/usr/share/(doc|lintian|man/man3)/",
}

# The scripts of Debian's other super-servers: they stay when the package is removed, and not purged.
INIT_SCRIPTS = ("inetutils-inetd", "openbsd-inetd", "rlinetd", "xinetd")

# Who serves which example. Of tcpmux only the administrator knows which services it may lead to.
EXAMPLES = {**dict.fromkeys(("chargen", "daytime", "discard", "echo", "time"), "usher-basic"),
            "metrics": "usher-metrics"}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def digests(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("*.deb"))}


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="usher-deb-")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = built.build()
        cls.root = Path(temporary.name)
        for package in built.PACKAGES:
            run("dpkg-deb", "--raw-extract", built.find(cls.folder, package), cls.root / package)

    def field(self, package, name):
        return run("dpkg-deb", "--field", built.find(self.folder, package), name).strip()

    def files(self, package):
        """Names and members of all that is no folder."""
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", built.find(self.folder, package)],
                              capture_output=True, check=True).stdout
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            with tarfile.open(fileobj=file) as archive:
                return {member.name.removeprefix("."): member for member in archive if not member.isdir()}

    def test_lintian_has_nothing_to_say(self):
        (changes,) = self.folder.glob("*.changes")
        result = subprocess.run(["lintian", "--display-info", "--pedantic", "--allow-root", changes],
                                capture_output=True, text=True, check=False)
        said = [line for line in result.stdout.splitlines() if not line.startswith("N:")]
        self.assertEqual([line for line in said if line.split(": ")[-1].split()[0] not in MENTIONED], [])
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_programs_and_library_are_hardened(self):
        programs = [path for package in built.PACKAGES for path in (self.root / package).rglob("*")
                    if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF"]
        self.assertIn("usherd", {path.name for path in programs})
        self.assertIn("libusher.so.0", {path.name[:13] for path in programs})
        # Debian 12 does not build with control flow protection.
        result = subprocess.run(["hardening-check", "--nocfprotection", *programs],
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout)
        for line in ("Position Independent Executable", "Stack protected", "Fortify Source functions",
                     "Read-only relocations", "Immediate binding"):
            self.assertEqual(result.stdout.count(f"{line}: yes") + result.stdout.count(f"{line}: no, regular shared"),
                             len(programs), line)

    def test_what_is_in_etc_is_a_conffile(self):
        for package in built.PACKAGES:
            conffiles = self.root / package / "DEBIAN/conffiles"
            names = conffiles.read_text().split() if conffiles.exists() else []
            self.assertEqual(sorted(names), sorted(name for name in self.files(package) if name.startswith("/etc/")))

    def test_all_of_etc_is_packaged(self):
        shipped = {"/etc/usher/" + str(path.relative_to("etc")) for path in tree.list_files(tree.ROOT, ".conf")
                   if path.parts[0] == "etc"}
        self.assertTrue(shipped)
        self.assertLessEqual(shipped, set(self.files("usher")))

    def test_files_are_where_they_belong(self):
        for package, folders in FOLDERS.items():
            for name, member in self.files(package).items():
                with self.subTest(package=package, file=name):
                    self.assertRegex(name, f"^({folders})")
                    self.assertEqual((member.uid, member.gid), (0, 0))
                    is_program = re.match(r"/usr/sbin/|/etc/init\.d/", name)
                    if not member.issym():
                        self.assertEqual(oct(member.mode), oct(0o755 if is_program else 0o644))

    def test_symbols_are_those_of_the_library(self):
        exported = re.findall(r"^\t(usher_\w+);", (tree.ROOT / "services/libusher/usher.sym").read_text(), re.MULTILINE)
        promised = re.findall(r"^ (usher_\w+)@", (self.root / "libusher0/DEBIAN/symbols").read_text(), re.MULTILINE)
        self.assertTrue(exported)
        self.assertEqual(sorted(promised), sorted(exported))

    def test_is_a_super_server_of_debian(self):
        self.assertEqual(self.field("usher", "Provides"), "inet-superserver")
        self.assertEqual(self.field("usher", "Conflicts"), "inet-superserver")
        self.assertIn("update-inetd", self.field("usher", "Depends").split(", "))

    def test_update_inetd_finds_our_script_first(self):
        """It wakes up the first of /etc/init.d/*inetd, in the order of the names."""
        (ours,) = (self.root / "usher/etc/init.d").glob("*inetd")
        self.assertEqual(min(ours.name, *INIT_SCRIPTS), ours.name)
        unit = (self.root / "usher/lib/systemd/system" / f"{ours.name}.service").read_text()
        self.assertRegex(unit, r"\nExecStart=/usr/sbin/usherctl reload\n")
        self.assertIn('inetd_conf("/etc/inetd.conf")',
                      (self.root / "usher/etc/usher/services.d/update-inetd.conf").read_text())

    def test_services_may_register_for_the_examples(self):
        users = (self.root / "usher/usr/lib/sysusers.d/usher.conf").read_text()
        for name, user in EXAMPLES.items():
            text = (self.root / f"usher/etc/usher/services.d/{name}.conf").read_text()
            self.assertRegex(text, rf'\n    providers \{{ users = \{{"{user}"\}} \}}\n')
            self.assertRegex(users, rf"\nu {user} ")

    def test_library_can_be_installed_for_several_architectures(self):
        self.assertEqual([self.field(package, "Multi-Arch") for package in built.PACKAGES], ["foreign", "same", "same"])

    @unittest.skipUnless(os.environ.get("USHER_TEST_SOAK"), "builds again, with USHER_TEST_SOAK=1")
    def test_builds_are_reproducible(self):
        with tempfile.TemporaryDirectory() as again:
            built.build_into(again)
            self.assertEqual(digests(Path(again)), digests(self.folder))

    def test_version_that_is_none_is_refused(self):
        for version in ("0.1.0", "new-1", "0.1.0-1 x", "-1"):
            with self.assertRaisesRegex(AssertionError, "is no version such as"):
                built.build_into(self.root / "none", version)


if __name__ == "__main__":
    tap.main()
