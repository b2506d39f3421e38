# SPDX-License-Identifier: MIT
"""usher-exec with the real usherd: programs as inetd runs them, from the client's side."""

import contextlib
import grp
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import harness
import kernels
import manager
import network
import processes
import tap

USHER_EXEC = harness.BUILD_DIR / "services/exec/usher-exec"
WITNESS = harness.BUILD_DIR / "tests/lib/witness"

CAT = 'program = "/bin/cat"'


def service(name, program, *, listen="tcp:127.0.0.1:0", more=""):
    """A service of the configuration with this exec section."""
    return f'service {name} {{ listen = {{"{listen}"}} {more} exec {{ {program} }} }}\n'


def shell(script):
    """The options of a program that is a shell script."""
    return f'program = "/bin/sh" args = {{"-c", "{script}"}}'


class Exec(harness.UsherTest):
    """Tests with one usherd and any number of usher-execs."""

    def begin(self, services, **options):
        self.usherd = self.start_usherd(services, **options)
        return self.start_exec()

    def start_exec(self, *arguments, user=None, **options):
        program, usherd = USHER_EXEC, harness.USHERD
        if user:
            program, usherd = self.copy_for_others(USHER_EXEC), self.copy_for_others(harness.USHERD)
        process = self.start_program(
            self.usherd, program, "-c", self.usherd.config, "-u", usherd, *arguments, user=user,
            **options)
        process.log = self.program_logs[-1]
        return process

    @staticmethod
    def children(process):
        """Of all threads of an usher-exec, zombies too."""
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
        return [child for task in tasks for child in task.read_text().split()]

    def wait_said(self, process, pattern):
        """Wait for a line of an usher-exec that matches; returns the match."""
        return processes.wait_file(
            process.log, lambda: re.search(pattern, process.log.read_text(), re.MULTILINE), f"a line like {pattern!r}")

    def client(self, name, listener=0):
        return self.connect(self.usherd.addresses(name)[listener])

    def hear(self, name):
        """What the program says to one who says nothing."""
        return network.read_all(self.client(name))

    def talk(self, name, line=b"hello\n"):
        """What the program answers to a line and the end."""
        client = self.client(name)
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        return network.read_all(client)

    def change(self, services):
        """A reload, by usherd; at the end of the test it is undone, with all descriptors."""
        before = self.usherd.config.read_text().removeprefix(self.usherd.settings)
        self.endings.callback(self.reload, before)
        self.reload(services)

    def reload(self, services):
        self.usherd.write_config(services)
        self.assertIn("ok", self.usherd.ask("reload"))

    def witness(self, options="", **arguments):
        """What the witness says of itself: its lines, as a list of (name, value)."""
        witness = f'program = "{self.copy_for_others(WITNESS)}"'
        process = self.begin(service("w", f"{witness} {options}", **arguments))
        self.wait_said(process, "registered")
        text = network.read_all(self.client("w")).decode()
        return dict(line.split("=", 1) for line in text.splitlines())


