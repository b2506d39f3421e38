# SPDX-License-Identifier: MIT
"""README.md, HACKING.md and NEWS.md speak of files, commands and functions that exist."""

import os
import re
import subprocess
import sys
import unittest

import tree
import tap

DOCUMENTS = ("README.md", "HACKING.md", "NEWS.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
CODE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"^\s{4,}(?:\$ |# )?((?:packaging|tests|\.ci)/[\w.-]+)", re.MULTILINE)
PATH = re.compile(r"^[\w.-]+(?:/[\w.-]+)+/?$")
FUNCTION = re.compile(r"^([a-z]+)_\w*[a-z]$|^\w+\(\)$")  # listener_new, take_fd(); the first has its room's name
FOLDERS = ("inetd/", "services/", "tests/", "man/", "etc/", "packaging/", ".ci/")


def find_broken_references(root, document):
    text = (root / document).read_text()
    names = set(LINK.findall(text))
    names |= {code for code in CODE.findall(text) if PATH.match(code) and code.startswith(FOLDERS)}
    for name in sorted(names):
        if "NAME" not in name and not (root / name).exists():
            yield f"{document}: {name} does not exist"


def find_missing_commands(root, document):
    for command in COMMAND.findall((root / document).read_text()):
        if not os.access(root / command, os.X_OK):
            yield f"{document}: {command} is no command"


def find_missing_functions(root, document):
    """Names in code style that look like functions of ours, and occur in no source."""
    sources = {path: (root / path).read_text(errors="replace")
               for path in tree.list_files(root, ".c", ".h", "meson.build")}
    rooms = {path.stem.split("-")[0] for path in sources}
    words = set(re.findall(r"\w+", "\n".join(sources.values())))
    for code in sorted(set(CODE.findall((root / document).read_text()))):
        match = FUNCTION.match(code)
        if match and (match[1] is None or match[1] in rooms) and code.removesuffix("()") not in words:
            yield f"{document}: there is no {code}"


def find_stale_pictures(root):
    """Pictures that a program of the same name draws, and that it would draw otherwise now."""
    for program in sorted((root / "man").glob("*.py")):
        picture = program.with_suffix(".svg").relative_to(root)
        drawn = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True).stdout
        if not (root / picture).exists() or (root / picture).read_text() != drawn:
            yield f"{picture} is not what its source draws: {program.relative_to(root)} >{picture}"


class Documents(unittest.TestCase):
    def test_what_they_refer_to_exists(self):
        tree.check_nothing(
            self, (line for name in DOCUMENTS for line in find_broken_references(tree.ROOT, name)))

    def test_functions_that_they_name_exist(self):
        tree.check_nothing(
            self, (line for name in DOCUMENTS for line in find_missing_functions(tree.ROOT, name)))

    def test_their_commands_can_be_run(self):
        tree.check_nothing(
            self, (line for name in DOCUMENTS for line in find_missing_commands(tree.ROOT, name)))

    def test_pictures_are_what_their_sources_draw(self):
        tree.check_nothing(self, find_stale_pictures(tree.ROOT))

    def test_the_readme_has_its_two_commands(self):
        text = (tree.ROOT / "README.md").read_text()
        for command in ("packaging/quickstart", "tests/run"):
            self.assertIn(f"\n    {command}", text)


if __name__ == "__main__":
    tap.main()
