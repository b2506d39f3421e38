#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The packages from the first installation to the purge: what apt does, and what is left of it."""

import contextlib
import shutil
import socket
import threading

import world
import tap
import tree

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

    @contextlib.contextmanager
    def clients(self):
        """One after the other meanwhile: each has to be served."""
        loop = Loop(self.machine, 7)
        try:
            self.assertTrue(loop.has_begun.wait(world.DEADLINE))
            yield
        finally:
            loop.end()
        self.assertEqual(loop.failures, [])
        self.assertGreater(loop.n_served, 10)

    def open_relay(self):
        """Both ends of a connection through usher-redirect."""
        with self.machine.network():
            server = socket.create_server(("127.0.0.1", 2001))
        self.addCleanup(server.close)
        server.settimeout(world.DEADLINE)
        self.write("/etc/usher/services.d/relay.conf",
                   'service relay { listen = {"tcp:127.0.0.1:2000"} providers { users = {"usher-redirect"} } }\n')
        self.write("/etc/usher/usher-redirect.env", 'ARGUMENTS="relay=127.0.0.1:2001"\n')
        self.machine.run("usherctl", "reload")
        self.systemctl("start", "usher-redirect")
        client = self.connect(2000)
        end, _ = server.accept()
        self.addCleanup(end.close)
        return client, end

    def services(self):
        """The ids of the processes of all, 0: it does not run."""
        names = self.machine.shell("cd /lib/systemd/system; ls usher-*").split()
        return {name.removesuffix(".service"): self.main_pid(name) for name in names}

    def test_upgrade_drops_nobody(self):
        client, end = self.open_relay()
        self.systemctl("disable", "--now", "usher-exec")
        before, services = self.status(), self.services()
        with self.clients():
            self.install_usher()
        client.sendall(b"a")
        self.assertEqual(end.recv(1), b"a")
        restarted = {name for name, pid in self.services().items() if pid != services[name]}
        self.assertEqual(restarted, {"usher-basic"})
        self.systemctl("enable", "--now", "usher-exec")
        after = self.status()
        self.assertEqual(after["pid"], before["pid"])
        self.assertEqual(after["upgrades"], before["upgrades"] + 1)
        self.assertEqual(self.machine.run("readlink", f"/proc/{after['pid']}/exe"), "/usr/sbin/usherd\n")
        version = self.machine.run("dpkg-query", "--show", "--showformat=${Version}", "usher")
        self.assertNotEqual(version, world.OLD_VERSION)

    def reinstall(self):
        """As an upgrade, whose words are returned."""
        with self.clients():
            return self.apt("--reinstall", "install", "/packages/usher.deb")

    def test_upgrade_with_a_wrong_configuration(self):
        before = self.status()
        self.write("/etc/usher/services.d/wrong.conf", "service wrong {\n")
        self.assertIn("goes on as the version that it was", self.reinstall())
        self.machine.run("rm", "/etc/usher/services.d/wrong.conf")
        after = self.status()
        self.assertEqual((after["pid"], after["upgrades"]), (before["pid"], before["upgrades"]))

    def test_upgrade_that_is_not_possible_in_place(self):
        before = self.status()
        self.machine.run("rm", "/run/usher/control.sock")
        self.assertIn("it is restarted", self.reinstall())
        self.assertNotEqual(self.status()["pid"], before["pid"])

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
        self.machine.run("rm", "/etc/usher/services.d/relay.conf", "/etc/usher/usher-redirect.env")
        self.apt("purge", *world.built.PACKAGES)
        self.assertEqual(self.list_files() - self.files_before, set())
        self.assertEqual(self.files_before - self.list_files(), set())
        self.assertEqual(self.systemctl("is-system-running", check=False), "running\n")

    def test_installed_again_it_is_new(self):
        self.install_usher()
        self.assertEqual(self.systemctl("is-active", "usherd"), "active\n")
        self.assertEqual(self.machine.run("ss", "-Hltun"), "")

    def test_tests_of_the_package(self):
        """Those that need no compiler, as autopkgtest(1) runs them."""
        shutil.copytree(tree.ROOT / "packaging/debian/tests", self.packages / "tests")
        self.install("netcat-openbsd")
        for name in ("serve", "update-inetd"):
            with self.subTest(name):
                self.machine.run("env", "AUTOPKGTEST_TMP=/tmp", "sh", f"/packages/tests/{name}")

    def test_comes_in_place_of_another_super_server(self):
        self.apt("purge", "usher")
        self.install("openbsd-inetd", "nullidentd")
        self.apt("install", "/packages/usher.deb")
        self.assertFalse(self.is_installed("openbsd-inetd"))
        self.assertRegex(self.ask(113, "1, 2\r\n"), r"1 ?, ?2 ?: ?USERID")
        self.apt("purge", "nullidentd")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(113)


if __name__ == "__main__":
    tap.main()