class Nowait(Exec):
    def test_cat(self):
        self.begin(service("cat", CAT))
        self.assertEqual(self.talk("cat"), b"hello\n")
        self.usherd.wait_service("cat", accepted=1, claimed=1, released=1, in_service=0)

    def test_cat_on_a_unix_socket(self):
        self.begin(service("cat", CAT, listen=f"unix:{self.folder}/cat.sock"))
        self.assertEqual(self.talk("cat"), b"hello\n")

    def test_environment(self):
        self.usherd = self.start_usherd(service(
            "env", 'program = "/usr/bin/env" args = {"-0"} pass_env = {"TERM_OF_TEST", "MISSING"}'
            ' env = {"LANG=C", "PROTO=mine", "TWICE=1", "TWICE=2"}', listen="tcp:[::1]:0"))
        os.environ["TERM_OF_TEST"] = "here"
        self.addCleanup(os.environ.pop, "TERM_OF_TEST")
        self.start_exec()
        client = self.client("env")
        lines = [line.decode() for line in network.read_all(client).split(b"\0") if line]
        host, port = client.getsockname()[:2]
        local_port = client.getpeername()[1]
        self.assertEqual(sorted(lines), sorted([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "TWICE=2",
            "TERM_OF_TEST=here", "PROTO=TCP", f"TCPREMOTEIP={host}", f"REMOTE_HOST={host}",
            f"REMOTE_ADDR={host}", f"TCPREMOTEPORT={port}", f"REMOTE_PORT={port}", "TCPLOCALIP=::1",
            f"TCPLOCALPORT={local_port}"]))

    def test_mapped_addresses_are_ipv4(self):
        self.begin(service("env", 'program = "/usr/bin/env"', listen="tcp:0"))
        port = self.usherd.addresses("env")[0].rpartition(":")[2]
        text = network.read_all(self.connect(f"tcp:127.0.0.1:{port}")).decode()
        self.assertIn("\nTCPREMOTEIP=127.0.0.1\n", f"\n{text}")
        self.assertIn("\nTCPLOCALIP=127.0.0.1\n", f"\n{text}")

    def test_attributes(self):
        said = self.witness('name = "other" args = {"0", "x y"} umask = 026 nice = 3 directory = "/usr"'
                            ' no_new_privs = true rlimit { nofile = 40 cpu = "9s" core = unlimited }')
        expected = {"argv0": "other", "argv1": "0", "argv2": "x y", "umask": "026", "cwd": "/usr",
                    "nice": str(os.getpriority(os.PRIO_PROCESS, 0) + 3), "nofile": "40 40", "cpu": "9 9",
                    "core": "-1 -1", "fds": "0 1 2 ", "signals": "", "nonblock": "0",
                    "pgid": said["pid"], "no_new_privs": "1"}
        self.assertEqual({name: said[name] for name in expected}, expected)

    def test_no_descriptor_but_the_socket(self):
        """Neither what was open by accident when usher-exec began, nor on a kernel of before."""
        witness = f'program = "{self.copy_for_others(WITNESS)}"'
        self.usherd = self.start_usherd(service("w", witness))
        for make_kernel in (None, kernels.without_close_range, kernels.forbidding_close_range):
            with open("/dev/null", "rb") as other:
                process = self.start_exec(pass_fds=[other.fileno()], preexec_fn=make_kernel)
            self.wait_said(process, "w: registered")
            self.assertIn(b"\nfds=0 1 2 \n", network.read_all(self.client("w")))
            self.end_program(process)

    def test_the_limit_of_descriptors_is_not_the_raised_one(self):
        said = self.witness()
        soft, hard = map(int, said["nofile"].split())
        self.assertEqual((soft, hard), resource.getrlimit(resource.RLIMIT_NOFILE))

    @harness.needs_root
    def test_another_user_with_its_groups(self):
        said = self.witness('user = "games"')
        entry = pwd.getpwnam("games")
        self.assertEqual(said["uids"], " ".join([str(entry.pw_uid)] * 3))
        self.assertEqual(said["gids"], " ".join([str(entry.pw_gid)] * 3))
        self.assertEqual(sorted(map(int, said["groups"].split())),
                         sorted(os.getgrouplist("games", entry.pw_gid)))
        self.assertEqual(said["root again"], "0")

    @harness.needs_root
    def test_another_group_alone(self):
        said = self.witness('user = "games" group = "tty" groups = false')
        gid = grp.getgrnam("tty").gr_gid
        self.assertEqual((said["gids"], said["groups"]), (f"{gid} {gid} {gid}", f"{gid} "))

    @harness.needs_root
    def test_chroot(self):
        root = self.folder / "root"
        (root / "inside").mkdir(parents=True)
        os.link(self.copy_for_others(WITNESS), root / "witness")
        process = self.begin(service(
            "w", f'program = "/witness" chroot = "{root}" directory = "/inside" user = "games"'))
        self.wait_said(process, "registered")
        self.assertIn(b"\ncwd=/inside\n", network.read_all(self.client("w")))

    def test_start_and_end_are_logged(self):
        process = self.begin(service(
            "three", shell("exit 3"), more='log_on_success = {"host", "pid", "exit", "duration"}')
            + service("killed", shell("kill -9 $$"), more='log_on_success = {"exit"}')
            + service("silent", shell("exit 3")))
        client = self.client("three")
        network.read_all(client)
        pid = self.wait_said(process, r"event=start service=three peer=127\.0\.0\.1 pid=(\d+)$")[1]
        self.wait_said(process, rf"event=end service=three pid={pid} exit=3 duration_usec=\d+$")
        network.read_all(self.client("silent"))
        network.read_all(self.client("killed"))
        self.wait_said(process, r"event=end service=killed pid=\d+ signal=9$")
        self.assertNotIn("service=silent", process.log.read_text())

    def test_addresses_are_not_logged_unless_in_full(self):
        process = self.begin(service("one", shell("exit 0"), more='log_address = "none"'
                                     ' log_on_success = {"host", "pid"}'))
        network.read_all(self.client("one"))
        self.wait_said(process, r"event=start service=one pid=\d+$")

    def test_a_program_that_cannot_be_run(self):
        process = self.begin(service("none", 'program = "/nowhere/prog"') + service("cat", CAT))
        for _ in range(10):
            self.assertEqual(network.read_all(self.client("none")), b"")
        self.wait_said(process, "none: cannot run /nowhere/prog: executing it: No such file or directory: "
                                "correct program")
        self.assertEqual(process.log.read_text().count("cannot run"), 1)  # one episode
        self.usherd.wait_service("none", accepted=10, released=10)
        self.assertEqual(self.talk("cat"), b"hello\n")

    def test_instances_are_true_over_two_usher_execs(self):
        self.begin(service("cat", CAT, more="instances = 3"))
        self.start_exec()
        self.usherd.wait_service("cat", n_providers=2)
        clients = [self.client("cat") for _ in range(5)]
        for client in clients:
            client.sendall(b"x")
        self.usherd.wait_service("cat", in_service=3)
        served = [client for client in clients[:3] if network.read_exactly(client, 1)]
        self.assertEqual(processes.find_readable(clients[3:], 0.2), [])
        served[0].close()
        network.read_exactly(processes.find_readable(clients[3:], processes.DEADLINE)[0], 1)
        self.usherd.wait_service("cat", in_service=3, released=1)

    def test_a_connection_is_released_when_its_program_ends_not_before(self):
        """A program may go on without its connection, and a connection without its client."""
        self.begin(service("slow", shell(f"exec <&- >&- 2>&-; read line < {self.folder}/fifo")))
        os.mkfifo(self.folder / "fifo", 0o666)
        (self.folder / "fifo").chmod(0o666)
        network.read_all(self.client("slow"))
        self.usherd.wait_service("slow", in_service=1, released=0)
        (self.folder / "fifo").write_text("go\n")
        self.usherd.wait_service("slow", in_service=0, released=1)

    def test_two_hundred_at_once(self):
        process = self.begin(service("cat", CAT))
        clients = [self.client("cat") for _ in range(200)]
        for number, client in enumerate(clients):
            client.sendall(b"%d\n" % number)
        for number, client in enumerate(clients):
            line = b"%d\n" % number
            self.assertEqual(network.read_exactly(client, len(line)), line)
        self.usherd.wait_service("cat", in_service=200)
        for client in clients:
            client.close()
        self.usherd.wait_service("cat", in_service=0, released=200)
        self.usherd.wait_until(lambda: not self.children(process), "the ends of all")

    def test_banner_comes_first(self):
        banner = self.folder / "banner"
        banner.write_text("welcome\n")
        self.begin(service("cat", f'{CAT} banner = "{banner}"'))
        self.assertEqual(self.talk("cat"), b"welcome\nhello\n")

    def test_a_client_that_does_not_take_the_banner_gets_no_program(self):
        banner = self.folder / "banner"
        banner.write_text("x" * 65536)
        process = self.begin(service(
            "cat", f'{CAT} banner = "{banner}"',
            more='socket { send_buffer = "4KiB" } log_on_success = {"pid"}'))
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = self.usherd.addresses("cat")[0].removeprefix("tcp:").rpartition(":")
        self.closing(client).connect((host, int(port)))
        self.wait_said(process, "cat: no program was run for a client: it has not taken the banner in time")
        self.usherd.wait_service("cat", released=1)
        self.assertNotIn("started", process.log.read_text())

    def test_a_banner_that_is_not_there(self):
        process = self.begin(service("cat", f'{CAT} banner = "/nowhere/banner"'))
        self.wait_said(process, "cat: not registered: cannot read the banner /nowhere/banner: No such file")
        self.usherd.wait_service("cat", n_providers=0)

    def test_programs_outlive_usher_exec(self):
        process = self.begin(service("cat", CAT))
        client = self.client("cat")
        client.sendall(b"a")
        network.read_exactly(client, 1)
        self.assertEqual(self.end_program(process), 0)
        client.sendall(b"b")
        self.assertEqual(network.read_exactly(client, 1), b"b")
        self.usherd.wait_service("cat", in_service=0, n_providers=0)
        client.close()

    def test_usher_exec_is_killed(self):
        process = self.begin(service("cat", CAT))
        client = self.client("cat")
        client.sendall(b"a")
        network.read_exactly(client, 1)
        process.kill()
        process.wait()
        waiting = self.client("cat")
        waiting.sendall(b"w")
        self.start_exec()
        self.assertEqual(network.read_exactly(waiting, 1), b"w")
        client.sendall(b"b")
        self.assertEqual(network.read_exactly(client, 1), b"b")

    def use_up_descriptors(self, process):
        """Clients of "cat" until one has to wait: of a descriptor for its connection and one for its
        process only the first is left. Returns all of them, and the limits as they were.

        How many there are before is nothing to rely upon: usherd --programs is read from meanwhile."""
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        n_fds = len(os.listdir(f"/proc/{process.pid}/fd"))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (n_fds + 4, limits[1]))
        short = "cat: making a process: Too many open files: raise"
        clients = []
        while short not in process.log.read_text():
            self.assertLess(len(clients), 16)
            clients.append(self.client("cat"))
            clients[-1].sendall(b"late")
            self.usherd.wait_until(
                lambda: processes.find_readable(clients[-1:], 0) or short in process.log.read_text(),
                "a client that is served, or is told of")
        return clients, limits

    def test_processes_that_are_short_make_clients_wait(self):
        process = self.begin(service("cat", CAT))
        self.wait_said(process, "registered")
        clients, limits = self.use_up_descriptors(process)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        for client in clients:
            self.assertEqual(network.read_exactly(client, 4), b"late")

    def test_a_shortage_that_ends_in_another_failure(self):
        """Who waits for a process gets none, because the program is gone: it is tried for others."""
        program = self.folder / "cat"
        shutil.copy("/bin/cat", program)
        process = self.begin(service("cat", f'program = "{program}"'))
        self.wait_said(process, "registered")
        clients, limits = self.use_up_descriptors(process)
        program.unlink()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(network.read_all(clients[-1]), b"")
        self.wait_said(process, "executing it: No such file")
        self.assertEqual(self.hear("cat"), b"")


