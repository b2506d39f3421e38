# SPDX-License-Identifier: MIT
"""The rows of the table: what is to be reached, and what was found.

A row is named after the case that finds it (cases.py) and, where that finds several, after what of
it: "pinned.rate". What a later version of usher will do has no case yet, and a note says so.
"""

import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction

import cases
import counts
import measure
import packages

SIGNS = {">=": "≥", "<=": "≤"}


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    what: str  # is to be at least or at most the target
    sense: str
    target: float | Fraction | None = None  # None: there is none, or it is found too
    unit: str = ""

    @property
    def case(self):
        return self.key.partition(".")[0]

    def finish(self, found, flaws):
        """The row as report.py wants it, with what was found, and what it lacks."""
        target = found.target if self.target is None else self.target
        median, low, high = measure.spread(found.values) if found.values else (None, None, None)
        is_reached = self._is_reached(median, target)
        return {
            "row": self.key, "title": self.title, "figure": self._figure(target),
            "target": None if target is None else float(target), "sense": self.sense,
            "value": median, "low": low, "high": high, "unit": self.unit,
            "reached": None if is_reached and flaws else is_reached,
            "note": "; ".join(filter(None, (found.note, *flaws))), "details": found.details,
        }

    def _figure(self, target):
        if target is None:
            return self.what
        return f"{self.what} {SIGNS[self.sense]} {target} {self.unit}".strip()

    def _is_reached(self, value, target):
        if value is None or target is None:
            return None
        return bool(value >= target if self.sense == ">=" else value <= target)


TABLE = (
    Row("drained", "a burst that is queued while the server is stopped, then drained",
        "rate", ">=", 0.95),
    Row("busy", "64 clients at once, the load on the same two processors",
        "rate", ">=", 0.95),
    Row("pinned.cpu", "64 clients, the load on one processor, all servers on the other",
        "processor time", "<=", 1.2),
    Row("pinned.rate", "64 clients, the load on one processor, all servers on the other",
        "rate", ">="),
    Row("single.median", "one client at a time, usherd and provider on a processor each",
        "added median", "<=", 8, "µs"),
    Row("single.p99", "one client at a time, usherd and provider on a processor each",
        "added 99th percentile", "<=", 20, "µs"),
    Row("single.cpu", "one client at a time, usherd and provider on a processor each",
        "processor time", "<=", 1.45),
    Row("calls.busy", "system calls of usherd per connection, 64 clients at once",
        "calls", "<=", 2.6),
    Row("calls.single", "system calls of usherd per connection, one client at a time",
        "calls", "<=", 4.2),
    Row("instructions.drained", "a queued burst: usherd's and the provider's instructions",
        "to the direct server's", "<="),
    Row("instructions.busy", "64 clients: usherd's and the provider's instructions",
        "to the direct server's", "<="),
    Row("callgrind.usherd", "64 clients: usherd's instructions without the kernel's",
        "per connection", "<="),
    Row("callgrind.provider", "64 clients: the provider's instructions without the kernel's",
        "per connection", "<="),
    Row("lent", "a listener that is lent to the provider",
        "rate", ">=", 0.98),
    Row("inetds.rate", "openbsd-inetd, xinetd, systemd-socket-activate; 64 clients",
        "times the rate", ">=", 12),
    Row("inetds.drained", "openbsd-inetd, xinetd, systemd-socket-activate; a queued burst",
        "times the rate", ">=", 25),
    Row("inetds.cpu", "openbsd-inetd, xinetd, systemd-socket-activate; 64 clients",
        "of the processor time", "<=", Fraction(1, 18)),
    Row("proxies.rate", "HAProxy, nginx stream; 64 clients",
        "times the rate", ">=", 2),
    Row("proxies.drained", "HAProxy, nginx stream; a queued burst",
        "times the rate", ">="),
    Row("tcpserver.rate", "ucspi-tcp tcpserver; 64 clients",
        "times the rate", ">=", 6),
    Row("tcpserver.drained", "ucspi-tcp tcpserver; a queued burst",
        "times the rate", ">="),
    Row("s6.rate", "s6-tcpserver; 64 clients",
        "times the rate", ">="),
    Row("s6.drained", "s6-tcpserver; a queued burst",
        "times the rate", ">="),
    Row("node.rate", "Node cluster; 64 clients",
        "times the rate", ">=", 3.5),
    Row("node.drained", "Node cluster; a queued burst",
        "times the rate", ">="),
    Row("exec", "usher-exec with the program that tcpserver runs",
        "times the rate", ">=", 1.5),
    Row("listeners.rate", "10,000 listeners, 100 of them in use, to one",
        "rate", ">=", 0.95),
    Row("listeners.start", "10,000 listeners, until usherd is ready",
        "time", "<=", 1, "s"),
    Row("listeners.memory", "10,000 listeners, usherd's memory for each",
        "memory", "<=", 4, "KiB"),
    Row("providers", "64 providers of a service, to one",
        "rate", ">=", 0.8),
    Row("rules", "10,000 admission rules, to none",
        "rate", ">=", 0.95),
    Row("sources", "100,000 sources remembered, to none",
        "rate", ">=", 0.95),
    Row("crowd.parked", "10,000 connections parked, usherd's memory for each",
        "memory", "<=", 512, "bytes"),
    Row("crowd.held", "15,000 connections in service, usherd's memory for each",
        "memory", "<=", 512, "bytes"),
    Row("crowd.rate", "these 25,000 connections, to none: another service",
        "rate", ">=", 0.95),
    Row("allocation", "allocations on the way of a connection",
        "number", "<=", 0),
)

SHORT = ("drained", "busy", "pinned", "single")

ELSEWHERE = {
    "allocation": "counted by tests/integration/test_allocations.py",
}

# What keeps a row from being found, and says so in its note.
TROUBLE = (AssertionError, OSError, subprocess.SubprocessError, counts.Unavailable,
           packages.Unavailable)


def select(words, is_short):
    """The rows, or all rows of the cases, of these names; without names those of the form."""
    words = words or (SHORT if is_short else [row.case for row in TABLE])
    unknown = set(words) - {row.key for row in TABLE} - {row.case for row in TABLE}
    if unknown:
        raise ValueError(f"there is no row {', '.join(sorted(unknown))}, but "
                         f"{', '.join(row.key for row in TABLE)}")
    return [row for row in TABLE if row.key in words or row.case in words]


def _find(bench, case):
    """What a case finds, by the keys of rows; and a note for those that it does not find."""
    if case in ELSEWHERE:
        return {}, ELSEWHERE[case]
    print(f"# {case}", file=sys.stderr, flush=True)
    try:
        return cases.CASES[case](bench), ""
    except TROUBLE as error:
        print(f"# {case}: {error}", file=sys.stderr, flush=True)
        return {}, str(error).partition("\n")[0]


def collect(bench, rows):
    """Measure what these rows need. Returns them as report.py wants them."""
    finished = []
    for case in dict.fromkeys(row.case for row in rows):
        bench.flaws.clear()
        found, reason = _find(bench, case)
        for row in rows:
            if row.case == case:
                one = found.get(row.key, cases.Found([], reason))
                finished.append(row.finish(one, bench.flaws))
    return finished
