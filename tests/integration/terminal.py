# SPDX-License-Identifier: MIT
"""A terminal of a test's own: a tmux(1) that nobody else knows, its keys and its screen."""

import os
import re
import shlex
import subprocess
import tempfile

from processes import DEADLINE, Deadline


class Terminal:
    """One window of a tmux of its own, with a program in it."""

    def __init__(self, folder, command, width=80, height=24, **environment):
        self.socket = tempfile.mktemp(prefix="tmux-", dir=folder)
        # What the shell says afterwards shows that the terminal is again what it was.
        script = (f"trap : INT; before=$(stty -g); {shlex.join(map(str, command))}; echo status $?; "
                  'test "$before" = "$(stty -g)" && echo restored; exec cat')
        variables = [f"{name}={value}" for name, value in environment.items()]
        self.run("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height,
                 "env", *variables, "sh", "-c", script)

    def run(self, *arguments):
        result = subprocess.run(["tmux", "-u", "-S", self.socket, *map(str, arguments)], capture_output=True,
                                text=True, timeout=DEADLINE, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
        if result.returncode != 0:
            raise AssertionError(f"tmux {arguments}: {result.stderr}")
        return result.stdout

    def press(self, *keys):
        self.run("send-keys", *keys)

    def resize(self, width, height):
        self.run("resize-window", "-x", width, "-y", height)

    def lines(self):
        return self.run("capture-pane", "-p").splitlines()

    def text_with_attributes(self):
        return self.run("capture-pane", "-p", "-e")

    def wait(self, pattern, meanwhile=lambda: None):
        """Wait until the screen has a line that matches; there is no event for that. Returns its lines."""
        deadline = Deadline()
        while True:
            lines = self.lines()
            if any(re.search(pattern, line) for line in lines):
                return lines
            meanwhile()
            try:
                deadline.left(f"a line like {pattern!r}")
            except AssertionError as error:
                raise AssertionError("\n".join([str(error), *lines])) from None

    def close(self):
        self.run("kill-server")
