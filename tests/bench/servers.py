# SPDX-License-Identifier: MIT
"""What is measured: servers that are started, answer, tell what processor time they used, and end.

A Server is one of them, with all its processes. Those of others are in peers.py; here are the two
that everything is compared with: Direct, which accepts by itself and is the limit, and Usher, which
is usherd with its default configuration and processes that get their connections from it.
"""

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import harness
import network
import processes

PROGRAMS = harness.BUILD_DIR / "tests/bench"

START_SECONDS = 10  # until a server answers
BACKLOG = 4096  # as usherd's default, and the kernel's
STOP_SECONDS = 5  # until a server that was asked to end is killed
PAUSE_SECONDS = 0.01  # between two looks whether it answers already

GREETING = b"is anybody there?\n"

_libc = ctypes.CDLL(None, use_errno=True)


def _process_clock(pid):
    """The processor time of a process, with all threads it ever had: clock_getcpuclockid(3)."""
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise ProcessLookupError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def _reaped_seconds(pid):
    """The processor time of the children that it has waited for, in clock ticks: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def _list_tree(pid):
    """A process and all that descends from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # they come and go
            for child in task.read_text().split():
                yield from _list_tree(int(child))


PIDFD_GETFD = 438  # a system call that Python has no function for, with this number everywhere


