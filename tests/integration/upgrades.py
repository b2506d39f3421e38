# SPDX-License-Identifier: MIT
"""What tests of upgrades in place have in common: an usherd whose program can be replaced."""

import os
import subprocess
from pathlib import Path

import harness
import network
import processes


class UpgradeTest(harness.UsherTest):
    """One usherd, whose program can be replaced."""

    make_kernel = None  # it runs on this kernel as it is

    def setUp(self):
        super().setUp()
        self.start("")

    def service(self, name="one", more="", address="tcp:127.0.0.1:0"):
        return f'service {name} {{ listen = {{"{address}"}} {more} }}\n'

    def start(self, more, **options):
        """Another usherd than the test began with."""
        self.usherd = self.make_usherd(self.service(more=more), before_exec=self.make_kernel, **options)
        self.usherd.program = self.copy_for_others(harness.USHERD)
        self.usherd.start()
        self.address = self.usherd.addresses("one")[0]

    def usherctl(self, *arguments):
        return subprocess.run([harness.USHERCTL, "--run-dir", self.usherd.run_dir, *arguments],
                              capture_output=True, text=True, timeout=processes.DEADLINE, check=False)

    def upgrade(self):
        self.usherd.read_notifications()  # the manager has to be listening
        answer = self.usherd.ask("upgrade")
        self.assertEqual(answer.get("ok"), True, answer)
        return answer["message"]

    def replace_program(self, content, mode=0o755):
        program = Path(self.usherd.program)
        os.rename(program, program.with_suffix(".old"))
        program.write_text(content)
        program.chmod(mode)

    def put_program_back(self):
        os.rename(Path(self.usherd.program).with_suffix(".old"), self.usherd.program)

    def check_serves(self, provider):
        """A new client comes to the provider that was there before."""
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        client.sendall(b"ping")
        self.assertEqual(network.read_exactly(connection.socket, 4), b"ping")
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")
