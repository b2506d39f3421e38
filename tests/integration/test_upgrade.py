# SPDX-License-Identifier: MIT
"""Upgrade in place: another program, and neither providers nor clients notice."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import harness
import kernels
import network
import processes
import protocol
import tap

EX_DATAERR, EX_CONFIG = 65, 78
CAP_NET_BIND_SERVICE = 1 << 10


class UpgradeTest(harness.UsherTest):
    """One usherd, whose program can be replaced."""

    make_kernel = None  # it runs on this kernel as it is

    def setUp(self):
        super().setUp()
        self.start("")

    def service(self, name="one", more="", address="tcp:127.0.0.1:0"):
        return f'service {name} {{ listen = {{"{address}"}} {more} }}\n'

    def start(self, more, **options):
        """Another usherd than the test began with."""
        self.usherd = self.make_usherd(self.service(more=more), before_exec=self.make_kernel, **options)
        self.usherd.program = self.copy_for_others(harness.USHERD)
        self.usherd.start()
        self.address = self.usherd.addresses("one")[0]

    def usherctl(self, *arguments):
        return subprocess.run([harness.USHERCTL, "--run-dir", self.usherd.run_dir, *arguments],
                              capture_output=True, text=True, timeout=processes.DEADLINE, check=False)

    def upgrade(self):
        self.usherd.read_notifications()  # the manager has to be listening
        answer = self.usherd.ask("upgrade")
        self.assertEqual(answer.get("ok"), True, answer)
        return answer["message"]

    def replace_program(self, content, mode=0o755):
        program = Path(self.usherd.program)
        os.rename(program, program.with_suffix(".old"))
        program.write_text(content)
        program.chmod(mode)

    def put_program_back(self):
        os.rename(Path(self.usherd.program).with_suffix(".old"), self.usherd.program)

    def check_serves(self, provider):
        """A new client comes to the provider that was there before."""
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        client.sendall(b"ping")
        self.assertEqual(network.read_exactly(connection.socket, 4), b"ping")
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")


class Upgrade(UpgradeTest):
    @harness.needs_sight
    def test_it_is_another_program_in_the_same_process(self):
        before = self.usherd.status()
        inode = os.stat(f"/proc/{self.usherd.pid}/exe").st_ino
        self.replace_program("")
        os.unlink(self.usherd.program)
        self.copy_for_others(harness.USHERD)
        version = before["version"]
        self.assertEqual(self.upgrade(), f"upgraded from {version} to {version}")
        after = self.usherd.status()
        self.assertEqual(after["pid"], before["pid"])
        self.assertEqual((before["upgrades"], after["upgrades"]), (0, 1))
        self.assertGreaterEqual(after["uptime_seconds"], before["uptime_seconds"])
        self.assertNotEqual(os.stat(f"/proc/{self.usherd.pid}/exe").st_ino, inode)
        self.usherd.wait_log(f"is upgrading: executing {self.usherd.program}")
        self.usherd.wait_log(f"upgraded from {version} to {version}")

    def test_a_provider_notices_nothing(self):
        provider = self.provider(self.usherd, "one", name="steady")
        self.check_serves(provider)
        number = self.usherd.provider("one", "steady")["number"]
        for _ in range(3):
            self.upgrade()
        self.assertFalse(provider.has_message())
        self.check_serves(provider)
        entry = self.usherd.provider("one", "steady")
        self.assertEqual((entry["number"], entry["served"], entry["pid"]), (number, 2, os.getpid()))
        self.assertEqual(entry["credit"], 16)
        other = self.provider(self.usherd, "one", name="other")
        self.assertEqual(self.usherd.provider("one", "other")["number"], number + 1)
        other.close()

    def test_connections_in_service_stay_and_are_counted(self):
        provider = self.provider(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(20)]
        connections = provider.take_and_claim(16)
        self.usherd.wait_service("one", in_service=16, unclaimed=0)
        self.upgrade()
        self.usherd.wait_service("one", in_service=16, unclaimed=0, accepted=16, claimed=16)
        for client, connection in zip(clients, connections):
            client.sendall(b"ping")
            self.assertEqual(network.read_exactly(connection.socket, 4), b"ping")
        provider.finish(*connections)
        last = provider.take_and_claim(4)  # those that had waited in the backlog
        provider.finish(*last)
        self.usherd.wait_service("one", in_service=0, accepted=20, released=20)
        self.assertEqual({network.read_all(client) for client in clients}, {b""})

    def test_unclaimed_connections_stay_their_provider_s_and_are_claimed_afterwards(self):
        provider = self.provider(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(5)]
        self.usherd.wait_service("one", unclaimed=5)
        self.upgrade()
        self.usherd.wait_service("one", unclaimed=5)
        connections = provider.take_and_claim(5)
        self.assertEqual([connection.sequence for connection in connections], [1, 2, 3, 4, 5])
        self.usherd.wait_service("one", unclaimed=0, in_service=5)
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in clients}, {b""})

    def test_unclaimed_connections_of_a_provider_that_dies_go_to_another(self):
        dead = self.holding_child(self.usherd, "one", "dead", credit=5)
        clients = [self.connect(self.address) for _ in range(5)]
        self.usherd.wait_service("one", unclaimed=5)
        self.upgrade()
        heir = self.provider(self.usherd, "one")
        dead.kill()
        provider_connections = heir.take_and_claim(5)
        self.usherd.wait_service("one", redispatched=5, in_service=5)
        heir.finish(*provider_connections)
        self.assertEqual({network.read_all(client) for client in clients}, {b""})

    def test_a_provider_that_dies_meanwhile_is_noticed(self):
        self.usherd.kill()
        self.start("claim_timeout = 1h")
        dead = self.holding_child(self.usherd, "one", "dead", credit=1)
        client = self.connect(self.address)
        self.usherd.wait_service("one", unclaimed=1)
        processes.stop_process(self.usherd.pid)
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.usherd.run_dir / "control.sock"))
            control.sendall(b"upgrade\n")
            dead.kill()
            os.kill(self.usherd.pid, signal.SIGCONT)
            self.assertIn("ok", json.loads(network.read_all(control)))
        heir = self.provider(self.usherd, "one")
        heir.finish(*heir.take_and_claim(1))
        self.assertEqual(network.read_all(client), b"")

    def test_a_listener_stays_the_same_socket(self):
        client = self.connect(self.address)  # waits in the backlog
        inodes = self.listening_inodes()
        self.upgrade()
        self.assertEqual(self.listening_inodes(), inodes)
        self.assertEqual(self.usherd.addresses("one"), [self.address])  # of port 0
        self.serving_child(self.usherd, "one", "late")
        self.assertEqual(network.read_all(client), b"late\n")

    def listening_inodes(self):
        port = f"{int(self.address.rpartition(':')[2]):04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return [fields[9] for fields in map(str.split, lines)
                if fields[1].endswith(f":{port}") and fields[3] == "0A"]

    def test_other_listeners_keep_their_files_and_addresses(self):
        path = self.folder / "unix.sock"
        self.folder.chmod(0o777)
        self.usherd.write_config(self.service() + self.service("two", address=f"unix:{path}") +
                                 self.service("three", "unavailable = refuse", "tcp:[::1]:0"))
        self.assertIn("ok", self.usherd.ask("reload"))
        self.usherd.remember_fds()
        inode = path.stat().st_ino
        addresses = {name: self.usherd.addresses(name) for name in ("one", "two", "three")}
        self.upgrade()
        self.assertEqual(path.stat().st_ino, inode)
        self.assertEqual({name: self.usherd.addresses(name) for name in addresses}, addresses)
        self.serving_child(self.usherd, "two", "unix")
        self.assertEqual(network.read_all(self.connect(f"unix:{path}")), b"unix\n")
        with self.assertRaises(ConnectionRefusedError):
            network.connect(addresses["three"][0])
        self.serving_child(self.usherd, "three", "tcp")
        self.assertEqual(network.read_all(self.connect(addresses["three"][0])), b"tcp\n")

    def test_a_process_that_has_said_nothing_yet_can_register_afterwards(self):
        stranger = self.stranger(self.usherd, "one")
        self.usherd.wait_idle()
        self.upgrade()
        self.assertEqual(stranger.register(name="stranger")[0], "one")
        self.check_serves(stranger)

    def test_what_a_provider_said_meanwhile_counts(self):
        provider = self.provider(self.usherd, "one", credit=1)
        client = self.connect(self.address)
        connection, = provider.take(1)
        processes.stop_process(self.usherd.pid)
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.usherd.run_dir / "control.sock"))
            control.sendall(b"upgrade\n")
            provider.send(protocol.claim(connection.sequence))
            provider.finish(connection)
            os.kill(self.usherd.pid, signal.SIGCONT)
            self.assertIn("ok", json.loads(network.read_all(control)))
        self.assertEqual(network.read_all(client), b"")
        self.usherd.wait_service("one", released=1, in_service=0, unclaimed=0)
        self.check_serves(provider)

    def test_the_service_manager_hears_of_it(self):
        self.usherd.wait_idle()
        self.usherd.read_notifications()
        self.usherd.notifications = []
        self.upgrade()
        for _ in range(2):  # for the reload, and for the upgrade itself
            self.usherd.wait_notification("RELOADING", "1")
            self.usherd.wait_notification("READY", "1")

    def test_the_configuration_is_what_stands_in_the_file(self):
        self.usherd.write_config(self.service(more="instances = 7") + self.service("two"))
        self.upgrade()
        self.assertEqual(self.usherd.service("one")["instances"], 7)
        self.assertEqual(self.usherd.addresses("one"), [self.address])
        self.serving_child(self.usherd, "two", "new")
        self.assertEqual(network.read_all(self.connect(self.usherd.addresses("two")[0])), b"new\n")
        self.usherd.write_config(self.service())
        self.assertIn("ok", self.usherd.ask("reload"))

    def test_another_usherd_still_has_no_place_beside_it(self):
        self.upgrade()
        result = self.run_usherd("-c", self.usherd.config)
        self.assertEqual(result.returncode, harness.EX_OSERR)
        self.assertIn("another usherd is running", result.stderr)

    def test_traffic_goes_on_through_many_upgrades(self):
        for name in ("a", "b"):
            self.serving_child(self.usherd, "one", name, credit=50)
        address = self.address

        def visit(say):
            for _ in range(2000):
                with contextlib.closing(network.connect(address)) as client:
                    if network.read_all(client) not in (b"a\n", b"b\n"):
                        raise AssertionError("was not served")
            say("served")

        visitors = [self.child(visit) for _ in range(2)]
        for _ in range(30):
            self.upgrade()
        for visitor in visitors:
            self.assertEqual(visitor.hear(), "served")
        self.usherd.wait_service("one", accepted=4000, released=4000, lost=0, reset=0, n_providers=2)
        self.assertEqual(self.usherd.status()["upgrades"], 30)

    def test_usherctl_tries_the_program_first(self):
        result = self.usherctl("upgrade")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertRegex(result.stdout, "can go on from the state of usherd .*\nupgraded from .* to ")


class UpgradeOnLinux61(Upgrade):
    make_kernel = staticmethod(kernels.linux_6_1)


class WhatIsKept(UpgradeTest):
    """States of services and providers that are not the usual ones."""

    def test_a_paused_service_stays_paused(self):
        provider = self.provider(self.usherd, "one")
        self.assertIn("ok", self.usherd.ask("pause one"))
        client = self.connect(self.address)
        self.upgrade()
        self.assertEqual(self.usherd.service("one")["state"], "paused")
        self.assertFalse(provider.has_message())
        self.assertIn("ok", self.usherd.ask("resume one"))
        provider.finish(*provider.take_and_claim(1))
        self.assertEqual(network.read_all(client), b"")

    def test_who_waits_in_the_backlog_is_not_refused_meanwhile(self):
        """Before the providers are back nobody is registered: that must not be seen."""
        self.usherd.kill()
        for unavailable in ("refuse", "reset"):
            self.start(f"unavailable = {unavailable}")
            provider = self.provider(self.usherd, "one", credit=1)
            self.usherd.wait_service("one", state="serving")
            clients = [self.connect(self.address) for _ in range(4)]
            connection, = provider.take_and_claim(1)
            self.usherd.wait_service("one", in_service=1, unclaimed=0)
            self.upgrade()
            for _ in clients[1:]:
                provider.finish(connection)
                connection, = provider.take_and_claim(1)
            provider.finish(connection)
            self.assertEqual({network.read_all(client) for client in clients}, {b""})
            provider.close()
            self.usherd.kill()
        self.start("")

    def park(self, n):
        """Clients that were accepted, and whose provider has died."""
        dead = self.holding_child(self.usherd, "one", "dead", credit=n)
        clients = [self.connect(self.address) for _ in range(n)]
        self.usherd.wait_service("one", unclaimed=n)
        dead.kill()
        self.usherd.wait_service("one", parked=n, unclaimed=0)
        return clients

    def test_parked_connections_are_served_afterwards(self):
        clients = self.park(40)
        for number, client in enumerate(clients):
            client.sendall(bytes([number]))
        self.upgrade()
        self.upgrade()
        self.usherd.wait_service("one", parked=40, accepted=40)
        late = self.connect(self.address)
        provider = self.provider(self.usherd, "one", credit=100)
        connections = provider.take_and_claim(40)
        order = [network.read_exactly(connection.socket, 1)[0] for connection in connections]
        self.assertEqual(order, list(range(40)))
        connections += provider.take_and_claim(1)
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in [*clients, late]}, {b""})
        self.usherd.wait_service("one", parked=0, accepted=41, claimed=41, released=41, lost=0)

    def test_parked_connections_keep_their_deadline(self):
        self.usherd.kill()
        self.start("park { timeout = 2s }")
        client, = self.park(1)
        self.upgrade()
        with self.assertRaises(ConnectionResetError):
            network.read_all(client)
        self.usherd.wait_service("one", parked=0)

    def test_a_service_that_was_removed_drains_to_its_end(self):
        provider = self.provider(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(2)]
        connections = provider.take(2)
        self.usherd.wait_service("one", unclaimed=2)
        self.usherd.write_config("")
        self.upgrade()
        self.upgrade()
        self.assertEqual(self.usherd.service("one")["state"], "draining")
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address)
        provider.send(protocol.claim(connections[-1].sequence))
        self.assertEqual(provider.receive()[0], protocol.DRAINING)
        provider.wait_closed()
        self.usherd.wait_until(lambda: not self.usherd.status()["services"], "the end of the service")
        for client, connection in zip(clients, connections):
            connection.close()
            self.assertEqual(network.read_all(client), b"")
        self.usherd.write_config(self.service())
        self.assertIn("ok", self.usherd.ask("reload"))

    def test_a_removed_service_and_its_successor_of_the_same_name(self):
        provider = self.provider(self.usherd, "one")
        client = self.connect(self.address)
        connection, = provider.take(1)
        self.usherd.write_config("")
        self.assertIn("ok", self.usherd.ask("reload"))
        self.usherd.write_config(self.service())
        self.upgrade()
        states = [service["state"] for service in self.usherd.status()["services"]]
        self.assertEqual(states, ["waiting", "draining"])
        successor = self.provider(self.usherd, "one")
        provider.send(protocol.claim(connection.sequence))
        provider.wait_closed()
        connection.close()
        self.assertEqual(network.read_all(client), b"")
        self.address = self.usherd.addresses("one")[0]
        self.check_serves(successor)

    def test_a_draining_provider_finishes_what_it_has(self):
        provider = self.provider(self.usherd, "one", name="old")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        self.assertIn("ok", self.usherd.ask("drain one/old"))
        message_type, body, _ = provider.receive()
        self.assertEqual((message_type, protocol.DRAINING_BODY.unpack(body)[0]),
                         (protocol.DRAINING, protocol.ADMINISTRATOR))
        self.upgrade()
        self.assertEqual(self.usherd.provider("one", "old")["state"], "draining")
        self.assertFalse(provider.has_message())
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")
        self.usherd.wait_service("one", released=1)

    def test_a_standby_stays_one(self):
        standby = self.provider(self.usherd, "one", name="standby", standby=True)
        first = self.provider(self.usherd, "one", name="first")
        self.upgrade()
        self.check_serves(first)
        self.assertFalse(standby.has_message())
        first.close()
        self.usherd.wait_service("one", n_providers=1)
        self.check_serves(standby)

    def test_a_quarantined_provider_stays_so_until_it_leaves(self):
        bad = self.provider(self.usherd, "one", name="bad", credit=2)
        client = self.connect(self.address)
        connection, = bad.take(1)
        bad.send(protocol.message(99))
        self.usherd.wait_until(
            lambda: self.usherd.provider("one", "bad")["state"] == "quarantined", "quarantine")
        self.upgrade()
        self.assertEqual(self.usherd.provider("one", "bad")["state"], "quarantined")
        bad.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):  # it is not read from
            for _ in range(5000):
                bad.send(protocol.status("ignored"))
        bad.socket.close()
        heir = self.provider(self.usherd, "one", name="heir")
        heir.finish(*heir.take_and_claim(1))
        connection.close()
        self.assertEqual(network.read_all(client), b"")

    def test_a_provider_whose_channel_is_full_gets_the_rest_afterwards(self):
        n = 400
        provider = self.provider(self.usherd, "one", name="slow", credit=n)
        clients = []
        while self.usherd.provider("one", "slow")["state"] != "blocked":
            clients.append(self.connect(self.address))
            self.assertLess(len(clients), n)
        self.upgrade()
        connections = provider.take_and_claim(len(clients))
        self.usherd.wait_service("one", in_service=len(clients), lost=0)
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in clients}, {b""})

    def test_forwarded_bytes_and_hops_are_carried_over(self):
        self.usherd.kill()
        self.start('providers { forward = {"one"} }')
        provider = self.provider(self.usherd, "one", name="first")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        client.sendall(b"hello")
        data = network.read_exactly(connection.socket, 5)
        provider.send(protocol.credit(connection.sequence, 0))
        other = self.provider(self.usherd, "one", name="second", credit=2)
        provider.send(protocol.forward(connection.id, "one", data), [connection.socket.fileno()])
        self.usherd.wait_service("one", unclaimed=1)
        self.upgrade()
        forwarded, = other.take_and_claim(1)
        self.assertEqual((forwarded.data, forwarded.hops, forwarded.forwarded_by), (b"hello", 1, "one"))
        self.upgrade()
        self.assertTrue(other.may_forward)
        other.send(protocol.credit(forwarded.sequence, 0))
        provider.send(protocol.credit(connection.sequence, 5))
        other.send(protocol.forward(forwarded.id), [forwarded.socket.fileno()])
        again, = provider.take_and_claim(1)
        self.assertEqual((again.data, again.hops), (b"", 2))
        for copy in (connection, forwarded):
            copy.socket.close()
        provider.finish(again)
        self.assertEqual(network.read_all(client), b"")


    def test_a_forwarded_connection_whose_next_provider_dies_goes_on(self):
        """What was read before it was forwarded is no sign that somebody has used it since."""
        self.usherd.kill()
        self.start('providers { forward = {"one"} }')
        first = self.provider(self.usherd, "one", credit=1)
        client = self.connect(self.address)
        connection, = first.take_and_claim(1)
        client.sendall(b"hello")
        data = network.read_exactly(connection.socket, 5)
        dead = self.holding_child(self.usherd, "one", "dead", credit=1)
        first.send(protocol.forward(connection.id, "one", data), [connection.socket.fileno()])
        connection.socket.close()
        self.usherd.wait_service("one", unclaimed=1)
        self.upgrade()
        dead.kill()
        first.send(protocol.credit(connection.sequence, 1))
        again, = first.take_and_claim(1)
        self.assertEqual((again.data, again.hops), (b"hello", 1))
        first.finish(again)
        self.assertEqual(network.read_all(client), b"")


class Refusals(UpgradeTest):
    """What is refused changes nothing."""

    def check_refused(self, pattern):
        provider = self.provider(self.usherd, "one")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        answer = self.usherd.ask("upgrade")
        self.assertRegex(answer.get("error", ""), pattern)
        self.assertEqual(self.usherd.status()["upgrades"], 0)
        self.check_serves(provider)
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")
        provider.close()
        return answer

    def test_a_broken_configuration(self):
        good = self.usherd.config.read_text()
        self.usherd.config.write_text(good + "nonsense\n")
        answer = self.check_refused("the configuration was not changed")
        self.assertRegex(answer["lines"][0], rf"{self.usherd.config}:\d+: ")
        self.usherd.config.write_text(good)
        self.upgrade()

    def test_a_program_that_cannot_be_executed(self):
        self.replace_program("", 0o644)
        self.check_refused("not upgraded: cannot execute .*: Permission denied")
        self.usherd.wait_log("not upgraded: cannot execute")
        self.put_program_back()
        self.upgrade()  # nothing is left over that could be in the way

    def test_a_program_that_is_none(self):
        self.replace_program("this is a text\n")
        self.check_refused("not upgraded: cannot execute .*: Exec format error")
        self.put_program_back()
        self.upgrade()

    def test_a_program_that_is_not_there(self):
        self.replace_program("")
        os.unlink(self.usherd.program)
        self.check_refused("not upgraded: cannot execute .*: No such file or directory")
        self.put_program_back()
        self.upgrade()

    @harness.needs_sight
    def test_descriptors_stay_close_on_exec(self):
        self.replace_program("this is a text\n")
        self.check_refused("not upgraded")
        flags = list(self.read_fd_flags())
        self.assertGreater(len(flags), 5)
        self.assertTrue(all(flag & os.O_CLOEXEC for flag in flags), flags)
        self.put_program_back()

    def read_fd_flags(self):
        """Of all descriptors of usherd but the standard ones, as /proc says them (proc(5))."""
        self.usherd.wait_idle()
        folder = Path(f"/proc/{self.usherd.pid}/fdinfo")
        for fd in filter(lambda fd: int(fd) > 2, os.listdir(folder)):
            with contextlib.suppress(FileNotFoundError):
                yield int(re.search(r"^flags:\s*(\d+)", (folder / fd).read_text(), re.MULTILINE)[1], 8)

    def test_a_program_that_refuses_the_state_is_not_executed(self):
        self.replace_program('#!/bin/sh\n[ "$1" = --check-state ] && cat >/dev/null\n'
                             'echo "usherd: I know no such format" >&2\nexit 65\n')
        result = self.usherctl("upgrade")
        self.assertEqual(result.returncode, 1)
        self.assertIn("I know no such format", result.stderr)
        self.assertEqual(self.usherd.status()["upgrades"], 0)
        self.assertNotIn("upgrading", self.usherd.read_log())
        self.put_program_back()

    def test_a_service_manager_that_takes_nothing(self):
        with contextlib.suppress(BlockingIOError):  # the queue of its socket is full
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
                busy.connect(self.usherd.environment["NOTIFY_SOCKET"])
                while True:
                    busy.send(b"X=1", socket.MSG_DONTWAIT)
        answer = self.usherd.ask("upgrade")
        self.assertRegex(answer.get("error", ""), "the service manager does not take notifications")
        self.usherd.read_notifications()
        self.usherd.wait_idle()
        self.usherd.read_notifications()
        self.upgrade()


class Rights(UpgradeTest):
    @harness.needs_root
    def test_low_ports_can_be_opened_before_and_after(self):
        network.enter_network_namespace()
        self.usherd.kill()
        self.start("")
        for number, port in enumerate((801, 802, 803)):
            self.usherd.write_config(self.service() + self.service("low", address=f"tcp:127.0.0.1:{port}"))
            self.assertIn("ok", self.usherd.ask("reload"))
            provider = self.serving_child(self.usherd, "low", str(port))
            self.assertEqual(network.read_all(self.connect(f"tcp:127.0.0.1:{port}")), f"{port}\n".encode())
            provider.kill()
            if number < 2:
                self.upgrade()
        self.usherd.write_config(self.service())
        self.assertIn("ok", self.usherd.ask("reload"))

    @harness.needs_root
    def test_nothing_else_may_be_done_afterwards(self):
        self.upgrade()
        self.assertEqual(self.usherd.proc_status("Uid").split(),
                         [str(processes.user_id(harness.USHERD_USER))] * 4)
        for name in ("CapEff", "CapPrm", "CapBnd"):
            self.assertEqual(int(self.usherd.proc_status(name), 16), CAP_NET_BIND_SERVICE)
        self.assertEqual(self.usherd.proc_status("NoNewPrivs"), "1")

    @harness.needs_root
    def test_a_user_without_any_rights_can_upgrade(self):
        self.usherd.kill()
        self.start("", user=harness.STRANGER_USER, as_user=harness.STRANGER_USER)
        provider = self.provider(self.usherd, "one")
        self.upgrade()
        self.check_serves(provider)
        self.assertEqual(int(self.usherd.proc_status("CapPrm"), 16), 0)


class CheckState(UpgradeTest):
    def check(self, text):
        return self.run_usherd("--check-state", input=text)

    def state(self):
        return self.usherd.ask("state")["state"]

    def test_the_state_of_a_running_usherd(self):
        provider = self.provider(self.usherd, "one")
        self.connect(self.address)
        provider.take_and_claim(1)
        self.usherd.wait_service("one", in_service=1)
        answer = self.usherd.ask("state")
        self.assertEqual(answer["program"], str(self.usherd.program))
        self.assertEqual(answer["config"], str(self.usherd.config))
        result = self.check(json.dumps(answer["state"]))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, "can go on from the state of usherd ")

    def check_refused(self, state, pattern, status=EX_DATAERR):
        result = self.check(state if isinstance(state, str) else json.dumps(state))
        self.assertEqual(result.returncode, status)
        self.assertRegex(result.stderr, pattern)

    def test_what_is_no_state(self):
        self.check_refused("", "this is not the state of an usherd")
        self.check_refused("[]", "this is not the state of an usherd: it has no format")
        self.check_refused('{"format": 1', "this is not the state of an usherd")

    def test_a_later_format(self):
        state = self.state() | {"format": 2, "version": "9.9.9"}
        self.check_refused(state, "the state of usherd 9.9.9 has the format 2, and this one reads 0 to 1")

    def test_what_is_wrong_is_named(self):
        self.provider(self.usherd, "one")
        state = self.state()
        del state["services"][0]["providers"][0]["credit"]
        self.check_refused(state, r"services\[0\].providers\[0\].credit: is missing")

    def test_a_configuration_that_does_not_load(self):
        state = self.state() | {"config_path": "/nonexistent/usher.conf"}
        self.check_refused(state, "/nonexistent/usher.conf", EX_CONFIG)


class PreviousFormat(harness.UsherTest):
    """The state that the version before this one would have written, with real sockets in it."""

    STATE = Path(__file__).resolve().parents[1] / "unit/states/format-0.json"

    def setUp(self):
        super().setUp()
        self.listener = self.closing(socket.create_server(("127.0.0.1", 0)))
        self.port = self.listener.getsockname()[1]
        self.usherd = self.make_usherd(f'service one {{ listen = {{"tcp:127.0.0.1:{self.port}"}} }}\n',
                                       as_user=harness.USHERD_USER if harness.IS_ROOT else None)
        self.usherd.run_dir.mkdir(0o755)
        self.lock = self.closing(open(self.usherd.run_dir / "usherd.lock", "w", encoding="ascii"))
        self.rendezvous = self.bind("one.sock", socket.SOCK_SEQPACKET)
        self.control = self.bind("control.sock", socket.SOCK_STREAM)
        if harness.IS_ROOT:
            for path in (self.usherd.run_dir, *self.usherd.run_dir.iterdir()):
                os.chown(path, processes.user_id(harness.USHERD_USER), -1)

    def bind(self, name, kind):
        server = self.closing(socket.socket(socket.AF_UNIX, kind))
        server.bind(str(self.usherd.run_dir / name))
        server.listen()
        return server

    def provider_end(self):
        """A channel: the provider's end, and usherd's."""
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        provider = protocol.Provider.__new__(protocol.Provider)
        provider.socket, provider.batches, provider.kept = own, [], []
        provider.socket.settimeout(processes.DEADLINE)
        return self.closing(provider), self.closing(other)

    def adopt(self, numbers):
        """Start an usherd with the stored state, in which the descriptors are these."""
        state = json.loads(self.STATE.read_text()) | {"config_path": str(self.usherd.config)}
        state |= {name: numbers[name] for name in ("lock_fd", "control_fd", "client_fd")}
        service, = state["services"]
        service["rendezvous_fd"] = numbers["rendezvous_fd"]
        service["listeners"][0] |= {"fd": numbers["listener"], "address": f"tcp:127.0.0.1:{self.port}"}
        service["providers"][0]["fd"] = numbers["provider"]
        service["providers"][0]["unclaimed"][0]["fd"] = numbers["unclaimed"]
        service["strangers"][0]["fd"] = numbers["stranger"]
        memfd = os.memfd_create("state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.endings.callback(os.close, memfd)
        os.write(memfd, json.dumps(state).encode())
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, 0xf)
        self.usherd.pass_fds = (memfd, *numbers.values())
        self.usherd.environment["USHER_STATE_FD"] = str(memfd)
        self.usherd.start()

    def adopt_all(self):
        """The other ends of everything in the stored state, but for those of `listener` and the like."""
        provider, provider_fd = self.provider_end()
        stranger, stranger_fd = self.provider_end()
        asking, client_fd = map(self.closing, socket.socketpair())
        client = self.connect(f"tcp:127.0.0.1:{self.port}")
        unclaimed = self.closing(self.listener.accept()[0])
        late = self.connect(f"tcp:127.0.0.1:{self.port}")
        files = {"lock_fd": self.lock, "control_fd": self.control, "client_fd": client_fd,
                 "rendezvous_fd": self.rendezvous, "listener": self.listener, "provider": provider_fd,
                 "unclaimed": unclaimed, "stranger": stranger_fd}
        for file in files.values():
            os.set_blocking(file.fileno(), False)  # as they were in the process before
        self.adopt({name: file.fileno() for name, file in files.items()})
        for file in files.values():
            file.close()
        self.assertEqual(json.loads(network.read_all(asking))["ok"], True)
        return provider, stranger, client, late

    def test_it_is_adopted(self):
        provider, stranger, client, late = self.adopt_all()
        self.usherd.wait_service("one", accepted=12 + 1, claimed=11, unclaimed=2, in_service=1)
        provider.send(protocol.claim(11))
        self.assertEqual(network.read_all(client), b"")  # ours and usherd's copies are closed
        connection, = provider.take_and_claim(1)
        self.assertEqual(connection.sequence, 12)
        connection.close()
        provider.send(protocol.release(2097153, 3145728, connection.id))
        self.usherd.wait_service("one", released=12, in_service=0, unclaimed=0)
        self.assertEqual(network.read_all(late), b"")
        self.assertEqual(stranger.register(name="stranger")[0], "one")
        self.assertEqual(self.usherd.provider("one", "stranger")["number"], 4)
        provider.close()
        stranger.close()
        self.usherd.wait_service("one", n_providers=0)
        self.usherd.remember_fds()

    def test_what_is_not_configured_is_closed(self):
        self.usherd.write_config('service two { listen = {"tcp:127.0.0.1:0"} }\n')
        provider, stranger, client, late = self.adopt_all()
        self.assertEqual([service["name"] for service in self.usherd.status()["services"]], ["two"])
        provider.wait_closed()
        stranger.wait_closed()
        self.assertEqual(network.read_all(client), b"")
        with self.assertRaises(ConnectionResetError):
            network.read_all(late)
        self.assertFalse((self.usherd.run_dir / "one.sock").exists())


if __name__ == "__main__":
    tap.main()
