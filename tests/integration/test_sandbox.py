# SPDX-License-Identifier: MIT
"""What usherd takes away from itself, as seen from outside, and what an administrator meets of it."""

import os
import re
import unittest
from pathlib import Path

import harness
import kernels
import processes
import tap
import upgrades

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} }\n'
USHER_EXEC = harness.BUILD_DIR / "services/exec/usher-exec"
FILTERED = "2"  # SECCOMP_MODE_FILTER, proc(5)

HAS_FILTER = not harness.IS_SANITIZED and '#define USHER_HAS_SECCOMP' in (harness.BUILD_DIR / "build-config.h").read_text()
needs_filter = unittest.skipUnless(HAS_FILTER, "a sanitizer makes system calls of its own")


def read_status(process, name, thread=None):
    """A line of /proc/PID/status, or of one of its threads."""
    text = Path(f"/proc/{process}/task/{thread or process}/status").read_text()
    return re.search(rf"^{name}:\s*(.*)$", text, re.MULTILINE)[1]


def count_filters(process):
    """Others may be there before: those of a container."""
    return int(read_status(process, "Seccomp_filters"))


class Process(harness.UsherTest):
    @needs_filter
    def test_every_thread_is_filtered(self):
        usherd = self.start_usherd(ONE)
        threads = os.listdir(f"/proc/{usherd.pid}/task")
        self.assertGreater(len(threads), 1)
        for thread in threads:
            self.assertEqual(read_status(usherd.pid, "Seccomp", thread), FILTERED)
            self.assertEqual(read_status(usherd.pid, "NoNewPrivs", thread), "1")
        self.assertEqual(count_filters(usherd.pid), count_filters(os.getpid()) + 1)

    def test_nothing_is_filtered_if_that_is_wished(self):
        usherd = self.start_usherd("sandbox = false\n" + ONE)
        self.assertEqual(count_filters(usherd.pid), count_filters(os.getpid()))
        self.assertNotIn("no sandbox", usherd.read_whole_log())

    @harness.needs_sight
    def test_environment_is_cleared(self):
        usherd = self.make_usherd(ONE)
        usherd.environment |= {"SECRET_OF_TEST": "swordfish", "TZ": "UTC"}
        usherd.start()
        variables = Path(f"/proc/{usherd.pid}/environ").read_bytes()
        self.assertNotIn(b"SECRET_OF_TEST", variables)
        self.assertNotIn(b"swordfish", variables)
        self.assertIn(b"TZ=UTC\0", variables)

    def test_kernel_without_landlock_is_told_of(self):
        usherd = self.start_usherd(ONE, before_exec=kernels.without_landlock)
        usherd.wait_log("no sandbox for files: the kernel has no Landlock")
        folder = self.folder / "closed"  # by its mode: a restart would change nothing
        folder.mkdir(mode=0o555)
        usherd.write_config(ONE + f'service two {{ listen = {{"unix:{folder}/socket"}} }}\n')
        message = usherd.ask("reload")["lines"][0]
        self.assertIn("Permission denied", message)
        self.assertNotIn("sandbox", message)

    @needs_filter
    def test_kernel_without_seccomp_is_told_of(self):
        usherd = self.start_usherd(ONE, before_exec=kernels.without_seccomp)
        usherd.wait_log("no sandbox for system calls: the kernel has no seccomp")

    def test_key_needs_a_restart(self):
        usherd = self.start_usherd(ONE)
        usherd.write_config("sandbox = false\n" + ONE)
        self.assertRegex(usherd.ask("reload")["lines"][0], "sandbox is changed to false, which needs a restart")


class Files(upgrades.UpgradeTest):
    """Folders of usherd's user, so that only the sandbox is in the way."""

    def setUp(self):
        super().setUp()
        if "no sandbox for files" in self.usherd.read_whole_log():
            self.skipTest("the kernel has no Landlock")

    def make_folder(self, name):
        folder = self.folder / name
        folder.mkdir()
        if harness.IS_ROOT:
            os.chown(folder, processes.user_id(harness.USHERD_USER), -1)
        return folder

    def reload_with(self, more):
        self.usherd.write_config(self.service() + more)
        return self.usherd.ask("reload")

    def check_refused(self, more):
        answer = self.reload_with(more)
        self.assertNotIn("ok", answer)
        self.assertIn("Permission denied", answer["lines"][0])
        self.assertIn("closed to it by its sandbox: restart usherd", answer["lines"][0])

    def restart_with(self, more):
        self.usherd.write_config(self.service() + more)
        self.usherd.read_notifications()
        self.usherd.restart()

    def test_listener_in_a_new_folder_needs_a_restart(self):
        more = self.service("two", address=f"unix:{self.make_folder('new')}/socket")
        self.check_refused(more)
        self.restart_with(more)

    def test_log_of_a_service_in_a_new_folder_needs_a_restart(self):
        more = self.service("two", f'log_type = {{"file", "{self.make_folder("new")}/two.log"}}')
        self.check_refused(more)
        self.restart_with(more)

    def test_log_in_a_new_folder_needs_a_restart(self):
        folder = self.make_folder("new")
        self.usherd.settings = self.usherd.settings.replace('"stderr"', f'"{folder}/log"')
        self.check_refused("")
        self.restart_with("")

    def test_folders_that_are_named_stay_open(self):
        folder = self.make_folder("named")
        self.restart_with(self.service("two", address=f"unix:{folder}/two")
                          .replace("service two {", "service two { disable = true "))
        for name in ("two", "three"):
            self.assertTrue(self.reload_with(self.service("two", address=f"unix:{folder}/{name}")).get("ok"))
        self.assertEqual(os.listdir(folder), ["three"])
        self.usherd.remember_fds()

    def test_an_upgrade_changes_nothing(self):
        n_filters = count_filters(self.usherd.pid)
        for _ in range(2):
            self.upgrade()
        self.assertEqual(count_filters(self.usherd.pid), n_filters)
        self.check_refused(self.service("two", address=f"unix:{self.make_folder('new')}/socket"))


