# SPDX-License-Identifier: MIT
"""The cases that usher is measured in: which servers run, on which processors, under which load.

CASES has a function for each. It gets a Bench and returns what was found, by the keys of rows.
"""

import contextlib
import statistics
import sys
from dataclasses import dataclass, field, replace

import counts
import crowd
import measure
import packages
import peers
from measure import Load
from admitting import RememberingUsher, make_rules
from servers import Direct, Usher, UsherExec

BUSY = Load(clients=64)
ONE_BY_ONE = Load(clients=1)
BURST = Load(burst=4000)  # all that fit into a backlog
PEER_BURST = Load(burst=2000)  # most of them are slow

N_LISTENERS = (1, 100, 1000, 10_000)
N_PROVIDERS = (1, 4, 16, 64)
N_RULES = 10_000
N_SOURCES = 100_000
N_PARKED = 10_000
N_HELD = 15_000


@dataclass
class Found:
    """What was found for a row: several values, whose median is the one of the row."""

    values: list
    note: str = ""
    details: dict = field(default_factory=dict)
    target: float | None = None


class Bench:
    """How thoroughly it is measured, on which processors, and what was seen on the way."""

    def __init__(self, is_short, cpus):
        self.n_repetitions = 8 if is_short else 40
        self.n_few_repetitions = 3 if is_short else 12  # where there are many servers
        self.works = ("echo",) if is_short else ("echo", "daytime")
        self.cpus = sorted(cpus)
        self.noise = {}
        self.direct = {}  # what the direct server had, by load
        self.versions = {}  # of the peers
        self.flaws = []  # of what the latest case has found

    def two_cpus(self):
        if len(self.cpus) < 2:
            raise AssertionError("needs two processors")
        return self.cpus[:2]

    def add_flaw(self, text):
        """What keeps the rows of a case from being reached, whatever their values are."""
        self.flaws.append(text)
        print(f"# {text}", file=sys.stderr, flush=True)

    def compare(self, name, reference, others, load, n_repetitions):
        """measure.compare(), and keep the noise, under this name; failures are flaws."""
        comparisons = measure.compare(reference, others, load, n_repetitions)
        _, *noise = measure.spread(comparisons[reference.name].rate)
        self.noise.setdefault(name, noise)
        if isinstance(reference, Direct):
            self.direct.setdefault(name, describe_direct(comparisons[reference.name]))
        for server, comparison in comparisons.items():
            for kind, n in comparison.failures().items():
                self.add_flaw(f"{name}: {server} has failed: {n} {kind}")
        return comparisons


@contextlib.contextmanager
def running(work, *servers, cpus=None):
    """Servers that are started for a while, all on the same processors."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
            server.start(work, cpus)
        yield servers


def name_medians(lists):
    """A note, where there are several."""
    if len(lists) < 2:
        return ""
    return ", ".join(f"{name} {statistics.median(values):.3g}" for name, values in lists.items())


def find_worst(sense, lists):
    """Of lists of values, by their names, the worst one; with a note of all."""
    choose = min if sense == ">=" else max
    values = choose(lists.values(), key=statistics.median)
    return Found(values, name_medians(lists))


def describe_direct(comparison):
    """What the quotients are to, in the units of the machine."""
    return (f"{comparison.median('rate'):,.0f} a second, "
            f"{comparison.median('cpu_us'):.1f} µs of processor time, "
            f"{comparison.median('median_us'):.1f} µs from connect to the end")


def describe(comparisons):
    """Of each server what report.py and plot.py want to know, and more."""
    return {name: {"rate_ratio": statistics.median(comparison.rate),
                   "cpu_ratio": statistics.median(comparison.cpu), **comparison.summary()}
            for name, comparison in comparisons.items()}


# usherd and a provider, to the direct server


class ToDirect:
    """usher and the direct server under a load, with each kind of work."""

    def __init__(self, bench, name, load, usher=Usher, usher_cpus=None, direct_cpus=None):
        self.comparisons = {}
        self.details = {}
        for work in bench.works:
            with running(work, Direct(), cpus=direct_cpus) as (direct,), \
                    running(work, usher(), cpus=usher_cpus) as (ours,):
                found = bench.compare(f"{name} {work}", direct, [ours], replace(load, work=work),
                                      bench.n_repetitions)
            self.comparisons[work] = found[ours.name]
            self.details = self.details or {"load": name, "servers": describe(found)}

    def find(self, sense, what):
        found = find_worst(sense, {work: getattr(comparison, what)
                                   for work, comparison in self.comparisons.items()})
        found.details = self.details
        return found


def drained(bench):
    return {"drained": ToDirect(bench, "drained", BURST).find(">=", "rate")}


def busy(bench):
    return {"busy": ToDirect(bench, "busy", BUSY).find(">=", "rate")}


def pinned(bench):
    """The rate may be as much lower as the direct server's own is at times, with the same work."""
    load_cpu, server_cpu = bench.two_cpus()
    measured = ToDirect(bench, "pinned", replace(BUSY, cpus=frozenset({load_cpu})),
                        usher_cpus={server_cpu}, direct_cpus={server_cpu})
    rate = measured.find(">=", "rate")
    worst = min(bench.works, key=lambda work: statistics.median(measured.comparisons[work].rate))
    rate.target = round(bench.noise[f"pinned {worst}"][0], 3)
    return {"pinned.cpu": measured.find("<=", "cpu"), "pinned.rate": rate}


