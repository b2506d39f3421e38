# SPDX-License-Identifier: MIT
"""Programs of Debian packages that are not installed: several inetds cannot be, at the same time.

Of the packages, and of those that they depend on, apt-get downloads what this system does not have.
It is unpacked into a folder, once, and runs from there. That needs no rights, only apt's lists of
packages, which `apt-get update` makes. To get later versions, remove the folder.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import unquote

PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")

# Nothing is installed: it goes without the lock that only root may take.
DOWNLOAD = ("apt-get", "-qq", "--yes", "--download-only", "--no-install-recommends", "--no-upgrade",
            "-o", "Debug::NoLocking=true", "install")


class Unavailable(Exception):
    """A program that can't be had; says why."""


def _run(*command):
    """What the command prints; Unavailable, with what it complained about last, if it fails."""
    try:
        return subprocess.run(command, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=True).stdout
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        complaint = error.stderr.strip().rpartition("\n")[2]
        raise Unavailable(complaint.removeprefix("E: ") or f"{command[0]} failed") from error


class Programs:
    """The programs of some packages, of which the first is the one that matters."""

    def __init__(self, names, cache):
        self.names = names
        self.folder = Path(cache).resolve() / "+".join(names)
        self.root = self.folder / "root"
        if names and not self.folder.exists():
            self._fetch()
        self.environment = {**os.environ, "LD_LIBRARY_PATH": self._library_path(),
                            "PATH": self._program_path()}

    def _fetch(self):
        """All of it, or nothing."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as temporary:
            folder = Path(temporary, "packages")
            (folder / "partial").mkdir(parents=True)
            _run(*DOWNLOAD, "-o", f"Dir::Cache::Archives={folder}", *self.names)
            for package in folder.glob("*.deb"):
                _run("dpkg", "-x", str(package), str(folder / "root"))
            try:
                folder.rename(self.folder)
            except OSError:  # another program of the tests was faster
                if not self.folder.exists():
                    raise

    def _library_path(self):
        return ":".join(sorted({str(library.parent) for library in self.root.rglob("*.so.*")}))

    def _program_path(self):
        folders = [str(root / folder)
                   for root in (self.root, Path("/")) for folder in PROGRAM_FOLDERS]
        return ":".join([*folders, os.environ["PATH"]])

    def locate(self, path):
        """A file of the packages, which may be installed."""
        return self.root / path if (self.root / path).exists() else Path("/", path)

    def find(self, program):
        path = shutil.which(program, path=self.environment["PATH"])
        if not path:
            raise Unavailable(f"there is no {program}")
        return Path(path)

    def version(self):
        for package in self.folder.glob(f"{self.names[0]}_*.deb"):
            return unquote(package.name.split("_")[1])
        return _run("dpkg-query", "--show", "--showformat=${Version}", self.names[0])
