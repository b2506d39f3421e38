# SPDX-License-Identifier: MIT
"""A service manager as far as usherd can tell: the notify socket, and a file descriptor store.

It keeps what sd_pid_notify_with_fds(3) says, as systemd 252 does: FDSTORE=1 with FDNAME and FDPOLL,
FDSTOREREMOVE=1. A socket that is there already is not stored again, whatever its name; one that hangs
up is dropped, unless it came with FDPOLL=0; what does not fit is closed. The next process gets them
from descriptor 3 on, the newest first.

    manager = FakeManager()
    usherd = self.start_usherd(ONE, manager=manager)
    usherd.restart(signal.SIGKILL)      # or SIGTERM: the store stays, as for systemctl restart
    manager.names()                     # what is stored: ["parking.3.one", "listener.1.one", ...]
    manager.units["x.socket"] = socket  # what a socket unit has bound is passed, too, and first

A thread of its own reads the notify socket, because usherd may be killed at any moment and the manager
would have heard what it said. stop_reading() is a manager that hangs.
"""

import array
import collections
import contextlib
import fcntl
import os
import resource
import select
import socket
import threading

from processes import DEADLINE

FIRST_FD = 3  # SD_LISTEN_FDS_START
MAX_MESSAGE = 4096
MAX_FDS_OF_MESSAGE = 253


class _Stored:
    """A socket in the store."""

    def __init__(self, fd, name, is_polled):
        self.fd = fd
        self.name = name
        self.is_polled = is_polled

    def is_same(self, fd):
        """Whether `fd` is the same socket, as kcmp(2) would say: each has an inode of its own."""
        return os.path.samestat(os.fstat(self.fd), os.fstat(fd))


class FakeManager:
    """For one Usherd at a time."""

    def __init__(self, max_fds=16384):
        self.max_fds = max_fds
        self.socket = None
        self.n_refused = 0  # sockets that did not fit
        self.units = {}  # listeners of socket units by their names, the test's
        self._stored = []  # newest first
        self._messages = collections.deque()  # not yet received by the test
        self._n_messages = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._has_changed = threading.Condition(self._lock)  # what is stored
        self._is_reading = True
        self._is_closing = False
        self._thread = None

    def bind(self, path):
        """Be the notify socket at `path`, and begin to read."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(path)
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)
        self._thread.start()

    def close(self):
        if self._thread:
            self._is_closing = True
            os.eventfd_write(self._wakeup, 1)
            self._thread.join()
            self.socket.close()
        self.empty()
        os.close(self._n_messages)
        os.close(self._wakeup)

    # What the test hears: like a socket that can be read and waited for

    def fileno(self):
        return self._n_messages

    def recv(self, _size, _flags=0):
        """The next message. BlockingIOError: there is none."""
        os.eventfd_read(self._n_messages)
        return self._messages.popleft()

    # What the test says

    def names(self):
        """The names of what is stored, in the order in which it would be passed."""
        with self._lock:
            return [stored.name for stored in self._stored]

    def wait_names(self, is_so, what):
        """Wait until the names of what is stored are so."""
        with self._lock:
            if not self._has_changed.wait_for(lambda: is_so([stored.name for stored in self._stored]), DEADLINE):
                raise AssertionError(f"waited too long for {what}: {[stored.name for stored in self._stored]}")

    def stop_reading(self):
        with self._lock:
            self._is_reading = False
        os.eventfd_write(self._wakeup, 1)

    def go_on_reading(self):
        with self._lock:
            self._is_reading = True
        os.eventfd_write(self._wakeup, 1)

    def empty(self):
        """Close what is stored, as for a service that was stopped and is not started again."""
        with self._lock:
            self._drop(self._stored)

    def prepare(self, command, environment, before_exec=None):
        """A function for a forked process to call: it becomes `command` with what is stored.

        What was said by an earlier process has been heard then, and is forgotten but for the store.
        """
        with self._lock:
            if self._is_reading:
                self._read_all()
            while self._messages:
                self.recv(MAX_MESSAGE)
            fds = [*(unit.fileno() for unit in self.units.values()), *(stored.fd for stored in self._stored)]
            names = [*self.units, *(stored.name for stored in self._stored)]

        def become():
            if before_exec:
                before_exec()
            _pass_fds(fds)
            variables = {"FDSTORE": "20000"}  # a store that is full refuses all the same
            if fds:
                variables |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)),
                              "LISTEN_FDNAMES": ":".join(names)}
            os.execvpe(command[0], command, {**environment, **variables})
        return become

    # By the thread

    def _run(self):
        while not self._is_closing:
            events = self._wait()
            with self._lock:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wakeup)
                self._drop([stored for stored in self._stored
                            if stored.is_polled and stored.fd in events])
                if self._is_reading:
                    self._read_all()
                self._has_changed.notify_all()

    def _wait(self):
        """The descriptors that something happened to."""
        poll = select.poll()
        with self._lock:
            poll.register(self._wakeup, select.POLLIN)
            if self._is_reading:
                poll.register(self.socket, select.POLLIN)
            for stored in self._stored:
                if stored.is_polled:
                    poll.register(stored.fd, 0)  # POLLHUP and POLLERR come unasked
        return {fd for fd, _ in poll.poll()}

    # Under the lock

    def _read_all(self):
        room = socket.CMSG_SPACE(MAX_FDS_OF_MESSAGE * array.array("i").itemsize)
        with contextlib.suppress(BlockingIOError):
            while True:
                text, control, _, _ = self.socket.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
                self._handle(text, [fd for data in control for fd in array.array("i", data[2])])

    def _handle(self, text, fds):
        lines = text.decode().splitlines()
        variables = dict(line.split("=", 1) for line in lines if "=" in line)
        name = variables.get("FDNAME", "stored")
        if variables.get("FDSTOREREMOVE") == "1":
            self._drop([stored for stored in self._stored if stored.name == name])
        for fd in fds:
            if variables.get("FDSTORE") == "1":
                self._store(fd, name, variables.get("FDPOLL") != "0")
            else:
                os.close(fd)
        self._messages.append(text)
        os.eventfd_write(self._n_messages, 1)

    def _store(self, fd, name, is_polled):
        if len(self._stored) >= self.max_fds:
            self.n_refused += 1
            os.close(fd)
        elif any(stored.is_same(fd) for stored in self._stored):
            os.close(fd)
        else:
            self._stored.insert(0, _Stored(fd, name, is_polled))

    def _drop(self, dropped):
        for stored in list(dropped):
            self._stored.remove(stored)
            os.close(stored.fd)


def _pass_fds(fds):
    """In a new process: these descriptors are 3 and following, and there are no others above 2."""
    end = FIRST_FD + len(fds)
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, end) for fd in fds]
    for number, copy in enumerate(copies, FIRST_FD):
        os.dup2(copy, number)
    os.closerange(end, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