def single(bench):
    """The load goes where the kernel puts it. If it always shared a processor with one of the
    servers, what they wait for each other would be the 99th percentile.
    """
    usherd_cpu, provider_cpu = bench.two_cpus()
    wake_ups_us = [measure.wake_up_us(bench.two_cpus())]
    measured = ToDirect(bench, "single", ONE_BY_ONE, lambda: Usher(provider_cpus={provider_cpu}),
                        usher_cpus={usherd_cpu}, direct_cpus={provider_cpu})
    wake_ups_us.append(measure.wake_up_us(bench.two_cpus()))
    median = measured.find("<=", "median_us")
    wake_ups = (f"to wake a process on the other processor took {min(wake_ups_us):.1f} to "
                f"{max(wake_ups_us):.1f} µs here, and 5.3 µs where the target is from")
    median.note = "; ".join(filter(None, (median.note, wake_ups)))
    return {"single.median": median,
            "single.p99": measured.find("<=", "p99_us"),
            "single.cpu": measured.find("<=", "cpu")}


def lent(bench):
    """The provider accepts by itself: usherd has no part in it."""
    return {"lent": ToDirect(bench, "lent", BUSY, lambda: Usher(lends=True)).find(">=", "rate")}


def calls(bench):
    """What usherd does for each connection, on the processors that it has in busy and single."""
    usherd_cpu, provider_cpu = bench.two_cpus()
    found = {}
    for key, load, usher, cpus in (
            ("busy", BUSY, Usher(), None),
            ("single", ONE_BY_ONE, Usher(provider_cpus={provider_cpu}), {usherd_cpu})):
        with running("echo", usher, cpus=cpus):
            values = [counts.system_calls(usher, usher.usherd_pid, load)
                      for _ in range(bench.n_few_repetitions)]
            details = counts.per_connection(usher, usher.usherd_pid, load)
        found[f"calls.{key}"] = Found(values, details=details)
    return found


def instructions(bench):
    """Instructions, to the direct server's: the processor's own speed makes no difference to them.
    """
    found = {}
    for name, load in (("drained", BURST), ("busy", BUSY)):
        with running("echo", Direct(), Usher()) as both:
            direct, ours = ({pid: counts.per_connection(server, pid, load)["instructions"]
                             for pid in server.pids()} for server in both)
        if not all((*direct.values(), *ours.values())):
            raise counts.Unavailable("the processor's counters cannot be seen here")
        quotient = count_all(ours) / count_all(direct)
        found[f"instructions.{name}"] = Found([quotient], details={
            "direct": list(direct.values()), "usherd and provider": list(ours.values())})
    return found


def count_all(instructions_by_pid):
    return sum(sum(by_place.values()) for by_place in instructions_by_pid.values())


def callgrind(bench):
    """Those of the programs alone, without the kernel."""
    costs = counts.by_callgrind(BUSY)
    return {f"callgrind.{name}": Found([n]) for name, n in costs.items()}


# usher, to others


class ToPeers:
    """usher and each of some peers, to the direct server, under two loads."""

    def __init__(self, bench, makers):
        self.comparisons = {"busy": {}, "drained": {}}  # by the peer's name, by the server's name
        for maker in makers:
            try:
                peer = maker()
            except packages.Unavailable as reason:
                bench.add_flaw(f"{maker.name} is not here: {reason}")
            else:
                self._compare(bench, peer)
        if not self.comparisons["busy"]:
            raise packages.Unavailable("nothing to compare with")

    def _compare(self, bench, peer):
        bench.versions[peer.name] = peer.version()
        with running("echo", Direct(), Usher(), peer) as (direct, *others):
            for name, load in (("busy", BUSY), ("drained", PEER_BURST)):
                self.comparisons[name][peer.name] = bench.compare(
                    f"{name} {load.work}", direct, others, load, bench.n_few_repetitions)

    def find(self, sense, load_name, what):
        """How many times as much as a peer usher has of it: to the one that is nearest to usher."""
        by_peer = self.comparisons[load_name]
        found = find_worst(sense, {
            peer: [ours / its for ours, its in
                   zip(getattr(comparisons[Usher.name], what), getattr(comparisons[peer], what))]
            for peer, comparisons in by_peer.items()})
        found.details = {"load": load_name, "servers": {
            name: facts for comparisons in by_peer.values()
            for name, facts in describe(comparisons).items()}}
        return found


