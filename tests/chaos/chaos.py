# SPDX-License-Identifier: MIT
"""What the chaos cases share: clients and providers by the thousand, their account, and the figures.

Each case is short here (tests/run), and long with `tests/chaos/run --soak`, which prints the figures as
a table. After each of them usherd has to be as it was before: its counters agree, its providers have
their credit, and it has no more descriptors and memory.
"""

import os
import signal
import subprocess
from pathlib import Path

import harness
import processes
from ledger import RESULT, STAMP_BYTES, Ledger, Stamps, percentile, read_results

IS_SOAK = os.environ.get("CHAOS_SOAK") == "1"
SANITIZED_SHARE = 5  # sanitizers make everything slower: they get a part of the load

CLIENT = harness.BUILD_DIR / "tests/chaos/chaos-client"
PROVIDER = harness.BUILD_DIR / "tests/chaos/chaos-provider"

FIRST_CLIENT = 1
MAX_STAMPS = 8 << 20

# usherd keeps memory for as many connections as it ever held at once, and the allocator what it once got
# from the kernel: that grows with the first load, and a little with a later one that was higher. Found were
# up to 220 KiB, however long the load. The log's queue can take 2 MiB more, once, when a busy machine lets
# its reader wait. Four bytes lost with each connection of the long form would be more.
MEMORY_TOLERANCE_KIB = 512 + 3 * 1024

FIGURES = []  # (row, what was found, whether that is the figure to reach)


def size(fast, soak):
    """How many, in this run."""
    if IS_SOAK:
        return soak
    return fast // SANITIZED_SHARE if harness.IS_SANITIZED else fast


class _Program:
    """One of the C programs: it ends by itself when its standard input is closed."""

    def __init__(self, test, usherd, *command):
        self.usherd = usherd
        self.log = test.folder / f"program-{len(test.program_logs)}.log"
        test.program_logs.append(self.log)
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, "USHER_RUN_DIR": str(usherd.run_dir)})
        test.endings.callback(self._abandon)
        self.output = b""

    def _abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def _read_output(self, deadline, what):
        """False at the end. Reads usherd's log meanwhile, which has to go somewhere."""
        readable = processes.find_readable([self.process.stdout], min(0.05, deadline.left(what)))
        self.usherd.read_log()
        if not readable:
            return True
        block = os.read(self.process.stdout.fileno(), 4096)
        self.output += block
        return bool(block)

    def wait_word(self, word, seconds=processes.DEADLINE):
        """Until it has printed the word."""
        deadline = processes.Deadline(seconds)
        while word.encode() not in self.output.split(b"\n"):
            if not self._read_output(deadline, f"{word!r} of {self.process.args[0]}"):
                raise AssertionError(f"no word {word!r}: {self.log.read_text()}")

    def let_end(self):
        self.process.stdin.close()

    def wait(self, seconds=processes.DEADLINE):
        """Until it has ended, as it should."""
        deadline = processes.Deadline(seconds)
        while self._read_output(deadline, f"the end of {self.process.args[0]}"):
            pass
        if self.process.wait(deadline.left("its end")):
            raise AssertionError(f"{self.process.args[0]} failed: {self.log.read_text()}")

    def is_over(self):
        return self.process.poll() is not None


def _is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


class Clients(_Program):
    """chaos-client: `n` of them at most, see there."""

    def __init__(self, test, usherd, address, n, *, parallel=200, rate=0, n_answers=1, patience=60):
        self.first = test.next_client
        test.next_client += n
        self.results = test.folder / f"clients-{self.first}"
        with self.results.open("wb") as file:
            file.truncate(n * RESULT.size)
        super().__init__(test, usherd, CLIENT, address.rpartition(":")[2], self.results, self.first,
                         min(parallel, n), rate, n_answers, patience)

    def read(self):
        return read_results(self.results)

    def latency_ms(self, percent):
        """Of those that were answered: how long after connect(2)."""
        return percentile([latency for _, latency, _ in self.read() if latency], percent) / 1000