def _copy_socket(pidfd, fd):
    """A copy of another process's socket: pidfd_getfd(2)."""
    copy = _libc.syscall(PIDFD_GETFD, pidfd, fd, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return socket.socket(fileno=copy)


def _lengthen_backlogs(pid):
    """Let as many clients wait for it as for the others: copies of a socket share a backlog."""
    with os.fdopen(os.pidfd_open(pid), "rb", 0) as pidfd:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if not os.readlink(link).startswith("socket:"):
                continue
            with _copy_socket(pidfd.fileno(), int(link.name)) as copy:
                if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    copy.listen(BACKLOG)


class Server:
    """One server. A subclass gives it a name, and says in launch() what is to be run."""

    name = ""
    backlog = BACKLOG  # how many clients can wait while it does nothing, if nobody changes that

    def __init__(self):
        self.addresses = []  # as bench-load wants them
        self.processes = []  # that were started here; others descend from them
        self._cleanups = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    # Life

    def start(self, work, cpus=None):
        """Start it on these processors (None: on all), and wait until it answers."""
        folder = tempfile.TemporaryDirectory(prefix="usher-bench-")
        self.folder = Path(self._cleanups.enter_context(folder))
        self.folder.chmod(0o755)
        self.launch(work, cpus)
        deadline = processes.Deadline(START_SECONDS)
        while not self._answers(work):
            deadline.left(f"{self.name} to answer:\n{self.read_log()}")
            self._check_living()
        if self.backlog < BACKLOG:
            for process in self.processes:
                _lengthen_backlogs(process.pid)

    def launch(self, work, cpus):
        """Start it, without waiting until it answers, and set self.addresses."""
        raise NotImplementedError

    def run(self, command, cpus=None, **options):
        """Start a process of this server; it does not outlive this program."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=lambda: _prepare(cpus), **options)
        self.processes.append(process)

    def stop(self):
        """End all its processes, the last one first."""
        with self._cleanups:
            pids = self.pids()
            for process in reversed(self.processes):
                _end(process)
            for pid in set(pids) - {process.pid for process in self.processes}:
                processes.end_pid(pid, signal.SIGKILL)
            self.processes = []

    def _answers(self, work):
        host, _, port = self.addresses[0].rpartition(":")
        with contextlib.suppress(OSError):
            with socket.create_connection((host, int(port)), START_SECONDS) as client:
                if work == "echo":
                    client.sendall(GREETING)
                return bool(network.read_all(client))
        return False

    def _check_living(self):
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(PAUSE_SECONDS)
                raise AssertionError(f"{self.name} ended with status {status}:\n{self.read_log()}")

    def read_log(self):
        """What its processes have said."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    # What it uses

    def pids(self):
        """All its processes that live."""
        return [pid for process in self.processes for pid in _list_tree(process.pid)]

    def cpu_seconds(self):
        """Processor time of all its processes, with those that are over."""
        seconds = 0
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # its parent counts it
                seconds += _process_clock(pid) + _reaped_seconds(pid)
        return seconds


def _prepare(cpus):
    """In a child, before it becomes the program."""
    _libc.prctl(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
    if cpus:
        os.sched_setaffinity(0, cpus)


def _end(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Direct(Server):
    """bench-direct: the least that a server has to do."""

    name = "direct"

    def launch(self, work, cpus):
        self.addresses = [f"127.0.0.1:{network.free_port()}"]
        self.run([PROGRAMS / "bench-direct", "-w", work, *self.addresses], cpus)


# Listeners by the thousand: where nobody else listens, and below the ports that clients get.
_NETWORKS = itertools.count(1)
_FIRST_OCTETS = f"127.{100 + os.getpid() % 100}"
FIRST_PORT = 20000
MAX_USED = 100  # listeners that clients connect to; the others' services have providers that idle
MAX_OF_SERVICE = 1000


class Usher(Server):
    """usherd, and bench-provider as often as wanted, on processors of their own if wanted."""

    name = "usher"

    def __init__(self, n_providers=1, n_listeners=1, *, name=None, provider_cpus=None, wrapper=(),
                 lends=False, options=""):
        """`wrapper` is the command that runs each program, valgrind for instance. `lends`: the provider
        accepts by itself on the socket that is lent to it. `options` are further ones of the service
        that is measured.
        """
        super().__init__()
        self.options = options
        self.n_providers, self.n_listeners = n_providers, n_listeners
        self.name = name or self.name
        self.provider_cpus = provider_cpus
        self.wrapper = wrapper
        self.lends = lends
        self.network = f"{_FIRST_OCTETS}.{next(_NETWORKS)}"
        self.n_used = min(n_listeners, MAX_USED)
        self.idle = self._share_out(n_listeners - self.n_used)

    @staticmethod
    def _share_out(n):
        """Services that are not used, and how many listeners each of them has."""
        full, rest = divmod(n, MAX_OF_SERVICE)
        shares = [MAX_OF_SERVICE] * full + [rest]
        return {f"idle-{number}": n for number, n in enumerate(shares, 1) if n}

    def configuration(self):
        """Its services, for usher.conf(5)."""
        counts = {"bench": self.n_used, **self.idle}
        freedom = "sandbox = false\n" if self.wrapper else ""  # what valgrind does is none of usherd's
        return freedom + "".join(
            f'service {name} {{\n'
            f'    listen = {{"tcp:{self.network}.{number}:{FIRST_PORT}-{FIRST_PORT + n - 1}"}}\n'
            f'    providers {{ max = {max(16, self.n_providers)} }}\n'
            f'    deliver = "{"listener" if self.lends else "connection"}"\n'
            f'    {self.options if name == "bench" else ""}\n'
            f'}}\n'
            for number, (name, n) in enumerate(counts.items()))

    def launch(self, work, cpus):
        self.usherd = harness.Usherd(self.folder, self.configuration(), wrapper=self.wrapper,
                                     before_exec=lambda: _prepare(cpus))
        self._cleanups.callback(self.usherd.close)
        begin = time.monotonic()
        self.usherd.launch()
        self.processes.append(self.usherd.process)
        self.usherd.wait_notification("READY", "1")
        self.start_seconds = time.monotonic() - begin
        self.addresses = [f"{self.network}.0:{FIRST_PORT + n}" for n in range(self.n_used)]
        self.start_providers(work, self.provider_cpus or cpus)
        self.usherd.wait_service("bench", n_providers=self.n_providers)

    def start_providers(self, work, cpus):
        for service in ["bench"] * self.n_providers + list(self.idle):
            mode = ["-l"] if self.lends else []
            self.run([*self.wrapper, PROGRAMS / "bench-provider", *mode, "-w", work, service], cpus,
                     env={**os.environ, "USHER_RUN_DIR": str(self.usherd.run_dir)})

    @property
    def usherd_pid(self):
        return self.usherd.pid

    @property
    def provider_pids(self):
        return [process.pid for process in self.processes[1:]]

    def private_bytes(self):
        """usherd's memory that it shares with nobody, which only root may see: None for others."""
        if not harness.IS_ROOT:
            return None
        rollup = Path(f"/proc/{self.usherd_pid}/smaps_rollup").read_text()
        return 1024 * sum(harness.find_number(name, rollup.replace(" kB", ""))
                          for name in ("Private_Clean", "Private_Dirty"))


class UsherExec(Usher):
    """usherd and usher-exec, which runs bench-answer for each connection."""

    name = "usher-exec"
    program = harness.BUILD_DIR / "services/exec/usher-exec"

    def launch(self, work, cpus):
        self.work = work
        super().launch(work, cpus)

    def configuration(self):
        return (f'service bench {{\n'
                f'    listen = {{"tcp:{self.network}.0:{FIRST_PORT}"}}\n'
                f'    instances = {BACKLOG}\n'
                f'    exec {{ program = "{PROGRAMS}/bench-answer" args = {{"-w", "{self.work}"}} }}\n'
                f'}}\n')

    def start_providers(self, work, cpus):
        self.run([self.program, "-c", self.usherd.config, "-u", harness.USHERD], cpus)
