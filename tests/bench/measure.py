# SPDX-License-Identifier: MIT
"""Measurements: one load on one server, and servers that are compared in turns.

The speed of a machine drifts by half within seconds, so a figure of one server says little, and the
quotient of two that were found one after the other says more: compare() lets the reference run
before and after each of the others, for a short time each, many times over. What the reference
differs from itself in the same way is the noise.
"""

import json
import statistics
import subprocess
from dataclasses import dataclass, field, fields

import servers

BENCH_LOAD = servers.PROGRAMS / "bench-load"


@dataclass(frozen=True)
class Load:
    """What bench-load does: `clients` at a time for some seconds, or a burst of connections."""

    work: str = "echo"
    clients: int = 64
    seconds: float = 0.4
    burst: int = 0
    cpus: frozenset = frozenset()  # that bench-load may use; empty: all

    def command(self, server):
        """The command that puts this load on a server."""
        command = ["taskset", "-c", ",".join(map(str, self.cpus))] if self.cpus else []
        command += [BENCH_LOAD, "-w", self.work]
        if self.burst:
            command += ["-b", "-n", self.burst]
            command += [word for pid in server.pids() for word in ("-p", pid)]
        else:
            command += ["-c", self.clients, "-s", self.seconds]
        return [*map(str, command), *server.addresses]


@dataclass
class Result:
    """What one run has found."""

    rate: float  # connections per second
    median_us: float  # how long they took
    p99_us: float
    cpu_us: float  # processor time of the server for each of them
    failures: dict  # kinds of failures, and how often


def run_load(server, load):
    """Put a load on a server, and see what it does."""
    before = server.cpu_seconds()
    output = subprocess.run(load.command(server), stdout=subprocess.PIPE, check=True).stdout
    used_seconds = server.cpu_seconds() - before
    found = json.loads(output)
    if not found["connections"]:
        raise AssertionError(
            f"{server.name} has served nobody: {found['failures']}\n{server.read_log()}")
    latency = found["latency_us"]
    return Result(found["rate"], latency["median"], latency["p99"],
                  used_seconds * 1e6 / found["connections"],
                  {kind: n for kind, n in found["failures"].items() if n})


@dataclass
class Comparison:
    """A server and the reference, run by run: quotients, and differences in microseconds."""

    rate: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    median_us: list = field(default_factory=list)
    p99_us: list = field(default_factory=list)
    results: list = field(default_factory=list)  # of the server alone

    def add(self, before, result, after):
        self.results.append(result)
        self.rate.append(2 * result.rate / (before.rate + after.rate))
        self.cpu.append(2 * result.cpu_us / (before.cpu_us + after.cpu_us))
        self.median_us.append(result.median_us - (before.median_us + after.median_us) / 2)
        self.p99_us.append(result.p99_us - (before.p99_us + after.p99_us) / 2)

    def median(self, name):
        """Of what a Result tells."""
        return statistics.median(getattr(result, name) for result in self.results)

    def summary(self):
        """Medians, for the details of a row."""
        names = [item.name for item in fields(Result) if item.type is float]
        own = {name: round(self.median(name), 2) for name in names}
        relative = {name: [round(value, 4) for value in spread(getattr(self, name))]
                    for name in ("rate", "cpu", "median_us", "p99_us")}
        return {"runs": len(self.results), **own, "to_reference": relative,
                "failures": self.failures()}

    def failures(self):
        """Kinds of failures, and how often they came in all runs."""
        total = {}
        for result in self.results:
            for kind, n in result.failures.items():
                total[kind] = total.get(kind, 0) + n
        return total


def wake_up_us(cpus):
    """What it costs to wake a process on the other one of two processors."""
    command = [servers.PROGRAMS / "bench-wake", *map(str, cpus)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def spread(values):
    """The median, and the bounds of the half of the values that is next to it."""
    if len(values) < 2:
        return tuple(values * 3)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high


def compare(reference, others, load, repetitions):
    """Run the servers in turns. Returns Comparisons by the servers' names.

    That of the reference is with itself, two of its runs and the one between them: the noise.
    """
    comparisons = {server.name: Comparison() for server in (reference, *others)}
    runs = [run_load(reference, load)]
    for _ in range(repetitions):
        for server in others:
            result = run_load(server, load)
            runs.append(run_load(reference, load))
            comparisons[server.name].add(runs[-2], result, runs[-1])
    for before, between, after in zip(runs, runs[1:], runs[2:]):
        comparisons[reference.name].add(before, between, after)
    return comparisons
