# SPDX-License-Identifier: MIT
"""Places for tracers: those that usherd(8) lists are in the program, and tell of a connection what it says."""

import functools
import os
import re
import shutil
import signal
import subprocess
import unittest
from pathlib import Path

import harness
import network
import processes
import tap

MANUAL = (Path(__file__).parents[2] / "man/usherd.8").read_text().partition("\n.Sh PROBES\n")[2].partition("\n.Sh ")[0]
HAS_PROBES = "USHER_HAS_PROBES" in (harness.BUILD_DIR / "build-config.h").read_text()
STRINGS = {"service", "reason"}


def documented_probes():
    """{name: names of its arguments}."""
    return {name: arguments.split(" , ")
            for name, arguments in re.findall(r"^\.It Cm (\w+) Ar (.*)", MANUAL, re.MULTILINE)}


def probes_of(program):
    """[(name, number of arguments)] as the notes of an ELF file have them, once for each place."""
    notes = subprocess.run(["readelf", "--notes", "--wide", program], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Provider: usher\s+Name: (\w+)\s+.*\s+Arguments: (.*)", notes)
    return [(name, len(re.findall(r"-?\d@", arguments))) for name, arguments in found]


def attach_all():
    """A script of bpftrace that prints what is traced: when, its name and its arguments."""
    for name, arguments in documented_probes().items():
        formats = " ".join("%s" if argument in STRINGS else "%d" for argument in arguments)
        values = ", ".join(f"str(arg{i})" if argument in STRINGS else f"arg{i}" for i, argument in enumerate(arguments))
        yield f'usdt:{harness.USHERD}:usher:{name} {{ printf("%lld {name} {formats}\\n", nsecs, {values}); }}'


def histogram_of_the_manual():
    script = re.search(r"# bpftrace -e '\n(.*?)'\n", MANUAL, re.DOTALL)[1]
    return script.replace("/usr/sbin/usherd", str(harness.USHERD))


@functools.cache
def why_no_tracing():
    """None if this machine lets us trace programs."""
    if not harness.IS_ROOT:
        return "tracing needs root"
    if not shutil.which("bpftrace"):
        return "there is no bpftrace"
    trial = subprocess.run(["bpftrace", "-e", f"uprobe:{harness.USHERD}:main {{ exit(); }} interval:ms:1 {{ exit(); }}"],
                           capture_output=True, text=True, check=False)
    return f"the kernel lets nobody trace: {trial.stderr}" if trial.returncode else None


class Tracer:
    """bpftrace(8) with a script, looking at one process.

    It reads a ring for each processor, one after the other: lines come in the order of their times when they
    are sorted. It prints nothing, not even at BEGIN, before all is attached.
    """

    def __init__(self, pid, script):
        self.text = ""
        self.process = subprocess.Popen(
            ["bpftrace", "-B", "line", "-p", str(pid), "-e", f'BEGIN {{ printf("begun\\n"); }}\n{script}'],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def wait_until(self, is_true, what, seconds=processes.DEADLINE):
        """Read until `is_true()`. False if it ends before."""
        deadline = processes.Deadline(seconds)
        while not is_true():
            processes.wait_readable(self.process.stdout, deadline, f"{what}; it has said:\n{self.text}")
            block = os.read(self.process.stdout.fileno(), 65536)
            if not block:
                return False
            self.text += block.decode()
        return True

    def wait_begun(self):
        """Until it traces. False if it has ended instead."""
        return self.wait_until(lambda: "\nbegun\n" in self.text, "the tracer to begin", 60)

    def lines(self, service):
        """What was printed about a service: lists of words without it."""
        found = re.findall(rf"^(\d+) (\w+) {service}\b(.*)\n", self.text, re.MULTILINE)
        return [[name, *rest.split()] for _, name, rest in sorted(found, key=lambda line: int(line[0]))]

    def wait(self, service, n):
        self.wait_until(lambda: len(self.lines(service)) >= n, f"{n} lines about {service}")
        return self.lines(service)

    def end(self):
        """Returns all that it has said."""
        self.process.send_signal(signal.SIGINT)
        self.wait_until(lambda: False, "the end of the tracer")
        self.close()
        return self.text

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Probes(harness.UsherTest):
    def setUp(self):
        if not HAS_PROBES:
            self.skipTest("this usherd was built without probes")
        super().setUp()

    def test_program_has_what_the_manual_lists(self):
        found = probes_of(harness.USHERD)
        documented = {name: len(arguments) for name, arguments in documented_probes().items()}
        self.assertEqual(dict(found), documented)
        self.assertEqual(set(found), set(documented.items()), "places of one name differ")

    def trace(self, usherd):
        """A tracer that has begun. It takes seconds to: one is for all."""
        tracer = self.closing(Tracer(usherd.pid, "\n".join([*attach_all(), histogram_of_the_manual()])))
        if not tracer.wait_begun():
            if why_no_tracing():
                self.skipTest(why_no_tracing())
            self.fail(tracer.text)
        return tracer

    def test_connections_are_traced(self):
        usherd = self.start_usherd("".join(
            f'service {name} {{ listen = {{"tcp:127.0.0.1:0"}} {options} }}\n' for name, options in {
                "served": "", "refused": 'only_from = {"10.0.0.0/8"}', "parked": "", "moved": ""}.items()))
        tracer = self.trace(usherd)
        for check in (self.check_served, self.check_refused, self.check_parked, self.check_moved):
            with self.subTest(check.__name__):
                check(usherd, tracer)
        self.assertRegex(tracer.end(), r"@us\[served\]: *\n(\[.*\n)+")

    def check_served(self, usherd, tracer):
        """From accept to release."""
        provider = self.provider(usherd, "served", credit=7)
        self.connect(usherd.addresses("served")[0])
        provider.finish(*provider.take_and_claim(1))
        lines = tracer.wait("served", 5)
        number, pid = lines[1][1], str(os.getpid())
        self.assertEqual(lines[0], ["register", pid, "7"])
        self.assertEqual(lines[1][:3], ["accept", number, "0"])
        self.assertEqual(lines[2:], [["handoff", number, pid], ["claim", number], ["release", number, "released"]])

    def check_refused(self, usherd, tracer):
        self.provider(usherd, "refused")
        # Perhaps before connect(2) has returned.
        with self.assertRaises(ConnectionResetError), self.connect(usherd.addresses("refused")[0]) as client:
            network.read_all(client)
        self.assertEqual(tracer.wait("refused", 2)[1], ["refuse", "0", "only_from"])

    def check_parked(self, usherd, tracer):
        """It has another number afterwards."""
        provider = self.provider(usherd, "parked")
        self.connect(usherd.addresses("parked")[0])
        provider.take(1)
        provider.close()
        lines = tracer.wait("parked", 4)
        self.assertEqual([line[0] for line in lines], ["register", "accept", "handoff", "park"])
        number = lines[1][1]
        self.assertEqual(lines[3][1:], [number, "1"])
        provider = self.provider(usherd, "parked")
        provider.finish(*provider.take_and_claim(1))
        lines = tracer.wait("parked", 8)[4:]
        self.assertEqual([line[0] for line in lines], ["register", "handoff", "claim", "release"])
        self.assertEqual(len({line[1] for line in lines[1:]}), 1)
        self.assertNotEqual(lines[1][1], number)

    def check_moved(self, usherd, tracer):
        """To another provider, as the first one has gone without a claim."""
        provider = self.provider(usherd, "moved")
        client = self.connect(usherd.addresses("moved")[0])
        provider.take(1)
        other = str(self.serving_child(usherd, "moved", "other").pid)
        provider.close()
        self.assertEqual(network.read_all(client), b"other\n")
        lines = tracer.wait("moved", 7)
        number = lines[1][1]
        self.assertEqual(lines[2:], [["handoff", number, str(os.getpid())], ["register", other, lines[3][2]],
                                     ["handoff", number, other], ["claim", number], ["release", number, "released"]])


if __name__ == "__main__":
    tap.main()
