# SPDX-License-Identifier: MIT
"""How usherd starts and ends: exit statuses, privileges, its run_dir, the manager it tells."""

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import unittest
from pathlib import Path

import harness
import network
import processes
import tap

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} }\n'
EX_CONFIG = 78
EX_NOPERM = 77
EX_USAGE = 64
CAP_NET_BIND_SERVICE = 1 << 10


class CommandLine(harness.UsherTest):
    def write(self, text, mode=0o644):
        path = self.folder / "test.conf"
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_check_of_a_good_file(self):
        path = self.write(f'run_dir = "{self.folder}/run"\nuser = "{harness.USHERD_USER}"\n' + ONE)
        self.assertEqual(self.run_usherd("--check", path).returncode, 0)
        self.assertEqual(self.run_usherd("--check", "-c", path).returncode, 0)
        self.assertEqual(os.listdir(self.folder), ["test.conf"])

    def test_check_of_a_bad_file_names_each_line(self):
        path = self.write('service x {\n listen = {"tcp:127.0.0.1:99999"}\n instances = 0\n}\n')
        result = self.run_usherd("--check", path)
        self.assertEqual(result.returncode, EX_CONFIG)
        self.assertRegex(result.stderr, rf"(?m)^{re.escape(str(path))}:\d+: ")

    def test_start_with_a_bad_file(self):
        path = self.write("no_such_option = 1\n")
        result = self.run_usherd("-c", path)
        self.assertEqual(result.returncode, EX_CONFIG)
        self.assertRegex(result.stderr, rf"{re.escape(str(path))}:1: .*no_such_option")

    def test_start_without_a_file(self):
        result = self.run_usherd("-c", self.folder / "nowhere.conf")
        self.assertEqual(result.returncode, EX_CONFIG)
        self.assertIn("nowhere.conf", result.stderr)

    def test_file_that_others_may_write_is_refused(self):
        result = self.run_usherd("--check", self.write(ONE, 0o666))
        self.assertEqual(result.returncode, EX_CONFIG)
        self.assertIn("test.conf", result.stderr)

    def test_relative_path_is_absolute_in_the_status(self):
        usherd = self.make_usherd(ONE, before_exec=lambda: os.chdir(self.folder))
        path, usherd.config = usherd.config, usherd.config.relative_to(self.folder)
        usherd.start()
        self.assertEqual(usherd.status()["config"], str(path))
        self.assertEqual(usherd.ask("reload").get("ok"), True)

    def test_path_that_is_not_utf8_is_shown_as_far_as_can_be(self):
        usherd = self.make_usherd(ONE)
        usherd.config = usherd.config.rename(usherd.folder / os.fsdecode(b"caf\xe9.conf"))
        usherd.start()
        self.assertEqual(usherd.status()["config"], f"{usherd.folder}/caf?.conf")
        usherd.write_config("nonsense\n")
        self.assertRegex(usherd.ask("reload")["lines"][0], "caf[?].conf:4: ")

    def test_unknown_option_of_the_command_line(self):
        result = self.run_usherd("--no-such-option")
        self.assertEqual(result.returncode, EX_USAGE)
        self.assertIn("--help", result.stderr)

    def test_version_and_help(self):
        self.assertRegex(self.run_usherd("--version").stdout, r"^usherd \d+\.\d+\.\d+\n$")
        result = self.run_usherd("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("--check", result.stdout)


class Place(harness.UsherTest):
    """run_dir belongs to one usherd, and to nobody else."""

    def test_second_instance_is_refused_and_the_first_unharmed(self):
        first = self.start_usherd(ONE)
        second = self.make_usherd(ONE)
        second.config.write_text(first.config.read_text())
        self.check_start_fails(second, str(first.run_dir))
        self.serving_child(first, "one", "first")
        self.assertEqual(network.read_all(self.connect(first.addresses("one")[0])), b"first\n")

    def test_world_writable_run_dir_is_refused(self):
        usherd = self.make_usherd(ONE)
        usherd.run_dir.mkdir()
        usherd.run_dir.chmod(0o777)
        self.check_start_fails(usherd, str(usherd.run_dir))

    @harness.needs_root
    def test_run_dir_of_somebody_else_is_refused(self):
        usherd = self.make_usherd(ONE)
        usherd.run_dir.mkdir()
        os.chown(usherd.run_dir, processes.user_id(harness.STRANGER_USER), -1)
        self.check_start_fails(usherd, str(usherd.run_dir))

    @harness.needs_root
    def test_refused_run_dir_stays_as_it_was(self):
        for user in ("root", harness.STRANGER_USER):
            usherd = self.make_usherd(ONE)
            usherd.run_dir.mkdir()
            os.chown(usherd.run_dir, processes.user_id(user), -1)
            self.check_start_fails(usherd, f"chown {processes.user_id(harness.USHERD_USER)} {usherd.run_dir}")
            self.assertEqual(os.stat(usherd.run_dir).st_uid, processes.user_id(user))
            self.assertEqual(os.listdir(usherd.run_dir), [])

    def test_group_writable_run_dir_is_refused(self):
        usherd = self.make_usherd_with_run_dir()
        usherd.run_dir.chmod(0o770)
        self.check_start_fails(usherd, f"chmod go-w {usherd.run_dir}")

    def test_symbolic_link_as_run_dir_is_refused(self):
        usherd = self.make_usherd_with_run_dir()
        target = usherd.run_dir.rename(usherd.folder / "target")
        usherd.run_dir.symlink_to(target)
        self.check_start_fails(usherd, f"{usherd.run_dir} is not a folder")
        self.assertEqual(os.listdir(target), [])

    def test_run_dir_that_is_there_already_is_used(self):
        usherd = self.make_usherd_with_run_dir()
        usherd.start()
        self.assertTrue(stat.S_ISSOCK(os.stat(usherd.rendezvous("one")).st_mode))

    def make_usherd_with_run_dir(self):
        usherd = self.make_usherd(ONE)
        usherd.run_dir.mkdir()
        os.chown(usherd.run_dir, processes.user_id(harness.USHERD_USER), -1)
        return usherd

    @harness.needs_root
    def test_second_start_does_not_follow_links_of_the_user(self):
        """run_dir is the user's: what root would make or change there could be anywhere."""
        usherd = self.start_usherd(ONE)
        usherd.stop()
        secret = self.folder / "secret"
        secret.touch(0o600)
        lock = usherd.run_dir / "usherd.lock"
        lock.unlink()
        os.link(secret, lock)
        self.check_start_fails(usherd, "usherd.lock: Permission denied")
        self.assertEqual((secret.stat().st_uid, stat.S_IMODE(secret.stat().st_mode)), (0, 0o600))

    @harness.needs_root
    def test_all_in_run_dir_belongs_to_the_user(self):
        usherd = self.start_usherd(ONE)
        owners = {path.name: (path.stat().st_uid, path.stat().st_gid)
                  for path in (usherd.run_dir, *usherd.run_dir.iterdir())}
        user = processes.user_id(harness.USHERD_USER), processes.group_id(harness.USHERD_USER)
        self.assertEqual(owners, dict.fromkeys(("run", "one.sock", "control.sock", "usherd.lock"), user))

    def test_what_others_put_in_the_place_of_its_sockets_stays(self):
        path = self.folder / "usherd-0/listener.sock"
        usherd = self.make_usherd(f'service one {{ listen = {{"unix:{path}"}} }}\n')
        os.chown(usherd.folder, processes.user_id(harness.USHERD_USER), -1)
        usherd.start()
        paths = [path, usherd.run_dir / "one.sock", usherd.run_dir / "control.sock"]
        usherd.remember_fds()
        for path in paths:
            path.unlink()
            path.write_text("not yours")
        usherd.stop()
        self.assertEqual([path.read_text() for path in paths], ["not yours"] * 3)

    def test_rendezvous_is_removed_at_the_end(self):
        usherd = self.start_usherd(ONE)
        self.assertTrue(stat.S_ISSOCK(os.stat(usherd.rendezvous("one")).st_mode))
        usherd.stop()
        self.assertEqual([name for name in os.listdir(usherd.run_dir) if name.endswith(".sock")], [])

    def test_port_in_use_names_who_has_it(self):
        with network.occupied_port() as port:
            usherd = self.make_usherd(f'service one {{ listen = {{"tcp:127.0.0.1:{port}"}} }}\n')
            usherd.launch()
            self.assertNotEqual(usherd.wait_end(), 0)
            self.assertIn(f"127.0.0.1:{port}", usherd.log)
            self.assertRegex(usherd.log, rf"\b{os.getpid()}\b")


class Rights(harness.UsherTest):
    @harness.needs_root
    def test_root_is_left_behind_but_for_low_ports(self):
        usherd = self.start_usherd(ONE)
        uid, gid = processes.user_id(harness.USHERD_USER), processes.group_id(harness.USHERD_USER)
        self.assertEqual(usherd.proc_status("Uid").split(), [str(uid)] * 4)
        self.assertEqual(usherd.proc_status("Gid").split(), [str(gid)] * 4)
        self.assertNotIn("0", usherd.proc_status("Groups").split())
        for name in ("CapEff", "CapPrm", "CapBnd"):  # the last is for an upgrade
            self.assertEqual(int(usherd.proc_status(name), 16), CAP_NET_BIND_SERVICE)
        for name in ("CapInh", "CapAmb"):
            self.assertEqual(int(usherd.proc_status(name), 16), 0)

    def test_nothing_is_gained_by_execve(self):
        self.assertEqual(self.start_usherd(ONE).proc_status("NoNewPrivs"), "1")

    @harness.needs_root
    def test_root_opens_a_listener_where_only_root_may(self):
        folder = self.folder / "roots"
        folder.mkdir(0o755)
        usherd = self.start_usherd(f'service one {{ listen = {{"unix:{folder}/socket"}} }}\n')
        self.serving_child(usherd, "one", "a")
        self.assertEqual(network.read_all(self.connect(f"unix:{folder}/socket")), b"a\n")

    @harness.needs_root
    def test_reload_still_works_after_that(self):
        usherd = self.start_usherd(ONE)
        usherd.write_config(ONE + ONE.replace("one", "two"))
        self.assertEqual(usherd.ask("reload").get("ok"), True)
        usherd.remember_fds()

    @harness.needs_root
    def test_user_that_is_not_root_can_run_it(self):
        usherd = self.start_usherd(ONE, user=harness.STRANGER_USER, as_user=harness.STRANGER_USER)
        self.assertEqual(usherd.proc_status("Uid").split()[0], str(processes.user_id(harness.STRANGER_USER)))
        self.serving_child(usherd, "one", "a")
        self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")

    @harness.needs_root
    def test_stranger_gets_no_answer_from_the_control_socket(self):
        usherd = self.start_usherd(ONE)
        result = subprocess.run(
            [self.copy_for_others(harness.USHERCTL), "-r", usherd.run_dir, "status"],
            user=harness.STRANGER_USER, capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stdout), (EX_NOPERM, ""))
        self.assertIn("permission denied", result.stderr)

    @harness.needs_root
    @unittest.skipIf(harness.IS_SANITIZED, "the leak checker must look into usherd")
    def test_memory_is_closed_to_others_of_the_same_user(self):
        """Not dumpable: what the kernel shows of such a process belongs to root."""
        usherd = self.start_usherd(ONE, user=harness.STRANGER_USER, as_user=harness.STRANGER_USER)
        self.assertEqual(os.stat(f"/proc/{usherd.pid}/maps").st_uid, 0)


