# SPDX-License-Identifier: MIT
"""Clients, ports, and networks of one's own."""

import contextlib
import ctypes
import itertools
import os
import socket
import struct
import subprocess
import unittest
from pathlib import Path

from processes import DEADLINE


def connect(address, timeout=DEADLINE, source=None):
    """A client's socket, connected to an address as usher.conf(5) and `usherctl status` write it."""
    kind, _, rest = address.partition(":")
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        client.connect(rest)
        return client
    host, _, port = rest.rpartition(":")
    client = socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout, source)
    return client


def reset(client):
    """Close a client's socket so that the other side sees ECONNRESET."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def read_all(client):
    """Everything until the end of the connection."""
    data = b""
    while block := client.recv(65536):
        data += block
    return data


def answer(address, source=None):
    """All that a client is told; None when it is reset, which may be before connect(2) returns."""
    try:
        with connect(address, source=source) as client:
            return read_all(client)
    except ConnectionResetError:
        return None


def read_exactly(client, size):
    data = b""
    while len(data) < size:
        block = client.recv(size - len(data))
        if not block:
            raise AssertionError(f"the connection ended after {len(data)} of {size} bytes")
        data += block
    return data


# Below those that the kernel chooses for others (ip(7), ip_local_port_range); each process begins elsewhere.
PORTS = itertools.cycle(range(10000, 30000))
for _ in range(os.getpid() * 61 % 20000):
    next(PORTS)


def free_port():
    """A free port for an usherd that has to come back to the same one: nobody is given it meanwhile."""
    for port in PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def occupied_port():
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def list_listeners():
    """What ss(8) says about listening TCP sockets: state, accept queue, its size, address."""
    return subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout


IPPROTO_MPTCP = 262
ADDRESS_OF_ONE = "10.7.0.1"


def needs_mptcp():
    """Skip the test where the kernel has none."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError as error:
        raise unittest.SkipTest(f"no Multipath TCP: {error}") from error


def needs_vsock():
    """Skip the test where the kernel has none."""
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError as error:
        raise unittest.SkipTest(f"no vsock: {error}") from error


def add_interfaces(*names):
    """Interfaces that lead nowhere."""
    for number, name in enumerate(names):
        subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"end{number}"], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)


@contextlib.contextmanager
def neighbour(interface):
    """A second network at the other end of `interface`, which has ADDRESS_OF_ONE. Yields a function that makes
    a TCP socket there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; read line"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other, open("/proc/thread-self/ns/net", "rb") as here:
        other.stdout.readline()
        with open(f"/proc/{other.pid}/ns/net", "rb") as there:
            subprocess.run(["ip", "link", "add", interface, "type", "veth", "peer", "name", "far", "netns",
                            str(other.pid)], check=True)
            subprocess.run(["ip", "addr", "add", f"{ADDRESS_OF_ONE}/24", "dev", interface], check=True)
            subprocess.run(["ip", "link", "set", interface, "up"], check=True)

            def enter(network):
                if libc.setns(network.fileno(), 0):
                    raise OSError(ctypes.get_errno(), "setns")

            def make_socket():
                enter(there)
                try:
                    return socket.socket()
                finally:
                    enter(here)

            enter(there)
            try:
                subprocess.run(["ip", "addr", "add", "10.7.0.2/24", "dev", "far"], check=True)
                subprocess.run(["ip", "link", "set", "far", "up"], check=True)
            finally:
                enter(here)
            yield make_socket
        other.stdin.close()


def n_unread_datagrams(port):
    """How many datagrams, of a few bytes each, wait at a UDP port (ss(8) says how many bytes)."""
    answer = subprocess.run(["ss", "-Hlun", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return int(int(answer.split()[1]) > 0)


def enter_network_namespace(ipv6=True):
    """Move this process (and what it starts from now on) into a network that has only loopback."""
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newnet):
        raise unittest.SkipTest(f"no network of one's own: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if not ipv6:
        for name in ("all", "default", "lo"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
