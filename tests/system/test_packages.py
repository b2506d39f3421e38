#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The packages from the first installation to the purge: what apt does, and what is left of it."""

import threading

import world
import tap

# What a purge leaves: accounts (files may still be theirs), what belongs to all packages, and logs.
LEFT = ("/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow", "/etc/subgid", "/etc/subuid", "/etc/.pwd.lock",
        "/run/", "/tmp/", "/var/cache/", "/var/lib/apt/", "/var/lib/dpkg/", "/var/lib/systemd/", "/var/log/")


class Loop:
    """A client after the other, in a thread, until it is told to stop; each has to be answered."""

    def __init__(self, machine, port):
        self.machine = machine
        self.port = port
        self.n_served = 0
        self.failures = []
        self.is_over = threading.Event()
        self.has_begun = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.is_over.is_set():
            try:
                with self.machine.connect(self.port) as client:
                    answer = world.SystemTest.finish(client)
            except OSError as error:
                answer = str(error)
            if answer == "hello\n":
                self.n_served += 1
                self.has_begun.set()
            else:
                self.failures.append(answer)

    def end(self):
        self.is_over.set()
        self.thread.join()


class Packages(world.SystemTest):
    """One machine, which has an earlier version first."""

    @classmethod
    def _start_machine(cls):
        old = cls.packages / "old"
        old.mkdir(mode=0o755)
        for name in world.built.PACKAGES:
            world.repack(cls.packages / f"{name}.deb", world.OLD_VERSION, old / f"{name}.deb")
        super()._start_machine()

    def list_files(self):
        """All that there is, but what changes by itself."""
        names = self.machine.run("find", "/", "-xdev", "-path", "/packages", "-prune", "-o", "-print")
        return {name for name in names.splitlines() if not name.startswith(LEFT)}

    def is_installed(self, package):
        state = self.machine.run("dpkg-query", "--show", "--showformat=${Status}", package, check=False)
        return state == "install ok installed"

    def test_earlier_version(self):
        # What they depend on stays, and is not ours.
        self.install("update-inetd", "libconfuse2", "libjansson4")
        type(self).files_before = self.list_files()
        self.install(*(f"/packages/old/{name}.deb" for name in world.built.PACKAGES))
        self.offer("echo")
        self.machine.run("usherctl", "reload")
        self.systemctl("enable", "--now", "usher-basic")
        self.assertEqual(self.ask(7), "hello\n")

    def test_upgrade_drops_nobody(self):
        before, client = self.status(), self.connect(7)
        client.sendall(b"a")
        self.assertEqual(client.recv(1), b"a")
        loop = Loop(self.machine, 7)
        try:
            loop.has_begun.wait(world.DEADLINE)
            self.install_usher()
        finally:
            loop.end()
        self.assertEqual(loop.failures, [])
        self.assertGreater(loop.n_served, 10)
        after = self.status()
        self.assertEqual(after["pid"], before["pid"])
        self.assertEqual(after["upgrades"], before["upgrades"] + 1)
        self.assertEqual(self.machine.run("readlink", f"/proc/{after['pid']}/exe"), "/usr/sbin/usherd\n")
        version = self.machine.run("dpkg-query", "--show", "--showformat=${Version}", "usher")
        self.assertNotEqual(version, world.OLD_VERSION)

    def test_package_of_an_inetd_service_is_served(self):
        self.install("nullidentd")
        self.assertFalse(self.is_installed("openbsd-inetd"))
        self.assertRegex(self.ask(113, "1, 2\r\n"), r"1 ?, ?2 ?: ?USERID")

    def test_and_not_after_it_was_removed(self):
        self.apt("purge", "nullidentd")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(113)
        self.assertEqual(self.ask(7), "hello\n")

    def test_removed(self):
        self.apt("remove", "usher", "libusher0")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(7)
        self.assertEqual(self.machine.run("pgrep", "-l", "usher", check=False), "")
        self.assertEqual(self.systemctl("is-system-running", check=False), "running\n")

    def test_installed_again_it_is_as_it_was(self):
        self.install_usher()
        self.wait_until(lambda: self.systemctl("is-active", "usher-basic", check=False) == "active\n", "usher-basic")
        self.assertEqual(self.ask(7), "hello\n")

    def test_purge_leaves_nothing(self):
        self.apt("purge", *world.built.PACKAGES)
        self.assertEqual(self.list_files() - self.files_before, set())
        self.assertEqual(self.files_before - self.list_files(), set())
        self.assertEqual(self.systemctl("is-system-running", check=False), "running\n")

    def test_installed_again_it_is_new(self):
        self.install_usher()
        self.assertEqual(self.systemctl("is-active", "usherd"), "active\n")
        self.assertEqual(self.machine.run("ss", "-Hltun"), "")


if __name__ == "__main__":
    tap.main()
