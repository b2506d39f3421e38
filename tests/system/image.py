# SPDX-License-Identifier: MIT
"""A Debian system in a folder, made once on each machine and then only read.

Besides the system it holds apt's lists, and in apt's cache the packages that tests will install: a machine that
starts from it has no network. The folder is $USHER_TEST_CACHE, by default /var/cache/usher-tests; an
image that was made of something else than what is wanted now is removed. Remove the folder to get
later versions of Debian's packages.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"

# What a small server has besides Debian's minimal system.
INCLUDED = ("systemd-sysv", "dbus", "iproute2", "netbase", "procps")

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive",
               "HOME": "/root", "TERM": "dumb"}


class Unavailable(Exception):
    """There can be no such system here; says why."""


def _run(*command):
    """Unavailable, with its last words, if the command fails."""
    environment = {**{name: value for name, value in os.environ.items() if name.endswith("_proxy")}, **ENVIRONMENT}
    try:
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, check=True)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        last = "; ".join(error.stdout.strip().splitlines()[-3:])
        raise Unavailable(f"{command[0]} failed: {last}") from error


def _read_dependencies(package):
    return subprocess.run(["dpkg-deb", "--field", package, "Pre-Depends", "Depends", "Recommends"],
                          capture_output=True, text=True, check=True).stdout


class Image:
    """The system in which `packages` (files) can be installed, and packages of Debian by `names`.

    It stays what it is for as long as this object is open: others who want another one wait.
    """

    def __init__(self, packages, names):
        self.packages = [str(package) for package in packages]
        self.names = names
        self.cache = Path(os.environ.get("USHER_TEST_CACHE", "/var/cache/usher-tests"))
        self.root = self.cache / f"{SUITE}-{self._key()}"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.lock = (self.cache / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            if not self.root.exists():
                self._make()
        except BaseException:
            self.lock.close()
            raise
        fcntl.flock(self.lock, fcntl.LOCK_SH)

    def close(self):
        self.lock.close()

    def _key(self):
        """What it is made of. Other versions of our own packages can use the same one."""
        parts = [SUITE, *INCLUDED, *self.names, *map(_read_dependencies, self.packages)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _make(self):
        """All of it, or nothing."""
        for old in self.cache.glob("*-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix="new-") as folder:
            root = Path(folder, "root")
            _run("debootstrap", "--variant=minbase", f"--include={','.join(INCLUDED)}", SUITE, str(root), MIRROR)
            self._download(root)
            root.rename(self.root)

    def _download(self, root):
        """Let its own apt choose and fetch what will be installed, without installing anything."""
        inside = root / "packages"
        inside.mkdir()
        for package in self.packages:
            shutil.copy(package, inside)
        apt = ("chroot", str(root), "apt-get", "--quiet", "--yes", "--download-only")
        _run(*apt[:3], "clean")
        _run(*apt[:3], "--quiet", "update")
        _run(*apt, "install", *(f"/packages/{Path(package).name}" for package in self.packages))
        _run(*apt, "install", *self.names)  # which may conflict with ours
        shutil.rmtree(inside)
