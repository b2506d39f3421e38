# SPDX-License-Identifier: MIT
"""A machine of its own, with systemd, in a container of systemd-nspawn(1) that begins as an image and has no network.

Whatever is changed in it is gone with it: it is an overlay in memory, in a mount namespace of its own.
All that it shares with this machine is the kernel, and a folder that it may read.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from image import ENVIRONMENT, Unavailable

CLONE_NEWNET = 0x40000000  # setns(2)
PR_SET_PDEATHSIG = 1  # prctl(2)

BOOT_SECONDS = 60
DEADLINE = 30.0

# $1: its name, $2: folder for its files in memory, $3: image, $4: what becomes /packages; then control groups.
# Whoever kills this shell, or the test, ends all of it.
# When it reboots nspawn ends with 133, or whoever had started it as a unit would not know.
LAUNCH = """set -e
name=$1 memory=$2 image=$3 packages=$4
shift 4
for group; do echo $$ >"$group/cgroup.procs"; done
mount -t tmpfs -o mode=0755 tmpfs "$memory"
mkdir "$memory/upper" "$memory/work" "$memory/root"
mount -t overlay -o "lowerdir=$image,upperdir=$memory/upper,workdir=$memory/work" overlay "$memory/root"
while
    status=0
    setpriv --pdeathsig=TERM systemd-nspawn --quiet --register=no --keep-unit --boot --private-network \
        --notify-ready=yes --kill-signal=SIGKILL --console=pipe --machine="$name" \
        --bind-ro="$packages:/packages" --directory="$memory/root" || status=$?
    [ $status = 133 ]
do :; done
exit $status
"""

libc = ctypes.CDLL(None, use_errno=True)


def _enter_network(network):
    if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _kill_process(pid):
    """And wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], DEADLINE)
        finally:
            os.close(pidfd)


class Machine:
    """One that has started. Unavailable if containers can't run here: nothing of ours is in it yet."""

    def __init__(self, image, packages):
        self.endings = contextlib.ExitStack()
        self.name = f"usher-test-{os.getpid()}"
        self.leader = None
        try:
            self._boot(image, packages)
        except AssertionError as error:
            self.close()
            raise Unavailable(f"containers can't run here: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self):
        self.endings.close()

    # Life

    def _boot(self, image, packages):
        self.folder = Path(self.endings.enter_context(tempfile.TemporaryDirectory(prefix="usher-machine-")))
        memory = self.folder / "memory"
        memory.mkdir()
        self.notify = self.endings.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.notify.bind(str(self.folder / "notify"))
        self.console = self.folder / "console"
        groups = [self._make_group(path) for path in ("systemd", "unified", ".")]
        command = ["unshare", "--mount", "--propagation=private", "sh", "-c", LAUNCH, "sh",
                   self.name, memory, image.root, packages, *filter(None, groups)]
        with self.console.open("w") as console:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={**ENVIRONMENT, "NOTIFY_SOCKET": str(self.folder / "notify")},
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        self.endings.callback(self._remove_propagation)
        self.endings.callback(self._end)
        self.wait_boot()

    def _make_group(self, hierarchy):
        """A control group to be its highest, or two machines would have the same; None if there are none there."""
        folder = Path("/sys/fs/cgroup", hierarchy)
        if not (folder / "cgroup.procs").exists():
            return None
        group = folder / self.name
        try:
            group.mkdir(exist_ok=True)
        except OSError as error:
            raise Unavailable(f"no control group can be made: {error}") from error
        self.endings.callback(self._remove_group, group)
        return group

    @staticmethod
    def _remove_group(group):
        """With all that still runs in it: a killed container takes a moment to go."""
        for folder, _, _ in os.walk(group, topdown=False):
            for pid in Path(folder, "cgroup.procs").read_text().split():
                _kill_process(int(pid))
            os.rmdir(folder)

    def _remove_propagation(self):
        """What nspawn leaves where /run is not in memory."""
        with contextlib.suppress(FileNotFoundError):
            Path("/run/systemd/nspawn/propagate", self.name).rmdir()

    def wait_boot(self):
        """Wait until systemd has started all that it should; also after a reboot."""
        end = time.monotonic() + BOOT_SECONDS
        while (left := end - time.monotonic()) > 0 and self.process.poll() is None:
            if select.select([self.notify], [], [], min(left, 0.5))[0]:
                message = self.notify.recv(4096).decode()
                if leader := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", message, re.MULTILINE):
                    self.leader = int(leader[1])
                if "READY=1" in message.splitlines():
                    return
        raise AssertionError("; ".join(self.console.read_text().splitlines()[-3:]) or "it does not start")

    def reboot(self):
        self.run("systemctl", "reboot")
        self.wait_boot()

    def power_off(self):
        """As by its switch; returns the exit status of the container."""
        os.kill(self.leader, signal.SIGRTMIN + 4)
        return self.process.wait(DEADLINE)

    def _end(self):
        self.process.kill()
        self.process.wait()

    # Inside

    def start(self, *command, **options):
        """A process inside, as root."""
        inside = ["nsenter", f"--target={self.leader}", "--all", "--", *map(str, command)]
        return subprocess.Popen(inside, env=ENVIRONMENT, text=True, **options)

    def run(self, *command, input=None, check=True, seconds=DEADLINE):
        """Run a command inside as root; returns what it printed, on either of its outputs."""
        process = self.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate(input or "", seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{command} takes too long") from None
        if check and process.returncode != 0:
            raise AssertionError(f"{command} ended with {process.returncode}:\n{output}")
        return output

    def shell(self, script, **options):
        return self.run("sh", "-ec", script, **options)

    def path(self, inside):
        """Where this machine sees that file, for as long as systemd runs there. Absolute links lead astray."""
        return Path(f"/proc/{self.leader}/root{inside}")

    @contextlib.contextmanager
    def network(self):
        """Sockets that this thread makes meanwhile are inside."""
        with open("/proc/thread-self/ns/net") as here, open(f"/proc/{self.leader}/ns/net") as there:
            _enter_network(there)
            try:
                yield
            finally:
                _enter_network(here)

    def connect(self, port, host="127.0.0.1"):
        with self.network():
            return socket.create_connection((host, port), DEADLINE)
