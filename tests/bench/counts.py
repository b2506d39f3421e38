# SPDX-License-Identifier: MIT
"""Counts that noise changes little: system calls and instructions for each connection.

perf(1) lets the kernel count while a process runs on as ever. That needs root, and for instructions
a processor whose counters can be seen from here. callgrind, of valgrind(1), counts the instructions
of a program, without those of the kernel, on any machine: it runs them itself, fifty times slower.

What still differs from run to run is how many connections one awakening is for.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import servers

SYSTEM_CALLS = "raw_syscalls:sys_enter"
INSTRUCTIONS = {"instructions:u": "program", "instructions:k": "kernel"}

# By name: in a run of their own, because each costs a little whenever the process falls asleep or
# wakes up. usherd and providers use these; with all that there are perf takes ten seconds to end.
NAMED_CALL = "syscalls:sys_enter_"
NAMES = (
    "accept4", "close", "close_range", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "futex", "getpeername", "getsockopt", "gettid", "poll", "ppoll", "read", "recvfrom", "recvmmsg",
    "recvmsg", "rt_sigreturn", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "timer_settime", "timerfd_settime", "write")
TRACING = Path("/sys/kernel/tracing/events/syscalls")

PERF_SECONDS = 10  # until perf has opened its counters
CALLGRIND_SECONDS = (0.5, 2.5)


class Unavailable(Exception):
    """This cannot be counted on this machine, or by this user; says why."""


def serve(server, load):
    """Put a measure.Load on a server. Returns how many connections it has served, which is all."""
    output = subprocess.run(load.command(server), stdout=subprocess.PIPE, check=True).stdout
    found = json.loads(output)
    if any(found["failures"].values()):
        raise AssertionError(f"{server.name}: {found['failures']}")
    return found["connections"]


# With perf


def _start_perf(pid, events, control):
    try:
        return subprocess.Popen(
            ["perf", "stat", f"--pid={pid}", f"--event={','.join(events)}", "--field-separator=;",
             "--delay=-1", f"--control=fd:{control.fileno()},{control.fileno()}"],
            pass_fds=[control.fileno()], env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise Unavailable("there is no perf(1)") from None


def _named_calls():
    """As events; not every kind of machine has all."""
    return [NAMED_CALL + name for name in NAMES if (TRACING / f"sys_enter_{name}").exists()]


def _tell(control, word):
    """Let perf do something. False if it does not answer: it has ended, or hangs."""
    try:
        control.sendall(word)
        return bool(control.recv(16))
    except OSError:
        return False


def _end_perf(process):
    """Returns what it has said."""
    process.send_signal(signal.SIGINT)
    return process.communicate()[1]


def _parse_counts(text):
    """{event: number}. A line has the number, or why there is none, its unit, the event, more."""
    return {match[2]: int(match[1]) for match in re.finditer(r"(?m)^(\d+);[^;]*;([^;]+);", text)}


def _count(server, pid, load, events):
    """Let perf count while there is this load. Returns {event: number for each connection}."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(PERF_SECONDS)
        with theirs:
            perf = _start_perf(pid, events, theirs)
        n_served = 0
        try:
            if _tell(ours, b"enable\n"):
                n_served = serve(server, load)
                _tell(ours, b"disable\n")
        finally:
            said = _end_perf(perf)
    counts = _parse_counts(said)
    if not n_served or SYSTEM_CALLS not in counts:
        raise Unavailable(f"perf, which needs root, says: {' '.join(said.split())[:200]}")
    return {event: n / n_served for event, n in counts.items()}


def _count_calls(server, pid, load):
    """System calls by name, the most frequent first."""
    counts = _count(server, pid, load, (SYSTEM_CALLS, *_named_calls()))
    n_all = counts.pop(SYSTEM_CALLS)
    calls = {event.removeprefix(NAMED_CALL): n for event, n in counts.items()}
    calls["others"] = n_all - sum(calls.values())
    return {name: n for name, n in sorted(calls.items(), key=lambda call: -call[1]) if n > 0}


def system_calls(server, pid, load):
    """How many a connection costs this process of the server, while there is this load."""
    return _count(server, pid, load, [SYSTEM_CALLS])[SYSTEM_CALLS]


def per_connection(server, pid, load):
    """What a connection costs this process of the server, while there is this load:

    {"system_calls": 2.41, "calls": {"accept4": 1.01, ...},
     "instructions": {"program": 3021.5, "kernel": 20123.0}}

    Instructions are left out where the processor's counters cannot be seen.
    """
    totals = _count(server, pid, load, (SYSTEM_CALLS, *INSTRUCTIONS))
    instructions = {name: totals[event] for event, name in INSTRUCTIONS.items() if event in totals}
    return {"system_calls": totals[SYSTEM_CALLS], "calls": _count_calls(server, pid, load),
            "instructions": instructions}


# With callgrind


def _read_total(path):
    return int(re.search(r"^totals: (\d+)$", path.read_text(), re.MULTILINE)[1])


def _run_callgrind(load):
    """How many connections were served, and the instructions of usherd and of the provider."""
    with tempfile.TemporaryDirectory(prefix="usher-callgrind-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        wrapper = ["valgrind", "--tool=callgrind", "--quiet",
                   f"--callgrind-out-file={folder}/%p"]
        with servers.Usher(wrapper=wrapper) as usher:
            usher.start(load.work)
            files = [folder / str(pid) for pid in (usher.usherd_pid, *usher.provider_pids)]
            for file in files:  # made at the start, and usherd has become another user since
                file.chmod(0o666)
            n_served = serve(usher, load)
        return n_served, *map(_read_total, files)


def by_callgrind(load):
    """Instructions of the programs for each connection: {"usherd": 3021.5, "provider": 1402.2}

    From two runs of different length: what they do besides is not in the difference.
    """
    if not shutil.which("valgrind"):
        raise Unavailable("there is no valgrind(1)")
    short, long = (_run_callgrind(replace(load, seconds=seconds)) for seconds in CALLGRIND_SECONDS)
    n_served, usherd, provider = (more - less for more, less in zip(long, short))
    return {"usherd": usherd / n_served, "provider": provider / n_served}