class Reload(Exec):
    def test_programs_come_change_and_go(self):
        process = self.begin(service("one", shell("echo 1")))
        self.assertEqual(self.hear("one"), b"1\n")
        self.change(service("one", shell("echo 1")) + service("two", CAT))
        self.assertEqual(self.talk("two"), b"hello\n")
        open_client = self.client("two")
        open_client.sendall(b"a")
        network.read_exactly(open_client, 1)

        self.change(service("one", shell("echo other")) + service("two", CAT))
        self.wait_said(process, "one: changed, from the next connection")
        self.assertEqual(self.hear("one"), b"other\n")

        self.change(service("one", shell("echo other")))
        self.wait_said(process, "two: removed")
        open_client.sendall(b"b")
        self.assertEqual(network.read_exactly(open_client, 1), b"b")
        open_client.close()
        self.change(service("one", shell("echo other")) + service("two", shell("echo again")))
        self.assertEqual(self.hear("two"), b"again\n")
        self.assertNotIn("two: changed", process.log.read_text())

    def test_disabled_services_are_left_alone(self):
        process = self.begin(service("one", CAT) + service("two", CAT, more="disable = true"))
        self.wait_said(process, "one: registered")
        self.assertNotIn("two", process.log.read_text())

    def test_only_named_services(self):
        self.usherd = self.start_usherd(service("one", CAT) + service("two", CAT))
        process = self.start_exec("two", "three")
        self.wait_said(process, "two: registered")
        self.wait_said(process, "three: no such service with exec {}")
        self.usherd.wait_service("one", n_providers=0)
        self.change(service("one", CAT) + service("two", CAT) + service("three", CAT))
        self.wait_said(process, "three: registered")

    def test_a_configuration_that_is_wrong_changes_nothing(self):
        process = self.begin(service("one", CAT))
        self.assertEqual(self.talk("one"), b"hello\n")
        self.usherd.write_config("service {\n")
        process.send_signal(signal.SIGHUP)
        self.wait_said(process, "cannot read the configuration: .* has ended with status 78: correct what "
                                "it has complained about; the programs stay as they were")
        self.assertRegex(process.log.read_text(), r"usher\.conf:\d+: ")
        self.assertEqual(self.talk("one"), b"hello\n")

    def test_a_configuration_that_is_wrong_at_the_start(self):
        self.usherd = self.start_usherd(service("one", CAT))
        services = self.usherd.config.read_text()
        self.usherd.config.write_text("service {\n")
        process = self.start_exec()
        self.assertEqual(process.wait(processes.DEADLINE), 78)
        self.usherd.config.write_text(services)

    def test_no_usherd_to_ask(self):
        self.usherd = self.start_usherd(service("one", CAT))
        process = self.start_program(self.usherd, USHER_EXEC, "-u", "/nowhere/usherd")
        self.assertEqual(process.wait(processes.DEADLINE), 71)
        self.assertIn("cannot run /nowhere/usherd: No such file", self.program_logs[-1].read_text())

    def test_others_can_write_the_configuration(self):
        """Not the usherd that runs decides what a root usher-exec executes, and not its user's files."""
        self.usherd = self.start_usherd(service("one", CAT))
        self.usherd.config.chmod(0o666)
        self.assertEqual(self.start_exec().wait(processes.DEADLINE), 78)
        self.usherd.config.chmod(0o644)

    def test_usherd_is_restarted_meanwhile(self):
        process = self.begin(service("one", CAT))
        self.assertEqual(self.talk("one"), b"hello\n")
        self.usherd.stop()
        self.usherd.process.stderr.close()
        self.usherd.write_config(service("two", shell("echo 2")))
        self.usherd.start()
        self.assertEqual(self.hear("two"), b"2\n")
        self.wait_said(process, "one: removed")

    def test_usherd_starts_later(self):
        self.usherd = self.make_usherd(service("one", CAT))
        self.start_exec()
        self.usherd.start()
        self.assertEqual(self.talk("one"), b"hello\n")

    def test_an_upgrade_in_place(self):
        self.begin(service("one", CAT))
        client = self.client("one")
        client.sendall(b"a")
        network.read_exactly(client, 1)
        self.assertIn("ok", self.usherd.ask("upgrade"))
        client.sendall(b"b")
        self.assertEqual(network.read_exactly(client, 1), b"b")
        self.change(service("one", CAT) + service("two", CAT))
        self.assertEqual(self.talk("two"), b"hello\n")

    @harness.needs_root
    def test_without_root_another_user_is_refused(self):
        users = f'providers {{ users = {{"{harness.PROVIDER_USER}"}} }}'
        self.usherd = self.start_usherd(
            service("own", f'{CAT} user = "{harness.PROVIDER_USER}"', more=users)
            + service("other", f'{CAT} user = "{harness.STRANGER_USER}"', more=users)
            + service("jail", f'{CAT} chroot = "/tmp"', more=users))
        process = self.start_exec(user=harness.PROVIDER_USER)
        self.wait_said(process, f"other: not registered: it is to run as user '{harness.STRANGER_USER}', for "
                                "which usher-exec must be started by root")
        self.wait_said(process, "jail: not registered: for chroot usher-exec must be started by root")
        self.assertEqual(self.talk("own"), b"hello\n")
        self.usherd.wait_service("other", n_providers=0)
        self.wait_said(process, "hears of no reloads: permission denied")
        self.assertEqual(process.log.read_text().count("hears of no reloads"), 1)

        self.change(service("own", shell("echo new"), more=users))
        process.send_signal(signal.SIGHUP)
        self.wait_said(process, "own: changed")
        self.assertEqual(self.hear("own"), b"new\n")


