# SPDX-License-Identifier: MIT
"""The real usherd, its clients and its neighbours, for tests.

A test derives from UsherTest and starts what it needs; everything is ended, by its process id, when
the test is over, and every usherd then has to show that it kept nothing: it has no more descriptors than
when it was ready, it ends with status 0, and no sanitizer complained. One that has ended already is
a failure, unless the test has waited for its end.

Nothing here sleeps. Tests wait for the notify socket, for a log line, for a socket, or (where usher
tells nobody, because nobody needs to know) ask the control socket again until the answer fits.
"""

import collections
import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import protocol
from network import connect, read_all
from processes import DEADLINE, Child, Deadline, find_readable, group_id, user_id

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # for tap

BUILD_DIR = Path(os.environ["BUILD_DIR"])
USHERD = BUILD_DIR / "inetd/usherd"
USHERCTL = BUILD_DIR / "inetd/usherctl/usherctl"
USHER_BASIC = BUILD_DIR / "services/basic/usher-basic"
USHER_TCPMUX = BUILD_DIR / "services/tcpmux/usher-tcpmux"
USHER_BANNER = BUILD_DIR / "services/banner/usher-banner"
USHER_METRICS = BUILD_DIR / "services/metrics/usher-metrics"
USHER_REDIRECT = BUILD_DIR / "services/redirect/usher-redirect"

LIBUSHER = BUILD_DIR / "services/libusher/libusher.so.0"

IS_ROOT = os.geteuid() == 0
USHERD_USER = "daemon" if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
PROVIDER_USER = "games"  # somebody who is neither root nor usherd's user
STRANGER_USER = "news"  # and somebody else

EX_OSERR = 71  # the exit status of an usherd that could not start

needs_root = unittest.skipUnless(IS_ROOT, "needs root")

# A build with sanitizers lets its leak checker look into usherd, and so everybody.
IS_SANITIZED = any(option["name"] == "b_sanitize" and option["value"] != "none" for option in json.loads(
    (BUILD_DIR / "meson-info/intro-buildoptions.json").read_text()))
needs_sight = unittest.skipUnless(IS_ROOT or IS_SANITIZED, "only root may look at usherd's descriptors")
SANITIZER_REPORT = re.compile(r"Sanitizer|runtime error:")


