# SPDX-License-Identifier: MIT
"""What usherd logs of connections: which lines, where to, and that nobody waits for them."""

import os
import re
import shutil
import signal
import socket
import stat

import harness
import network
import processes
import tap

ALL = 'log_on_success = {"host", "pid", "duration", "exit"}'
NUMBER = r"\d+"


class LogTest(harness.UsherTest):
    def start(self, options, **more):
        """An usherd with a service `one`, with these options, on an address of this machine."""
        return self.start_usherd(f'service one {{ listen = {{"tcp:127.0.0.1:0"}} {options} }}\n', **more)

    def log_folder(self):
        """A folder that usherd's user can write to."""
        folder = self.folder / "log"
        folder.mkdir()
        os.chown(folder, processes.user_id(harness.USHERD_USER), -1)
        return folder

    def serve(self, usherd, n=1, source=None, name="worker"):
        """Let a provider of this process serve n clients, one after the other."""
        provider = self.provider(usherd, "one", name=name)
        for _ in range(n):
            self.serve_one(usherd, provider, source)
        provider.close()
        usherd.wait_service("one", n_providers=0)

    def serve_one(self, usherd, provider, source=None):
        client = self.connect(usherd.addresses("one")[0], source=source)
        provider.finish(*provider.take_and_claim(1))
        self.assertEqual(network.read_all(client), b"")
        client.close()

    def events(self, text):
        """The lines of events without what comes before them."""
        return re.findall(r"event=.*", text)

    def check_lines(self, lines, *expected):
        """Lines are exactly these, with N for numbers that nobody can know."""
        self.assertEqual([re.sub(r"(connection|duration_usec)=\d+", r"\1=N", line) for line in lines],
                         list(expected))


def provider_fields(name="worker"):
    return f"provider={name} provider_pid={os.getpid()} provider_uid={os.geteuid()}"


class Lines(LogTest):
    def test_start_and_end(self):
        usherd = self.start(ALL)
        self.serve(usherd)
        usherd.wait_log("event=end")
        address = usherd.addresses("one")[0]
        self.check_lines(
            self.events(usherd.log),
            f"event=start service=one listener={address} peer=127.0.0.1 connection=N {provider_fields()}",
            f"event=end service=one peer=127.0.0.1 connection=N {provider_fields()} reason=released "
            "duration_usec=N")
        self.assertRegex(usherd.log, "(?m)^usherd: event=start ")
        numbers = re.findall(r"connection=(\d+)", usherd.log)
        self.assertEqual(numbers[0], numbers[1])

    def test_nothing_unless_it_is_wanted(self):
        usherd = self.start("")
        self.serve(usherd)
        self.assertEqual(self.events(usherd.read_whole_log()), [])

    def test_end_of_a_provider(self):
        usherd = self.start(ALL)
        provider = self.provider(usherd, "one")
        self.connect(usherd.addresses("one")[0])
        provider.take_and_claim(1)
        usherd.wait_log("event=start")
        provider.close()
        usherd.wait_log("event=end")
        self.check_lines(self.events(usherd.log)[1:],
                         "event=end service=one peer=127.0.0.1 connection=N reason=provider-gone duration_usec=N")

    def test_connection_over_an_upgrade(self):
        usherd = self.start(ALL)
        provider = self.provider(usherd, "one", name="worker")
        self.connect(usherd.addresses("one")[0])
        connections = provider.take_and_claim(1)
        usherd.wait_log("event=start")
        self.assertTrue(usherd.ask("upgrade").get("ok"))
        provider.finish(*connections)
        usherd.wait_log("event=end")
        numbers = re.findall(r"connection=(\d+)", usherd.log)
        self.assertEqual(len(numbers), 2)
        self.assertEqual(numbers[0], numbers[1])
        self.check_lines(self.events(usherd.log)[1:],
                         f"event=end service=one peer=127.0.0.1 connection=N {provider_fields()} reason=released "
                         "duration_usec=N")

    def test_reload_changes_what_is_logged(self):
        usherd = self.start("")
        address = usherd.addresses("one")[0]
        usherd.write_config(f'service one {{ listen = {{"tcp:127.0.0.1:0"}} log_on_success = {{"host"}} }}\n')
        os.kill(usherd.pid, signal.SIGHUP)
        usherd.wait_log("1 changed")
        self.serve(usherd)
        self.check_lines(self.events(usherd.read_whole_log()),
                         f"event=start service=one listener={address} peer=127.0.0.1 connection=N")

    def test_names_forge_nothing(self):
        usherd = self.start('log_on_success = {"pid"}')
        names = {'a" peer="10.0.0.1': "\"a' peer='10.0.0.1\"",
                 "b peer=10.0.0.1": '"b peer=10.0.0.1"',
                 "caf\u00e9": '"caf\u00e9"'}
        for name in names:
            self.serve(usherd, name=name)
        lines = self.events(usherd.read_whole_log())
        self.assertEqual(len(lines), len(names))
        for line, shown in zip(lines, names.values()):
            self.assertTrue(line.endswith(provider_fields(shown)), line)

    def test_names_with_control_characters_do_not_register(self):
        usherd = self.start(ALL)
        for name in ("a\nusherd: event=start service=forged", "\x1b[2J", "\x9b2J"):
            with self.assertRaises(Exception):
                self.provider(usherd, "one", name=name)
        self.assertEqual(self.events(usherd.read_whole_log()), [])
        self.assertNotIn("\x1b", usherd.log)

    def be_reset(self, usherd, n):
        for _ in range(n):
            # Perhaps before connect(2) has returned.
            with self.assertRaises(ConnectionResetError), self.connect(usherd.addresses("one")[0]) as client:
                network.read_all(client)
        usherd.wait_service("one", reset=n)

    def test_refusal_names_the_option(self):
        usherd = self.start('only_from = {"10.0.0.0/8"}')
        self.provider(usherd, "one")
        self.be_reset(usherd, 1)
        usherd.wait_log("event=refused.*")
        address = usherd.addresses("one")[0]
        self.check_lines(self.events(usherd.log),
                         f"event=refused service=one listener={address} peer=127.0.0.1 reason=only_from")

    def test_refusals_that_are_not_wanted(self):
        usherd = self.start("unavailable = reset  log_on_failure = {}")
        self.be_reset(usherd, 30)
        usherd.stop()
        self.assertEqual(self.events(usherd.log), [])

    def test_refusals_beyond_twenty_are_counted(self):
        usherd = self.start("unavailable = reset")
        self.be_reset(usherd, 50)
        address = usherd.addresses("one")[0]
        usherd.stop()
        one = f"event=refused service=one listener={address} peer=127.0.0.1 reason=unavailable"
        self.check_lines(self.events(usherd.log), *[one] * 20,
                         "event=refused service=one reason=unavailable more=30")


