# SPDX-License-Identifier: MIT
"""The manuals are well-formed and in step with the programs and the library.

The keys of usher.conf(5) are compared with config.c by the unit test of config.
"""

import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

import tree
import tap

PROGRAMS = {
    "usherd": "inetd/usherd",
    "usherctl": "inetd/usherctl/usherctl",
    "usher-banner": "services/banner/usher-banner",
    "usher-basic": "services/basic/usher-basic",
    "usher-exec": "services/exec/usher-exec",
    "usher-metrics": "services/metrics/usher-metrics",
    "usher-redirect": "services/redirect/usher-redirect",
    "usher-tcpmux": "services/tcpmux/usher-tcpmux",
}
HELP_OPTION = re.compile(r"(?<![\w-])(--?[A-Za-z][\w-]*)")
ITEM_OPTION = re.compile(r"\bFl\s+(-?[A-Za-z][\w-]*)")
EXPORTED = re.compile(r"\b(usher_\w+)\s*;")


def find_lint(root):
    for path in tree.list_files(root):
        if path.parts[0] != "man" or not re.fullmatch(r"\.[1-8]", path.suffix):
            continue
        result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], cwd=root,
                                capture_output=True, text=True, check=False)
        yield from (result.stdout + result.stderr).splitlines()


def find_page(root, name):
    pages = [path for path in (root / "man").glob(f"{name}.[1-8]")]
    return pages[0] if pages else None


def options_of_help(text):
    """Options at the beginning of the indented lines of a --help text: "-c, --config FILE  ..."."""
    options = set()
    for line in text.splitlines():
        if line.lstrip().startswith("-") and line[:1].isspace():
            options.update(HELP_OPTION.findall(re.split(r"\s{2,}|\t", line.strip())[0]))
    return options


def options_of_page(text):
    """Options of the list items of an mdoc page: ".It Fl c Ar file , Fl -config Ar file"."""
    options = set()
    for line in text.splitlines():
        if line.startswith(".It Fl"):
            options.update(f"-{name}" for name in ITEM_OPTION.findall(line))
    return options


def find_option_differences(name, help_text, page_text):
    in_help, in_page = options_of_help(help_text), options_of_page(page_text)
    if not in_help:
        yield f"{name} --help shows no option at all"
    for option in sorted(in_help - in_page):
        yield f"{name} {option}: --help has it, the manual has not"
    for option in sorted(in_page - in_help):
        yield f"{name} {option}: the manual has it, --help has not"


def find_undocumented_functions(root):
    symbols = EXPORTED.findall((root / "services/libusher/usher.sym").read_text())
    pages = "\n".join(path.read_text() for path in (root / "man").glob("*.3"))
    if not symbols:
        yield "usher.sym exports nothing"
    for symbol in symbols:
        if not re.search(rf"^\.(Fn|Fo) {symbol}\b", pages, re.MULTILINE):
            yield f"{symbol}: exported, but no manual of section 3 shows its prototype"


class Manuals(unittest.TestCase):
    def test_mandoc_finds_nothing_to_complain_about(self):
        if not shutil.which("mandoc"):
            self.skipTest("there is no mandoc")
        tree.check_nothing(self, find_lint(tree.ROOT))

    def test_options_of_programs_are_those_of_their_manuals(self):
        offences = []
        for name, program in PROGRAMS.items():
            page = find_page(tree.ROOT, name)
            if not page:
                offences.append(f"{name} has no manual")
                continue
            result = subprocess.run([Path(os.environ["BUILD_DIR"]) / program, "--help"],
                                    capture_output=True, text=True, check=True)
            offences += find_option_differences(name, result.stdout, page.read_text())
        tree.check_nothing(self, offences)

    def test_every_exported_function_has_a_manual(self):
        tree.check_nothing(self, find_undocumented_functions(tree.ROOT))


if __name__ == "__main__":
    tap.main()
