# SPDX-License-Identifier: MIT
"""The Debian packages of this tree, built once for all tests of a build folder."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parents[2]


def _newest_change():
    """When that of which they are made was changed last: the time of the newest file."""
    names = subprocess.run(["git", "ls-files", "-z", "--", ".", ":!tests"], cwd=SOURCE_DIR, capture_output=True,
                           text=True, check=True).stdout
    paths = [SOURCE_DIR / name for name in names.split("\0") if name]
    return max(path.stat().st_mtime for path in paths if path.exists())


def _build(folder):
    """All of them, or nothing; what the build said last is shown if it fails."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        built = subprocess.run([SOURCE_DIR / "packaging/build-deb", temporary], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if built.returncode != 0:
            last = "\n".join(built.stdout.splitlines()[-20:])
            raise AssertionError(f"build-deb ended with {built.returncode}:\n{last}")
        os.chmod(temporary, 0o755)
        shutil.copytree(temporary, folder)


def provide(build_dir):
    """The folder with the packages. Several tests may ask at the same time; the first one builds."""
    folder = Path(build_dir, "packages").resolve()
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists() or folder.stat().st_mtime < _newest_change():
            _build(folder)
    return folder


def find(folder, name):
    """The file of one package."""
    (package,) = folder.glob(f"{name}_*.deb")
    return package
