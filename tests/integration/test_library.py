# SPDX-License-Identifier: MIT
"""Programs that use libusher, with the real usherd: generations of one service, and connections that
are forwarded. The programs are usher-basic and those of libusher(3)."""

import socket

import harness
import network
import processes
import tap

EXAMPLES = harness.BUILD_DIR / "services/libusher/examples"


class Forwarding(harness.UsherTest):
    def start_login(self, options='forward = {"mailbox"}'):
        self.usherd = self.start_usherd(
            f'service login {{ listen = {{"tcp:127.0.0.1:0"}} providers {{ {options} }} }}'
            'service mailbox { listen = {"tcp:127.0.0.1:0"} }')
        self.start_program(self.usherd, EXAMPLES / "login")
        self.usherd.wait_service("login", n_providers=1)

    def start_mailbox(self):
        self.start_program(self.usherd, EXAMPLES / "mailbox")
        self.usherd.wait_service("mailbox", n_providers=1)

    def client(self, said, service="login"):
        client = self.connect(self.usherd.addresses(service)[0])
        client.sendall(said)
        return client

    def expect_mail(self, client):
        client.sendall(b"QUIT\n")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(network.read_all(client), b"welcome\nmailbox of anna\nCOUNT\nQUIT\n")

    def test_client_logs_in_and_is_served_by_another_program(self):
        self.start_login()
        self.start_mailbox()
        for number in range(1, 6):
            self.expect_mail(self.client(b"LOGIN anna sesame\nCOUNT\n"))
            self.usherd.wait_service("login", forwarded=number, in_service=0, lost=0)
            self.usherd.wait_service("mailbox", released=number, in_service=0, lost=0)

    def test_client_waits_for_the_other_program(self):
        self.start_login()
        client = self.client(b"LOGIN anna sesame\nCOUNT\n")
        self.usherd.wait_service("login", forwarded=1, in_service=0)
        self.start_mailbox()
        self.expect_mail(client)

    def test_client_who_comes_by_another_way_is_not_logged_in(self):
        self.start_login()
        self.start_mailbox()
        self.assertEqual(network.read_all(self.client(b"", "mailbox")), b"")

    def test_service_that_is_not_named_gets_nothing(self):
        self.start_login()
        client = self.client(b"LOGIN bert tulip\n")
        self.assertEqual(network.read_exactly(client, 8), b"welcome\n")
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        self.usherd.wait_log("mailbox-old")

    def test_program_that_may_not_forward_keeps_the_connection(self):
        self.start_login("")
        client = self.client(b"LOGIN anna sesame\n")
        self.assertEqual(network.read_all(client), b"welcome\n")  # it has ended it
        self.usherd.wait_service("login", forwarded=0, released=1, in_service=0)

    def test_echo_returns_what_another_program_has_read(self):
        self.usherd = self.start_usherd(
            'service echo { listen = {"tcp:127.0.0.1:0"} }'
            'service front { listen = {"tcp:127.0.0.1:0"} providers { forward = {"echo"} } }')
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        front = self.provider(self.usherd, "front")
        client = self.client(b"hello, ", "front")
        connection, = front.take_and_claim(1)
        front.forward(connection, "echo", network.read_exactly(connection.socket, 7))
        client.sendall(b"world")
        self.assertEqual(network.read_exactly(client, 12), b"hello, world")
        client.close()
        self.usherd.wait_service("echo", released=1, in_service=0)


class Generations(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(
            'service echo { listen = {"tcp:127.0.0.1:0"} providers { takeover = newest } }')
        self.old = self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.usherd.wait_service("echo", n_providers=1)

    def client(self):
        client = self.connect(self.usherd.addresses("echo")[0])
        self.expect_echo(client)
        return client

    def expect_echo(self, client):
        client.sendall(b"ping")
        self.assertEqual(network.read_exactly(client, 4), b"ping")

    def expect_end_after(self, client):
        """The old program goes on serving its client, and ends with it."""
        self.expect_echo(client)
        self.assertIsNone(self.old.poll())
        client.close()
        self.assertEqual(self.old.wait(processes.DEADLINE), 0)

    def test_older_program_finishes_and_ends(self):
        client = self.client()
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.usherd.wait_service("echo", n_providers=2)
        younger = self.client()
        self.assertEqual([one["in_service"] for one in self.usherd.service("echo")["providers"]], [1, 1])
        self.expect_end_after(client)
        self.expect_echo(younger)
        self.usherd.wait_service("echo", n_providers=1, in_service=1, lost=0)

    def test_idle_older_program_ends_at_once(self):
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.assertEqual(self.old.wait(processes.DEADLINE), 0)
        self.client()

    def test_program_that_the_administrator_drains_finishes_and_ends(self):
        client = self.client()
        self.assertTrue(self.usherd.ask("drain echo")["ok"])
        self.expect_end_after(client)
        self.usherd.wait_service("echo", n_providers=0, lost=0)


if __name__ == "__main__":
    tap.main()
