# SPDX-License-Identifier: MIT
"""What one usherd leaves to the next at an upgrade: unusual states, wrong ones, and that of the version before."""

import fcntl
import json
import os
import socket
from pathlib import Path

import harness
import network
import processes
import protocol
import tap
from upgrades import UpgradeTest

EX_DATAERR, EX_CONFIG = 65, 78


class WhatIsKept(UpgradeTest):
    """States of services and providers that are not the usual ones."""

    def test_a_paused_service_stays_paused(self):
        provider = self.provider(self.usherd, "one")
        self.assertIn("ok", self.usherd.ask("pause one"))
        client = self.connect(self.address)
        self.upgrade()
        self.assertEqual(self.usherd.service("one")["state"], "paused")
        self.assertFalse(provider.has_message())
        self.assertIn("ok", self.usherd.ask("resume one"))
        provider.finish(*provider.take_and_claim(1))
        self.assertEqual(network.read_all(client), b"")

    def test_who_waits_in_the_backlog_is_not_refused_meanwhile(self):
        """Before the providers are back nobody is registered: that must not be seen."""
        self.usherd.kill()
        for unavailable in ("refuse", "reset"):
            self.start(f"unavailable = {unavailable}")
            provider = self.provider(self.usherd, "one", credit=1)
            self.usherd.wait_service("one", state="serving")
            clients = [self.connect(self.address) for _ in range(4)]
            connection, = provider.take_and_claim(1)
            self.usherd.wait_service("one", in_service=1, unclaimed=0)
            self.upgrade()
            for _ in clients[1:]:
                provider.finish(connection)
                connection, = provider.take_and_claim(1)
            provider.finish(connection)
            self.assertEqual({network.read_all(client) for client in clients}, {b""})
            provider.close()
            self.usherd.kill()
        self.start("")

    def park(self, n):
        """Clients that were accepted, and whose provider has died."""
        dead = self.holding_child(self.usherd, "one", "dead", credit=n)
        clients = [self.connect(self.address) for _ in range(n)]
        self.usherd.wait_service("one", unclaimed=n)
        dead.kill()
        self.usherd.wait_service("one", parked=n, unclaimed=0)
        return clients

    def test_parked_connections_are_served_afterwards(self):
        clients = self.park(40)
        for number, client in enumerate(clients):
            client.sendall(bytes([number]))
        self.upgrade()
        self.upgrade()
        self.usherd.wait_service("one", parked=40, accepted=40)
        late = self.connect(self.address)
        provider = self.provider(self.usherd, "one", credit=100)
        connections = provider.take_and_claim(40)
        order = [network.read_exactly(connection.socket, 1)[0] for connection in connections]
        self.assertEqual(order, list(range(40)))
        connections += provider.take_and_claim(1)
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in [*clients, late]}, {b""})
        self.usherd.wait_service("one", parked=0, accepted=41, claimed=41, released=41, lost=0)

    def test_parked_connections_keep_their_deadline(self):
        self.usherd.kill()
        self.start("park { timeout = 2s }")
        client, = self.park(1)
        self.upgrade()
        with self.assertRaises(ConnectionResetError):
            network.read_all(client)
        self.usherd.wait_service("one", parked=0)

    def test_a_service_that_was_removed_drains_to_its_end(self):
        provider = self.provider(self.usherd, "one")
        clients = [self.connect(self.address) for _ in range(2)]
        connections = provider.take(2)
        self.usherd.wait_service("one", unclaimed=2)
        self.usherd.write_config("")
        self.upgrade()
        self.upgrade()
        self.assertEqual(self.usherd.service("one")["state"], "draining")
        with self.assertRaises(ConnectionRefusedError):
            network.connect(self.address)
        provider.send(protocol.claim(connections[-1].sequence))
        self.assertEqual(provider.receive()[0], protocol.DRAINING)
        provider.wait_closed()
        self.usherd.wait_until(lambda: not self.usherd.status()["services"], "the end of the service")
        for client, connection in zip(clients, connections):
            connection.close()
            self.assertEqual(network.read_all(client), b"")
        self.usherd.write_config(self.service())
        self.assertIn("ok", self.usherd.ask("reload"))

    def test_a_removed_service_and_its_successor_of_the_same_name(self):
        provider = self.provider(self.usherd, "one")
        client = self.connect(self.address)
        connection, = provider.take(1)
        self.usherd.write_config("")
        self.assertIn("ok", self.usherd.ask("reload"))
        self.usherd.write_config(self.service())
        self.upgrade()
        states = [service["state"] for service in self.usherd.status()["services"]]
        self.assertEqual(states, ["waiting", "draining"])
        successor = self.provider(self.usherd, "one")
        provider.send(protocol.claim(connection.sequence))
        provider.wait_closed()
        connection.close()
        self.assertEqual(network.read_all(client), b"")
        self.address = self.usherd.addresses("one")[0]
        self.check_serves(successor)

    def test_a_draining_provider_finishes_what_it_has(self):
        provider = self.provider(self.usherd, "one", name="old")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        self.assertIn("ok", self.usherd.ask("drain one/old"))
        message_type, body, _ = provider.receive()
        self.assertEqual((message_type, protocol.DRAINING_BODY.unpack(body)[0]),
                         (protocol.DRAINING, protocol.ADMINISTRATOR))
        self.upgrade()
        self.assertEqual(self.usherd.provider("one", "old")["state"], "draining")
        self.assertFalse(provider.has_message())
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")
        self.usherd.wait_service("one", released=1)

    def test_a_standby_stays_one(self):
        standby = self.provider(self.usherd, "one", name="standby", standby=True)
        first = self.provider(self.usherd, "one", name="first")
        self.upgrade()
        self.check_serves(first)
        self.assertFalse(standby.has_message())
        first.close()
        self.usherd.wait_service("one", n_providers=1)
        self.check_serves(standby)

    def test_a_quarantined_provider_stays_so_until_it_leaves(self):
        bad = self.provider(self.usherd, "one", name="bad", credit=2)
        client = self.connect(self.address)
        connection, = bad.take(1)
        bad.send(protocol.message(99))
        self.usherd.wait_until(
            lambda: self.usherd.provider("one", "bad")["state"] == "quarantined", "quarantine")
        self.upgrade()
        self.assertEqual(self.usherd.provider("one", "bad")["state"], "quarantined")
        bad.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):  # it is not read from
            for _ in range(5000):
                bad.send(protocol.status("ignored"))
        bad.socket.close()
        heir = self.provider(self.usherd, "one", name="heir")
        heir.finish(*heir.take_and_claim(1))
        connection.close()
        self.assertEqual(network.read_all(client), b"")

    def test_a_provider_whose_channel_is_full_gets_the_rest_afterwards(self):
        n = 400
        provider = self.provider(self.usherd, "one", name="slow", credit=n)
        clients = []
        while self.usherd.provider("one", "slow")["state"] != "blocked":
            clients.append(self.connect(self.address))
            self.assertLess(len(clients), n)
        self.upgrade()
        connections = provider.take_and_claim(len(clients))
        self.usherd.wait_service("one", in_service=len(clients), lost=0)
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in clients}, {b""})

    def test_forwarded_bytes_and_hops_are_carried_over(self):
        self.usherd.kill()
        self.start('providers { forward = {"one"} }')
        provider = self.provider(self.usherd, "one", name="first")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        client.sendall(b"hello")
        data = network.read_exactly(connection.socket, 5)
        provider.send(protocol.credit(connection.sequence, 0))
        other = self.provider(self.usherd, "one", name="second", credit=2)
        provider.send(protocol.forward(connection.id, "one", data), [connection.socket.fileno()])
        self.usherd.wait_service("one", unclaimed=1)
        self.upgrade()
        forwarded, = other.take_and_claim(1)
        self.assertEqual((forwarded.data, forwarded.hops, forwarded.forwarded_by), (b"hello", 1, "one"))
        self.upgrade()
        self.assertTrue(other.may_forward)
        other.send(protocol.credit(forwarded.sequence, 0))
        provider.send(protocol.credit(connection.sequence, 5))
        other.send(protocol.forward(forwarded.id), [forwarded.socket.fileno()])
        again, = provider.take_and_claim(1)
        self.assertEqual((again.data, again.hops), (b"", 2))
        for copy in (connection, forwarded):
            copy.socket.close()
        provider.finish(again)
        self.assertEqual(network.read_all(client), b"")


    def test_a_forwarded_connection_whose_next_provider_dies_goes_on(self):
        """What was read before it was forwarded is no sign that somebody has used it since."""
        self.usherd.kill()
        self.start('providers { forward = {"one"} }')
        first = self.provider(self.usherd, "one", credit=1)
        client = self.connect(self.address)
        connection, = first.take_and_claim(1)
        client.sendall(b"hello")
        data = network.read_exactly(connection.socket, 5)
        dead = self.holding_child(self.usherd, "one", "dead", credit=1)
        first.send(protocol.forward(connection.id, "one", data), [connection.socket.fileno()])
        connection.socket.close()
        self.usherd.wait_service("one", unclaimed=1)
        self.upgrade()
        dead.kill()
        first.send(protocol.credit(connection.sequence, 1))
        again, = first.take_and_claim(1)
        self.assertEqual((again.data, again.hops), (b"hello", 1))
        first.finish(again)
        self.assertEqual(network.read_all(client), b"")


