# SPDX-License-Identifier: MIT
"""The Debian packages of this tree: built once, and kept in the build folder until the tree changes."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "lib"), str(TESTS / "checks")]
import tree

BUILD_DIR = Path(os.environ["BUILD_DIR"])
PACKAGES = ("usher", "libusher0", "libusher-dev")


def fingerprint():
    """Of all that is built: names, modes and contents."""
    digest = hashlib.sha256()
    for path in tree.list_files(tree.ROOT):
        file = tree.ROOT / path
        digest.update(f"{path} {file.stat().st_mode & 0o111} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def build_into(folder, *arguments):
    """Run packaging/build-deb; its output is shown if it fails."""
    result = subprocess.run([tree.ROOT / "packaging/build-deb", folder, *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        raise AssertionError("\n".join(result.stdout.splitlines()[-40:]))


def build():
    """The folder with the packages. Of several tests that want them one builds, and the others wait."""
    kept = BUILD_DIR / "packages"
    kept.mkdir(exist_ok=True)
    with open(kept / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = kept / fingerprint()
        if not folder.exists():
            for old in kept.glob("[0-9a-f]*"):
                shutil.rmtree(old)
            partial = kept / "building"
            shutil.rmtree(partial, ignore_errors=True)
            build_into(partial)
            partial.rename(folder)
    return folder


def find(folder, package):
    """The file of a package."""
    (file,) = folder.glob(f"{package}_*.deb")
    return file
