# SPDX-License-Identifier: MIT
"""deliver = "pass": receivers that have never heard of usher, here a few lines of Python each."""

import array
import contextlib
import errno
import os
import select
import socket

import harness
import network
import protocol
import tap
from processes import DEADLINE

TYPES = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}
AT_ONCE = 16  # connections on their way to a receiver
LOOPBACK = "tcp:127.0.0.1:0"


class Receiver:
    """A socket that is bound to a path, and what comes to it."""

    def __init__(self, path, kind="stream", backlog=64):
        self.kind = kind
        self.socket = socket.socket(socket.AF_UNIX, TYPES[kind])
        self.socket.settimeout(DEADLINE)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.socket.bind(str(path))
        os.chmod(path, 0o666)
        if kind != "dgram":
            self.socket.listen(backlog)

    def accept(self):
        """A channel with a message in it."""
        if self.kind == "dgram":
            return self.socket.dup()
        channel, _ = self.socket.accept()
        channel.settimeout(DEADLINE)
        select.select([channel], [], [], DEADLINE)
        return channel

    def receive(self, room=1):
        """The connection that comes next, and the bytes that came with it."""
        with self.accept() as channel:
            data, control, _, _ = channel.recvmsg(room, socket.CMSG_SPACE(array.array("i").itemsize))
            (_, kind, numbers), = control
            assert kind == socket.SCM_RIGHTS
            while room > 1 and (more := channel.recv(room)):
                data += more
        return socket.socket(fileno=array.array("i", numbers)[0]), data

    def serve(self, answer=b"x\n"):
        connection, _ = self.receive()
        with connection:
            connection.sendall(answer)
            return connection.getpeername()

    def close(self):
        """As if the process had died: nothing is unlinked."""
        self.socket.close()