class CheckState(UpgradeTest):
    def check(self, text):
        return self.run_usherd("--check-state", input=text)

    def state(self):
        return self.usherd.ask("state")["state"]

    def test_the_state_of_a_running_usherd(self):
        provider = self.provider(self.usherd, "one")
        self.connect(self.address)
        provider.take_and_claim(1)
        self.usherd.wait_service("one", in_service=1)
        answer = self.usherd.ask("state")
        self.assertEqual(answer["program"], str(self.usherd.program))
        result = self.check(json.dumps(answer["state"]))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, "can go on from the state of usherd ")

    def check_refused(self, state, pattern, status=EX_DATAERR):
        result = self.check(state if isinstance(state, str) else json.dumps(state))
        self.assertEqual(result.returncode, status)
        self.assertRegex(result.stderr, pattern)

    def test_what_is_no_state(self):
        self.check_refused("", "this is not the state of an usherd")
        self.check_refused("[]", "this is not the state of an usherd: it has no format")
        self.check_refused('{"format": 1', "this is not the state of an usherd")

    def test_a_later_format(self):
        state = self.state() | {"format": 3, "version": "9.9.9"}
        self.check_refused(state, "the state of usherd 9.9.9 has the format 3, and this one reads 0 to 2: restart it instead of upgrading")

    def test_what_is_wrong_is_named(self):
        self.provider(self.usherd, "one")
        state = self.state()
        del state["services"][0]["providers"][0]["credit"]
        self.check_refused(state, r"services\[0\].providers\[0\].credit: is missing")

    def test_connections_that_contradict_each_other(self):
        provider = self.provider(self.usherd, "one")
        waiting = self.connect(self.address)
        self.usherd.wait_service("one", unclaimed=1)
        state = self.state()
        state["services"][0]["providers"][0]["claimed_sequence"] = 1
        self.check_refused(state, "service one cannot be restored: its connections contradict each other")
        provider.finish(*provider.take_and_claim(1))
        self.assertEqual(network.read_all(waiting), b"")

    def test_a_configuration_that_does_not_load(self):
        state = self.state() | {"config_path": "/nonexistent/usher.conf"}
        self.check_refused(state, "/nonexistent/usher.conf", EX_CONFIG)


