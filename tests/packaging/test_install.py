# SPDX-License-Identifier: MIT
"""`meson install` with DESTDIR: all that installed.list names, and nothing else, all of it below the prefix."""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import tap

BUILD_DIR = Path(os.environ["BUILD_DIR"])
LIST = Path(__file__).with_name("installed.list")


def read_list(libdir):
    lines = LIST.read_text().replace("LIBDIR", libdir).splitlines()
    return {line for line in lines if line and not line.startswith("#")}


class Install(unittest.TestCase):
    def test_installs_what_is_listed(self):
        options = {option["name"]: option["value"] for option in json.loads(
            (BUILD_DIR / "meson-info/intro-buildoptions.json").read_text())}
        with tempfile.TemporaryDirectory(prefix="usher-install-") as folder:
            root = Path(folder)
            subprocess.run(["meson", "install", "-C", BUILD_DIR, "--no-rebuild", "--quiet", "--destdir", root],
                           check=True, stdout=subprocess.DEVNULL)
            prefix = root / options["prefix"].lstrip("/")
            installed = {os.path.relpath(path, prefix) for path in root.rglob("*")
                         if path.is_symlink() or not path.is_dir()}
        listed = read_list(options["libdir"])
        self.assertEqual(sorted(installed - listed), [], "installed, and not listed")
        self.assertEqual(sorted(listed - installed), [], "listed, and not installed")

    def test_each_function_has_a_manual(self):
        symbols = (Path(__file__).parents[2] / "services/libusher/usher.sym").read_text()
        functions = re.findall(r"^\t(usher_\w+);", symbols, re.MULTILINE)
        self.assertIn("usher_new", functions)
        self.assertLessEqual({f"share/man/man3/{name}.3" for name in functions}, read_list(""))


if __name__ == "__main__":
    tap.main()
