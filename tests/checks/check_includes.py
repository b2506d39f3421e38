# SPDX-License-Identifier: MIT
"""Who may include whom: the rooms of the house have a direction, and no cycles (HACKING.md, "Rooms")."""

import re
import unittest
from pathlib import Path

import tree
import tap

INCLUDE = re.compile(r'^\s*#\s*include\s*(<usher\.h>|"[^"]+")', re.MULTILINE)
SYSTEM_INCLUDE = re.compile(r"^\s*#\s*include\s*<([^>]+)>", re.MULTILINE)

# inetd/ from the top to the bottom. A room may include rooms of lower floors only. A new room gets
# its place here.
FLOORS = (
    {"main"},
    {"server"},
    {"explain", "metrics"},
    {"programs", "status"},
    {"reload"},
    {"service"},
    {"intake", "rendezvous", "rundir", "parking", "pass", "provider", "control", "dump"},
    {"account", "forwarded", "listener", "succession"},
    {"events", "inheritance"},
    {"acceptor", "closer", "connection", "fdstore", "log", "occupant", "peer", "privilege", "sandbox",
     "unixsocket"},
    {"notify"},
    {"admission", "background", "dispatch"},
    {"denied", "packetfilter", "sources"},
    {"rules"},
    {"config"},
    {"names", "netmap"},
    {"address", "array", "bucket", "environment", "histogram", "network", "probe", "siphash", "text"},
)
# Neighbours of one floor of whom the first may know the second.
NEIGHBOURS = {("provider", "rendezvous")}

# dispatch, and admission with what it is made of, decide; they do not act. These headers are types and
# memory only.
PURE_ROOMS = {"dispatch", "admission", "array", "bucket", "denied", "histogram", "netmap", "packetfilter", "rules",
              "siphash", "sources", "text"}
PURE_HEADERS = {
    "assert.h", "errno.h", "limits.h", "linux/filter.h", "linux/if_ether.h", "math.h", "netinet/in.h", "stdbool.h",
    "stddef.h", "stdint.h", "stdlib.h", "string.h", "sys/socket.h", "sys/types.h",
}
# What the daemon may know of the other side of a rendezvous: the protocol, and how descriptors travel.
PROTOCOL_HEADERS = {"fd.h", "fdpass.h", "wire.h"}

# Headers that are for everybody, below what carries them out: usher.c is made of the library's other
# files, and all of these know the public types.
CONTRACTS = {Path("services/libusher/usher.h")}

# What the programs in services/ share.
COMMON = Path("services/common")


def room_of(path):
    """log.h, log-sink.c: the files of a room begin with its name."""
    return path.stem.split("-")[0]


def floor_of(room):
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def read_includes(root, path):
    """The names of our own headers that a file includes."""
    text = (root / path).read_text()
    return [match[1:-1] for match in INCLUDE.findall(text)]


def resolve(path, name, headers):
    """The path of the header `name` as seen from the file `path`, or None: it is not in this tree."""
    beside = path.parent / name
    if beside in headers:
        return beside
    candidates = [header for header in headers if str(header).endswith(name) and header.name == Path(name).name]
    if path.parts[0] == "services" and COMMON / name in candidates:
        return COMMON / name
    return candidates[0] if len(candidates) == 1 else None


def is_allowed(path, header):
    """Whether `path` may include `header`, both relative to the root of the tree."""
    here, there = path.parts, header.parts
    if here[0] == "tests":
        return True
    if here[0] == "services":
        if here[1] == "libusher":
            return there[:2] == here[:2]
        return there[:2] in (here[:2], COMMON.parts) or header == Path("services/libusher/usher.h")
    if there[0] == "services":
        return here[0] == "inetd" and header.name in PROTOCOL_HEADERS
    if there[1] == "compat":  # below config, and the converter's
        return here[1] in {"compat", "usherctl"} or (len(here) == 2 and room_of(path) == "config")
    if here[1] == "compat":
        return header == Path("inetd/array.h")
    if len(here) > 2 or len(there) > 2:  # inetd/usherctl: a house of its own
        return here[:2] == there[:2] or (len(there) == 2 and floor_of(room_of(header)) is not None)
    return is_downwards(room_of(path), room_of(header))


def is_downwards(includer, included):
    if includer == included or (includer, included) in NEIGHBOURS:
        return True
    above, below = floor_of(includer), floor_of(included)
    return above is not None and below is not None and above < below


def find_wrong_directions(root):
    headers = set(tree.list_files(root, ".h"))
    for path in tree.list_files(root, ".c", ".h"):
        if path.parts[0] == "inetd" and len(path.parts) == 2 and floor_of(room_of(path)) is None:
            yield f"{path}: this room has no floor yet: give it one in FLOORS of check_includes.py"
            continue
        for name in read_includes(root, path):
            header = resolve(path, name, headers)
            if header and not is_allowed(path, header):
                yield f"{path}: may not include {header}"


def find_impurities(root):
    for path in tree.list_files(root, ".c", ".h"):
        if path.parts[0] != "inetd" or room_of(path) not in PURE_ROOMS:
            continue
        for name in SYSTEM_INCLUDE.findall((root / path).read_text()):
            if name not in PURE_HEADERS:
                yield f"{path}: <{name}> is no header for a room without input and output"
        for name in read_includes(root, path):
            if Path(name).stem in {"fdpass", "log"}:
                yield f"{path}: {name} does input or output"


def unit_of(path):
    """A header and the file of its name are one thing, and the private header that goes with them, too."""
    return path if path in CONTRACTS else path.with_name(path.stem.removesuffix("-private"))


def read_edges(root):
    """Which unit includes which others; and within a unit, which header which other."""
    headers = set(tree.list_files(root, ".h"))
    edges = {}
    for path in tree.list_files(root, ".c", ".h"):
        for header in filter(None, (resolve(path, name, headers) for name in read_includes(root, path))):
            if unit_of(path) != unit_of(header):
                edges.setdefault(unit_of(path), set()).add(unit_of(header))
            elif path in headers:
                edges.setdefault(path, set()).add(header)
    return edges


def find_cycles(root):
    """Of two that need each other neither can be understood alone."""
    edges = read_edges(root)
    finished = set()

    def walk(node, trail):
        if node in trail:
            yield " -> ".join(str(step) for step in trail[trail.index(node):] + [node])
        elif node not in finished:
            for other in sorted(edges.get(node, ())):
                yield from walk(other, trail + [node])
            finished.add(node)

    for node in sorted(edges):
        yield from walk(node, [])


class Includes(unittest.TestCase):
    def test_includes_go_downwards(self):
        tree.check_nothing(self, find_wrong_directions(tree.ROOT))

    def test_dispatch_and_admission_do_no_input_or_output(self):
        tree.check_nothing(self, find_impurities(tree.ROOT))

    def test_there_are_no_cycles(self):
        tree.check_nothing(self, find_cycles(tree.ROOT))


if __name__ == "__main__":
    tap.main()
