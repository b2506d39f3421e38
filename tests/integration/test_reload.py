# SPDX-License-Identifier: MIT
"""Reload: what did not change does not notice, and what is wrong changes nothing."""

import os
import re
import signal
import subprocess
from pathlib import Path

import harness
import network
import processes
import protocol
import tap


def service(name, port=0, more=""):
    return f'service {name} {{ listen = {{"tcp:127.0.0.1:{port}"}} {more} }}\n'


class Reload(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.ports = {name: network.free_port() for name in ("one", "two", "three")}
        self.usherd = self.start_usherd(self.services("one", "two"))
        self.endings.callback(self.restore)

    def restore(self):
        """Back to the first configuration: it has to need the descriptors that it needed then."""
        self.usherd.write_config(self.services("one", "two"))
        self.usherd.ask("reload")

    def services(self, *names, **more):
        return "".join(service(name, self.ports[name], more.get(name, "")) for name in names)

    def address(self, name):
        return f"tcp:127.0.0.1:{self.ports[name]}"

    def inode(self, name):
        """The inode of the listening socket: another one would be another backlog."""
        port = f"{self.ports[name]:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(f":{port}") and fields[3] == "0A":
                return int(fields[9])
        return None

    def reload(self, services):
        self.usherd.write_config(services)
        answer = self.usherd.ask("reload")
        self.assertEqual(answer.get("ok"), True, answer)
        return answer["message"]

    def test_service_is_added(self):
        inodes = self.inode("one"), self.inode("two")
        message = self.reload(self.services("one", "two", "three"))
        self.assertRegex(message, r"1 added, 0 removed, 0 changed, 2 unchanged")
        self.serving_child(self.usherd, "three", "new")
        self.assertEqual(network.read_all(self.connect(self.address("three"))), b"new\n")
        self.assertEqual((self.inode("one"), self.inode("two")), inodes)

    def test_service_is_removed_and_its_connections_go_on(self):
        provider = self.provider(self.usherd, "two")
        client = self.connect(self.address("two"))
        connection, = provider.take_and_claim(1)
        self.usherd.wait_service("two", in_service=1)
        self.usherd.write_config(self.services("one"))
        self.usherd.ask("reload")
        message_type, _, _ = provider.receive()
        self.assertEqual(message_type, protocol.DRAINING)
        provider.wait_closed()
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address("two"))
        client.sendall(b"ping")
        self.assertEqual(network.read_exactly(connection.socket, 4), b"ping")
        self.usherd.wait_until(
            lambda: [one["name"] for one in self.usherd.status()["services"]] == ["one"], "its end")
        self.assertFalse(os.path.exists(self.usherd.rendezvous("two")))

    def test_everything_stays_with_providers_and_clients_connected(self):
        provider = self.provider(self.usherd, "one", name="p")
        client = self.connect(self.address("one"))
        connection, = provider.take_and_claim(1)
        inode = self.inode("one")
        for _ in range(5):
            self.usherd.ask("reload")
        self.assertEqual(self.inode("one"), inode)
        self.assertEqual(self.usherd.provider("one", "p")["in_service"], 1)
        connection.socket.sendall(b"still")
        self.assertEqual(network.read_exactly(client, 5), b"still")
        self.connect(self.address("one"))
        provider.take_and_claim(1)

    def test_clients_in_the_backlog_stay_there(self):
        clients = [self.connect(self.address("one")) for _ in range(20)]
        self.reload(self.services("one", "three"))
        self.serving_child(self.usherd, "one", "late")
        self.assertEqual([network.read_all(client) for client in clients], [b"late\n"] * 20)

    def test_changed_limits_apply_to_a_service_that_stays(self):
        provider = self.provider(self.usherd, "one", credit=10)
        inode = self.inode("one")
        self.reload(self.services("one", "two", one="instances = 2"))
        self.assertEqual(self.inode("one"), inode)
        for _ in range(4):
            self.connect(self.address("one"))
        taken = provider.take_and_claim(2)
        self.usherd.wait_service("one", state="full", in_service=2)
        provider.finish(*taken)
        provider.take_and_claim(2)

    def test_listener_is_added_to_a_service_that_stays(self):
        provider = self.provider(self.usherd, "one")
        inode = self.inode("one")
        self.reload(f'service one {{ listen = {{"{self.address("one")}", "{self.address("three")}"}} }}')
        message_type, body, _ = provider.receive()
        self.assertEqual(message_type, protocol.WELCOME)
        _, listeners = provider.read_welcome(body)
        self.assertEqual({port for _, port in listeners}, {self.ports["one"], self.ports["three"]})
        self.assertEqual(self.inode("one"), inode)
        self.connect(self.address("three"))
        connection, = provider.take_and_claim(1)
        self.assertEqual(listeners[connection.listener][1], self.ports["three"])

    def test_listener_moves_to_another_service(self):
        """Its backlog goes with it: who waits is served by the other service's provider."""
        inode = self.inode("two")
        client = self.connect(self.address("two"))
        self.reload(self.services("one") + service("other", self.ports["two"]))
        self.assertEqual(self.inode("two"), inode)
        self.serving_child(self.usherd, "other", "other")
        self.assertEqual(network.read_all(client), b"other\n")

    def test_run_dir_cannot_change(self):
        self.usherd.settings = self.usherd.settings.replace("/run", "/elsewhere")
        self.usherd.write_config(self.services("one", "two"))
        self.check_unchanged("restart")
        self.usherd.settings = self.usherd.settings.replace("/elsewhere", "/run")

    def test_listener_chosen_by_the_kernel_is_kept(self):
        usherd = self.start_usherd(service("any"))
        before = usherd.addresses("any")
        usherd.ask("reload")
        self.assertEqual(usherd.addresses("any"), before)

    def check_unchanged(self, expected_line):
        status = self.usherd.status()["services"]
        inode = self.inode("one")
        answer = self.usherd.ask("reload")
        self.assertIn("error", answer)
        self.assertRegex("\n".join(answer.get("lines", [answer["error"]])), expected_line)
        self.assertEqual(self.usherd.status()["services"], status)
        self.assertEqual(self.inode("one"), inode)

    def test_broken_file_leaves_all_as_it_was(self):
        self.usherd.write_config(self.services("three") + "service {")
        self.check_unchanged(r"usher\.conf:\d+: ")

    def test_unknown_option_leaves_all_as_it_was(self):
        self.usherd.write_config(self.services("one", one="no_such_thing = 1"))
        self.check_unchanged(r"usher\.conf:\d+: .*no_such_thing")

    def test_missing_file_leaves_all_as_it_was(self):
        self.usherd.config.unlink()
        self.check_unchanged(r"usher\.conf")

    @harness.needs_root
    def test_file_that_only_root_may_read_is_told(self):
        """It was good enough to start with, but usherd is root no more."""
        self.usherd.config.chmod(0o600)
        self.check_unchanged(rf"usher\.conf: .*Permission denied.* '{harness.USHERD_USER}'")

    def test_port_in_use_leaves_all_as_it_was(self):
        """The first new service could be bound, the second cannot: neither is there afterwards."""
        with network.occupied_port() as port:
            self.usherd.write_config(self.services("one", "two", "three") + service("zoo", port))
            self.check_unchanged(str(port))
            self.assertIsNone(self.inode("three"))

    def check_needs_restart(self, option, value):
        """A reload that changes a global option is refused, and changes nothing else either."""
        settings = self.usherd.settings
        self.usherd.settings = re.sub(rf'(?m)^{option} = .*$', f'{option} = "{value}"', settings)
        self.assertNotEqual(self.usherd.settings, settings)
        try:
            self.usherd.write_config(self.services("one", "two", "three"))
            answer = self.usherd.ask("reload")
        finally:
            self.usherd.settings = settings
        self.assertRegex(answer["lines"][0], rf"{option} is changed from .* to {value}, which needs a restart")
        self.assertEqual(len(self.usherd.status()["services"]), 2)

    def test_run_dir_needs_a_restart(self):
        self.check_needs_restart("run_dir", f"{self.folder}/elsewhere")

    @harness.needs_root
    def test_user_needs_a_restart(self):
        self.check_needs_restart("user", harness.STRANGER_USER)

    def test_file_in_the_place_of_a_socket_is_named_and_left_alone(self):
        path = self.folder / "notes"
        path.write_text("precious")
        self.usherd.write_config(self.services("one") + f'service x {{ listen = {{"unix:{path}"}} }}\n')
        lines = self.usherd.ask("reload")["lines"]
        self.assertRegex(lines[0], rf"unix:{path}: File exists; what is there is not a socket")
        self.assertEqual(path.read_text(), "precious")

    def test_sighup_reloads_and_tells_the_manager(self):
        self.usherd.write_config(self.services("one", "two", "three"))
        os.kill(self.usherd.pid, signal.SIGHUP)
        message = self.usherd.wait_notification("RELOADING", "1")
        self.assertGreater(int(message["MONOTONIC_USEC"]), 0)
        self.usherd.wait_notification("READY", "1")
        self.assertEqual(len(self.usherd.status()["services"]), 3)

    def test_sighup_with_a_broken_file_is_survived_and_logged(self):
        self.usherd.write_config("nonsense")
        os.kill(self.usherd.pid, signal.SIGHUP)
        self.usherd.wait_notification("RELOADING", "1")
        self.usherd.wait_notification("READY", "1")
        self.usherd.wait_log(r"usher\.conf:\d+: ")
        self.assertEqual(len(self.usherd.status()["services"]), 2)

    def test_usherctl_reload(self):
        self.usherd.write_config(self.services("one", "two", "three"))
        result = self.usherctl("reload")
        self.assertEqual(result.returncode, 0, result)
        self.assertIn("added", result.stdout)

    def test_usherctl_reload_shows_what_is_wrong(self):
        self.usherd.write_config(self.services("one") + "nonsense = 1\n")
        result = self.usherctl("reload")
        self.assertNotEqual(result.returncode, 0)
        self.assertRegex(result.stdout + result.stderr, r"usher\.conf:\d+: ")
        self.assertEqual(len(self.usherd.status()["services"]), 2)

    def usherctl(self, *arguments):
        return subprocess.run(
            [str(harness.USHERCTL), "--run-dir", str(self.usherd.run_dir), *arguments],
            capture_output=True, text=True, timeout=processes.DEADLINE, check=False)

    def test_disabled_service_is_closed_and_enabled_again(self):
        self.reload(self.services("one", "two", two="disable = true"))
        self.assertIsNone(self.inode("two"))
        self.assertEqual(self.usherd.status()["disabled"], ["two"])
        self.reload(self.services("one", "two"))
        self.assertIsNotNone(self.inode("two"))

    def test_reload_under_load_loses_nobody(self):
        self.serving_child(self.usherd, "one", "a", credit=50)
        for number in range(20):
            clients = [self.connect(self.address("one")) for _ in range(20)]
            names = ("one", "two") if number % 2 else ("one", "two", "three")
            self.usherd.write_config(self.services(*names))
            self.usherd.ask("reload")
            self.assertEqual([network.read_all(client) for client in clients], [b"a\n"] * 20)
        self.usherd.wait_service("one", accepted=400, lost=0)


if __name__ == "__main__":
    tap.main()