class PreviousFormat(harness.UsherTest):
    """The state that the version before this one would have written, with real sockets in it."""

    STATE = Path(__file__).resolve().parents[1] / "unit/states/format-0.json"

    def setUp(self):
        super().setUp()
        self.listener = self.closing(socket.create_server(("127.0.0.1", 0)))
        self.port = self.listener.getsockname()[1]
        self.usherd = self.make_usherd(f'service one {{ listen = {{"tcp:127.0.0.1:{self.port}"}} }}\n',
                                       as_user=harness.USHERD_USER if harness.IS_ROOT else None)
        self.usherd.run_dir.mkdir(0o755)
        self.lock = self.closing(open(self.usherd.run_dir / "usherd.lock", "w", encoding="ascii"))
        self.rendezvous = self.bind("one.sock", socket.SOCK_SEQPACKET)
        self.control = self.bind("control.sock", socket.SOCK_STREAM)
        if harness.IS_ROOT:
            for path in (self.usherd.run_dir, *self.usherd.run_dir.iterdir()):
                os.chown(path, processes.user_id(harness.USHERD_USER), -1)

    def bind(self, name, kind):
        server = self.closing(socket.socket(socket.AF_UNIX, kind))
        server.bind(str(self.usherd.run_dir / name))
        server.listen()
        return server

    def provider_end(self):
        """A channel: the provider's end, and usherd's."""
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        provider = protocol.Provider.__new__(protocol.Provider)
        provider.socket, provider.batches, provider.kept, provider.lent = own, [], [], []
        provider.socket.settimeout(processes.DEADLINE)
        return self.closing(provider), self.closing(other)

    def adopt(self, numbers):
        """Start an usherd with the stored state, in which the descriptors are these."""
        state = json.loads(self.STATE.read_text()) | {"config_path": str(self.usherd.config)}
        state |= {name: numbers[name] for name in ("lock_fd", "control_fd", "client_fd")}
        service, = state["services"]
        service["rendezvous_fd"] = numbers["rendezvous_fd"]
        service["listeners"][0] |= {"fd": numbers["listener"], "address": f"tcp:127.0.0.1:{self.port}"}
        service["providers"][0]["fd"] = numbers["provider"]
        service["providers"][0]["unclaimed"][0]["fd"] = numbers["unclaimed"]
        service["strangers"][0]["fd"] = numbers["stranger"]
        memfd = os.memfd_create("state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.endings.callback(os.close, memfd)
        os.write(memfd, json.dumps(state).encode())
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, 0xf)
        self.usherd.pass_fds = (memfd, *numbers.values())
        self.usherd.environment["USHER_STATE_FD"] = str(memfd)
        self.usherd.start()

    def adopt_all(self):
        """The other ends of everything in the stored state, but for those of `listener` and the like."""
        provider, provider_fd = self.provider_end()
        stranger, stranger_fd = self.provider_end()
        asking, client_fd = map(self.closing, socket.socketpair())
        client = self.connect(f"tcp:127.0.0.1:{self.port}")
        unclaimed = self.closing(self.listener.accept()[0])
        late = self.connect(f"tcp:127.0.0.1:{self.port}")
        files = {"lock_fd": self.lock, "control_fd": self.control, "client_fd": client_fd,
                 "rendezvous_fd": self.rendezvous, "listener": self.listener, "provider": provider_fd,
                 "unclaimed": unclaimed, "stranger": stranger_fd}
        for file in files.values():
            os.set_blocking(file.fileno(), False)  # as they were in the process before
        self.adopt({name: file.fileno() for name, file in files.items()})
        for file in files.values():
            file.close()
        self.assertEqual(json.loads(network.read_all(asking))["ok"], True)
        return provider, stranger, client, late

    def test_it_is_adopted(self):
        provider, stranger, client, late = self.adopt_all()
        self.usherd.wait_service("one", accepted=12 + 1, claimed=11, unclaimed=2, in_service=1)
        provider.send(protocol.claim(11))
        self.assertEqual(network.read_all(client), b"")  # ours and usherd's copies are closed
        connection, = provider.take_and_claim(1)
        self.assertEqual(connection.sequence, 12)
        connection.close()
        provider.send(protocol.release(2097153, 3145728, connection.id))
        self.usherd.wait_service("one", released=12, in_service=0, unclaimed=0)
        self.assertEqual(network.read_all(late), b"")
        self.assertEqual(stranger.register(name="stranger")[0], "one")
        self.assertEqual(self.usherd.provider("one", "stranger")["number"], 4)
        provider.close()
        stranger.close()
        self.usherd.wait_service("one", n_providers=0)
        self.usherd.remember_fds()

    def test_what_is_not_configured_is_closed(self):
        self.usherd.write_config('service two { listen = {"tcp:127.0.0.1:0"} }\n')
        provider, stranger, client, late = self.adopt_all()
        self.assertEqual([service["name"] for service in self.usherd.status()["services"]], ["two"])
        provider.wait_closed()
        stranger.wait_closed()
        self.assertEqual(network.read_all(client), b"")
        with self.assertRaises(ConnectionResetError):
            network.read_all(late)
        self.assertFalse((self.usherd.run_dir / "one.sock").exists())


if __name__ == "__main__":
    tap.main()