class PassTest(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.folder.chmod(0o777)
        self.path = self.folder / "receiver"

    def service(self, kind="stream", more="", address=None, path=None, attributes=""):
        return (f'service x {{ listen = {{"{address or LOOPBACK}"}} deliver = "pass" {more}\n'
                f'pass {{ path = "{path or self.path}" type = "{kind}" {attributes} }} }}\n')

    def start(self, kind="stream", **options):
        usherd = self.start_usherd(self.service(kind, **options))
        self.address = usherd.addresses("x")[0]
        return usherd

    def reload(self, usherd, config):
        usherd.write_config(config)
        self.assertTrue(usherd.ask("reload")["ok"])

    def receiver(self, *arguments, **options):
        return self.closing(Receiver(self.path, *arguments, **options))

    def client(self):
        return self.connect(self.address)

    def check_serves(self, receiver):
        client = self.client()
        self.assertEqual(receiver.serve(), client.getsockname())
        self.assertEqual(network.read_all(client), b"x\n")

    @staticmethod
    def state(usherd):
        return usherd.service("x")["receiver"]

    def wait_receiver(self, usherd, **members):
        usherd.wait_until(lambda: members.items() <= self.state(usherd).items(), f"a receiver with {members}")


class Pass(PassTest):
    def test_each_type_of_receiver_gets_the_client_s_own_socket(self):
        for kind in TYPES:
            with self.subTest(kind):
                receiver, usherd = self.receiver(kind), self.start(kind)
                self.assertEqual(usherd.service("x")["state"], "unreached")
                self.check_serves(receiver)
                self.check_serves(receiver)
                self.assertEqual(usherd.service("x")["state"], "serving")
                usherd.wait_service("x", accepted=2, claimed=2, released=2, unclaimed=0, in_service=0)
                self.assertEqual(self.state(usherd), {"path": str(self.path), "state": "ready", "in_flight": 0,
                                                      "passed": 2, "unread": 0})
                usherd.stop()

    def test_metrics(self):
        receiver, usherd = self.receiver(), self.start()
        self.assertIn('\nusher_service_state{service="x",state="unreached"} 1\n', usherd.ask("metrics")["text"])
        clients = [self.client() for _ in range(3)]
        self.wait_receiver(usherd, in_flight=3)
        self.assertIn('\nusher_receiver_in_flight{service="x"} 3\n', usherd.ask("metrics")["text"])
        receiver.serve()
        self.wait_receiver(usherd, passed=1)
        receiver.close()
        self.wait_receiver(usherd, unread=2)
        text = usherd.ask("metrics")["text"]
        for name, n in (("in_flight", 0), ("passed_total", 1), ("unread_total", 2)):
            self.assertIn(f'\nusher_receiver_{name}{{service="x"}} {n}\n', text)
        receiver = self.receiver()
        receiver.serve()
        receiver.serve()
        self.assertEqual([network.read_all(client) for client in clients], [b"x\n"] * 3)

    def test_without_attributes_there_is_one_byte(self):
        receiver = self.receiver()
        self.start()
        self.client()
        connection, data = receiver.receive(1000)
        connection.close()
        self.assertEqual(data, b"\0")

    def test_attributes_of_postfix(self):
        receiver = self.receiver()
        self.start(attributes='attributes = "postfix"', address="tcp:0")
        port = self.address.rpartition(":")[2]
        for host, client in (("127.0.0.1", self.connect(f"tcp:127.0.0.1:{port}")),
                             ("::1", self.connect(f"tcp:[::1]:{port}"))):
            connection, data = receiver.receive(1000)
            connection.close()
            names = ("client_address", host, "client_port", str(client.getsockname()[1]),
                     "server_address", host, "server_port", port)
            self.assertEqual(data, b"\0" + "".join(name + "\0" for name in names).encode() + b"\0")

    def test_client_waits_until_somebody_binds_the_path(self):
        for kind in TYPES:
            with self.subTest(kind):
                self.path.unlink(missing_ok=True)
                usherd = self.start(kind)
                client = self.client()
                usherd.wait_log("receiver .* cannot be given connections, usherd tries again: No such file or directory")
                self.wait_receiver(usherd, state="absent")
                others = [self.client() for _ in range(3)]
                receiver = self.receiver(kind)
                for one in client, *others:
                    receiver.serve()
                self.assertEqual({network.read_all(one) for one in (client, *others)}, {b"x\n"})
                usherd.wait_log("receiver .* takes connections again")
                self.wait_receiver(usherd, state="ready")
                self.assertEqual(usherd.log.count("cannot be given connections"), 1)
                usherd.stop()

    def test_what_a_receiver_dies_with_goes_to_the_next_one(self):
        for kind in TYPES:
            with self.subTest(kind):
                receiver, usherd = self.receiver(kind), self.start(kind)
                clients = [self.client() for _ in range(5)]
                self.wait_receiver(usherd, in_flight=5)
                receiver.close()
                usherd.wait_until(lambda usherd=usherd: self.state(usherd)["unread"] == 5, "all to come back")
                receiver = self.receiver(kind)
                ports = {receiver.serve() for _ in clients}
                self.assertEqual(ports, {client.getsockname() for client in clients})
                self.assertEqual({network.read_all(client) for client in clients}, {b"x\n"})
                usherd.wait_service("x", redispatched=5, lost=0, released=5)
                usherd.stop()

    def test_channel_that_is_closed_unread_gives_the_connection_back(self):
        receiver, usherd = self.receiver(), self.start()
        client = self.client()
        receiver.accept().close()
        usherd.wait_log("went without reading what it was sent")
        receiver.serve()
        self.assertEqual(network.read_all(client), b"x\n")
        usherd.wait_service("x", redispatched=1, released=1)

    def test_connection_that_was_used_goes_to_nobody_else(self):
        receiver, usherd = self.receiver(), self.start(attributes='attributes = "postfix"')
        client = self.client()
        client.sendall(b"hello")
        with receiver.accept() as channel:  # the descriptor is read, the attributes are not
            _, control, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(4))
            with socket.socket(fileno=array.array("i", control[0][2])[0]) as connection:
                self.assertEqual(connection.recv(2), b"he")
        usherd.wait_service("x", touched=1, lost=1, redispatched=0)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(network.read_all(client), b"")

    def test_receiver_that_closes_everything_does_not_spin(self):
        receiver, usherd = self.receiver(), self.start()
        client = self.client()
        for _ in range(4):
            receiver.accept().close()
        receiver.serve()
        self.assertEqual(network.read_all(client), b"x\n")
        usherd.wait_service("x", redispatched=4)
        usherd.wait_log("takes connections again")
        self.assertEqual(usherd.log.count("went without reading"), 1)

    def test_receiver_that_reads_nothing_holds_so_many_and_no_more(self):
        for kind in "stream", "seqpacket":
            with self.subTest(kind):
                receiver, usherd = self.receiver(kind), self.start(kind, more='claim_timeout = "200ms"')
                clients = [self.client() for _ in range(AT_ONCE + 10)]
                self.wait_receiver(usherd, in_flight=AT_ONCE)
                usherd.wait_service("x", accepted=AT_ONCE, unclaimed=AT_ONCE, state="full")
                usherd.wait_log(r"receiver .* has not read \d+ connections for 200 ms")
                for _ in clients:
                    receiver.serve()
                self.assertEqual({network.read_all(client) for client in clients}, {b"x\n"})
                usherd.wait_service("x", released=len(clients))
                usherd.stop()

    def test_full_queue_holds_clients_up(self):
        for kind, options in (("stream", {"backlog": 2}), ("seqpacket", {"backlog": 2}), ("dgram", {})):
            with self.subTest(kind):
                receiver, usherd = self.receiver(kind, **options), self.start(kind)
                clients = [self.client() for _ in range(AT_ONCE + 10)]
                usherd.wait_log("receiver .* takes no more connections for now, clients wait")
                self.wait_receiver(usherd, state="full")
                for _ in clients:
                    receiver.serve()
                self.assertEqual({network.read_all(client) for client in clients}, {b"x\n"})
                usherd.wait_service("x", released=len(clients), lost=0)
                self.assertEqual(usherd.log.count("takes no more connections"), 1)
                usherd.stop()

    def test_unavailable_holds_when_there_is_no_receiver(self):
        for word, state in ("refuse", "refusing"), ("reset", "resetting"):
            with self.subTest(word):
                self.path.unlink(missing_ok=True)
                usherd = self.start(more=f'unavailable = "{word}"')
                first = self.client()  # it is by this one that usherd notices
                usherd.wait_service("x", state=state)
                with self.assertRaises((ConnectionRefusedError, ConnectionResetError)):
                    network.read_all(self.client())
                receiver = self.receiver()
                receiver.serve()
                self.assertEqual(network.read_all(first), b"x\n")
                usherd.wait_service("x", state="serving")
                self.check_serves(receiver)
                receiver.close()
                usherd.stop()

    def test_receiver_of_another_type_is_named_as_that(self):
        self.receiver("dgram")
        usherd = self.start("stream")
        client = self.client()
        usherd.wait_log(r"cannot be given connections, .*: Protocol wrong type for socket \(it is bound with "
                        r"another type: see pass \{ type \}\)")
        self.receiver("stream").serve()
        self.assertEqual(network.read_all(client), b"x\n")

    @harness.needs_root
    def test_receiver_that_usherd_may_not_write_to_says_what_to_change(self):
        receiver = self.receiver()
        self.path.chmod(0o600)
        usherd = self.start()
        client = self.connect(usherd.addresses("x")[0])
        usherd.wait_log(r"Permission denied \(usherd's user must be able to write to the socket")
        self.path.chmod(0o666)
        receiver.serve()
        self.assertEqual(network.read_all(client), b"x\n")

    def test_nobody_registers_with_a_service_that_passes(self):
        usherd = self.start()
        with self.assertRaises(protocol.Refused) as caught:
            self.provider(usherd, "x")
        self.assertEqual(caught.exception.error, errno.EOPNOTSUPP)
        self.assertIn("passes its connections to a receiver", caught.exception.reason)

    def test_reload_changes_the_receiver(self):
        receiver, usherd = self.receiver(), self.start()
        self.check_serves(receiver)
        self.reload(usherd, self.service(path=self.folder / "other"))
        self.path = self.folder / "other"
        self.check_serves(self.receiver())

    def test_reload_from_passing_to_providers_and_back(self):
        receiver, usherd = self.receiver(), self.start()
        waiting = self.client()
        self.wait_receiver(usherd, in_flight=1)
        self.reload(usherd, f'service x {{ listen = {{"{LOOPBACK}"}} }}\n')
        self.assertIsNone(usherd.service("x")["receiver"])
        receiver.serve()  # that one was on its way
        self.assertEqual(network.read_all(waiting), b"x\n")
        provider = self.serving_child(usherd, "x", "p", credit=100)
        self.assertEqual(network.read_all(self.client()), b"p\n")
        self.reload(usherd, self.service())
        self.check_serves(receiver)
        provider.kill()

    def test_service_that_ends_finishes_what_is_on_its_way(self):
        receiver, usherd = self.receiver(), self.start()
        client = self.client()
        self.wait_receiver(usherd, in_flight=1)
        self.reload(usherd, 'service other { listen = {"tcp:127.0.0.1:0"} }\n')
        receiver.serve()
        self.assertEqual(network.read_all(client), b"x\n")
        usherd.wait_until(lambda: len(usherd.status()["services"]) == 1, "the service to end")

    def test_killed_in_the_middle_of_a_burst(self):
        """Receivers that die one after the other, with something in their queues: nobody is lost."""
        usherd = self.start()
        clients = [self.client() for _ in range(40)]
        ports = []
        while len(ports) < len(clients):
            receiver = self.receiver(backlog=20)
            for _ in range(min(5, len(clients) - len(ports))):
                ports.append(receiver.serve())
            receiver.close()
        self.assertEqual(sorted(ports), sorted(client.getsockname() for client in clients))
        self.assertEqual({network.read_all(client) for client in clients}, {b"x\n"})
        usherd.wait_service("x", lost=0, released=len(clients))


