# SPDX-License-Identifier: MIT
"""The servers of others, from packages of Debian: they do the same work as bench-direct and usher.

Each gets what an administrator who wants speed would give it: no limits, or limits that are never
reached; no log, no look-ups of names, no access lists; the longest backlog it can have. What else
their manuals offer was tried, and left out where it made nothing faster. A server that can't be had
raises packages.Unavailable when it is made.
"""

import os
import pwd
import subprocess
from pathlib import Path

import harness
import network
import packages
from servers import PROGRAMS, Server

CACHE = harness.BUILD_DIR / "bench-peers"

MAX_CONNECTIONS = 5000  # more than wait in the longest backlog
MAX_INT = 2**31 - 1

# Until then node compiles what it does, and takes up to twice the time for each connection.
N_WARM_UP = 10_000


class Peer(Server):
    """A server out of these packages: command() says how to run it, and may write files for it."""

    package_names = ()
    program = ""
    variables = {}  # of its environment

    def __init__(self, cache=CACHE):
        super().__init__()
        self.programs = packages.Programs(self.package_names, cache)
        self.path = self.programs.find(self.program)

    def version(self):
        return self.programs.version()

    def launch(self, work, cpus):
        self.port = network.free_port()
        self.addresses = [f"127.0.0.1:{self.port}"]
        self.run(self.command(work), cpus, env={**self.programs.environment, **self.variables})

    def command(self, work):
        raise NotImplementedError

    def write(self, name, text):
        """A file for it. Returns the path."""
        path = self.folder / name
        path.write_text(text)
        return path


def _answer(work):
    """The command for one connection on descriptor 0."""
    return [PROGRAMS / "bench-answer", "-w", work]


def _user():
    return pwd.getpwuid(os.geteuid()).pw_name


# A process for each connection


class OpenbsdInetd(Peer):
    name = "openbsd-inetd"
    package_names = ("openbsd-inetd",)
    program = "inetd"

    def command(self, work):
        # -R, starts in a minute, has no value for "unlimited", and 0 is its default of 256. Without
        # -l libwrap is not asked.
        program, *arguments = _answer(work)
        configuration = self.write(
            "inetd.conf", f"{self.addresses[0]} stream tcp4 nowait {_user()}"
            f" {program} {program.name} {' '.join(arguments)}\n")
        return [self.path, "-i", "-q", self.backlog, "-R", MAX_INT, configuration]


class Xinetd(Peer):
    name = "xinetd"
    package_names = ("xinetd",)
    program = "xinetd"
    backlog = 64  # built in

    def command(self, work):
        # Without log_on_success and log_on_failure it logs no connection. `cps = 0 0` is no limit
        # to connections per second; the word UNLIMITED is not allowed there.
        program, *arguments = _answer(work)
        configuration = self.write("xinetd.conf", f"""\
service bench
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    bind = 127.0.0.1
    port = {self.port}
    wait = no
    user = {_user()}
    server = {program}
    server_args = {' '.join(arguments)}
    flags = NOLIBWRAP
    cps = 0 0
    instances = UNLIMITED
    per_source = UNLIMITED
}}
""")
        return [self.path, "-dontfork", "-filelog", "/dev/null", "-pidfile", self.folder / "pid",
                "-f", configuration]


class SocketActivate(Peer):
    """It has no limits. systemd's socket units with Accept=yes do much more for each connection."""

    name = "systemd-socket-activate"
    package_names = ("systemd",)
    program = "systemd-socket-activate"
    variables = {"SYSTEMD_LOG_LEVEL": "warning"}  # else it logs four lines for each connection

    def command(self, work):
        return [self.path, "--accept", "--inetd", "-l", self.addresses[0], *_answer(work)]


class Tcpserver(Peer):
    name = "tcpserver"
    package_names = ("ucspi-tcp",)
    program = "tcpserver"

    def command(self, work):
        # -H, -R and -l0: it asks nobody for names. -o: it does not look for IP options, which is a
        # system call less.
        return [self.path, "-q", "-o", "-H", "-R", "-l0", "-c", MAX_CONNECTIONS, "-b", self.backlog,
                "127.0.0.1", self.port, *_answer(work)]


class S6Tcpserver(Peer):
    name = "s6-tcpserver"
    package_names = ("s6-networking",)
    program = "s6-tcpserver"

    def command(self, work):
        # -c is the limit of all, -C that of one client's address. It lowers -c to what it can do.
        return [self.path, "-q", "-c", MAX_CONNECTIONS, "-C", MAX_CONNECTIONS, "-b", self.backlog,
                "127.0.0.1", self.port, *_answer(work)]


# Proxies, before bench-direct


class _Proxy(Peer):
    """One process that accepts, and connects to bench-direct for each connection."""

    def launch(self, work, cpus):
        self.behind = f"127.0.0.1:{network.free_port()}"
        self.run([PROGRAMS / "bench-direct", "-w", work, self.behind], cpus)
        super().launch(work, cpus)


class Haproxy(_Proxy):
    name = "haproxy"
    package_names = ("haproxy",)
    program = "haproxy"

    def command(self, work):
        # Its own number of threads, one for each processor. Without timeouts it complains.
        configuration = self.write("haproxy.cfg", f"""\
global
    maxconn {MAX_CONNECTIONS}
defaults
    mode tcp
    maxconn {MAX_CONNECTIONS}
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen bench
    bind {self.addresses[0]} backlog {self.backlog}
    server direct {self.behind}
""")
        return [self.path, "-db", "-q", "-f", configuration]


class NginxStream(_Proxy):
    name = "nginx stream"
    package_names = ("nginx", "libnginx-mod-stream")
    program = "nginx"

    def command(self, work):
        # A connection is two of its worker_connections. multi_accept empties the backlog in one go.
        module = self.programs.locate("usr/lib/nginx/modules/ngx_stream_module.so")
        configuration = self.write("nginx.conf", f"""\
daemon off;
worker_processes auto;
worker_rlimit_nofile {3 * MAX_CONNECTIONS};
pid {self.folder}/pid;
load_module {module};
events {{
    worker_connections {2 * MAX_CONNECTIONS};
    multi_accept on;
}}
stream {{
    access_log off;
    server {{
        listen {self.addresses[0]} backlog={self.backlog};
        proxy_pass {self.behind};
    }}
}}
""")
        return [self.path, "-p", self.folder, "-e", "stderr", "-c", configuration]


# Another one that passes connections to a process


class NodeCluster(Peer):
    """A primary process and one worker. Debian's node has to be installed, unpacked it fails."""

    name = "node cluster"
    program = "node"

    def version(self):
        return subprocess.run([self.path, "--version"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.strip()

    def start(self, work, cpus=None):
        super().start(work, cpus)
        subprocess.run([PROGRAMS / "bench-load", "-w", work, "-c", "64", "-n", str(N_WARM_UP),
                        *self.addresses], stdout=subprocess.DEVNULL, check=True)

    def command(self, work):
        script = Path(__file__).with_name("bench-cluster.js")
        return [self.path, script, "-w", work, *self.addresses]
