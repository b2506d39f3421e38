# SPDX-License-Identifier: MIT
"""Every message of usherd has a reason, and the table of its kinds, the sources, the catalog of the journal and
usherd(8) have the same ones."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import tree
import tap

TABLE = Path("inetd/log-messages.c")
CATALOG = Path("packaging/systemd/usher.catalog")
FIELDS = Path("inetd/log-record.c")
MANUAL = Path("man/usherd.8")

ROW = re.compile(r'^\t\{"([\w-]+)", "([0-9a-f]{32})"', re.MULTILINE)
ENTRY = re.compile(r"^# (event )?([\w-]+)\n-- ([0-9a-f]{32})\nSubject: \S.*\nDefined-By: usher\n"
                   r"Documentation: man:usherd\(8\)\n\n\S", re.MULTILINE)
LITERAL = re.compile(r'"([a-z_-]+)"')
MEMBER = re.compile(r'\.reason = ([^,}]*)')
FUNCTION = re.compile(r"\b(\w+)\(((?:[^()]|\([^()]*\))*)\)", re.DOTALL)


def read_sources(root):
    return {path: (root / path).read_text() for path in tree.list_files(root, ".c", ".h")
            if path.parts[0] == "inetd" and len(path.parts) == 2}


def read_table(root):
    """{reason: identifier}, {event: identifier}."""
    reasons, events = (root / TABLE).read_text().split("struct kind events[]")
    return dict(ROW.findall(reasons)), dict(ROW.findall(events))


def read_catalog(root):
    reasons, events = {}, {}
    for event, word, identifier in ENTRY.findall((root / CATALOG).read_text()):
        (events if event else reasons)[word] = identifier
    return reasons, events


def words_of(lines):
    return {word for line in lines for word in re.findall(r"[a-z][\w-]*", line.split('"')[0])}


def read_manual(root):
    """The reasons of messages; and all words in the section about events, where their reasons are."""
    text = (root / MANUAL).read_text()
    reasons = text.partition("\nThe reasons are:\n")[2].partition("\n.El\n")[0]
    events = re.split(r"\n\.S[hs] ", text.partition("\n.Ss Log of connections\n")[2])[0]
    return (words_of(re.findall(r"^\.It Cm (.*)", reasons, re.MULTILINE)),
            words_of(re.findall(r"^\.(?:It )?Cm (.*)", events, re.MULTILINE)))


def split_arguments(text, start):
    """The arguments of the call whose opening bracket is at `start`."""
    depth, arguments, begin = 0, [], start + 1
    for match in re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'|[(){}\[\],]').finditer(text, start):
        if match[0] in "({[":
            depth += 1
        elif match[0] in ")}]":
            depth -= 1
        if (match[0] == "," and depth == 1) or depth == 0:
            arguments.append(text[begin:match.start()].strip())
            begin = match.end()
        if depth == 0:
            break
    return arguments


def functions_with_reason(text):
    """{name: place} of the functions declared here that have a parameter `reason`."""
    found = {}
    for name, parameters in FUNCTION.findall(text):
        for place, parameter in enumerate(parameters.split(",")):
            if re.fullmatch(r"\s*const char \*reason\s*", parameter):
                found[name] = place
    return found


def find_used(sources):
    """(file, word) for each reason in the sources: a member, or an argument for a parameter of that name."""
    public = {name: place for path, text in sources.items() if path.suffix == ".h"
              for name, place in functions_with_reason(text).items()}
    for path, text in sources.items():
        for value in MEMBER.findall(text):
            yield from ((path, word) for word in LITERAL.findall(value))
        for name, place in {**public, **functions_with_reason(text)}.items():
            for match in re.finditer(rf"\b{name}\(", text):
                arguments = split_arguments(text, match.end() - 1)
                if place < len(arguments):
                    yield from ((path, word) for word in LITERAL.findall(arguments[place]))


def find_without_reason(sources):
    for path, text in sources.items():
        for match in re.finditer(r"\blog_write\(", text):
            about = (split_arguments(text, match.end() - 1) + [""] * 2)[1]
            if about == "NULL" or (about.startswith("&(struct log_about)") and ".reason" not in about):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{path}:{line}: a message without a reason, for which nobody can look"


def find_unlisted(root, sources):
    reasons, _ = read_table(root)
    _, of_events = read_manual(root)
    for path, word in sorted(set(find_used(sources))):
        if word not in reasons and word not in of_events:
            yield f"{path}: the reason {word} is neither in {TABLE} nor one of events in {MANUAL}"


def find_unused(root, sources):
    text = "\n".join(ROW.sub("", text) for text in sources.values())
    for word in sorted({**read_table(root)[0], **read_table(root)[1]}):
        if f'"{word}"' not in text:
            yield f"{TABLE}: nothing says {word}"


def find_differences(root):
    """Between the table, whose order bsearch(3) needs, and what explains it."""
    table, in_manual = read_table(root), read_manual(root)
    for kind, words, in_catalog, explained in zip(
            ("reason", "event"), table, read_catalog(root), in_manual):
        if list(words) != sorted(words):
            yield f"{TABLE}: the {kind}s are out of order"
        for word in sorted(words.items() ^ in_catalog.items()):
            yield f"{kind} {word[0]}: {word[1]} is not both in {TABLE} and in {CATALOG}"
        for word in sorted(set(words) - explained):
            yield f"{kind} {word}: {MANUAL} does not explain it"
    for word in sorted(in_manual[0] - set(table[0])):
        yield f"reason {word}: {MANUAL} explains it, and it is not in {TABLE}"
    identifiers = [*table[0].values(), *table[1].values()]
    for identifier in sorted({one for one in identifiers if identifiers.count(one) > 1}):
        yield f"{TABLE}: {identifier} is there twice"


def find_unknown_fields(root):
    """journalctl(1) shows @NAME@ as it is where a message has no such field."""
    known = set(re.findall(r'\{"(\w+)", ', (root / FIELDS).read_text()))
    for field in sorted(set(re.findall(r"@(\w+)@", (root / CATALOG).read_text())) - known):
        yield f"{CATALOG}: no message has the field {field}"


def list_catalog(root, folder):
    """What journalctl(1) has read of the catalog: {identifier: subject}."""
    place = Path(folder) / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    (Path(folder) / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(root / CATALOG, place)
    for option in ("--update-catalog", "--list-catalog"):
        result = subprocess.run(["journalctl", f"--root={folder}", option], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in result.stdout.splitlines())


class Messages(unittest.TestCase):
    def test_every_message_has_a_reason(self):
        tree.check_nothing(self, find_without_reason(read_sources(tree.ROOT)))

    def test_every_reason_is_a_kind(self):
        sources = read_sources(tree.ROOT)
        self.assertGreater(len(set(find_used(sources))), 40)
        tree.check_nothing(self, find_unlisted(tree.ROOT, sources))

    def test_every_kind_is_used(self):
        tree.check_nothing(self, find_unused(tree.ROOT, read_sources(tree.ROOT)))

    def test_catalog_and_manual_explain_the_same_kinds(self):
        tree.check_nothing(self, find_differences(tree.ROOT))

    def test_fields_of_the_catalog_exist(self):
        tree.check_nothing(self, find_unknown_fields(tree.ROOT))

    def test_journalctl_reads_the_catalog(self):
        if not shutil.which("journalctl"):
            self.skipTest("there is no journalctl")
        with tempfile.TemporaryDirectory() as folder:
            subjects = list_catalog(tree.ROOT, folder)
        reasons, events = read_table(tree.ROOT)
        self.assertEqual(set(subjects), {*reasons.values(), *events.values()})
        for subject in subjects.values():
            self.assertTrue(subject.startswith("usher: "), subject)


if __name__ == "__main__":
    tap.main()