class Usherd:
    """One usherd with a configuration of its own, in `folder`."""

    def __init__(self, folder, services, *, user=USHERD_USER, as_user=None, wrapper=(), inject=None,
                 before_exec=None, manager=None):
        """`user` is for the configuration, `as_user` who starts it, `inject` a fault for strace(1),
        `manager` a FakeManager that keeps its sockets; without one nobody does.
        """
        self.folder = Path(folder)
        self.run_dir = self.folder / "run"
        self.config = self.folder / "usher.conf"
        self.settings = f'run_dir = "{self.run_dir}"\nuser = "{user}"\nlog = "stderr"\n'
        self.write_config(services)
        self.wrapper = list(wrapper)
        self.environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}
        if inject:
            self.wrapper = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null",
                            "-e", f"trace={inject.split(':')[0]}", "-e", f"inject={inject}"]
            self.environment["ASAN_OPTIONS"] = "detect_leaks=0"  # a traced process cannot look for them
        self.before_exec = before_exec
        self.as_user = as_user
        self.pass_fds = ()  # descriptors of the test's that it starts with
        self.program = USHERD
        self.process = None
        self.is_over = True  # nothing runs, or the test has waited for the end of what ran
        self.log = ""
        self.notifications = []
        self.fds_ready = None
        self.manager = manager
        self.notify = manager or socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))
        os.chmod(self.folder / "notify", 0o777)

    def write_config(self, services):
        """All at once: usher-exec reads it, too, and when it likes."""
        new = self.config.with_suffix(".new")
        new.write_text(self.settings + services)
        new.chmod(0o644)
        new.replace(self.config)

    # Life

    def start(self):
        """Start and wait until it says that it is ready."""
        self.launch()
        self.wait_notification("READY", "1")
        self.pid = self.status()["pid"]
        self.remember_fds()
        return self

    def launch(self):
        """Start, without waiting for anything."""
        self.notifications = []
        self.log = ""
        command = [*self.wrapper, str(self.program), "-c", str(self.config)]
        before_exec = self.before_exec
        if self.manager:
            before_exec = self.manager.prepare(command, self.environment, before_exec)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=self.pass_fds,
            env=self.environment, user=self.as_user, group=self.as_user and group_id(self.as_user),
            extra_groups=[] if self.as_user else None, preexec_fn=before_exec)
        os.set_blocking(self.process.stderr.fileno(), False)
        self.pid = self.process.pid
        self.is_over = False

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait_end(self):
        """Wait until it has ended, as the test expects it to; returns its exit status."""
        deadline = Deadline()
        while self._read_log(deadline.left("the end of usherd")):
            pass
        status = self.process.wait(deadline.left("the end of usherd"))
        self.is_over = True
        if SANITIZER_REPORT.search(self.log):
            raise AssertionError(f"a sanitizer complained:\n{self.log}")
        return status

    def check_running(self):
        if not self.is_running():
            raise AssertionError(
                f"usherd ended by itself with status {self.process.returncode}:\n{self.read_log()}")

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.wait_end()
        self.process.stderr.close()

    def stop(self):
        """End it as an administrator does, and look whether it leaves as it should."""
        self.check_running()
        os.kill(self.pid, signal.SIGTERM)
        status = self.wait_end()
        if status != 0:
            raise AssertionError(f"usherd ended with status {status}:\n{self.log}")

    def restart(self, number=signal.SIGTERM):
        """End it by this signal and start it again, as the service manager does."""
        if number == signal.SIGKILL:
            self.kill()
        else:
            self.stop()
            self.process.stderr.close()
        return self.start()

    def close(self):
        """Whatever happened, leave nothing behind."""
        if self.is_running():
            self.process.kill()
            self.process.wait()
        if self.process:
            self.process.stderr.close()
        self.notify.close()

    # What it says

    def _read_log(self, timeout):
        """Read what is there of its log, waiting at most `timeout`. False at its end."""
        if not find_readable([self.process.stderr], timeout):
            return True
        block = os.read(self.process.stderr.fileno(), 65536)
        self.log += block.decode(errors="replace")
        return bool(block)

    def read_log(self):
        """The log so far."""
        while find_readable([self.process.stderr], 0) and self._read_log(0):
            pass
        return self.log

    def read_whole_log(self):
        """The log of all that it was asked to do before: nobody has anything left to write."""
        self.wait_idle()
        return self.read_log()

    def wait_log(self, pattern):
        """Wait for a line of the log that matches; returns the match."""
        deadline = Deadline()
        while not (match := re.search(pattern, self.log)):
            try:
                is_open = self._read_log(deadline.left(f"a log line like {pattern!r}"))
            except AssertionError as error:
                raise AssertionError(f"{error}; the log is:\n{self.log}") from None
            if not is_open and not re.search(pattern, self.log):
                raise AssertionError(f"usherd ended without saying {pattern!r}:\n{self.log}")
        return match

    def wait_notification(self, name, value=None):
        """Wait for a variable sent to the notify socket (sd_notify(3)); returns its message."""
        deadline = Deadline()
        while True:
            for number, message in enumerate(self.notifications):
                if name in message and value in (None, message[name]):
                    return self.notifications.pop(number)
            readable = find_readable(
                [self.notify, self.process.stderr], deadline.left(f"{name}={value}: {self.log}"))
            if self.notify in readable:
                text = self.notify.recv(4096).decode()
                self.notifications.append(dict(line.split("=", 1) for line in text.splitlines()))
            elif readable and not self._read_log(0):
                raise AssertionError(f"usherd ended with {self.process.wait()}:\n{self.log}")

    # What it answers

    def ask(self, request):
        """The answer of the control socket."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(DEADLINE)
            control.connect(str(self.run_dir / "control.sock"))
            control.sendall(request.encode() + b"\n")
            return json.loads(read_all(control))

    def status(self):
        return self.ask("status")

    def service(self, name):
        return next(service for service in self.status()["services"] if service["name"] == name)

    def provider(self, service, name):
        """The entry of one provider in the status, or None."""
        return next((one for one in self.service(service)["providers"] if one["name"] == name), None)

    def addresses(self, service):
        return [listener["address"] for listener in self.service(service)["listeners"]]

    def rendezvous(self, service):
        return str(self.run_dir / f"{service}.sock")

    def wait_until(self, is_true, what):
        """Ask until `is_true()`; there is no event for what only the status shows."""
        deadline = Deadline()
        while not (result := is_true()):
            try:
                self._read_log(min(0.02, deadline.left(what)))
            except AssertionError as error:
                raise AssertionError(f"{error}\n{json.dumps(self.status(), indent=1)}\n{self.log}") from None
        return result

    def wait_service(self, name, **members):
        """Wait until members of a service's status have these values, totals included."""
        def fits():
            service = self.service(name)
            values = {**service["totals"], **service, "n_providers": len(service["providers"])}
            return all(values[key] == value for key, value in members.items())
        self.wait_until(fits, f"{name} to have {members}")

    # What the kernel says about it

    def _find_activity(self):
        """How often each thread has gone to sleep, or None while one of them works."""
        n_sleeps = {}
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                text = (thread / "status").read_text()
                if not re.search(r"^State:\s*S", text, re.MULTILINE):
                    return None
                n_sleeps[thread.name] = find_number("voluntary_ctxt_switches", text)
        return n_sleeps

    def wait_idle(self):
        """Wait until all threads sleep: what there was to do is done. Returns their activity."""
        deadline = Deadline()
        while not (activity := self._find_activity()):
            self.check_running()
            self._read_log(min(0.002, deadline.left("usherd to sleep")))
        return activity

    def list_fds(self):
        """What its descriptors are, without their numbers, at a moment when all threads sleep.

        So those that it has open only while it works, for our last question too, are not among them.
        """
        deadline = Deadline()
        while deadline.left("a moment without work"):
            activity = self.wait_idle()
            kinds = [re.sub(r"\d+", "N", link) for link in self._read_fd_links()]
            if activity == self._find_activity():
                return kinds

    def _read_fd_links(self):
        folder = Path(f"/proc/{self.pid}/fd")
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                yield os.readlink(folder / name)

    def remember_fds(self):
        """From now on these descriptors are the normal ones."""
        try:
            self.fds_ready = self.list_fds()
        except PermissionError:  # usherd is not dumpable
            print("# usherd's descriptors are not compared: only root may look at them", flush=True)

    def read_notifications(self):
        """Forget what the notify socket holds: while it is full usherd has a socket open to it."""
        with contextlib.suppress(BlockingIOError):
            while self.notify.recv(4096, socket.MSG_DONTWAIT):
                pass

    def check_fds(self):
        """All that was opened since remember_fds() is closed."""
        kept = {}

        def are_closed():
            nonlocal kept
            self.read_notifications()
            self.check_running()
            kept = collections.Counter(self.list_fds()) - collections.Counter(self.fds_ready)
            return not kept

        if self.fds_ready is None:
            return
        try:
            self.wait_until(are_closed, "usherd to close its descriptors")
        except AssertionError as error:
            raise AssertionError(f"usherd keeps {dict(kept)}: {error}") if kept else error

    def cpu_ticks(self):
        """Clock ticks (100 a second) of processor time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def count_wakeups(self):
        """How often it went to sleep and woke up: voluntary context switches of its first thread."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/status").read_text()
        return find_number("voluntary_ctxt_switches", text)

    def watch(self, seconds):
        """Let it be for a while: where the event is that nothing happens. Reads its log meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read_log(left)

    def proc_status(self, name):
        """One line of /proc/PID/status."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return re.search(rf"^{name}:\s*(.*)$", text, re.MULTILINE)[1]