class Manager(harness.UsherTest):
    """sd_notify(3)."""

    def test_ready_comes_with_a_status(self):
        usherd = self.make_usherd(ONE)
        usherd.launch()
        message = usherd.wait_notification("READY", "1")
        if "STATUS" not in message:
            message = usherd.wait_notification("STATUS")
        self.assertNotEqual(message["STATUS"], "")

    def test_watchdog_hears_of_a_loop_that_turns(self):
        usherd = self.make_usherd(ONE)
        usherd.environment["WATCHDOG_USEC"] = "100000"
        usherd.start()
        for _ in range(3):
            usherd.wait_notification("WATCHDOG", "1")

    def test_watchdog_of_another_process_hears_nothing(self):
        usherd = self.make_usherd(ONE)
        usherd.environment["WATCHDOG_USEC"] = "1000"
        usherd.environment["WATCHDOG_PID"] = str(os.getpid())
        usherd.start()
        usherd.ask("status")
        os.kill(usherd.pid, signal.SIGTERM)
        usherd.wait_notification("STOPPING", "1")
        self.assertFalse([one for one in usherd.notifications if "WATCHDOG" in one])
        self.assertEqual(usherd.wait_end(), 0)

    def test_sigterm_says_stopping_and_ends_with_zero(self):
        usherd = self.start_usherd(ONE)
        os.kill(usherd.pid, signal.SIGTERM)
        usherd.wait_notification("STOPPING", "1")
        self.assertEqual(usherd.wait_end(), 0)

    def test_event_loop_that_fails_says_so(self):
        usherd = self.make_usherd(ONE, inject="epoll_wait,epoll_pwait2:error=EIO")
        self.check_start_fails(usherd, "the event loop failed: Input/output error")

    def test_sigint_does_the_same(self):
        usherd = self.start_usherd(ONE)
        os.kill(usherd.pid, signal.SIGINT)
        self.assertEqual(usherd.wait_end(), 0)

    def test_stop_does_not_touch_what_providers_have(self):
        usherd = self.start_usherd(ONE)
        provider = self.provider(usherd, "one")
        client = self.connect(usherd.addresses("one")[0])
        connection, = provider.take_and_claim(1)
        usherd.wait_service("one", in_service=1)
        usherd.stop()
        connection.socket.sendall(b"bye")
        self.assertEqual(network.read_exactly(client, 3), b"bye")


    def test_stop_does_not_touch_what_waits_in_a_providers_queue(self):
        usherd = self.start_usherd(ONE)
        provider = self.provider(usherd, "one")
        client = self.connect(usherd.addresses("one")[0])
        usherd.wait_service("one", unclaimed=1)
        usherd.stop()
        connection, = provider.take(1)
        connection.socket.sendall(b"bye")
        self.assertEqual(network.read_exactly(client, 3), b"bye")


    def test_the_unit_reloads_whatever_the_run_dir(self):
        usherd = self.start_usherd(ONE)
        command = self.unit_settings("ExecReload")[-1]
        subprocess.run(["sh", "-c", command], env={"MAINPID": str(usherd.pid)}, check=True)
        usherd.wait_notification("RELOADING", "1")
        usherd.wait_log("reloaded")

    def test_the_unit_does_not_try_a_wrong_configuration_again(self):
        statuses = self.unit_settings("RestartPreventExitStatus")[0].split()
        self.assertEqual([int(status) for status in statuses], [EX_USAGE, EX_CONFIG])

    @staticmethod
    def unit_settings(name):
        """From the source: where there is no systemd no unit is made of it."""
        path = Path(__file__).resolve().parents[2] / "packaging/systemd/usherd.service.in"
        return re.findall(rf"^{name}=(.*)$", path.read_text(), re.MULTILINE)

    def test_counts_of_what_was_dropped_are_in_the_status(self):
        self.assertEqual(self.start_usherd(ONE).status()["notifications_dropped"], 0)


