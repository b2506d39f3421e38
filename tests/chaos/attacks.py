# SPDX-License-Identifier: MIT
"""What a registered provider can do to usherd.

Every attack is a function of a Target, one round of it; repeat() does it again and again. It may use what
usher-protocol(7) forbids, and everything that the kernel lets an ordinary user do with sockets.
"""

import collections
import contextlib
import os
import random
import select
import socket
import struct

import protocol

LINGER_30_SECONDS = struct.pack("ii", 1, 30)
MAX_FDS = 253  # of one message: SCM_MAX_FD of the kernel

# No registered provider may send these.
MALFORMED = (
    protocol.message(99),
    protocol.message(5),
    protocol.message(protocol.DRAINING),
    b"x",
    protocol.claim(1)[:6],
    protocol.claim(1)[:-1],
    protocol.claim(1) + b"\0",
    protocol.message(protocol.DRAIN, flags=1),
    protocol.message(protocol.DRAIN, reserved=1),
    protocol.hello(),
    protocol.release(),
    protocol.release(1)[:-4],
    protocol.decline(2, 1),
    protocol.message(protocol.STATUS, b"x" * 256),
    protocol.status("\x1b[2J"),
    protocol.message(protocol.HELLO, b"\xff" * 80),
    b"\x07\0\0\0\0\0\0\0" + b"\1" * 60000,
)

# What belongs to others, or to nobody.
FORGED = (
    protocol.claim(1 << 40),
    protocol.release(1),
    protocol.release(0),
    protocol.release(*range(1, 500)),
    protocol.credit(1 << 40, 1),
    protocol.decline(1, 1 << 40),
)


class Target:
    """A service to register for, its address, and where to count what was done to it."""

    def __init__(self, path, address=None, counter=None):
        self.path, self.address, self.counter = path, address, counter
        self.sink = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.never_read = collections.deque(maxlen=100)

    def count(self, n=1):
        self.counter[0] += n

    def in_a_child(self, attack):
        """Let a child do it, which exits: exit(2) never lingers, so that usherd closes last what was sent.

        Where that does not flow off is here.
        """
        pid = os.fork()
        if pid == 0:
            try:
                attack(self)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.sink.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.never_read.append(self.sink.accept()[0])

    @contextlib.contextmanager
    def registered(self, **options):
        with contextlib.closing(protocol.Provider(self.path)) as provider:
            provider.register(**options)
            yield provider

    def connect(self):
        """A client that is in the way, and waits for nothing."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        client.connect_ex(self.address)
        return client


def repeat(attack, target):
    """For ever. Whatever goes wrong, usherd's refusals too, is only the end of a round."""
    while True:
        with contextlib.suppress(OSError, AssertionError, protocol.Closed, protocol.Refused):
            attack(target)


def fill(stream):
    """Write until there is no room."""
    stream.setblocking(False)
    with contextlib.suppress(OSError):
        while stream.send(b"x" * 65536):
            pass


def send_fds(provider, fds):
    """Descriptors in a message that has none. Where there is SO_PASSRIGHTS the kernel refuses."""
    with contextlib.suppress(PermissionError):
        provider.send(protocol.status("x"), fds)


def descriptor_flood(target):
    with open("/dev/null", "rb") as null:
        with target.registered() as provider:
            for _ in range(50):
                target.count()
                send_fds(provider, [null.fileno()] * MAX_FDS)


def linger_on_what_it_got(target):
    """usherd closes its copy after the claim: of a socket whose close(2) would take 30 seconds."""
    with target.registered(credit=8) as provider, contextlib.ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(target.connect())
        for connection in provider.take(8):
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_30_SECONDS)
            fill(connection.socket)
            os.close(connection.socket.detach())
            provider.send(protocol.claim(connection.sequence))
            target.count()
        provider.kept.clear()


def slow_sockets(target):
    """A few, of which whoever closes them last waits for 30 seconds."""
    for _ in range(3):
        slow = socket.socket()
        slow.connect(target.sink.getsockname())
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_30_SECONDS)
        fill(slow)
        target.never_read.append(slow)
        yield slow


def send_slow_messages(target):
    """The first is a violation, those behind it stay unread."""
    sockets = list(slow_sockets(target))
    with target.registered() as provider:
        for slow in sockets:
            target.count()
            send_fds(provider, [slow.fileno()])


def linger_on_what_it_sends(target):
    target.in_a_child(send_slow_messages)


def begin_with_slow_messages(target):
    """The same, by somebody who has not registered."""
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stranger.connect(target.path)
    for slow in slow_sockets(target):
        with contextlib.suppress(PermissionError):
            socket.send_fds(stranger, [b"x"], [slow.fileno()])
    os._exit(0)


def say_slow_words(target):
    """The same for a stream."""
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(target.path)
    for slow in slow_sockets(target):
        socket.send_fds(stranger, [b"word\n"], [slow.fileno()])
    os._exit(0)


def read_nothing(target):
    with target.registered(credit=1 << 20) as provider, contextlib.ExitStack() as clients:
        for number in range(400):
            clients.enter_context(target.connect())
            provider.send(protocol.status(f"I have heard nothing {number} times"))
            target.count()


def channel_through_itself(target):
    with target.registered() as provider:
        send_fds(provider, [provider.fileno()])
        target.count()


def channels_through_each_other(target):
    with target.registered() as one, target.registered() as other:
        send_fds(one, [other.fileno()])
        send_fds(other, [one.fileno()])
        target.count()


def channel_in_a_cycle(target):
    """In a queue that holds its own ends: when all are closed nobody has it, and it is not closed."""
    with target.registered() as provider:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, other:
            fds = [provider.fileno(), one.fileno(), other.fileno()]
            socket.send_fds(one, [b"x"], fds)
            socket.send_fds(other, [b"x"], fds)
            send_fds(provider, fds)
        target.count()


def epoll_on_the_channel(target):
    """An epoll that watches the channel it is sent through, inside another one that watches both."""
    with target.registered() as provider, select.epoll() as inner, select.epoll() as outer:
        inner.register(provider.fileno(), select.EPOLLIN | select.EPOLLET)
        outer.register(inner.fileno(), select.EPOLLIN)
        outer.register(provider.fileno(), select.EPOLLIN)
        send_fds(provider, [inner.fileno(), outer.fileno(), provider.fileno()])
        target.count()


def malformed_messages(target):
    """A few in each channel: usherd closes it at the first."""
    with target.registered() as provider:
        for _ in range(16):
            target.count()
            provider.socket.send(random.choice(MALFORMED) if random.random() < 0.7
                                 else random.randbytes(random.randrange(1, 3000)))


def flood_of_words(target):
    """All right, each of them, but they never end. Several processes do this at the same time."""
    with target.registered(credit=0) as provider:
        word = protocol.status("and another thing")
        while True:
            for _ in range(1000):
                provider.socket.send(word)
            target.count(1000)


def forged_claims(target):
    with target.registered() as provider, target.connect():
        target.count()
        provider.send(random.choice(FORGED))


def registration_storm(target):
    with target.registered():
        target.count()


ATTACKS = (descriptor_flood, linger_on_what_it_got, linger_on_what_it_sends, read_nothing, channel_through_itself,
           channels_through_each_other, channel_in_a_cycle, epoll_on_the_channel, malformed_messages,
           flood_of_words, forged_claims, registration_storm)
