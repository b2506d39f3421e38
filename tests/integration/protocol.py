# SPDX-License-Identifier: MIT
"""usher-protocol(7) in Python: a provider that does what a test says, good or bad.

It shares no code with libusher, so that both are held against the manual and not against each other.
"""

import array
import contextlib
import os
import socket
import struct
from dataclasses import dataclass

from processes import DEADLINE, find_readable

HELLO, WELCOME, REFUSED, CONNECTIONS, LISTENERS, CLAIM, RELEASE, CREDIT, DECLINE = 1, 2, 3, 4, 5, 6, 7, 8, 9
FORWARD, STATUS, DRAIN, DRAINING, FORWARDED = 10, 11, 12, 13, 14

HELLO_STANDBY, HELLO_TAKES_LISTENERS = 1, 2
LISTENERS_MORE, LISTENERS_FOLLOWED = 1, 2
WELCOME_MAY_FORWARD = 1
ASKED, ENDING, REPLACED, ADMINISTRATOR = 0, 1, 2, 3  # the reasons of DRAINING

NO_LISTENER = 0xffffffff
MAX_CONNECTIONS = 16
MAX_FORWARDED_BYTES = 32768
ROOM = 65536

HEADER = struct.Struct("=HHI")
HELLO_BODY = struct.Struct("=HHiII64s")
WELCOME_BODY = struct.Struct("=HHI64s")
LISTENER = struct.Struct("=II24s")
REFUSED_BODY = struct.Struct("=II256s")
CONNECTION = struct.Struct("=QQQII24s")
FORWARD_BODY = struct.Struct("=Q64s24s")  # the bytes follow
FORWARDED_BODY = struct.Struct("=64sII")  # behind one CONNECTION; the bytes follow
DRAINING_BODY = struct.Struct("=II")


def message(message_type, body=b"", flags=0, reserved=0):
    return HEADER.pack(message_type, flags, reserved) + body


def hello(credit=16, weight=1, holding=0, name="test", lowest=1, highest=1, standby=False,
          takes_listeners=False):
    return message(HELLO, HELLO_BODY.pack(lowest, highest, credit, weight, holding, name.encode()),
                   flags=HELLO_STANDBY * standby | HELLO_TAKES_LISTENERS * takes_listeners)


def claim(sequence):
    return message(CLAIM, struct.pack("=Q", sequence))


def release(*ids):
    return message(RELEASE, struct.pack(f"={len(ids)}Q", *ids))


def credit(sequence, amount):
    return message(CREDIT, struct.pack("=QiI", sequence, amount, 0))


def decline(first, last):
    return message(DECLINE, struct.pack("=QQ", first, last))


def forward(number, service="", data=b"", peer=None):
    """To be sent with the connection's descriptor. An empty service: back to the own one."""
    address = pack_address(*peer) if peer else b""
    return message(FORWARD, FORWARD_BODY.pack(number, service.encode(), address) + data)


def status(text):
    return message(STATUS, struct.pack("=256s", text.encode()))


def text(field):
    return field.split(b"\0", 1)[0].decode()


def pack_address(host, port):
    """The other way round: a struct wire_address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return struct.pack("=H", family) + struct.pack("!H4x16s", port, socket.inet_pton(family, host))


def host_and_port(address):
    """What struct wire_address says: ("127.0.0.1", 80), or ("", 0) for a family without these."""
    family, = struct.unpack_from("=H", address)
    port, = struct.unpack_from("!H", address, 2)
    if family == socket.AF_INET:
        return socket.inet_ntop(family, address[8:12]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, address[8:24]), port
    return "", 0


@dataclass
class Connection:
    """One record of CONNECTIONS with its socket, or what FORWARDED says."""

    sequence: int
    id: int
    accepted_ns: int
    listener: int
    peer: tuple
    socket: socket.socket
    data: bytes = b""
    forwarded_by: str = ""
    hops: int = 0

    def close(self):
        """As libusher does: the client sees the end although usherd may still hold a copy."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@dataclass
class Lent:
    """One record of LISTENERS with its socket."""

    type: int
    index: int
    address: tuple
    socket: socket.socket


class Closed(Exception):
    """usherd closed the channel."""


class Draining(Exception):
    """usherd will send no more connections."""


class Refused(Exception):
    """usherd answered HELLO with REFUSED."""

    def __init__(self, error, reason):
        super().__init__(reason)
        self.error, self.reason = error, reason


