# SPDX-License-Identifier: MIT
"""A name server that answers, or does not, as the test says; for an usherd in a network of its own.

It knows addresses of IPv4 (RFC 1035). Whom a name server does not answer waits: for it the test is the
internet on a bad day.
"""

import ctypes
import os
import socket
import struct
import threading
from pathlib import Path

PORT = 53
FILES = {
    "resolv.conf": "nameserver 127.0.0.1\n",
    "hosts": "127.0.0.1 localhost\n",
    "networks": "testnet 198.51.100.0\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nservices: files\nhosts: files dns\nnetworks: files\n",
}

TYPE_A = 1
HEADER = struct.Struct(">HHHHHH")
ANSWER = struct.Struct(">HHHIH4s")
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000


def use_only_this(folder):
    """A function for a new process: it has the FILES, which are written into `folder`, as its own in /etc."""
    for name, text in FILES.items():
        Path(folder, name).write_text(text)

    def enter():
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        for name in FILES:
            failed = failed or libc.mount(os.fsencode(Path(folder, name)), b"/etc/" + name.encode(), None, MS_BIND, None)
        if failed:
            raise OSError(ctypes.get_errno(), "a mount namespace")

    return enter


def read_name(query):
    """The name that is asked for, and what follows it."""
    labels, at = [], HEADER.size
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels), at + 1


class NameServer:
    """Answers from `addresses`, which maps names to addresses; a name that is None there gets no answer."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.asked = threading.Semaphore(0)  # released for each question without an answer
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", PORT))
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()

    def _serve(self):
        while True:
            query, client = self.socket.recvfrom(512)
            if not query:
                return
            reply = self._answer(query)
            if reply:
                self.socket.sendto(reply, client)
            else:
                self.asked.release()

    def _answer(self, query):
        name, end = read_name(query)
        kind, = struct.unpack_from(">H", query, end)
        question = query[HEADER.size:end + 4]
        number = query[:2]
        if name not in self.addresses:
            return number + HEADER.pack(0, 0x8583, 1, 0, 0, 0)[2:] + question
        if self.addresses[name] is None:
            return None
        answers = self.addresses[name] if kind == TYPE_A else []
        records = [ANSWER.pack(0xc00c, TYPE_A, 1, 0, 4, socket.inet_aton(address)) for address in answers]
        return number + HEADER.pack(0, 0x8580, 1, len(records), 0, 0)[2:] + question + b"".join(records)
