# SPDX-License-Identifier: MIT
"""The scripts for those who have no systemd, run as an init would, with folders of the test's."""

import os
import subprocess
from pathlib import Path

import harness
import network
import tap
from processes import DEADLINE

SCRIPTS = Path(__file__).resolve().parents[2] / "packaging/sysvinit"
SERVICE = f'service echo {{ listen = {{"tcp:127.0.0.1:0"}} providers {{ users = {{"{harness.PROVIDER_USER}"}} }} }}\n'
NOT_RUNNING = 3  # of status: LSB, 20.2
EX_CONFIG = 78


@harness.needs_root
class Scripts(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.make_usherd(SERVICE)
        self.sbin = self.folder / "sbin"
        self.sbin.mkdir()
        self.write(self.sbin / "usherd", f'#!/bin/sh\nexec {harness.USHERD} -c {self.usherd.config} "$@"\n')
        self.write(self.sbin / "usherctl", f"""#!/bin/sh
[ "$1" = check ] && set -- check {self.usherd.config}
exec {harness.USHERCTL} -r {self.usherd.run_dir} "$@"
""")
        os.link(self.copy_for_others(harness.USHER_BASIC), self.sbin / "usher-basic")
        self.install("usherd", {})
        self.install("provider", {"program": "usher-basic", "user": harness.PROVIDER_USER, "description": ""})

    @staticmethod
    def write(path, text):
        path.write_text(text)
        path.chmod(0o755)

    def install(self, name, variables):
        text = (SCRIPTS / f"{name}.init.in").read_text().replace("=/run/", f"={self.folder}/")
        for variable, value in (variables | {"sbindir": str(self.sbin)}).items():
            text = text.replace(f"@{variable}@", value)
        self.write(self.folder / name, text)
        self.endings.callback(self.run_script, "stop", name=name)

    def run_script(self, action, name="usherd"):
        """Returns its exit status."""
        return subprocess.run(
            [self.folder / name, action], stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=DEADLINE, env={**os.environ, "USHER_RUN_DIR": str(self.usherd.run_dir),
                                   "LD_LIBRARY_PATH": str(self.folder)}).returncode

    def pid(self):
        """Of the usherd that answers."""
        return self.usherd.status()["pid"]

    def test_usherd_is_started_and_stopped(self):
        self.assertEqual(self.run_script("status"), NOT_RUNNING)
        self.assertEqual(self.run_script("start"), 0)
        pid = self.pid()  # it answers at once
        self.assertEqual((self.run_script("start"), self.run_script("status")), (0, 0))
        self.assertEqual((self.run_script("reload"), self.run_script("upgrade")), (0, 0))
        self.assertEqual(self.pid(), pid)
        self.assertEqual((self.run_script("stop"), self.run_script("stop")), (0, 0))
        self.assertEqual(self.run_script("status"), NOT_RUNNING)

    def test_one_that_works_survives_a_wrong_configuration(self):
        self.assertEqual(self.run_script("start"), 0)
        pid = self.pid()
        self.usherd.write_config("nonsense")
        self.assertEqual(self.run_script("restart"), EX_CONFIG)
        self.assertEqual(self.pid(), pid)
        self.usherd.write_config(SERVICE)
        self.assertEqual(self.run_script("restart"), 0)
        self.assertNotEqual(self.pid(), pid)

    def test_start_that_fails_says_so(self):
        self.usherd.write_config(SERVICE.replace("127.0.0.1:0", "192.0.2.1:1"))
        self.assertNotEqual(self.run_script("start"), 0)
        self.usherd.write_config("nonsense")
        self.assertEqual(self.run_script("start"), EX_CONFIG)
        self.assertNotEqual(self.run_script("status"), 0)

    def test_provider_is_started_and_stopped(self):
        self.assertEqual(self.run_script("start", name="provider"), 0)
        self.assertEqual(self.run_script("start"), 0)
        self.usherd.wait_service("echo", n_providers=1)
        client = self.connect(self.usherd.addresses("echo")[0])
        client.sendall(b"hello")
        self.assertEqual(network.read_exactly(client, 5), b"hello")
        client.close()
        self.assertEqual(self.run_script("stop", name="provider"), 0)
        self.usherd.wait_service("echo", n_providers=0)
        self.assertEqual(self.run_script("status", name="provider"), NOT_RUNNING)


if __name__ == "__main__":
    tap.main()
