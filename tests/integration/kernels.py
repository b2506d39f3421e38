# SPDX-License-Identifier: MIT
"""Kernels in which something is missing, made of this one by a seccomp(2) filter.

Each is a function for a child before exec(2), as UsherTest.start_usherd(before_exec=...) wants it.
The filter is inherited; it needs no rights and, unlike a preloaded library, disturbs no sanitizer.
"""

import ctypes
import errno
import os
import socket
import struct

NUMBERS = {  # of system calls
    "x86_64": {"socket": 41, "setsockopt": 54, "getsockopt": 55, "seccomp": 317, "pidfd_open": 434,
               "close_range": 436, "landlock_create_ruleset": 444},
    "aarch64": {"socket": 198, "setsockopt": 208, "getsockopt": 209, "seccomp": 277, "pidfd_open": 434,
                "close_range": 436, "landlock_create_ruleset": 444},
    "riscv64": {"socket": 198, "setsockopt": 208, "getsockopt": 209, "seccomp": 277, "pidfd_open": 434,
                "close_range": 436, "landlock_create_ruleset": 444},
}
SO_PEERPIDFD, SO_PASSRIGHTS = 77, 83

LOAD, JUMP_IF_EQUAL, GIVE = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


def without_ipv6():
    """As booted with ipv6.disable=1: socket(AF_INET6, ...) fails."""
    _install(_rule("socket", {0: socket.AF_INET6}, errno.EAFNOSUPPORT))


def linux_6_1():
    """That of Debian 12: neither SO_PEERPIDFD (6.5) nor SO_PASSRIGHTS (6.16)."""
    _install(_linux_6_1_rules())


def without_close_range():
    """Linux 5.8."""
    _install(_rule("close_range", {}, errno.ENOSYS))


def forbidding_close_range():
    """In a sandbox that has not heard of it."""
    _install(_rule("close_range", {}, errno.EPERM))


def without_seccomp():
    """As in a container that allows no filter of one's own."""
    _install(_rule("seccomp", {}, errno.ENOSYS))


def without_landlock():
    """Linux 5.12, or one that was not started with it."""
    _install(_rule("landlock_create_ruleset", {}, errno.ENOSYS))


def without_pidfd():
    """Linux 6.1 in a sandbox without pidfd_open(2): only its channel tells of a provider's death."""
    _install(_linux_6_1_rules() + _rule("pidfd_open", {}, errno.EPERM))


def _linux_6_1_rules():
    return (_rule("getsockopt", {1: socket.SOL_SOCKET, 2: SO_PEERPIDFD}, errno.ENOPROTOOPT)
            + _rule("setsockopt", {1: socket.SOL_SOCKET, 2: SO_PASSRIGHTS}, errno.ENOPROTOOPT))


def _rule(name, arguments, error):
    """Steps that let a call fail which has these arguments, given by their positions."""
    checks = [(0, NUMBERS[os.uname().machine][name])]  # (offset in struct seccomp_data, value)
    checks += [(16 + 8 * position, value) for position, value in arguments.items()]
    steps = []
    for n_done, (offset, value) in enumerate(checks, 1):
        to_the_end = 2 * (len(checks) - n_done) + 1
        steps += [(LOAD, 0, 0, offset), (JUMP_IF_EQUAL, 0, to_the_end, value)]
    return steps + [(GIVE, 0, 0, FAIL | error)]


def _install(rules):
    program = b"".join(struct.pack("=HBBI", *step) for step in rules + [(GIVE, 0, 0, ALLOW)])
    text = ctypes.create_string_buffer(program, len(program))
    filter_program = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
            PR_SET_SECCOMP, MODE_FILTER, ctypes.c_char_p(filter_program), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
