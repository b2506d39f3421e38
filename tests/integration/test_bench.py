# SPDX-License-Identifier: MIT
"""The load generator of tests/bench tells what went wrong: a figure of it is no better than that.

Each case is a server that does wrong in one way, now and then, and what bench-load has to say.
"""

import contextlib
import json
import socket
import subprocess
import threading
import unittest

import harness
import network
import tap

BENCH_LOAD = harness.BUILD_DIR / "tests/bench/bench-load"
N_CONNECTIONS = 12
CLIENTS = 3
WRONG_EVERY = 4  # the third of four connections is not served as it should be
DEADLINE = "0.5"  # for those that never end, in seconds


def echo(connection):
    with connection:
        connection.sendall(connection.recv(4096))


class BenchLoad(unittest.TestCase):
    def serve(self, serve_wrongly):
        """Accept until the end of the test; every now and then by another function."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.held = self.enterContext(contextlib.ExitStack())

        def run():
            with contextlib.suppress(OSError):
                for n in range(N_CONNECTIONS):
                    connection, _ = listener.accept()
                    (serve_wrongly if n % WRONG_EVERY == 2 else echo)(connection)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)  # before that
        return listener.getsockname()[1]

    def count(self, port):
        """What bench-load says of so many connections to it."""
        output = subprocess.run(
            [BENCH_LOAD, "-c", str(CLIENTS), "-n", str(N_CONNECTIONS), "-d", DEADLINE,
             f"127.0.0.1:{port}"], stdout=subprocess.PIPE, check=True, timeout=60).stdout
        found = json.loads(output)
        return found["connections"], {kind: n for kind, n in found["failures"].items() if n}

    def check(self, serve_wrongly, kind):
        n_wrong = N_CONNECTIONS // WRONG_EVERY
        self.assertEqual(self.count(self.serve(serve_wrongly)),
                         (N_CONNECTIONS - n_wrong, {kind: n_wrong}))

    def test_all_is_well(self):
        self.assertEqual(self.count(self.serve(echo)), (N_CONNECTIONS, {}))

    def test_an_end_before_the_answer(self):
        self.check(lambda connection: (connection.recv(4096), connection.close()), "truncated")

    def test_half_an_answer(self):
        def half(connection):
            with connection:
                connection.sendall(connection.recv(4096)[:3])
        self.check(half, "truncated")

    def test_another_answer(self):
        def other(connection):
            with connection:
                connection.sendall(connection.recv(4096).swapcase())
        self.check(other, "wrong")

    def test_more_than_the_answer(self):
        def more(connection):
            with connection:
                connection.sendall(connection.recv(4096) + b"and more\n")
        self.check(more, "wrong")

    def test_a_reset(self):
        self.check(lambda connection: (connection.recv(4096), network.reset(connection)), "reset")

    def test_no_answer_ever(self):
        served, failures = self.count(self.serve(self.hold))
        self.assertGreater(served, 0)
        self.assertEqual(set(failures), {"timeout"})

    def hold(self, connection):
        self.held.enter_context(connection)

    def test_nobody_listens(self):
        self.assertEqual(self.count(network.free_port()), (0, {"connect": N_CONNECTIONS}))


if __name__ == "__main__":
    tap.main()