class Addresses(LogTest):
    def peers(self, options):
        """What is logged of a client at 127.0.0.1, of it again, and of one at 127.0.0.2."""
        usherd = self.start(f'log_on_success = {{"host"}} {options}')
        for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2"):
            self.serve(usherd, source=(source, 0))
        return re.findall(
            r"event=start service=\S+ listener=\S+(?: peer=(\S+))? connection=", usherd.read_whole_log())

    def test_full(self):
        self.assertEqual(self.peers("log_address = full"), ["127.0.0.1", "127.0.0.1", "127.0.0.2"])

    def test_prefix(self):
        self.assertEqual(self.peers("log_address = prefix  per_source_prefix = {24, 56}"), ["127.0.0.0/24"] * 3)

    def test_none(self):
        self.assertEqual(self.peers("log_address = none"), [""] * 3)

    def test_hash_tells_clients_apart_until_the_next_start(self):
        first, again, other = self.peers("log_address = hash")
        self.assertRegex(first, "^[0-9a-f]{16}$")
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertNotEqual(self.peers("log_address = hash")[0], first)


class Files(LogTest):
    def setUp(self):
        super().setUp()
        self.log = self.log_folder() / "one.log"

    def file(self, *limits):
        texts = ", ".join(f'"{text}"' for text in ("file", self.log, *limits))
        return f'{ALL} log_type = {{{texts}}}'

    def wait_lines(self, n, path=None):
        """The lines of the file when it has so many."""
        path = path or self.log
        processes.wait_file(
            path.parent, lambda: path.exists() and path.read_text().count("\n") >= n, f"{n} lines in {path}")
        return path.read_text().splitlines()

    def test_lines_have_a_time(self):
        usherd = self.start(self.file())
        self.serve(usherd)
        lines = self.wait_lines(2)
        for line in lines:
            self.assertRegex(line, rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}[+-]\d{{4}} usherd\[{usherd.pid}\]: event=")
        address = usherd.addresses("one")[0]
        self.check_lines(
            self.events("\n".join(lines)),
            f"event=start service=one listener={address} peer=127.0.0.1 connection=N {provider_fields()}",
            f"event=end service=one peer=127.0.0.1 connection=N {provider_fields()} reason=released "
            "duration_usec=N")
        self.assertEqual(self.events(usherd.read_whole_log()), [])
        self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o640)
        self.assertEqual(self.log.stat().st_uid, processes.user_id(harness.USHERD_USER))

    def test_rotated_file_is_let_go_at_a_reload(self):
        usherd = self.start(self.file())
        self.serve(usherd)
        self.wait_lines(2)
        old = self.log.rename(self.log.with_suffix(".1"))
        os.kill(usherd.pid, signal.SIGHUP)
        usherd.wait_log("reloaded: services: 0 added")
        self.serve(usherd)
        self.wait_lines(2)
        self.assertEqual(old.read_text().count("\n"), 2)

    def test_limits_are_reached_and_left(self):
        usherd = self.start(self.file("500", "1KiB"))
        self.serve(usherd, n=10)
        usherd.wait_log("has reached its soft limit of 500 bytes: rotate it")
        usherd.wait_log("has reached its hard limit of 1024 bytes: connections are not logged there")
        usherd.wait_idle()
        n_written = self.log.read_text().count("\n")
        self.assertLessEqual(self.log.stat().st_size, 1024)
        self.assertTrue(self.log.read_text().endswith("\n"))
        os.truncate(self.log, 0)
        self.serve(usherd)
        usherd.wait_log(rf"is below its hard limit again: {20 - n_written} lines were left out")
        self.wait_lines(2)

    def test_services_share_a_file(self):
        usherd = self.start_usherd(
            f'defaults {{ {self.file("1MiB", "2MiB")} }}\n'
            'service one { listen = {"tcp:127.0.0.1:0"} }\nservice two { listen = {"tcp:127.0.0.1:0"} }\n')
        for name in ("one", "two"):
            self.serving_child(usherd, name, name)
            network.read_all(self.connect(usherd.addresses(name)[0]))
        lines = self.wait_lines(4)
        self.assertEqual({re.search(r"service=(\w+)", line)[1] for line in lines}, {"one", "two"})

    def test_file_that_cannot_be_opened_refuses_the_start(self):
        shutil.rmtree(self.log.parent)
        usherd = self.make_usherd(f'service one {{ listen = {{"tcp:127.0.0.1:0"}} {self.file()} }}\n')
        self.check_start_fails(
            usherd, rf"usher.conf:4: service 'one' cannot log to {self.log}: No such file or directory; usherd, as uid")

    def test_file_that_cannot_be_opened_refuses_a_reload(self):
        usherd = self.start("")
        self.log.symlink_to("/dev/null")
        usherd.write_config(f'service one {{ listen = {{"tcp:127.0.0.1:0"}} {self.file()} }}\n'
                            'service two { listen = {"tcp:127.0.0.1:0"} }\n')
        answer = usherd.ask("reload")
        self.assertRegex(answer["lines"][0], f"service 'one' cannot log to {self.log}: it is a symbolic link; ")
        self.assertEqual([service["name"] for service in usherd.status()["services"]], ["one"])


