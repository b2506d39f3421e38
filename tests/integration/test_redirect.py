# SPDX-License-Identifier: MIT
"""Redirection with the real programs: bytes, ends, failures, and one connection for inetd."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import threading

import harness
import network
import processes
import tap

SERVICES = """
service far {{ listen = {{"tcp:127.0.0.1:0", "tcp:[::1]:0", "unix:{folder}/far.sock"}} }}
"""


class Redirect(harness.UsherTest):
    def begin(self, *options, host="127.0.0.1", port=None):
        self.server = self.closing(socket.create_server(("127.0.0.1", port or 0), backlog=128))
        self.server.settimeout(processes.DEADLINE)
        self.port = self.server.getsockname()[1]
        self.usherd = self.start_usherd(SERVICES.format(folder=self.folder))
        self.program = self.start_program(
            self.usherd, harness.USHER_REDIRECT, *options, f"far={host}:{port or self.port}")
        self.usherd.wait_service("far", n_providers=1, state="serving")

    def client(self, listener=0):
        return self.connect(self.usherd.addresses("far")[listener])

    def accept(self):
        server = self.closing(self.server.accept()[0])
        server.settimeout(processes.DEADLINE)
        return server

    def begin_pair(self, *options, **more):
        self.begin(*options, **more)
        client = self.client()
        return client, self.accept()

    def check_log(self, pattern):
        log = self.program_logs[-1]
        processes.wait_file(log, lambda: re.search(pattern, log.read_text()), f"{pattern} in {log}")

    def test_bytes_go_both_ways(self):
        client, server = self.begin_pair()
        client.sendall(b"question")
        self.assertEqual(network.read_exactly(server, 8), b"question")
        server.sendall(b"answer")
        self.assertEqual(network.read_exactly(client, 6), b"answer")

    def test_half_that_ends_leaves_the_other_half(self):
        client, server = self.begin_pair()
        client.sendall(b"all I have")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(network.read_all(server), b"all I have")
        server.sendall(b"the answer comes late")
        server.close()
        self.assertEqual(network.read_all(client), b"the answer comes late")
        self.usherd.wait_service("far", in_service=0, released=1)

    def test_much_at_once_in_both_directions(self):
        client, server = self.begin_pair("-l")
        up, down = os.urandom(8 << 20), os.urandom(8 << 20)

        def send(end, data):
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=send, args=pair) for pair in ((client, up), (server, down))]
        got = []
        threads.append(threading.Thread(target=lambda: got.append(network.read_all(server))))
        for thread in threads:
            thread.start()
        self.assertEqual(network.read_all(client), down)
        for thread in threads:
            thread.join()
        self.assertEqual(got, [up])
        self.check_log(rf"usher-redirect: far: 127\.0\.0\.1: {len(up)} bytes in, {len(down)} bytes out, \d+ s\n")

    def test_reader_that_is_slow_costs_no_processor_time(self):
        """The server has sent all and hung up, the client does not read: nothing is to be done."""
        client, server = self.begin_pair()
        client.shutdown(socket.SHUT_WR)
        server.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += server.send(b"x" * 65536)
        server.close()
        before = self.cpu_ticks()
        self.usherd.watch(0.5)
        self.assertLess(self.cpu_ticks() - before, 10)
        self.assertEqual(len(network.read_all(client)), sent)

    def cpu_ticks(self):
        with open(f"/proc/{self.program.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def test_silent_clients_hold_no_pipe(self):
        client, server = self.begin_pair()
        before = len(os.listdir(f"/proc/{self.program.pid}/fd"))
        pairs = [(self.client(), self.accept()) for _ in range(50)]
        for one, other in pairs + [(client, server)]:
            one.sendall(b"x")
            self.assertEqual(network.read_exactly(other, 1), b"x")
        self.assertLessEqual(len(os.listdir(f"/proc/{self.program.pid}/fd")) - before, 2 * 50 + 4)

    def check_reset(self, breaker, other):
        """Half an answer must not look like a whole one."""
        breaker.sendall(b"half an ans")
        self.assertEqual(network.read_exactly(other, 11), b"half an ans")
        network.reset(breaker)
        with self.assertRaises(ConnectionResetError):
            network.read_all(other)

    def test_reset_by_the_server_reaches_the_client(self):
        client, server = self.begin_pair()
        self.check_reset(server, client)

    def test_reset_by_the_client_reaches_the_server(self):
        client, server = self.begin_pair()
        self.check_reset(client, server)

    def test_server_that_refuses_means_a_reset(self):
        port = network.free_port()
        self.begin(port=port)
        self.server.close()
        with self.assertRaises(ConnectionResetError):
            self.client().recv(1)
        self.check_log(rf"usher-redirect: far: cannot connect to 127.0.0.1:{port}: Connection refused")

    def test_name_that_is_unknown_means_a_reset(self):
        self.begin(host="name.invalid")
        with self.assertRaises(ConnectionResetError):
            self.client().recv(1)
        self.check_log(r"usher-redirect: far: cannot find the address of name.invalid:\d+: ")

    def test_next_address_is_tried(self):
        """localhost may be ::1 too, where nobody listens."""
        self.begin(host="localhost")
        client = self.client()
        self.accept().sendall(b"here")
        self.assertEqual(network.read_exactly(client, 4), b"here")

    def test_server_that_comes_back_is_found(self):
        port = network.free_port()
        self.begin(port=port)
        self.server.close()
        with self.assertRaises(ConnectionResetError):
            self.client().recv(1)
        self.server = self.closing(socket.create_server(("127.0.0.1", port)))
        self.server.settimeout(processes.DEADLINE)
        client = self.client()
        self.accept().sendall(b"back")
        self.assertEqual(network.read_exactly(client, 4), b"back")

    def test_idle_connection_is_broken(self):
        client, server = self.begin_pair("-i", "1")
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        with self.assertRaises(ConnectionResetError):
            server.recv(1)

    def test_server_learns_the_address_of_the_client(self):
        client, server = self.begin_pair("-p")
        host, port = client.getsockname()
        local = client.getpeername()
        client.sendall(b"then the client")
        self.assertEqual(
            network.read_exactly(server, 28 + 15),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton(host) + socket.inet_aton(local[0]) +
            struct.pack("!HH", port, local[1]) + b"then the client")

    def test_server_learns_an_address_of_ipv6(self):
        self.begin("-p")
        client = self.client(1)
        header = network.read_exactly(self.accept(), 52)
        self.assertEqual(header[12:16], b"\x21\x21\0\x24")
        self.assertEqual(header[16:32], socket.inet_pton(socket.AF_INET6, "::1"))
        self.assertEqual(struct.unpack("!HH", header[48:]), (client.getsockname()[1], client.getpeername()[1]))

    def test_unix_client_has_no_address(self):
        self.begin("-p")
        client = self.client(2)
        client.sendall(b"x")
        server = self.accept()
        self.assertEqual(network.read_exactly(server, 17), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0x")
        server.sendall(b"y")
        self.assertEqual(network.read_exactly(client, 1), b"y")

    def test_sigterm_ends_it(self):
        client, server = self.begin_pair()
        client.close()
        server.close()
        self.usherd.wait_service("far", in_service=0)
        self.assertEqual(self.end_program(self.program), 0)

    def test_wrong_arguments_are_refused(self):
        self.usherd = self.start_usherd(SERVICES.format(folder=self.folder))
        for arguments in ([], ["far"], ["far=x"], ["far=:1"], ["=x:1"], ["far=x:"], ["-t", "0", "far=x:1"],
                          ["-i", "0", "far=x:1"], ["--inetd", "x"], ["--inetd", "x", "1", "y"]):
            program = self.start_program(self.usherd, harness.USHER_REDIRECT, *arguments)
            self.assertEqual(program.wait(processes.DEADLINE), 64, arguments)


class Inetd(harness.UsherTest):
    def begin(self, *arguments):
        """As inetd starts a program: the connection on 0, 1 and 2."""
        listener = self.closing(socket.create_server(("127.0.0.1", 0)))
        client = self.closing(socket.create_connection(listener.getsockname(), processes.DEADLINE))
        with listener.accept()[0] as ours:
            program = subprocess.Popen([str(harness.USHER_REDIRECT), "--inetd", *arguments],
                                       stdin=ours, stdout=ours, stderr=ours)
        self.endings.callback(self.end_program, program)
        return client, program

    def test_one_connection(self):
        server = self.closing(socket.create_server(("127.0.0.1", 0)))
        client, program = self.begin("127.0.0.1", str(server.getsockname()[1]))
        far = self.closing(server.accept()[0])
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(network.read_all(far), b"question")
        far.sendall(b"answer")
        far.close()
        self.assertEqual(network.read_all(client), b"answer")
        self.assertEqual(program.wait(processes.DEADLINE), 0)

    def test_server_that_refuses(self):
        """No word of it reaches the client, whose standard error it is."""
        client, program = self.begin("127.0.0.1", str(network.free_port()))
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        self.assertEqual(program.wait(processes.DEADLINE), 69)


if __name__ == "__main__":
    tap.main()
