# SPDX-License-Identifier: MIT
"""Upgrade in place: another program, and neither providers nor clients notice."""

import contextlib
import json
import os
import re
import signal
import socket
from pathlib import Path

import harness
import kernels
import network
import processes
import protocol
import tap
from upgrades import UpgradeTest

CAP_NET_BIND_SERVICE = 1 << 10
CAP_NET_RAW = 1 << 13


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
        self.usherd.restart()
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
        self.assertNotIn("upgrading", self.usherd.read_whole_log())
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
    def test_what_is_not_needed_any_more_is_given_up(self):
        self.usherd.kill()
        self.start("socket { transparent = true }")
        self.check_rights(CAP_NET_BIND_SERVICE | CAP_NET_RAW)
        self.upgrade()
        self.check_rights(CAP_NET_BIND_SERVICE | CAP_NET_RAW)
        self.usherd.write_config(self.service())
        self.upgrade()
        self.check_rights(CAP_NET_BIND_SERVICE)
        self.usherd.write_config(self.service(more="socket { transparent = true }"))
        self.upgrade()
        self.check_rights(CAP_NET_BIND_SERVICE)

    def check_rights(self, rights):
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            has = int(self.usherd.proc_status(name), 16)
            self.assertEqual(has & ~rights, 0, name)
            if name in ("CapEff", "CapPrm"):
                self.assertEqual(has, rights, name)

    @harness.needs_root
    def test_a_user_without_any_rights_can_upgrade(self):
        self.usherd.kill()
        self.start("", user=harness.STRANGER_USER, as_user=harness.STRANGER_USER)
        provider = self.provider(self.usherd, "one")
        self.upgrade()
        self.check_serves(provider)
        self.assertEqual(int(self.usherd.proc_status("CapPrm"), 16), 0)


if __name__ == "__main__":
    tap.main()