class Log(harness.UsherTest):
    def log_to_file(self, usherd, path):
        usherd.settings = usherd.settings.replace('log = "stderr"', f'log = "{path}"')
        usherd.write_config(ONE)

    def make_folder_of_user(self):
        folder = self.folder / "log"
        folder.mkdir(0o755)
        os.chown(folder, processes.user_id(harness.USHERD_USER), -1)
        return folder

    def test_log_file_belongs_to_the_user_and_is_opened_again_by_a_reload(self):
        folder = self.make_folder_of_user()
        path, old = folder / "usherd.log", folder / "old.log"
        usherd = self.make_usherd(ONE)
        usherd.settings += "sandbox = false\n"  # without a word of what this build or kernel has not
        self.log_to_file(usherd, path)
        usherd.start()
        self.assertEqual(path.stat().st_uid, processes.user_id(harness.USHERD_USER))
        path.rename(old)
        self.assertEqual(usherd.ask("reload").get("ok"), True)
        usherd.stop()
        self.assertIn("started", old.read_text())
        self.assertIn("reloaded", path.read_text())
        self.assertEqual(usherd.log, "")

    def test_start_without_its_log_fails_and_says_what_to_do(self):
        path = self.folder / "none/usherd.log"
        usherd = self.make_usherd(ONE)
        self.log_to_file(usherd, path)
        self.check_start_fails(
            usherd, f"cannot log to {path}: .* must be able to write to the file and to its folder")
        self.assertFalse(usherd.run_dir.exists())

    def test_reload_without_its_log_changes_nothing(self):
        usherd = self.start_usherd(ONE)
        self.log_to_file(usherd, self.folder / "none/usherd.log")
        usherd.write_config(ONE + ONE.replace("one", "two"))
        answer = usherd.ask("reload")
        self.assertNotIn("ok", answer)
        self.assertRegex(answer["lines"][0], f"^{usherd.config}: cannot log to ")
        self.assertEqual([service["name"] for service in usherd.status()["services"]], ["one"])
        self.assertEqual(os.listdir(usherd.run_dir).count("two.sock"), 0)

    def test_reason_of_a_failed_start_is_in_the_log_and_on_standard_error(self):
        path = self.make_folder_of_user() / "usherd.log"
        with network.occupied_port() as port:
            usherd = self.make_usherd(ONE)
            self.log_to_file(usherd, path)
            usherd.write_config(f'service one {{ listen = {{"tcp:127.0.0.1:{port}"}} }}\n')
            self.check_start_fails(usherd, str(port))
        for text in (path.read_text(), usherd.log):
            self.assertEqual(text.count(f"127.0.0.1:{port}: the address is in use"), 1)

    def test_stalled_reader_of_standard_error_stops_nobody(self):
        """The pipe is full and nobody reads: service goes on, messages are dropped and counted."""
        usherd = self.make_usherd(ONE)
        usherd.launch()
        usherd.wait_notification("READY", "1")
        self.fill_pipe(usherd)
        for _ in range(1200):
            self.assertEqual(usherd.ask("reload").get("ok"), True)
        self.serving_child(usherd, "one", "a")
        self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")
        self.assertGreater(usherd.status()["log_messages_dropped"], 0)

    @staticmethod
    def fill_pipe(usherd):
        """Make the pipe small and fill it through usherd's own end."""
        fcntl.fcntl(usherd.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        fd = os.open(f"/proc/self/fd/{usherd.process.stderr.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while os.write(fd, b"." * 512):
                pass
        except BlockingIOError:
            os.close(fd)

    def test_stalled_notify_socket_stops_nobody(self):
        usherd = self.start_usherd(ONE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                while sender.sendto(b"X=1", str(usherd.folder / "notify")):
                    pass
            except BlockingIOError:
                pass
        for _ in range(20):
            self.assertEqual(usherd.ask("reload").get("ok"), True)

    @harness.needs_sight
    def test_closed_standard_descriptors(self):
        usherd = self.start_usherd(ONE, wrapper=["sh", "-c", 'exec "$@" <&- >&-', "sh"])
        self.serving_child(usherd, "one", "a")
        self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")
        self.assertEqual(os.readlink(f"/proc/{usherd.pid}/fd/0"), "/dev/null")


if __name__ == "__main__":
    tap.main()