class Syslog(LogTest):
    """With a /dev of its own, in which there is little more than our /dev/log."""

    def setUp(self):
        super().setUp()
        self.device = self.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.device.bind(str(self.folder / "syslog"))
        self.device.settimeout(harness.DEADLINE)
        os.chmod(self.folder / "syslog", 0o777)

    def start_beside(self, options):
        dev = self.folder / "dev"
        dev.mkdir()
        (dev / "log").symlink_to(self.folder / "syslog")
        (dev / "null").touch()
        script = f'mount --bind /dev/null {dev}/null && mount --rbind {dev} /dev && exec "$@"'
        return self.start(options, wrapper=["unshare", "--mount", "sh", "-c", script, "sh"])

    def drain_until(self, is_over):
        """Read what comes; returns how many messages those were."""
        deadline, n = processes.Deadline(), 0
        while not is_over() or processes.find_readable([self.device], 0):
            if processes.find_readable([self.device], min(0.02, deadline.left("the log to go on"))):
                self.device.recv(4096)
                n += 1
        return n

    @harness.needs_root
    def test_facility_and_level(self):
        usherd = self.start_beside('log_on_success = {"host"} log_type = {"syslog", "local0", "notice"}')
        self.serve(usherd)
        line = self.device.recv(4096).decode()
        self.assertTrue(line.startswith("<133>"), line)  # 16 * 8 + 5
        self.assertRegex(line, rf" usherd\[{usherd.pid}\]: event=start service=one listener=\S+ "
                               r"peer=127\.0\.0\.1 connection=\d+$")
        self.assertEqual(self.events(usherd.read_whole_log()), [])

    @harness.needs_root
    def test_stalled_syslog_holds_up_nobody(self):
        usherd = self.start_beside(f'{ALL} log_type = {{"syslog", "daemon"}}')
        provider = self.provider(usherd, "one")
        for _ in range(1000):
            self.serve_one(usherd, provider)
        usherd.wait_service("one", released=1000)
        self.assertGreater(usherd.status()["log_messages_dropped"], 0)
        n = self.drain_until(lambda: re.search(r"messages dropped: \d+ \(the log was not", usherd.read_log()))
        self.assertGreater(n, 700)  # what the queue holds was not lost


class Stalled(LogTest):
    def test_pipe_that_nobody_reads_holds_up_nobody(self):
        usherd = self.start(ALL)
        provider = self.provider(usherd, "one")
        for _ in range(1500):
            self.serve_one(usherd, provider)
        self.assertGreater(usherd.status()["log_messages_dropped"], 0)
        usherd.wait_log(r"messages dropped: \d+ \(the log was not being read")
        self.assertGreater(len(self.events(usherd.log)), 700)


if __name__ == "__main__":
    tap.main()
