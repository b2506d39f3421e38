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
    """A script of bpftrace that prints what is traced: its name and its arguments."""
    for name, arguments in documented_probes().items():
        formats = " ".join("%s" if argument in STRINGS else "%d" for argument in arguments)
        values = ", ".join(f"str(arg{i})" if argument in STRINGS else f"arg{i}" for i, argument in enumerate(arguments))
        yield f'usdt:{harness.USHERD}:usher:{name} {{ printf("{name} {formats}\\n", {values}); }}'


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
    """bpftrace(8) with a script; its lines go to a file."""

    def __init__(self, folder, script):
        self.path = folder / "trace"
        with open(self.path, "w") as file:
            self.process = subprocess.Popen(["bpftrace", "-B", "line", "-e", script], stdout=file, stderr=subprocess.STDOUT)

    def lines(self, service):
        """What was printed about a service: lists of words without it."""
        words = [line.split() for line in self.path.read_text().splitlines()]
        return [[line[0], *line[2:]] for line in words if line[1:2] == [service]]

    def wait(self, service, n):
        processes.wait_file(self.path, lambda: len(self.lines(service)) >= n, f"{n} lines about {service}")
        return self.lines(service)

    def close(self):
        """End it. Returns all that it has written."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        return self.path.read_text()


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

    def trace(self, script, options=""):
        """A tracer, and an usherd with the services `warm`, which has told that it works, and `one`."""
        if why_no_tracing():
            self.skipTest(why_no_tracing())
        usherd = self.start_usherd('service warm { listen = {"tcp:127.0.0.1:0"} }\n'
                                   f'service one {{ listen = {{"tcp:127.0.0.1:0"}} {options} }}\n')
        tracer = Tracer(self.folder, script)
        self.addCleanup(lambda: tracer.process.poll() is None and tracer.close())
        provider = self.provider(usherd, "warm")
        deadline = processes.Deadline(60)
        while not tracer.lines("warm"):
            self.assertIsNone(tracer.process.poll(), tracer.path.read_text())
            deadline.left("the tracer to begin")
            self.serve(usherd, "warm", provider)
        return usherd, tracer

    def serve(self, usherd, service, provider):
        client = self.connect(usherd.addresses(service)[0])
        connections = provider.take_and_claim(1)
        provider.finish(*connections)
        self.assertEqual(network.read_all(client), b"")
        client.close()
        return connections

    def test_connection_is_traced_from_accept_to_release(self):
        usherd, tracer = self.trace("\n".join(attach_all()))
        provider = self.provider(usherd, "one", credit=7)
        self.serve(usherd, "one", provider)
        lines = tracer.wait("one", 5)
        number = lines[1][1]
        pid = str(os.getpid())
        self.assertEqual(lines[0], ["register", pid, "7"])
        self.assertEqual(lines[1][:3], ["accept", number, "0"])
        self.assertEqual(lines[2:], [["handoff", number, pid], ["claim", number], ["release", number, "released"]])

    def test_refusal_is_traced_with_its_reason(self):
        usherd, tracer = self.trace("\n".join(attach_all()), 'only_from = {"10.0.0.0/8"}')
        provider = self.provider(usherd, "one")
        # Perhaps before connect(2) has returned.
        with self.assertRaises(ConnectionResetError), self.connect(usherd.addresses("one")[0]) as client:
            network.read_all(client)
        self.assertEqual(tracer.wait("one", 2)[1], ["refuse", "0", "only_from"])
        provider.close()

    def test_parked_connection_is_traced(self):
        usherd, tracer = self.trace("\n".join(attach_all()))
        provider = self.provider(usherd, "one")
        self.connect(usherd.addresses("one")[0])
        provider.take(1)
        provider.close()
        lines = tracer.wait("one", 4)
        self.assertEqual([line[0] for line in lines], ["register", "accept", "handoff", "park"])
        number = lines[1][1]
        self.assertEqual(lines[3][1:], [number, "1"])
        provider = self.provider(usherd, "one")
        provider.finish(*provider.take_and_claim(1))
        lines = tracer.wait("one", 8)[4:]
        self.assertEqual([line[0] for line in lines], ["register", "handoff", "claim", "release"])
        self.assertEqual(len({line[1] for line in lines[1:]}), 1)
        self.assertNotEqual(lines[1][1], number)

    def test_histogram_of_the_manual_works(self):
        script = re.search(r"# bpftrace -e '\n(.*?)'\n", MANUAL, re.DOTALL)[1].replace(
            "/usr/sbin/usherd", str(harness.USHERD))
        usherd, tracer = self.trace(f"{script}\n" + next(attach_all()))
        provider = self.provider(usherd, "one")
        for _ in range(5):
            self.serve(usherd, "one", provider)
        tracer.wait("one", 5)
        provider.close()
        usherd.wait_service("one", n_providers=0)
        self.assertRegex(tracer.close(), r"@us\[one\]: *\n(\[.*\n)+")


if __name__ == "__main__":
    tap.main()