def find_number(name, text):
    """The value of a line of /proc/PID/status."""
    return int(re.search(rf"^{name}:\s*(\d+)$", text, re.MULTILINE)[1])


class UsherTest(unittest.TestCase):
    """A test with a folder that every user may enter, and things to be ended after it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="usher-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        os.chmod(self.folder, stat.S_IRWXU | 0o055)
        self.usherds = []
        self.program_logs = []
        self.endings = contextlib.ExitStack()
        self.addCleanup(self._check_all)
        self.addCleanup(self.endings.close)  # runs first: clients and providers leave before the check

    def _check_all(self):
        with contextlib.ExitStack() as closing:
            for usherd in self.usherds:
                closing.callback(usherd.close)
            if self.has_failed():
                self._print_logs()
                return
            for usherd in self.usherds:
                if not usherd.is_over:
                    usherd.check_running()
                    usherd.check_fds()
                    usherd.stop()
            for log in self.program_logs:
                if SANITIZER_REPORT.search(log.read_text()):
                    raise AssertionError(f"a sanitizer complained:\n{log.read_text()}")

    def _print_logs(self):
        logs = {str(log): log.read_text() for log in self.program_logs}
        logs |= {str(usherd.config): usherd.read_log() for usherd in self.usherds if usherd.process}
        for name, text in logs.items():
            print(f"# log of {name}:\n" + re.sub("(?m)^", "#   ", text), flush=True)

    def has_failed(self):
        """Whether the test itself has failed already: what follows would only hide why."""
        return not self._outcome.success

    # Things to start

    def make_usherd(self, services, **options):
        """An usherd that is not started yet."""
        folder = self.folder / f"usherd-{len(self.usherds)}"
        folder.mkdir()
        if options.get("as_user"):
            os.chown(folder, user_id(options["as_user"]), -1)
        usherd = Usherd(folder, services, **options)
        if usherd.as_user:
            usherd.program = self.copy_for_others(USHERD)
        self.usherds.append(usherd)
        return usherd

    def start_usherd(self, services, **options):
        return self.make_usherd(services, **options).start()

    def check_start_fails(self, usherd, pattern, status=EX_OSERR):
        """It says why, in a line of its log that matches, and ends with this status."""
        usherd.launch()
        self.assertEqual(usherd.wait_end(), status, usherd.log)
        self.assertRegex(usherd.log, pattern)

    def run_usherd(self, *arguments, **options):
        """Run usherd with these arguments until it ends by itself."""
        return subprocess.run([str(USHERD), *map(str, arguments)], capture_output=True, text=True,
                              timeout=DEADLINE, check=False, **options)

    def closing(self, thing):
        return self.endings.enter_context(contextlib.closing(thing))

    def connect(self, address, **options):
        return self.closing(connect(address, **options))

    def provider(self, usherd, service, **options):
        """A registered provider inside this process."""
        provider = self.closing(protocol.Provider(usherd.rendezvous(service)))
        provider.register(**options)
        return provider

    def stranger(self, usherd, service):
        """A channel on which nothing has been said yet."""
        return self.closing(protocol.Provider(usherd.rendezvous(service)))

    def copy_for_others(self, program):
        """A copy of a program, and of the library it needs, where every user can read them."""
        copy = shutil.copy(program, self.folder)
        shutil.copy(LIBUSHER, self.folder / LIBUSHER.name)
        return copy

    def child(self, function, user=None):
        child = Child(function, user)
        self.endings.callback(child.kill)
        return child

    def serving_child(self, usherd, service, name, user=None, **options):
        """A provider in a process of its own that tells every client its name and hangs up."""
        path = usherd.rendezvous(service)

        def serve(say):
            with contextlib.closing(protocol.Provider(path)) as provider:
                provider.register(name=name, **options)
                say("registered")
                protocol.tell_name(provider, name)

        child = self.child(serve, user)
        self.assertEqual(child.hear(), "registered")
        return child

    def holding_child(self, usherd, service, name, user=None, **options):
        """A provider that registers and then reads nothing at all."""
        path = usherd.rendezvous(service)

        def hold(say):
            with contextlib.closing(protocol.Provider(path)) as provider:
                provider.register(name=name, **options)
                say("registered")
                signal.pause()

        child = self.child(hold, user)
        self.assertEqual(child.hear(), "registered")
        return child

    def start_program(self, usherd, *command, user=None, **options):
        """A program that knows usherd only by $USHER_RUN_DIR. Everybody can read what it needs."""
        log = self.folder / f"program-{len(self.program_logs)}.log"
        self.program_logs.append(log)
        with log.open("w") as output:
            process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                user=user, group=user and group_id(user), extra_groups=[] if user else None,
                env={**os.environ, "USHER_RUN_DIR": str(usherd.run_dir), "LD_LIBRARY_PATH": str(self.folder)},
                start_new_session=True, **options)
        self.endings.callback(self.end_program, process)
        return process

    @staticmethod
    def end_program(process):
        """SIGTERM, then SIGKILL when it takes too long. Returns its exit status."""
        if process.poll() is None:
            process.terminate()
        try:
            return process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