class Services(harness.UsherTest):
    """The programs that usher ships, started by root or with more rights than they need."""

    SERVICES = "".join(f"""service {name} {{
        listen = {{"tcp:127.0.0.1:0"}}
        providers {{ users = {{"{harness.PROVIDER_USER}"}} forward = {{"{name}"}} }}
    }}
    """ for name in ("echo", "mux", "hello", "far", "metrics"))

    def setUp(self):
        super().setUp()
        text = self.folder / "text"
        text.write_text("Hello!")
        self.commands = {
            "echo": (harness.USHER_BASIC, "echo"),
            "mux": (harness.USHER_TCPMUX, "--service=mux", "+echo"),
            "hello": (harness.USHER_BANNER, f"hello={text}"),
            "far": (harness.USHER_REDIRECT, "far=127.0.0.1:9"),
            "metrics": (harness.USHER_METRICS,),
        }

    def check_has_no_rights(self, process):
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(read_status(process.pid, capabilities), 16), 0)
        self.assertEqual(read_status(process.pid, "NoNewPrivs"), "1")
        if not harness.IS_SANITIZED:
            self.assertEqual(os.stat(f"/proc/{process.pid}/maps").st_uid, 0)  # not dumpable

    @harness.needs_root
    def test_each_becomes_the_user(self):
        usherd = self.start_usherd(self.SERVICES)
        user = harness.PROVIDER_USER
        for service, (program, *arguments) in self.commands.items():
            process = self.start_program(usherd, program, f"--user={user}", *arguments)
            usherd.wait_service(service, n_providers=1)
            self.assertEqual(usherd.service(service)["providers"][0]["uid"], processes.user_id(user))
            self.assertEqual(set(read_status(process.pid, "Uid").split()), {str(processes.user_id(user))})
            self.assertEqual(set(read_status(process.pid, "Gid").split()), {str(processes.group_id(user))})
            self.check_has_no_rights(process)

    @harness.needs_root
    def test_root_is_told_that_it_need_not_be_root(self):
        usherd = self.start_usherd(ONE)
        process = self.start_program(usherd, harness.USHER_BASIC, "echo=one")
        usherd.wait_service("one", n_providers=1)
        self.assertEqual(read_status(process.pid, "NoNewPrivs"), "1")
        self.assertIn("--user=USER", self.program_logs[-1].read_text())

    @harness.needs_root
    def test_what_a_unit_gives_too_much_is_given_up(self):
        usherd = self.start_usherd(self.SERVICES)
        program = self.copy_for_others(harness.USHER_BASIC)
        process = self.start_program(
            usherd, "setpriv", f"--reuid={harness.PROVIDER_USER}", "--clear-groups",
            "--inh-caps=+chown,+net_admin", "--ambient-caps=+chown,+net_admin", program, "echo")
        usherd.wait_service("echo", n_providers=1)
        self.check_has_no_rights(process)
        self.assertNotIn("--user=USER", self.program_logs[-1].read_text())

    def test_user_who_is_not_there(self):
        usherd = self.start_usherd(self.SERVICES)
        for program, *arguments in self.commands.values():
            process = self.start_program(usherd, program, "--user=nobody-at-all", *arguments)
            self.assertEqual(process.wait(processes.DEADLINE), os.EX_NOUSER)
            self.assertIn("there is no user 'nobody-at-all'", self.program_logs[-1].read_text())

    @harness.needs_root
    def test_only_root_can_become_another_user(self):
        usherd = self.start_usherd(self.SERVICES)
        process = self.start_program(usherd, self.copy_for_others(harness.USHER_BASIC), "-u", harness.STRANGER_USER,
                                     user=harness.PROVIDER_USER)
        self.assertEqual(process.wait(processes.DEADLINE), os.EX_NOPERM)

    @harness.needs_root
    @unittest.skipIf(harness.IS_SANITIZED, "the leak checker must look into it")
    def test_nobody_looks_into_usher_exec(self):
        usherd = self.start_usherd(self.SERVICES)
        process = self.start_program(
            usherd, self.copy_for_others(USHER_EXEC), "-c", usherd.config, "-u", self.copy_for_others(harness.USHERD),
            user=harness.PROVIDER_USER)
        usherd.wait_until(lambda: read_status(process.pid, "Name") == "usher-exec"
                          and os.stat(f"/proc/{process.pid}/maps").st_uid == 0, "usher-exec to close itself")


if __name__ == "__main__":
    tap.main()
