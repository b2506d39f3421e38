# SPDX-License-Identifier: MIT
"""The account of every connection: what its client met against what providers wrote down.

Both wrote it into files (stamp.h) that outlive whoever is killed. Each client ends up under exactly one word:

  served             answered in full, and one provider had it
  refused            the kernel said so: ECONNREFUSED
  lost in provider   not answered, but a provider had claimed it, or libusher had given it to one
  lost               not answered, and nobody had it: usherd's fault, or the kernel's
  doubled            two providers had it
  mixed up           somebody else's bytes or answer, or answered by nobody
"""

import array
import bisect
import collections
import struct

NOT_STARTED, ANSWERED, REFUSED, RESET, CLOSED, SILENT, WRONG = range(7)
OUTCOMES = ("not started", "answered", "refused", "reset", "closed", "silent", "wrong")
REGISTERS, CLAIMS, TAKES, SERVES, MIXES_UP = range(1, 6)

RESULT = struct.Struct("=IIQ")
STAMP_BYTES = 8


class Stamps:
    """What all providers of a test wrote down."""

    def __init__(self, path):
        self.claimed, self.served, self.mixed_up = set(), set(), set()
        self.taken = collections.Counter()
        self.n_registrations = 0
        self._read(path)

    def _read(self, path):
        with path.open("rb") as file:
            n, = struct.unpack("=Q", file.read(STAMP_BYTES))
            stamps = array.array("Q")
            stamps.frombytes(file.read(n * STAMP_BYTES))
        if len(stamps) != n:
            raise AssertionError(f"{n} stamps, and room for {len(stamps)}")
        add_to = {CLAIMS: self.claimed.add, SERVES: self.served.add, MIXES_UP: self.mixed_up.add}
        for stamp in stamps:
            event, client = stamp & 0xFF, stamp >> 32
            if event == TAKES:
                self.taken[client] += 1
            elif event == REGISTERS:
                self.n_registrations += 1
            elif event:  # 0: killed before it could write
                add_to[event](client)


def read_results(path):
    """[(outcome, latency in µs, when it ended in µs of time.monotonic())] of one group of clients."""
    return list(RESULT.iter_unpack(path.read_bytes()))


class Ledger:
    """Every client under one word: `self["lost"]` is a list of numbers."""

    def __init__(self, groups, stamps):
        """`groups`: [(number of the first client, results)]."""
        self.words = collections.defaultdict(list)
        self.stamps = stamps
        self.outcomes = {}
        self.ended_usec = {}
        for first, results in groups:
            for number, (outcome, _, ended_usec) in enumerate(results, first):
                if outcome != NOT_STARTED:
                    self.outcomes[number] = outcome
                    self.ended_usec[number] = ended_usec
                    self.words[self._find_word(number, outcome)].append(number)

    def _find_word(self, number, outcome):
        n_taken = self.stamps.taken[number]
        if n_taken > 1:
            return "doubled"
        if number in self.stamps.mixed_up or outcome == WRONG:
            return "mixed up"
        if outcome == ANSWERED:
            return "served" if n_taken and number in self.stamps.served else "mixed up"
        if outcome == REFUSED and not n_taken:
            return "refused"
        if outcome in (RESET, CLOSED) and (n_taken or number in self.stamps.claimed):
            return "lost in provider"
        return "lost"

    def __getitem__(self, word):
        return self.words[word]

    def __len__(self):
        return len(self.outcomes)

    def count_by_time(self, word, times):
        """How many of a word ended after each of these times (of time.monotonic()) and before the next."""
        counts = [0] * len(times)
        for number in self.words[word]:
            counts[bisect.bisect(times, self.ended_usec[number] / 1e6) - 1] += 1
        return counts

    def __str__(self):
        return ", ".join(f"{len(numbers)} {word}" for word, numbers in sorted(self.words.items()) if numbers)

    def describe(self, word):
        """The first few of a word, for the message of a failure."""
        return "; ".join(
            f"client {number}: {OUTCOMES[self.outcomes[number]]}, taken {self.stamps.taken[number]} times, "
            f"{'' if number in self.stamps.claimed else 'not '}claimed" for number in self.words[word][:5])


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