class Provider:
    """One channel to a rendezvous."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.batches = []  # the number of connections of each message that brought some
        self.may_forward = False  # as the latest WELCOME says
        self.kept = []  # descriptors of connections that the test did not take
        self.lent = []  # as the latest LISTENERS say

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        for connection in self.kept:
            connection.socket.close()
        self.close_lent()
        self.socket.close()

    # Saying

    def send(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], ancillary)

    def register(self, **options):
        """HELLO and its answer; returns the name of the service and its listeners."""
        with contextlib.suppress(BrokenPipeError):  # who is refused by name is refused before HELLO
            self.send(hello(**options))
        message_type, body, _ = self.receive()
        if message_type == REFUSED:
            error, _, reason = REFUSED_BODY.unpack(body)
            raise Refused(error, text(reason))
        if message_type != WELCOME:
            raise AssertionError(f"message {message_type} where WELCOME was due")
        return self.read_welcome(body)

    def read_welcome(self, body):
        version, flags, n_listeners, service = WELCOME_BODY.unpack_from(body)
        listeners = [host_and_port(address) for _, _, address
                     in LISTENER.iter_unpack(body[WELCOME_BODY.size:])]
        if version != 1 or len(listeners) != n_listeners:
            raise AssertionError(f"a strange WELCOME: {body!r}")
        self.may_forward = bool(flags & WELCOME_MAY_FORWARD)
        return text(service), listeners

    # Hearing

    def receive(self):
        """The next message: its type, its body, its descriptors. Raises Closed at the end."""
        while True:
            try:
                data, fds, flags, _ = socket.recv_fds(self.socket, ROOM, MAX_CONNECTIONS)
            except ConnectionResetError:  # we said what usherd did not read: its last words come after
                data, fds, flags, _ = socket.recv_fds(self.socket, ROOM, MAX_CONNECTIONS)
            if flags & socket.MSG_CTRUNC:
                raise AssertionError("descriptors got lost on the way")
            if not data:
                raise Closed
            message_type, message_flags, reserved = HEADER.unpack_from(data)
            if reserved or message_flags & ~(LISTENERS_MORE | LISTENERS_FOLLOWED if message_type == LISTENERS else 0):
                raise AssertionError(f"reserved bits are set: {data!r}")
            if message_type == LISTENERS:
                self.read_listeners(data[HEADER.size:], fds, message_flags)
            return message_type, data[HEADER.size:], fds

    def has_message(self, seconds=0.0):
        return bool(find_readable([self.socket], seconds))

    def receive_connections(self):
        """The connections of the next message, which has to bring some, behind a reload's WELCOME."""
        message_type, body, fds = self.receive()
        while message_type in (WELCOME, LISTENERS):
            if message_type == WELCOME:
                self.read_welcome(body)
            message_type, body, fds = self.receive()
        if message_type == CONNECTIONS:
            connections = self.read_connections(body, fds)
        elif message_type == FORWARDED:
            connections = self.read_connections(body[:CONNECTION.size], fds)
            self.read_forwarded(body[CONNECTION.size:], *connections)
        elif message_type == DRAINING:
            raise Draining
        else:
            raise AssertionError(f"message {message_type} where connections were due")
        self.batches.append(len(connections))
        return connections

    def receive_listeners(self):
        """What is lent, as the next message says, which has to be LISTENERS; a WELCOME is skipped."""
        message_type, body, _ = self.receive()
        while message_type == WELCOME:
            self.read_welcome(body)
            message_type, body, _ = self.receive()
        if message_type != LISTENERS:
            raise AssertionError(f"message {message_type} where LISTENERS were due")
        return self.lent

    def read_listeners(self, body, fds, flags):
        records = list(LISTENER.iter_unpack(body))
        if len(records) != len(fds):
            raise AssertionError(f"{len(records)} records and {len(fds)} descriptors")
        if not flags & LISTENERS_MORE:
            self.close_lent()
        self.lent += [Lent(kind, index, host_and_port(address), socket.socket(fileno=fd))
                      for (kind, index, address), fd in zip(records, fds)]

    def close_lent(self):
        for lent in self.lent:
            lent.socket.close()
        self.lent = []

    @staticmethod
    def read_connections(body, fds):
        records = list(CONNECTION.iter_unpack(body))
        if len(records) != len(fds):
            raise AssertionError(f"{len(records)} records and {len(fds)} descriptors")
        return [Connection(sequence, number, accepted_ns, listener, host_and_port(peer), socket.socket(fileno=fd))
                for (sequence, number, accepted_ns, listener, _, peer), fd in zip(records, fds)]

    @staticmethod
    def read_forwarded(body, connection):
        forwarded_by, connection.hops, _ = FORWARDED_BODY.unpack_from(body)
        connection.forwarded_by = text(forwarded_by)
        connection.data = body[FORWARDED_BODY.size:]

    def receive_draining(self):
        """The reason of the next message, which has to be DRAINING; a reload's WELCOME is skipped."""
        message_type, body, _ = self.receive()
        while message_type in (WELCOME, LISTENERS):
            message_type, body, _ = self.receive()
        if message_type != DRAINING:
            raise AssertionError(f"message {message_type} where DRAINING was due")
        return DRAINING_BODY.unpack(body)[0]

    def take(self, n):
        """Receive exactly n connections, without claiming them."""
        connections = []
        while len(connections) < n:
            connections += self.receive_connections()
        if len(connections) != n:
            raise AssertionError(f"{len(connections)} connections, {n} were expected")
        self.kept += connections
        return connections

    def take_and_claim(self, n):
        connections = self.take(n)
        self.send(claim(connections[-1].sequence))
        return connections

    def forward(self, connection, service="", data=b"", peer=None):
        """Give a claimed connection on, with bytes that were read of it."""
        self.send(forward(connection.id, service, data, peer), [connection.socket.fileno()])
        connection.socket.close()

    def finish(self, *connections):
        """Close connections and say so."""
        for connection in connections:
            connection.close()
        self.send(release(*(connection.id for connection in connections)))

    def wait_closed(self):
        """Wait until usherd closes the channel; returns REFUSED's sentence if that came first."""
        reason = None
        while True:
            try:
                message_type, body, fds = self.receive()
            except (Closed, ConnectionResetError, BrokenPipeError):
                return reason
            if message_type != LISTENERS:
                for fd in fds:
                    os.close(fd)
            if message_type == REFUSED:
                reason = text(REFUSED_BODY.unpack(body)[2])


def tell_name(provider, name):
    """Serve until usherd sends no more: tell each client `name` and hang up."""
    while True:
        try:
            connections = provider.receive_connections()
        except (Closed, Draining):
            return
        provider.send(claim(connections[-1].sequence))
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.socket.sendall(f"{name}\n".encode())
        provider.finish(*connections)
