# SPDX-License-Identifier: MIT
"""TCPMUX (RFC 1078) with the real programs: names, answers, and clients that say nothing."""

import contextlib
import os
import re
import socket
import time
import unittest

import harness
import network
import processes
import protocol
import tap

# mail is for those who come by tcpmux, secret for nobody: it is an ordinary service that runs as well.
SERVICES = """
service tcpmux {{
    listen = {{"tcp:127.0.0.1:0"}}
    instances = {instances}
    providers {{ forward = {{"mail", "time", "secret"}}  {users} }}
}}
service mail {{ listen = {{}}  providers {{ {users} }} }}
service time {{ listen = {{}} }}
service secret {{ listen = {{}} }}
"""

GO = b"+Go\r\n"
NOT_AVAILABLE = b"-Service not available\r\n"


def services(instances=1024, users=""):
    return SERVICES.format(instances=instances, users=users)


class Tcpmux(harness.UsherTest):
    def begin(self, *arguments, **options):
        self.usherd = self.start_usherd(services(**options))
        self.program = self.start_program(self.usherd, harness.USHER_TCPMUX, *arguments)
        self.usherd.wait_service("tcpmux", n_providers=1, state="serving")

    def client(self, line=b""):
        client = self.connect(self.usherd.addresses("tcpmux")[0])
        client.sendall(line)
        return client

    def test_name_leads_to_its_service(self):
        self.begin("smtp=mail", "+time")
        mail = self.provider(self.usherd, "mail")
        client = self.client(b"SMTP\r\nEHLO me\r\n")
        connection = mail.take_and_claim(1)[0]
        self.assertEqual((connection.forwarded_by, connection.data), ("tcpmux", b""))
        connection.socket.settimeout(processes.DEADLINE)
        self.assertEqual(network.read_exactly(connection.socket, 9), b"EHLO me\r\n")
        connection.socket.sendall(b"+250 mail\r\n")
        self.assertEqual(network.read_exactly(client, 11), b"+250 mail\r\n")
        mail.finish(connection)
        self.usherd.wait_service("tcpmux", in_service=0, forwarded=1)

    def test_tcpmuxplus_is_answered_before_the_service_speaks(self):
        self.begin("+time")
        self.start_program(self.usherd, harness.USHER_BASIC, "time")
        answer = network.read_all(self.client(b"Time\r\n"))
        self.assertEqual((answer[:5], len(answer)), (GO, 9))

    def test_help_lists_what_can_be_reached(self):
        self.begin("smtp=mail", "+time")
        self.assertEqual(network.read_all(self.client(b"help\r\n")), b"smtp\r\ntime\r\n")

    def test_cve_2012_0862_other_services_are_out_of_reach(self):
        """Also one that runs, and to which usherd would let usher-tcpmux forward."""
        self.begin("smtp=mail")
        self.provider(self.usherd, "secret")
        for name in (b"secret", b"mail", b"tcpmux", b"time"):
            self.assertEqual(network.read_all(self.client(name + b"\r\n")), NOT_AVAILABLE)
        self.assertEqual(self.usherd.service("secret")["totals"]["claimed"], 0)

    @harness.needs_root
    def test_cve_2013_4342_service_runs_as_its_own_user(self):
        """xinetd ran what was reached by tcpmux as root. Here nobody runs anything: the connection
        goes to a process that runs already, as whom its service names."""
        self.begin("smtp=mail", users=f'users = {{"{harness.PROVIDER_USER}"}}')
        users = f"{processes.user_id(harness.PROVIDER_USER)}"
        path = self.usherd.rendezvous("mail")

        def serve(say):
            with contextlib.closing(protocol.Provider(path)) as provider:
                provider.register(name="mail")
                say("registered")
                protocol.tell_name(provider, f"{os.getuid()} {os.geteuid()} {os.getgid()}")

        child = self.child(serve, harness.PROVIDER_USER)
        self.assertEqual(child.hear(), "registered")
        answer = network.read_all(self.client(b"smtp\r\n")).decode().split()
        self.assertEqual(answer, [users, users, str(processes.group_id(harness.PROVIDER_USER))])
        self.assertEqual(self.usherd.service("tcpmux")["providers"][0]["uid"], 0)

    def test_clients_wait_for_a_service_that_comes_later(self):
        self.begin("+time")
        client = self.client(b"time\r\n")
        self.assertEqual(network.read_exactly(client, 5), GO)
        self.start_program(self.usherd, harness.USHER_BASIC, "time")
        self.assertEqual(len(network.read_all(client)), 4)

    def test_silent_client_is_closed_at_its_deadline(self):
        self.begin("-t", "1", "smtp=mail")
        begin = time.monotonic()
        client = self.client(b"sm")
        self.assertEqual(network.read_all(client), b"")
        self.assertGreaterEqual(time.monotonic() - begin, 0.9)

    def test_those_who_wait_longest_make_room(self):
        """Of a credit of 4 two may wait: the third makes room for itself, and usherd is never full."""
        self.begin("-c", "4", "-t", "60", "+time", instances=4)
        self.start_program(self.usherd, harness.USHER_BASIC, "time")
        silent = [self.client() for _ in range(10)]
        self.assertEqual(len(network.read_all(self.client(b"time\r\n"))), 9)
        for client in silent[:8]:
            self.assertEqual(network.read_all(client), b"")

    def test_a_thousand_silent_clients_cost_nothing_and_disturb_nobody(self):
        self.silence(1000, 3)

    @unittest.skipUnless(os.environ.get("USHER_TEST_SOAK"), "only with USHER_TEST_SOAK=1: takes a minute")
    def test_ten_thousand_silent_clients(self):
        self.silence(10000, 10)

    def silence(self, n_clients, deadline):
        """So many clients that say nothing: each closed when it is time, others served meanwhile."""
        processes.raise_own_limit(n_clients + 200)
        n_credit = 2 * n_clients
        self.begin("-c", str(n_credit), "-t", str(deadline), "+time", instances=n_credit)
        self.start_program(self.usherd, harness.USHER_BASIC, "time")
        begin = time.monotonic()
        silent = self.connect_many(n_clients)
        self.usherd.wait_service("tcpmux", in_service=n_clients)
        cpu, start = self.cpu_seconds(), time.monotonic()
        for _ in range(20):
            self.assertEqual(len(network.read_all(self.client(b"time\r\n"))), 9)
        for client in silent:
            client.settimeout(processes.DEADLINE + deadline)
            self.assertEqual(client.recv(1), b"")
        end = time.monotonic()
        share = (self.cpu_seconds() - cpu) / (end - start)
        print(f"# {n_clients} silent: {100 * share:.2f} % of a processor, {self.memory()} kB", flush=True)
        self.assertLess(share, 0.05)
        self.assertGreaterEqual(end - begin, deadline - 0.1)
        self.assertLess(end - start, deadline + 5)
        self.usherd.wait_service("tcpmux", in_service=0)

    def connect_many(self, n):
        port = int(self.usherd.addresses("tcpmux")[0].rpartition(":")[2])
        clients = [self.closing(socket.socket()) for _ in range(n)]
        for client in clients:
            client.connect(("127.0.0.1", port))
        return clients

    def cpu_seconds(self):
        with open(f"/proc/{self.program.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        with open(f"/proc/{self.program.pid}/status", encoding="ascii") as file:
            return int(re.search(r"^VmRSS:\s*(\d+)", file.read(), re.MULTILINE)[1])

    def test_status_has_the_counters(self):
        self.begin("smtp=mail")
        network.read_all(self.client(b"HELP\r\n"))
        network.read_all(self.client(b"nothing\r\n"))
        self.usherd.wait_until(
            lambda: self.usherd.service("tcpmux")["providers"][0]["status"] ==
            "0 waiting; 0 forwarded, 1 helped, 1 refused, 0 too late, 0 too many", "the status")

    def test_sigterm_lets_nobody_in_and_ends(self):
        self.begin("smtp=mail")
        self.client(b"sm").shutdown(socket.SHUT_WR)
        self.assertEqual(self.end_program(self.program), 0)

    def test_wrong_names_are_refused(self):
        for arguments in ([], ["a b"], ["help"], ["a", "A=b"], ["-t", "0", "a"], ["-t", "x", "a"]):
            usherd = self.make_usherd(services())
            program = self.start_program(usherd, harness.USHER_TCPMUX, *arguments)
            self.assertEqual(program.wait(processes.DEADLINE), 64)


if __name__ == "__main__":
    tap.main()
