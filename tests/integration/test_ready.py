# SPDX-License-Identifier: MIT
"""Programs say that they are ready as s6 wants it: a newline on a descriptor, then its end."""

import os
import select
import subprocess

import harness
import processes
import tap

SERVICE = 'service echo { listen = {"tcp:127.0.0.1:0"} }\n'
EX_USAGE = 64
EX_CONFIG = 78

PROVIDERS = {
    "basic": ("echo",),
    "tcpmux": ("-s", "echo", "time"),
    "banner": ("echo=/etc/hostname",),
    "redirect": ("echo=localhost:1",),
}


class Ready(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.make_pipe()

    def make_pipe(self):
        self.reader, self.writer = os.pipe()
        self.endings.callback(os.close, self.reader)

    def run_with_pipe(self, *command):
        """A process that has the writing end of the pipe, and nobody else has."""
        process = subprocess.Popen(command, pass_fds=[self.writer], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, env={**os.environ, "LANG": "C"})
        os.close(self.writer)
        self.endings.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait()
        process.stderr.close()

    def read_all(self):
        """What comes until all have closed the pipe."""
        text = b""
        deadline = processes.Deadline()
        while select.select([self.reader], [], [], deadline.left("the end of the pipe"))[0]:
            block = os.read(self.reader, 100)
            if not block:
                break
            text += block
        return text

    def test_usherd_when_everything_is_open(self):
        usherd = self.make_usherd(SERVICE)
        process = self.run_with_pipe(harness.USHERD, "-c", usherd.config, "--notify-fd", str(self.writer))
        self.assertEqual(self.read_all(), b"\n")
        self.assertTrue((usherd.run_dir / "echo.sock").is_socket())
        self.assertTrue((usherd.run_dir / "control.sock").is_socket())
        process.terminate()
        self.assertEqual(process.wait(), 0)

    def test_usherd_says_it_once_and_not_after_an_upgrade(self):
        usherd = self.make_usherd(SERVICE)
        process = self.run_with_pipe(harness.USHERD, "-c", usherd.config, "--notify-fd", str(self.writer))
        self.assertEqual(self.read_all(), b"\n")
        for command in ("reload", "upgrade"):
            result = subprocess.run([harness.USHERCTL, "-r", usherd.run_dir, command],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(result.returncode, 0, result.stdout)
        process.terminate()
        _, log = process.communicate()
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"was upgraded", log)
        self.assertNotIn(b"--notify-fd", log)

    def test_usherd_that_cannot_start_says_nothing(self):
        usherd = self.make_usherd(SERVICE.replace("127.0.0.1:0", "192.0.2.1:1"))
        process = self.run_with_pipe(harness.USHERD, "-c", usherd.config, "--notify-fd", str(self.writer))
        self.assertEqual(self.read_all(), b"")
        self.assertEqual(process.wait(), harness.EX_OSERR)

    def test_providers(self):
        for name, arguments in PROVIDERS.items():
            with self.subTest(name=name):
                program = harness.BUILD_DIR / f"services/{name}/usher-{name}"
                self.run_with_pipe(program, "-d", str(self.folder), f"--notify-fd={self.writer}", *arguments)
                self.assertEqual(self.read_all(), b"\n")
            self.make_pipe()
        os.close(self.writer)

    def run_exec(self, config):
        return self.run_with_pipe(harness.BUILD_DIR / "services/exec/usher-exec", "-u", harness.USHERD,
                                  "-c", config, f"--notify-fd={self.writer}")

    def test_exec_when_it_knows_the_programs(self):
        process = self.run_exec(self.make_usherd(SERVICE).config)
        self.assertEqual(self.read_all(), b"\n")
        self.assertIsNone(process.poll())

    def test_exec_without_a_configuration_says_nothing(self):
        process = self.run_exec(self.make_usherd("nonsense").config)
        self.assertEqual(self.read_all(), b"")
        self.assertEqual(process.wait(), EX_CONFIG)

    def test_a_descriptor_that_is_none_is_wrong_usage(self):
        os.close(self.writer)
        usher_basic = harness.USHER_BASIC
        for program in (harness.USHERD, usher_basic, harness.BUILD_DIR / "services/exec/usher-exec"):
            for fd in ("2", "77", "x", "", "4294967299"):
                with self.subTest(program=program, fd=fd):
                    result = subprocess.run([program, "--notify-fd", fd], stderr=subprocess.PIPE, check=False)
                    self.assertEqual(result.returncode, EX_USAGE)
                    self.assertIn(b"descriptor above 2", result.stderr)


if __name__ == "__main__":
    tap.main()