class Upgrade(PassTest):
    def upgrade(self, usherd):
        usherd.read_notifications()  # the manager has to be listening
        answer = usherd.ask("upgrade")
        self.assertEqual(answer.get("ok"), True, answer)

    def test_what_is_on_its_way_stays_so(self):
        for kind in TYPES:
            with self.subTest(kind):
                receiver, usherd = self.receiver(kind), self.start(kind)
                clients = [self.client() for _ in range(5)]
                self.wait_receiver(usherd, in_flight=5)
                self.upgrade(usherd)
                self.wait_receiver(usherd, in_flight=5)
                for _ in clients:
                    receiver.serve()
                self.assertEqual({network.read_all(client) for client in clients}, {b"x\n"})
                usherd.wait_service("x", released=5, lost=0, redispatched=0)
                self.check_serves(receiver)
                usherd.stop()

    def test_receiver_that_dies_afterwards_loses_nothing(self):
        for kind in "stream", "seqpacket":
            with self.subTest(kind):
                receiver, usherd = self.receiver(kind), self.start(kind)
                clients = [self.client() for _ in range(AT_ONCE + 3)]
                self.wait_receiver(usherd, in_flight=AT_ONCE)
                self.upgrade(usherd)
                receiver.close()
                receiver = self.receiver(kind)
                for _ in clients:
                    receiver.serve()
                self.assertEqual({network.read_all(client) for client in clients}, {b"x\n"})
                usherd.wait_service("x", released=len(clients), lost=0, redispatched=AT_ONCE)
                usherd.stop()

    def test_absent_receiver_is_still_looked_for(self):
        usherd = self.start()
        client = self.client()
        self.wait_receiver(usherd, state="absent")
        self.upgrade(usherd)
        self.receiver().serve()
        self.assertEqual(network.read_all(client), b"x\n")


if __name__ == "__main__":
    tap.main()
