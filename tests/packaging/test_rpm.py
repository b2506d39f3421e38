# SPDX-License-Identifier: MIT
"""The RPM spec: rpmlint accepts it, and its packages have what is installed, each file once."""

import fnmatch
import re
import subprocess
import unittest

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
}

# What only the packages of Debian have.
DEBIAN = r"/etc/init\.d/|.*/(update-)?inetd\.(conf|service)$|/usr/share/lintian/|/usr/share/doc/(?!.*/examples/)"

# What Debian calls otherwise.
DEBIAN_FOLDERS = {"/doc/usher/": "/doc/libusher-dev/", "/zsh/site-functions/": "/zsh/vendor-completions/"}


def list_installed():
    """What the packages of Debian have, under the names that it has on Fedora."""
    folder = built.build()
    for package in built.PACKAGES:
        listing = subprocess.run(["dpkg-deb", "--contents", built.find(folder, package)],
                                 capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            name = line.split()[5].removeprefix(".")
            if not line.startswith("d") and not re.match(DEBIAN, name):
                yield rename(name)


def rename(name):
    name = re.sub(r"^/lib/", "/usr/lib/", name)
    name = re.sub(r"^/usr/lib/[^/]+-linux-[^/]+/", "/usr/lib64/", name)
    for folder, of_debian in DEBIAN_FOLDERS.items():
        name = name.replace(of_debian, folder)
    return name


def read_patterns():
    """Of all %files, without those that are folders or taken from the sources."""
    sections = re.findall(r"^%files.*?\n(.*?)(?=^\n|\Z)", SPEC.read_text(), re.MULTILINE | re.DOTALL)
    for line in "".join(sections).splitlines():
        if line.startswith(("%dir", "%doc", "%license")):
            continue
        path = line.removeprefix("%config(noreplace) ")
        yield re.sub(r"%\{(\w+)\}", lambda match: MACROS[match[1]], path)


class Spec(unittest.TestCase):
    def test_rpmlint_accepts_it(self):
        result = subprocess.run(["rpmlint", "-r", SPEC.with_suffix(".rpmlintrc"), SPEC],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertIn(" 0 errors, 0 warnings,", result.stdout)
        self.assertEqual(result.returncode, 0)

    def test_each_file_is_in_one_package(self):
        patterns = list(read_patterns())
        installed = sorted(list_installed())
        self.assertIn("/usr/sbin/usherd", installed)
        for name in installed:
            # A folder stands for all in it.
            matching = [pattern for pattern in patterns
                        if fnmatch.fnmatch(name, pattern) or name.startswith(pattern + "/")]
            self.assertEqual(len(matching), 1, (name, matching))
        for pattern in patterns:
            self.assertTrue([name for name in installed
                             if fnmatch.fnmatch(name, pattern) or name.startswith(pattern + "/")], pattern)

    def test_version_is_that_of_the_tree(self):
        version = re.search(r"^ *version: '(.*)'", (tree.ROOT / "meson.build").read_text(), re.MULTILINE)[1]
        self.assertRegex(SPEC.read_text(), rf"(?m)^Version: +{re.escape(version)}$")
        self.assertRegex((tree.ROOT / "packaging/debian/changelog").read_text(), rf"^usher \({re.escape(version)}-")


if __name__ == "__main__":
    tap.main()
