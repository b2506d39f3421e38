# SPDX-License-Identifier: MIT
"""What every source file owes the reader: the one format, a licence line, tests that do not sleep."""

import re
import shutil
import subprocess
import unittest

import tree
import tap

FORMATTER_VERSION = "14"
SPDX = "SPDX-License-Identifier: MIT"
SOURCE_SUFFIXES = (".c", ".h", ".py", ".sh", "meson.build")
# The functions of C and Python with that in their names, and the shell's command with a number.
SLEEP = re.compile(r"sleep\s*\(|^\s*sleep\s+[0-9.]")


def find_formatter():
    """clang-format of the version whose opinion counts, or None: versions disagree."""
    for name in (f"clang-format-{FORMATTER_VERSION}", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
            if f"version {FORMATTER_VERSION}." in version.stdout:
                return name
    return None


def find_badly_formatted(root, formatter):
    files = [str(path) for path in tree.list_files(root, ".c", ".h")]
    if not files:
        return
    result = subprocess.run([formatter, "--dry-run", "--Werror", *files], cwd=root,
                            capture_output=True, text=True, check=False)
    wrong = {line.split(":")[0] for line in result.stderr.splitlines() if ": error: " in line}
    yield from (f"{path}: not formatted; run {formatter} -i {path}" for path in sorted(wrong))


def is_script(path):
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def find_without_licence(root):
    """The licence is in the first line, or in the second below a `#!`."""
    for path in tree.list_files(root):
        if not (path.name.endswith(SOURCE_SUFFIXES) or is_script(root / path)):
            continue
        lines = (root / path).read_text(errors="replace").splitlines()[:2]
        if not any(SPDX in line for line in lines):
            yield f"{path}: no '{SPDX}' at its beginning"


def find_sleeps(root):
    for path in tree.list_files(root):
        if path.parts[0] != "tests" or not (path.suffix in (".c", ".h", ".py") or is_script(root / path)):
            continue
        for number, line in enumerate((root / path).read_text(errors="replace").splitlines(), 1):
            if SLEEP.search(line):
                yield f"{path}:{number}: a test waits for the event, it does not sleep"


class Sources(unittest.TestCase):
    def test_c_files_are_formatted(self):
        formatter = find_formatter()
        if not formatter:
            self.skipTest(f"there is no clang-format {FORMATTER_VERSION}")
        tree.check_nothing(self, find_badly_formatted(tree.ROOT, formatter))

    def test_every_source_names_its_licence(self):
        tree.check_nothing(self, find_without_licence(tree.ROOT))

    def test_no_test_sleeps(self):
        tree.check_nothing(self, find_sleeps(tree.ROOT))


if __name__ == "__main__":
    tap.main()
