# SPDX-License-Identifier: MIT
"""No memory is asked for on the way of a connection: neither by usherd nor by libusher.

Both grow with the most connections that they ever held at once, and reuse that. So the programs
first serve many at once, and from then on must not call malloc(3) and its like a single time:
a preloaded library counts (tests/lib/count-allocations.c). The providers are examples of
libusher(3) that need no memory for a connection themselves; usher-basic does need some.

To find who asks: gdb -p PID, `break malloc`, and serve one connection.
"""

import contextlib
import os
import signal
import socket
import sys
import unittest

import harness
import network
import processes
import tap

COUNTER = harness.BUILD_DIR / "tests/lib/count-allocations.so"
NUMBER_SIZE = 8

N_WARM_UP = 300  # at once: more than ever after
N_CONNECTIONS = 2048
N_AT_ONCE = 64
MOST_ONCE = 8  # allocations for what is made once, and later than in the warm-up


class Count:
    """How often the processes that have its environment have asked for memory."""

    def __init__(self, path):
        self.path = path
        self.environment = {"LD_PRELOAD": str(COUNTER), "COUNT_ALLOCATIONS": str(path)}
        path.write_bytes(bytes(NUMBER_SIZE))

    def read(self):
        return int.from_bytes(self.path.read_bytes(), sys.byteorder)


@unittest.skipIf(harness.IS_SANITIZED, "sanitizers bring an allocator that cannot be replaced")
@unittest.skipUnless(COUNTER.exists(), "the counter is for glibc only")
class Counted(harness.UsherTest):
    """An usherd whose allocations are counted, and those of the provider of its one service."""
    service, program = "echo", "services/libusher/examples/echo-poll"
    said = heard = b"echo\n"

    def setUp(self):
        super().setUp()
        self.usherd = self.make_usherd(
            f'service {self.service} {{ listen = {{"tcp:127.0.0.1:0"}} }}')
        self.of_usherd = Count(self.folder / "of-usherd")
        self.of_provider = Count(self.folder / "of-provider")
        self.usherd.environment |= self.of_usherd.environment
        self.usherd.start()
        self.address = self.usherd.addresses(self.service)[0]

    def start_provider(self):
        setting = [f"{name}={value}" for name, value in self.of_provider.environment.items()]
        program = harness.BUILD_DIR / self.program
        provider = self.start_program(self.usherd, "env", *setting, program)
        self.usherd.wait_service(self.service, n_providers=1)
        return provider

    def read_counts(self):
        """When usherd has done what there was to do, without asking it: an answer needs memory."""
        self.usherd.wait_idle()
        return {"usherd": self.of_usherd.read(), "provider": self.of_provider.read()}

    def client(self):
        client = self.connect(self.address)
        client.sendall(self.said)
        return client

    def talk(self, client):
        with contextlib.closing(client):
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(network.read_all(client), self.heard)

    def talk_at_once(self, n):
        clients = [self.client() for _ in range(n)]
        for client in clients:
            self.talk(client)


class Counter(Counted):
    """Would it be seen?"""

    def test_a_registration_and_a_question_are_counted(self):
        counts = [self.of_usherd.read()]
        self.start_provider()
        counts.append(self.of_usherd.read())
        self.usherd.status()
        counts.append(self.of_usherd.read())
        self.assertEqual(counts, sorted(set(counts)), "each has to be more than the one before")

    def test_more_connections_than_ever_are_counted(self):
        self.start_provider()
        before = self.read_counts()
        self.talk_at_once(N_WARM_UP)
        after = self.read_counts()
        self.assertGreater(after["usherd"], before["usherd"])
        self.assertGreater(after["provider"], before["provider"])

    def test_a_program_that_needs_memory_for_each_connection_is_counted(self):
        self.program = "services/basic/usher-basic"
        self.start_provider()
        before = self.read_counts()
        for _ in range(N_AT_ONCE):
            self.talk(self.client())
        self.assertGreaterEqual(self.read_counts()["provider"], before["provider"] + N_AT_ONCE)


class Connections(Counted):
    """A service of one line, by a provider that never waits in usher_accept()."""

    def setUp(self):
        super().setUp()
        self.warm_up(self.start_provider())

    def warm_up(self, provider):
        """As many as usherd sends to a provider that stands still, then as many as it takes.

        usherd finds them all at once: if they came one by one, and slowly, the timer of a busy
        service would only be made later.
        """
        processes.stop_process(provider.pid)
        processes.stop_process(self.usherd.pid)
        clients = [self.client() for _ in range(N_WARM_UP)]
        os.kill(self.usherd.pid, signal.SIGCONT)
        self.usherd.wait_idle()
        os.kill(provider.pid, signal.SIGCONT)
        for client in clients:
            self.talk(client)
        self.usherd.wait_service(self.service, accepted=N_WARM_UP, released=N_WARM_UP)

    def check(self, serve):
        """Nothing is asked for. A timer that is needed for the first time may have been made meanwhile, once:
        then a few allocations are passed over, and there are none when as many come again."""
        n = N_WARM_UP
        for last_round in (False, True):
            before = self.read_counts()
            serve()
            n += N_CONNECTIONS
            counts = self.read_counts()
            self.usherd.wait_service(self.service, accepted=n, released=n, lost=0)
            if counts == before:
                return
            self.assertFalse(last_round or any(counts[name] - before[name] > MOST_ONCE for name in counts),
                             f"{before} became {counts} with {N_CONNECTIONS} connections more")

    def test_one_client_at_a_time(self):
        def serve():
            for _ in range(N_CONNECTIONS):
                self.talk(self.client())
        self.check(serve)

    def test_many_clients_at_once(self):
        def serve():
            for _ in range(N_CONNECTIONS // N_AT_ONCE):
                self.talk_at_once(N_AT_ONCE)
        self.check(serve)


class BlockingConnections(Connections):
    """A line at once, as daytime does, by a provider that waits in usher_accept()."""
    service, program = "hello", "services/libusher/examples/hello"
    said, heard = b"", b"Hello, world.\n"


if __name__ == "__main__":
    tap.main()