UDP_ECHO = r"""
import os, socket, sys
sock = socket.socket(fileno=0)
sock.settimeout(float(sys.argv[1]))
try:
    while True:
        data, peer = sock.recvfrom(2048)
        sock.sendto(b"%d " % os.getpid() + data, peer)
        if data == b"once":
            break
except TimeoutError:
    pass
"""


class Wait(Exec):
    def begin_udp(self, *arguments, **options):
        script = self.folder / "udp-echo.py"
        script.write_text(UDP_ECHO)
        words = ", ".join(f'"{word}"' for word in (script, *arguments))
        self.services = service("udp", f'program = "/usr/bin/python3" args = {{{words}}}',
                                listen="udp:127.0.0.1:0", more='log_on_success = {"pid", "exit"}')
        return self.begin(self.services, **options)

    def ask(self, data):
        """The process id of who answers, and the answer."""
        host, _, port = self.usherd.addresses("udp")[0].removeprefix("udp:").rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(processes.DEADLINE)
            client.sendto(data, (host, int(port)))
            pid, _, answer = client.recvfrom(2048)[0].partition(b" ")
            return int(pid), answer

    def test_one_program_serves_many_then_the_next(self):
        process = self.begin_udp("20")
        first, answer = self.ask(b"hello")
        self.assertEqual(answer, b"hello")
        self.assertEqual(self.ask(b"again"), (first, b"again"))
        self.assertEqual(self.ask(b"once")[0], first)
        self.wait_said(process, rf"event=end service=udp pid={first} exit=0")
        self.assertNotEqual(self.ask(b"once")[0], first)

    def test_it_does_not_run_while_nobody_asks(self):
        process = self.begin_udp("20")
        self.wait_said(process, "registered")
        self.assertNotIn("started", process.log.read_text())

    def test_many_single_ones_are_not_held_up(self):
        self.begin_udp("20")
        begin = time.monotonic()
        for _ in range(20):
            self.ask(b"once")
        self.assertLess(time.monotonic() - begin, 15)

    def test_a_program_that_does_not_read_is_no_busy_loop(self):
        process = self.begin(service("udp", shell("exit 1"), listen="udp:127.0.0.1:0",
                                     more='log_on_success = {"pid"}'))
        with contextlib.suppress(TimeoutError):
            host, _, port = self.usherd.addresses("udp")[0].removeprefix("udp:").rpartition(":")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                self.wait_said(process, "udp: registered")
                client.sendto(b"x", (host, int(port)))
        self.wait_said(process, "udp: /bin/sh ends at once, again and again, and leaves its socket unread")
        self.usherd.watch(1.0)
        text = process.log.read_text()
        self.assertLessEqual(text.count("started"), 5)  # after 0, 0.1, 0.3, 0.7 seconds
        self.assertEqual(text.count("ends at once"), 1)
        self.change(service("udp", 'program = "/bin/sh" args = {"-c", "dd count=1 >/dev/null 2>&1"}',
                            listen="udp:127.0.0.1:0", more='log_on_success = {"pid", "exit"}'))
        self.wait_said(process, r"event=end service=udp pid=\d+ exit=0")

    def test_the_program_goes_on_when_usherd_is_restarted(self):
        self.begin_udp("20", manager=manager.FakeManager())
        first, _ = self.ask(b"hello")
        self.usherd.restart()
        self.assertEqual(self.ask(b"still")[0], first)
        self.usherd.wait_service("udp", n_providers=1)
        self.assertEqual(self.ask(b"still")[0], first)
        self.assertEqual(self.ask(b"once")[0], first)
        self.assertNotEqual(self.ask(b"once")[0], first)

    def test_the_next_usher_exec_gets_the_socket(self):
        process = self.begin_udp("20")
        self.ask(b"once")
        self.assertEqual(self.end_program(process), 0)
        self.start_exec()
        self.assertEqual(self.ask(b"hello")[1], b"hello")
        self.ask(b"once")

    def test_a_listening_socket(self):
        script = self.folder / "accept.py"
        script.write_text("import socket\n"
                          "with socket.socket(fileno=0).accept()[0] as client:\n"
                          "    client.sendall(client.recv(100))\n")
        self.begin(service("tcp", f'program = "/usr/bin/python3" args = {{"{script}"}}',
                           more='deliver = "listener"'))
        for _ in range(3):
            client = self.client("tcp")
            client.sendall(b"hello")
            self.assertEqual(network.read_exactly(client, 5), b"hello")

    def test_what_a_program_has_got_blocking_stays_so(self):
        """It would end at the next accept(2)."""
        script = self.folder / "accept.py"
        script.write_text("import os, socket\n"
                          "with socket.socket(fileno=0) as listening:\n"
                          "    while True:\n"
                          "        with listening.accept()[0] as client:\n"
                          "            client.sendall(b'%d' % os.getpid())\n")
        self.begin(service("tcp", f'program = "/usr/bin/python3" args = {{"{script}"}}',
                           more='deliver = "listener"'), manager=manager.FakeManager())
        pid = self.hear("tcp")
        self.endings.callback(os.kill, int(pid), signal.SIGKILL)
        for change in (lambda: self.usherd.ask("upgrade"), lambda: self.usherd.restart(signal.SIGKILL),
                       lambda: (self.usherd.ask("pause tcp"), self.usherd.ask("resume tcp"))):
            change()
            self.usherd.wait_until(lambda: self.usherd.service("tcp")["listeners"][0]["lent_to"], "it to be lent")
            self.usherd.wait_until(lambda: not self.flags(pid) & os.O_NONBLOCK, "it to be blocking")
            self.assertEqual(self.hear("tcp"), pid)

    @staticmethod
    def flags(pid):
        """Of the descriptor 0 of a process."""
        with open(f"/proc/{int(pid)}/fdinfo/0") as file:
            return int(dict(line.split(":\t") for line in file if ":\t" in line)["flags"], 8)

    def test_a_socket_that_was_shut_down_is_no_busy_loop(self):
        script = self.folder / "shut.py"
        script.write_text("import socket\n"
                          "listening = socket.socket(fileno=0)\n"
                          "listening.accept()[0].close()\n"
                          "listening.shutdown(socket.SHUT_RDWR)\n")
        folder = self.folder / "sockets"
        folder.mkdir()
        os.chown(folder, processes.user_id(harness.USHERD_USER), -1)
        listening = {"tcp": "tcp:127.0.0.1:0", "unix": f"unix:{folder}/shut"}
        services = "".join(service(name, f'program = "/usr/bin/python3" args = {{"{script}"}}', listen=listen,
                                   more='deliver = "listener"') for name, listen in listening.items())
        process = self.begin(services)
        for name in listening:
            self.wait_said(process, f"{name}: registered")
            network.read_all(self.client(name))
            self.wait_said(process, f"{name}: a socket that is lent was shut down")
        before = self.processor_time(process)
        self.usherd.watch(1.0)
        self.assertLess(self.processor_time(process) - before, 0.3)
        self.assertNotIn("with pauses", process.log.read_text())
        # As it is said there.
        self.reload(services.replace('deliver =', 'disable = true deliver ='))
        self.reload(services)
        for name in listening:
            self.assertEqual(network.read_all(self.client(name)), b"")

    @staticmethod
    def processor_time(process):
        """Of an usher-exec, in seconds."""
        with open(f"/proc/{process.pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class Printed(harness.UsherTest):
    """What usherd --programs prints."""

    def print_programs(self, services):
        usherd = self.make_usherd(services)
        return self.run_usherd("--programs", "-c", usherd.config)

    def test_every_member(self):
        limits = {"as": 1024, "core": 2, "cpu": 3, "data": 4, "fsize": 5, "memlock": 6, "nofile": 7, "nproc": 8,
                  "rss": 9, "stack": "unlimited"}
        written = " ".join(f'{name} = "{value}"' for name, value in limits.items())
        result = self.print_programs(service(
            "one", 'program = "/bin/x" name = "y" args = {"a", "b c"} env = {"E=f"} pass_env = {"HOME"}'
            ' user = "games" group = "tty" groups = false umask = 027 nice = -3 chroot = "/srv"'
            f' no_new_privs = true directory = "/d" banner = "/etc/issue" rlimit {{ {written} }}',
            listen='tcp:127.0.0.1:1", "udp:127.0.0.1:2', more='instances = 9 log_address = "hash"'
            ' log_on_success = {"exit", "pid"}'))
        self.assertEqual(result.returncode, 0, result.stderr)
        printed = json.loads(result.stdout)
        self.assertEqual(printed["run_dir"], str(self.usherds[0].run_dir))
        self.assertEqual(printed["services"], {"one": {
            "program": "/bin/x", "name": "y", "args": ["a", "b c"], "env": ["E=f"], "pass_env": ["HOME"],
            "user": "games", "group": "tty", "groups": False, "umask": 0o27, "nice": -3,
            "no_new_privs": True, "chroot": "/srv", "directory": "/d", "banner": "/etc/issue", "rlimits": limits,
            "listeners": [{"address": "tcp:127.0.0.1:1", "lent": False},
                          {"address": "udp:127.0.0.1:2", "lent": True}],
            "deliver": "connection", "instances": 9, "log_on_success": ["pid", "exit"],
            "log_address": "hash"}})

    def test_defaults(self):
        result = self.print_programs(
            service("one", 'program = "/bin/x"', listen="unix:/tmp/x", more='deliver = "listener"')
            + service("off", 'program = "/bin/x"', more="disable = true")
            + 'service none { listen = {"tcp:127.0.0.1:0"} }\n')
        printed = json.loads(result.stdout)["services"]
        self.assertEqual(list(printed), ["one"])
        expected = {"name": "x", "args": [], "env": [], "pass_env": [], "user": None, "group": None,
                    "groups": True, "umask": None, "nice": 0, "chroot": None, "directory": "/",
                    "no_new_privs": False, "banner": None, "rlimits": {}, "deliver": "listener",
                    "listeners": [{"address": "unix:/tmp/x", "lent": True}]}
        self.assertEqual({name: printed["one"][name] for name in expected}, expected)

    def test_errors_are_those_of_check(self):
        usherd = self.make_usherd("service one { nothing = 1 }\n")
        printed = self.run_usherd("--programs", "-c", usherd.config)
        checked = self.run_usherd("--check", usherd.config)
        self.assertEqual((printed.returncode, printed.stdout), (78, ""))
        self.assertEqual(printed.stderr, checked.stderr)


class Arguments(Exec):
    def run_exec(self, *arguments):
        return subprocess.run([USHER_EXEC, *arguments], capture_output=True, text=True, check=False,
                              timeout=processes.DEADLINE)

    def test_help_and_version(self):
        self.assertIn("usher-exec", self.run_exec("--version").stdout)
        self.assertIn("Usage:", self.run_exec("--help").stdout)

    def test_wrong_ones(self):
        self.assertEqual(self.run_exec("--nothing").returncode, 64)


if __name__ == "__main__":
    tap.main()
