# SPDX-License-Identifier: MIT
"""The RPM spec: rpmlint accepts it, and its packages have what is installed, each file once."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import built
import tap
import tree

SPEC = tree.ROOT / "packaging/rpm/usher.spec"

# As Fedora defines them; what Debian has is Debian's.
MACROS = {
    "_datadir": "/usr/share",
    "_docdir": "/usr/share/doc",
    "_includedir": "/usr/include",
    "_journalcatalogdir": "/usr/lib/systemd/catalog",
    "_libdir": "/usr/lib64",
    "_mandir": "/usr/share/man",
    "_presetdir": "/usr/lib/systemd/system-preset",
    "_sbindir": "/usr/sbin",
    "_sysconfdir": "/etc",
    "_sysusersdir": "/usr/lib/sysusers.d",
    "_tmpfilesdir": "/usr/lib/tmpfiles.d",
    "_unitdir": "/usr/lib/systemd/system",
    # What it does with the sources is done by Debian's build already.
    "autosetup": "cp $SOURCES/LICENSE $SOURCES/*.md .",
    "meson(-)": "true",
    "meson_build": "true",
    "meson_install": "cp -a $INSTALLED/. $RPM_BUILD_ROOT",
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_unpackaged_files_terminate_build": "1",
}

# What only the packages of Debian have.
DEBIAN = r"/etc/init\.d/|.*/(update-)?inetd\.(conf|service)$|/usr/share/lintian/|/usr/share/doc/(?!.*/examples/)"

# What Debian calls otherwise.
DEBIAN_FOLDERS = {"/doc/usher/": "/doc/libusher-dev/", "/zsh/site-functions/": "/zsh/vendor-completions/"}


def rename(name):
    name = re.sub(r"^/lib/", "/usr/lib/", name)
    name = re.sub(r"^/usr/lib/[^/]+-linux-[^/]+/", "/usr/lib64/", name)
    for folder, of_debian in DEBIAN_FOLDERS.items():
        name = name.replace(of_debian, folder)
    return name


def stage(folder):
    """Put there what the packages of Debian have, under the names that it has on Fedora; returns these."""
    names = set()
    for package in built.PACKAGES:
        unpacked = folder / package
        subprocess.run(["dpkg-deb", "--extract", built.find(built.build(), package), unpacked], check=True)
        for path in unpacked.rglob("*"):
            name = f"/{path.relative_to(unpacked)}"
            if (path.is_symlink() or path.is_file()) and not re.match(DEBIAN, name):
                target = folder / "installed" / rename(name)[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
                names.add(rename(name))
    return names


def build_rpms(folder):
    """By rpmbuild(1), of what is staged there."""
    definitions = [word for name, value in {**MACROS, "_topdir": folder}.items()
                   for word in ("--define", f"{name} {value}")]
    result = subprocess.run(["rpmbuild", "-bb", "--nodeps", *definitions, SPEC], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False,
                            env={**os.environ, "SOURCES": str(tree.ROOT), "INSTALLED": str(folder / "installed")})
    if result.returncode != 0:
        raise AssertionError("\n".join(result.stdout.splitlines()[-40:]))
    return sorted((folder / "RPMS").rglob("*.rpm"))


class Spec(unittest.TestCase):
    def test_rpmlint_accepts_it(self):
        result = subprocess.run(["rpmlint", "-r", SPEC.with_suffix(".rpmlintrc"), SPEC],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertIn(" 0 errors, 0 warnings,", result.stdout)
        self.assertEqual(result.returncode, 0)

    def test_each_file_is_in_one_package(self):
        """rpmbuild finds what no package has, and what a package names and does not exist."""
        with tempfile.TemporaryDirectory(prefix="usher-rpm-") as temporary:
            folder = Path(temporary)
            installed = stage(folder)
            self.assertIn("/usr/sbin/usherd", installed)
            packaged = []
            rpms = build_rpms(folder)
            self.assertEqual(len(rpms), len(built.PACKAGES))
            for rpm in rpms:
                listing = subprocess.run(["rpm", "--query", "--list", "--package", rpm],
                                         capture_output=True, text=True, check=True).stdout
                packaged += listing.splitlines()
        self.assertEqual(installed - set(packaged), set())
        self.assertEqual([name for name in installed if packaged.count(name) > 1], [])

    def test_version_is_that_of_the_tree(self):
        version = re.search(r"^ *version: '(.*)'", (tree.ROOT / "meson.build").read_text(), re.MULTILINE)[1]
        self.assertRegex(SPEC.read_text(), rf"(?m)^Version: +{re.escape(version)}$")
        self.assertRegex((tree.ROOT / "packaging/debian/changelog").read_text(), rf"^usher \({re.escape(version)}-")


if __name__ == "__main__":
    tap.main()
