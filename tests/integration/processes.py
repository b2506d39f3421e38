# SPDX-License-Identifier: MIT
"""Processes that are no usherd, and waiting for what they do. Each is ended by its own id."""

import contextlib
import ctypes
import os
import pwd
import resource
import select
import signal
import time
import traceback

PR_SET_PDEATHSIG = 1  # prctl(2)

DEADLINE = 20.0  # seconds until an event that does not come is a failure


class Deadline:
    """Time that runs out."""

    def __init__(self, seconds=DEADLINE):
        self.end = time.monotonic() + seconds

    def left(self, what):
        """Seconds that remain; fails with `what` was waited for when there are none."""
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise AssertionError(f"waited too long for {what}")
        return seconds


class Child:
    """A forked process that runs a Python function and can send lines to the test.

    The function gets `say`, a function that sends one line. It starts with no descriptor of the
    test's, as `user` if given.
    """

    def __init__(self, function, user=None):
        read_fd, write_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(function, user, write_fd)
        os.close(write_fd)
        self.lines = os.fdopen(read_fd, "rb", buffering=0)
        self.status = None

    @staticmethod
    def _run(function, user, write_fd):
        status = 1
        try:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            os.dup2(write_fd, 3)
            os.closerange(4, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            if user:
                become(user)
            # After the change of user, which undoes it. Nothing of a test outlives it, even if it is killed.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            function(lambda line: os.write(3, f"{line}\n".encode()))
            status = 0
        except BaseException:  # a traceback of the child must not run the test's own handlers
            traceback.print_exc()
        finally:
            os._exit(status)

    def hear(self):
        """The next line that the child says."""
        deadline, line = Deadline(), b""
        while not line.endswith(b"\n"):
            wait_readable(self.lines, deadline, f"a line from the child {self.pid}")
            byte = self.lines.read(1)
            if not byte:
                raise AssertionError(f"the child {self.pid} ended without a word")
            line += byte
        return line.decode().rstrip("\n")

    def signal(self, number):
        if self.status is None:
            os.kill(self.pid, number)

    def wait(self):
        """The exit status, as os.waitstatus_to_exitcode()."""
        if self.status is None:
            with contextlib.closing(_Pidfd(self.pid)) as pidfd:
                wait_readable(pidfd, Deadline(), f"the end of {self.pid}")
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.lines.close()
        return self.status

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait()


class _Pidfd:
    def __init__(self, pid):
        self.fd = os.pidfd_open(pid)

    def fileno(self):
        return self.fd

    def close(self):
        os.close(self.fd)


def become(user):
    """Become `user` for good, with its groups."""
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def user_id(user):
    return pwd.getpwnam(user).pw_uid


def group_id(user):
    return pwd.getpwnam(user).pw_gid


def find_readable(files, seconds):
    """Those of the files that can be read, or are at their end; waits for the first of them."""
    poll = select.poll()  # select(2) ends at descriptor 1023
    by_fd = {file.fileno(): file for file in files}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(seconds * 1000)]


def wait_readable(file, deadline, what):
    while not find_readable([file], deadline.left(what)):
        pass


class FileWatch:
    """Readable when something in a folder, or one file, was written, made or renamed: inotify(7)."""

    EVENTS = 0x2 | 0x80 | 0x100  # IN_MODIFY, IN_MOVED_TO, IN_CREATE

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self.fd, os.fsencode(path), self.EVENTS) < 0:
            os.close(self.fd)
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))

    def fileno(self):
        return self.fd

    def forget(self):
        """What has happened so far was seen."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, 65536):
                pass

    def close(self):
        os.close(self.fd)


def wait_file(path, is_enough, what):
    """Wait until `is_enough()`, asked whenever the file is written to, or something in the folder; returns its result."""
    deadline = Deadline()
    with contextlib.closing(FileWatch(path)) as watch:
        while not (result := is_enough()):
            wait_readable(watch, deadline, what)
            watch.forget()
    return result


def stop_process(pid):
    """SIGSTOP a child, and wait until it stands still."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)


def end_pid(pid, number=signal.SIGTERM):
    """End a process that is not our child, and wait for its end."""
    with contextlib.suppress(ProcessLookupError), contextlib.closing(_Pidfd(pid)) as pidfd:
        signal.pidfd_send_signal(pidfd.fd, number)
        wait_readable(pidfd, Deadline(), f"the end of {pid}")


def raise_own_limit(n_fds):
    """Let this process have at least so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n_fds:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_fds, max(hard, n_fds)))
