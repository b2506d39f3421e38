# SPDX-License-Identifier: MIT
"""A world of the test's own: all ports are free, and /etc and /run are copies that it may change."""

import ctypes
import os
import subprocess
import unittest
from pathlib import Path

import network

CLONE_NEWNS = 0x00020000


def _mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def enter(folder):
    """Move this process, and what it starts from now on, into such a world. Needs root."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root")
    network.enter_network_namespace()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise unittest.SkipTest(f"no mounts of one's own: {os.strerror(ctypes.get_errno())}")
    try:
        _mount("--make-rprivate", "/")
        subprocess.run(["cp", "-a", "/etc", folder], check=True)
        _mount("--bind", Path(folder) / "etc", "/etc")
        _mount("-t", "tmpfs", "tmpfs", "/run")
    except subprocess.CalledProcessError as error:
        raise unittest.SkipTest(f"no mounts of one's own: {error}") from error


def add_user(name, user_id, home, shell="/bin/sh"):
    """A user who can log in, but not with a password."""
    with open("/etc/passwd", "a") as passwd, open("/etc/shadow", "a") as shadow:
        passwd.write(f"{name}:x:{user_id}:{user_id}::{home}:{shell}\n")
        shadow.write(f"{name}:*:19000::::::\n")