def peer_case(name, *makers):
    """A case that compares usher with these peers."""
    def to_peers(bench):
        measured = ToPeers(bench, makers)
        return {f"{name}.rate": measured.find(">=", "busy", "rate"),
                f"{name}.drained": measured.find(">=", "drained", "rate"),
                f"{name}.cpu": measured.find("<=", "busy", "cpu")}
    return to_peers


def programs(bench):
    """A process for each connection, by usher-exec and by tcpserver, with the same program."""
    tcpserver = peers.Tcpserver()
    bench.versions[tcpserver.name] = tcpserver.version()
    with running("echo", tcpserver, UsherExec()) as both:
        found = bench.compare("exec", both[0], both[1:], BUSY, bench.n_few_repetitions)
    ours = found[UsherExec.name]
    return {"exec": Found(ours.rate, f"{statistics.median(ours.cpu):.3g} of the processor time",
                          {"to tcpserver": describe(found)})}


# usher, to itself


def compare_ushers(bench, name, ushers):
    """The rate of the last one, to the first one; with all the others in the note."""
    reference, *others = ushers
    comparisons = bench.compare(name, reference, others, BUSY, bench.n_few_repetitions)
    rates = {usher.name: comparisons[usher.name].rate for usher in others}
    return Found(rates[others[-1].name], name_medians(rates),
                 {"comparisons": describe(comparisons)})


def listeners(bench):
    ushers = [Usher(n_listeners=n, name=f"{n:,} listeners") for n in N_LISTENERS]
    with running("echo", *ushers):
        rate = compare_ushers(bench, "listeners", ushers)
        one, most = ushers[0], ushers[-1]
        memory = find_memory(one.private_bytes(), most.private_bytes(),
                             1024 * (most.n_listeners - one.n_listeners))
    return {"listeners.rate": rate,
            "listeners.start": Found([most.start_seconds]),
            "listeners.memory": memory}


def find_memory(before, after, n):
    """usherd's memory for each of so many."""
    if before is None:
        return Found([], "only root may look at usherd's memory")
    return Found([(after - before) / n])


def providers(bench):
    ushers = [Usher(n_providers=n, name=f"{n} providers") for n in N_PROVIDERS]
    with running("echo", *ushers):
        return {"providers": compare_ushers(bench, "providers", ushers)}


def rules(bench):
    """Rules among which the one that lets the load in is found."""
    ushers = [Usher(name="no rules"),
              Usher(name=f"{N_RULES:,} rules", options=f"only_from = {make_rules(N_RULES)}")]
    with running("echo", *ushers):
        return {"rules": compare_ushers(bench, "rules", ushers)}


def sources(bench):
    """Clients have come from so many addresses, and how fast each of them came is remembered, for
    as many as there is room.
    """
    with running("echo", Usher(name="no limits"),
                 RememberingUsher(name=f"{N_SOURCES:,} sources")) as (alone, usher):
        n_remembered = usher.remember(N_SOURCES)
        found = compare_ushers(bench, "sources", (alone, usher))
    found.note = f"{n_remembered:,} of {N_SOURCES:,} that came are remembered, which is the maximum"
    return {"sources": found}


def crowded(bench):
    """Connections by the thousand that wait: of one service parked, of another one in service."""
    crowd.check_descriptors(max(N_PARKED, N_HELD))
    with running("echo", Usher(name="alone"), crowd.CrowdedUsher(name="crowded")) as (alone, usher):
        measure.run_load(usher, BUSY)  # the memory for anybody's connections
        before = usher.private_bytes()
        usher.hold(N_HELD)
        between = usher.private_bytes()
        usher.park(N_PARKED)
        after = usher.private_bytes()
        rate = compare_ushers(bench, "crowd", (alone, usher))
    return {"crowd.held": find_memory(before, between, N_HELD),
            "crowd.parked": find_memory(between, after, N_PARKED), "crowd.rate": rate}


CASES = {
    "drained": drained,
    "busy": busy,
    "pinned": pinned,
    "single": single,
    "calls": calls,
    "lent": lent,
    "instructions": instructions,
    "callgrind": callgrind,
    "inetds": peer_case("inetds", peers.OpenbsdInetd, peers.Xinetd, peers.SocketActivate),
    "proxies": peer_case("proxies", peers.Haproxy, peers.NginxStream),
    "tcpserver": peer_case("tcpserver", peers.Tcpserver),
    "s6": peer_case("s6", peers.S6Tcpserver),
    "node": peer_case("node", peers.NodeCluster),
    "exec": programs,
    "listeners": listeners,
    "providers": providers,
    "rules": rules,
    "sources": sources,
    "crowd": crowded,
}