class Providers(_Program):
    """chaos-provider: `n` of them, one of them ended every `end_ms` milliseconds."""

    def __init__(self, test, usherd, service, n=4, *, credit=64, end_ms=0, ways=()):
        self.service, self.credit = service, credit
        super().__init__(test, usherd, PROVIDER, service, test.stamps, n, credit, end_ms, *ways)
        usherd.wait_service(service, n_providers=n)

    def pids(self):
        return [provider["pid"] for provider in self.usherd.service(self.service)["providers"]]

    def stand_still(self):
        """Stop them, without a word to usherd."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)
            self.usherd.wait_until(lambda: _is_stopped(pid), f"{pid} to stand still")

    def go_on(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def end(self):
        """They leave as providers should; returns how many were ended before."""
        self.let_end()
        self.wait()
        return int(self.output)


class ChaosTest(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.next_client = FIRST_CLIENT
        self.groups = []
        self.stamps = self.folder / "stamps"
        with self.stamps.open("wb") as file:
            file.truncate((1 + MAX_STAMPS) * STAMP_BYTES)
        self.memory_kib = None

    def clients(self, usherd, service, n, **options):
        clients = Clients(self, usherd, usherd.addresses(service)[0], n, **options)
        self.groups.append(clients)
        return clients

    def providers(self, usherd, service, n=4, **options):
        return Providers(self, usherd, service, n, **options)

    def load(self, usherd, service, n, seconds=120, **options):
        """So many clients, until all have met their fate."""
        clients = self.clients(usherd, service, n, **options)
        clients.wait(seconds)
        return clients

    def park(self, usherd, service, n):
        """So many clients whose provider is gone before it has looked at them."""
        sleepers = [self.holding_child(usherd, service, "sleeper", credit=n) for _ in range(1 + n // 200)]
        clients = self.clients(usherd, service, n, parallel=n, patience=600)
        usherd.wait_service(service, unclaimed=n)
        for sleeper in sleepers:
            sleeper.kill()
        usherd.wait_service(service, parked=n)
        return clients

    def wait_all(self, seconds=processes.DEADLINE):
        """Until all clients of the test have met their fate."""
        for clients in self.groups:
            clients.wait(seconds)

    def warm_up(self, usherd, service):
        """A first load: what it leaves in memory is what stays."""
        self.load(usherd, service, 1000)
        self.wait_settled(usherd, service)
        self.memory_kib = self.read_memory(usherd)

    def ledger(self):
        return Ledger([(group.first, group.read()) for group in self.groups], Stamps(self.stamps))

    # What has to be true afterwards

    def check_ledger(self, ledger, *, n_lost=0, deaths=False):
        """Everybody has had one fate, and a good one; with `deaths` it may be that of the provider."""
        allowed = {"served", "lost in provider"} if deaths else {"served"}
        for word in set(ledger.words) - allowed:
            n_allowed = n_lost if word == "lost" else 0
            self.assertLessEqual(len(ledger[word]), n_allowed, f"{ledger}; {ledger.describe(word)}")

    def wait_settled(self, usherd, *names):
        """Until nothing is on its way in these services."""
        for name in names:
            usherd.wait_service(name, unclaimed=0, waiting=0, parked=0, in_service=0)

    def check_settled(self, usherd, providers, *names):
        """Counters that agree, credit that came back, and memory no more than after the warm-up."""
        self.wait_settled(usherd, *names)
        for name in names:
            service = usherd.service(name)
            self._check_totals(name, service["totals"])
            for provider in service["providers"]:
                self.assertEqual(provider["credit"], providers.credit, provider)
        if self.memory_kib and not harness.IS_SANITIZED:
            grown_kib = self.read_memory(usherd) - self.memory_kib
            self.assertLessEqual(grown_kib, MEMORY_TOLERANCE_KIB, "KiB more than before")

    def _check_totals(self, name, totals):
        self.assertEqual([key for key, value in totals.items() if value < 0], [], totals)
        came = totals["accepted"] + totals["taken_over"]
        went = sum(totals[key] for key in ("released", "forwarded", "lost", "expired", "given_up"))
        self.assertEqual(came, went, f"{name}: {totals}")

    @staticmethod
    def read_memory(usherd):
        """KiB of its memory that are in use."""
        return int(usherd.proc_status("VmRSS").split()[0])

    # What it does meanwhile

    @staticmethod
    def _count_sleeps(usherd):
        """How often its threads went to sleep, each time to be woken up once."""
        return sum(harness.find_number("voluntary_ctxt_switches", (task / "status").read_text())
                   for task in Path(f"/proc/{usherd.pid}/task").iterdir())

    def wakeups_per_second(self, usherd, seconds=2.0):
        before = self._count_sleeps(usherd)
        usherd.watch(seconds)
        return (self._count_sleeps(usherd) - before) / seconds

    # What was found

    def figure(self, row, found, is_reached=True):
        """For the table; a figure that is missed fails the case in the long form."""
        print(f"# {row}: {found}", flush=True)
        FIGURES.append((row, found, is_reached))
        if IS_SOAK:
            self.assertTrue(is_reached, f"{row}: {found}")


def print_table():
    """The figures found, as in the description of what usher promises."""
    print("\n| case | found | |\n| --- | --- | --- |")
    for row, found, is_reached in FIGURES:
        print(f"| {row} | {found} | {'reached' if is_reached else 'MISSED'} |")
