# SPDX-License-Identifier: MIT
"""What usherd does with signals: those of its own, those of inetd and xinetd, and all others."""

import json
import os
import signal
import stat

import harness
import network
import tap

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} }\n'
IGNORED = (signal.SIGUSR2, signal.SIGALRM, signal.SIGIO, signal.SIGVTALRM, signal.SIGPROF, signal.SIGPWR)
# Whose default is to end the process, or to do nothing, and of which nobody is told.
SILENT = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT,
          signal.SIGSTKFLT, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1))


class Signals(harness.UsherTest):
    def check_serves(self, usherd):
        """It still runs, and hands connections over."""
        self.serving_child(usherd, "one", "provider")
        self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"provider\n")

    def test_hup_reloads(self):
        usherd = self.start_usherd(ONE)
        usherd.write_config(ONE + 'service two { listen = {"tcp:127.0.0.1:0"} }\n')
        os.kill(usherd.pid, signal.SIGHUP)
        usherd.wait_log("reloaded: services: 1 added")
        usherd.remember_fds()
        self.check_serves(usherd)

    def test_three_signals_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            with self.subTest(number.name):
                usherd = self.start_usherd(ONE)
                os.kill(usherd.pid, number)
                self.assertEqual(usherd.wait_end(), 0)
                self.assertIn("stopping", usherd.log)

    def test_what_is_served_goes_on_after_quit(self):
        usherd = self.start_usherd(ONE)
        provider = self.provider(usherd, "one")
        client = self.connect(usherd.addresses("one")[0])
        [connection] = provider.take_and_claim(1)
        usherd.wait_service("one", claimed=1)
        os.kill(usherd.pid, signal.SIGQUIT)
        self.assertEqual(usherd.wait_end(), 0)
        connection.socket.sendall(b"still here")
        connection.socket.close()
        self.assertEqual(network.read_all(client), b"still here")

    def test_usr1_writes_the_state(self):
        usherd = self.start_usherd(ONE)
        path = usherd.run_dir / "usherd.dump"
        self.assertFalse(path.exists())
        os.kill(usherd.pid, signal.SIGUSR1)
        usherd.wait_log(f"the state was written to {path}")
        dump, status = json.loads(path.read_text()), usherd.status()
        for one in (dump, status):
            del one["uptime_seconds"]
        self.assertEqual(dump, status)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertTrue(path.read_text().endswith("}\n"))

    def test_usr1_again_replaces_the_file(self):
        usherd = self.start_usherd(ONE)
        path = usherd.run_dir / "usherd.dump"
        path.write_text("of an earlier usherd")
        os.kill(usherd.pid, signal.SIGUSR1)
        usherd.wait_log("the state was written to")
        self.assertEqual(json.loads(path.read_text())["pid"], usherd.pid)
        self.assertEqual(sorted(one.name for one in usherd.run_dir.iterdir()),
                         ["control.sock", "one.sock", "usherd.dump", "usherd.lock"])

    @harness.needs_root
    def test_usr1_without_a_folder_to_write_to(self):
        usherd = self.start_usherd(ONE)
        usherd.run_dir.chmod(0o555)
        os.chown(usherd.run_dir, 0, 0)
        os.kill(usherd.pid, signal.SIGUSR1)
        usherd.wait_log("cannot write the state to .*: Permission denied .*reason=dump")
        self.check_serves(usherd)

    def test_signals_without_a_meaning_are_ignored_and_logged(self):
        usherd = self.start_usherd(ONE)
        for number in IGNORED:
            os.kill(usherd.pid, number)
            usherd.wait_log(rf"signal {int(number)} \(.*\) from process {os.getpid()} is ignored")
        self.check_serves(usherd)

    def test_other_signals_do_nothing(self):
        usherd = self.start_usherd(ONE)
        for number in SILENT:
            os.kill(usherd.pid, number)
        self.check_serves(usherd)

    def test_signals_mean_the_same_after_an_upgrade(self):
        usherd = self.start_usherd(ONE)
        self.assertTrue(usherd.ask("upgrade").get("ok"))
        for number in (signal.SIGUSR2, signal.SIGRTMIN):
            os.kill(usherd.pid, number)
        usherd.wait_log("is ignored, see SIGNALS")
        os.kill(usherd.pid, signal.SIGUSR1)
        usherd.wait_log("the state was written to")
        self.check_serves(usherd)


if __name__ == "__main__":
    tap.main()
