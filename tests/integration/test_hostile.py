# SPDX-License-Identifier: MIT
"""Providers that break the rules: they are shown the door, and nobody else notices."""

import contextlib
import os
import random
import signal
import socket
import struct

import harness
import kernels
import network
import processes
import protocol
import tap

CONFIG = """
service victim { listen = {"tcp:127.0.0.1:0"} claim_timeout = "500ms" }
service bystander { listen = {"tcp:127.0.0.1:0"} }
"""

# What no registered provider may send: each closes the channel.
BROKEN = {
    "unknown_type": protocol.message(99),
    "reserved_type": protocol.message(5),
    "message_of_usherd": protocol.message(protocol.DRAINING),
    "one_byte": b"x",
    "header_cut_short": protocol.claim(1)[:6],
    "body_cut_short": protocol.claim(1)[:-1],
    "body_too_long": protocol.claim(1) + b"\0",
    "flags_set": protocol.message(protocol.DRAIN, flags=1),
    "reserved_set": protocol.message(protocol.DRAIN, reserved=1),
    "second_hello": protocol.hello(),
    "claim_of_nothing": protocol.claim(0),
    "claim_of_the_future": protocol.claim(1000),
    "release_of_nothing": protocol.release(),
    "release_of_a_foreign_id": protocol.release(0x1234567890),
    "release_of_holding_that_was_never_said": protocol.release(0),
    "release_with_half_an_id": protocol.release(1)[:-4],
    "credit_out_of_range": protocol.credit(0, 1 << 30),
    "credit_after_the_future": protocol.credit(1000, 1),
    "decline_of_the_future": protocol.decline(1, 1000),
    "decline_backwards": protocol.decline(2, 1),
    "status_without_an_end": protocol.message(protocol.STATUS, b"x" * 256),
    "status_with_control_characters": protocol.status("\x1b[2J"),
    "longer_than_any_message": b"\x07\0\0\0\0\0\0\0" + b"\1" * 60000,
}

BAD_HELLO = {
    "version_range_backwards": protocol.hello(lowest=2, highest=1),
    "negative_credit": protocol.hello(credit=-1),
    "weight_zero": protocol.hello(weight=0),
    "weight_too_large": protocol.hello(weight=100000),
    "name_without_an_end": protocol.message(
        protocol.HELLO, protocol.HELLO_BODY.pack(1, 1, 1, 1, 0, b"x" * 64)),
    "something_else_first": protocol.claim(1),
    "zeros": bytes(88),
}


class Hostile(harness.UsherTest):
    make_kernel = None  # usherd runs on this kernel as it is

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG, before_exec=self.make_kernel)
        self.address = self.usherd.addresses("victim")[0]
        self.serving_child(self.usherd, "bystander", "bystander")

    def check_bystander(self):
        client = self.connect(self.usherd.addresses("bystander")[0])
        self.assertEqual(network.read_all(client), b"bystander\n")

    def check_thrown_out(self, provider):
        provider.wait_closed()
        provider.close()
        self.usherd.wait_service("victim", n_providers=0)
        self.check_bystander()

    def test_broken_messages_close_the_channel(self):
        for name, data in BROKEN.items():
            with self.subTest(name):
                provider = self.provider(self.usherd, "victim")
                provider.send(data)
                self.check_thrown_out(provider)

    def test_who_broke_the_protocol_and_how_is_logged(self):
        provider = self.provider(self.usherd, "victim", name="vandal")
        provider.send(next(iter(BROKEN.values())))
        self.check_thrown_out(provider)
        self.usherd.wait_log(rf"vandal, pid {os.getpid()}, uid \d+\) broke the protocol: ")

    def test_messages_that_strangers_cause_do_not_fill_the_log(self):
        for _ in range(200):
            provider = self.provider(self.usherd, "victim")
            provider.send(next(iter(BROKEN.values())))
            provider.wait_closed()
            provider.close()
        self.check_bystander()
        self.usherd.wait_log("broke the protocol")
        self.assertLessEqual(self.usherd.log.count("broke the protocol"), 20)

    def test_broken_hello_closes_the_channel(self):
        for name, data in BAD_HELLO.items():
            with self.subTest(name):
                provider = self.stranger(self.usherd, "victim")
                provider.send(data)
                self.check_thrown_out(provider)

    def test_connections_of_one_that_is_thrown_out_go_to_another(self):
        provider = self.provider(self.usherd, "victim", credit=5)
        clients = [self.connect(self.address) for _ in range(5)]
        self.usherd.wait_service("victim", unclaimed=5)
        self.serving_child(self.usherd, "victim", "heir")
        provider.send(b"garbage")
        provider.wait_closed()
        self.assertEqual(self.usherd.provider("victim", "test")["state"], "quarantined")
        provider.close()  # what was sent cannot be taken back while somebody may still read it
        self.assertEqual([network.read_all(client) for client in clients], [b"heir\n"] * 5)

    def test_random_garbage(self):
        random_bytes = random.Random(1).randbytes
        for number in range(200):
            provider = self.stranger(self.usherd, "victim")
            provider.send(random_bytes(1 + number))
            provider.wait_closed()
            provider.close()
        self.check_bystander()

    def test_silence_instead_of_hello_is_ended_at_the_deadline(self):
        provider = self.stranger(self.usherd, "victim")
        self.check_thrown_out(provider)

    def test_empty_message_is_survived(self):
        provider = self.provider(self.usherd, "victim")
        provider.socket.send(b"")
        self.check_bystander()
        provider.wait_closed()

    def send_descriptors(self, provider, fds):
        """In a message that has none. Returns whether the kernel, with SO_PASSRIGHTS, refuses that."""
        try:
            provider.send(protocol.status("x"), fds)
        except PermissionError:
            self.assertIsNone(self.make_kernel)
            return True
        return False

    def test_descriptors_where_none_belong(self):
        """Refused by the kernel where it can, else by usherd; never kept open."""
        provider = self.provider(self.usherd, "victim")
        with open("/dev/null", "rb") as null:
            if self.send_descriptors(provider, [null.fileno()] * 5):
                provider.close()
            else:
                self.check_thrown_out(provider)
        self.usherd.wait_service("victim", n_providers=0)
        self.check_bystander()

    def test_descriptors_in_a_hello(self):
        provider = self.stranger(self.usherd, "victim")
        with open("/dev/null", "rb") as null, contextlib.suppress(PermissionError):
            provider.send(protocol.hello(), [null.fileno()] * 250)
            self.check_thrown_out(provider)
        self.usherd.wait_service("victim", n_providers=0)

    def test_descriptor_that_is_slow_to_close_delays_nobody(self):
        """A socket with SO_LINGER and unread data in a message nobody wants."""
        server = self.closing(socket.create_server(("127.0.0.1", 0)))
        slow = self.closing(socket.create_connection(server.getsockname()))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        slow.setblocking(False)
        try:
            while slow.send(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        provider = self.provider(self.usherd, "victim")
        processes.stop_process(self.usherd.pid)  # until its copy is the last one, whose close waits
        is_refused = self.send_descriptors(provider, [slow.fileno()])
        if is_refused:
            network.reset(slow)
        slow.close()
        os.kill(self.usherd.pid, signal.SIGCONT)
        if is_refused:
            self.skipTest("the kernel refuses it: SO_PASSRIGHTS")
        for _ in range(5):
            self.check_bystander()

    def test_linger_set_on_a_client_socket_delays_nobody(self):
        """usherd closes its copy after the claim: with SO_LINGER of the provider's making."""
        provider = self.provider(self.usherd, "victim")
        client = self.connect(self.address)
        connection, = provider.take(1)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        connection.socket.setblocking(False)
        try:
            while connection.socket.send(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        os.close(connection.socket.detach())
        provider.send(protocol.claim(1))
        for _ in range(5):
            self.check_bystander()
        client.close()

    def test_one_that_never_claims_is_stuck_and_gets_nothing_more(self):
        provider = self.provider(self.usherd, "victim", name="silent", credit=10)
        first = self.connect(self.address)
        connection, = provider.take(1)
        self.usherd.wait_until(
            lambda: self.usherd.provider("victim", "silent")["state"] == "stuck", "stuck")
        self.serving_child(self.usherd, "victim", "other")
        for _ in range(5):
            self.assertEqual(network.read_all(self.connect(self.address)), b"other\n")
        self.assertFalse(provider.has_message())
        # Its own stays its own, for it may still be served; a late claim makes it well again.
        provider.send(protocol.claim(1))
        self.usherd.wait_until(
            lambda: self.usherd.provider("victim", "silent")["state"] == "ready", "recovery")
        connection.socket.sendall(b"late, but here")
        self.assertEqual(network.read_exactly(first, 14), b"late, but here")
        provider.finish(connection)

    def test_one_that_is_stopped_hurts_only_its_own_clients(self):
        stopped = self.holding_child(self.usherd, "victim", "stopped", credit=3)
        stopped.signal(signal.SIGSTOP)
        # Before there is another one: how many of many it would get depends on how fast they come.
        clients = [self.connect(self.address) for _ in range(3)]
        self.usherd.wait_service("victim", unclaimed=3)
        self.serving_child(self.usherd, "victim", "other", credit=100)
        for _ in range(20):
            self.assertEqual(network.read_all(self.connect(self.address)), b"other\n")
        stopped.kill()
        self.assertEqual([network.read_all(client) for client in clients], [b"other\n"] * 3)

    def test_one_that_does_not_read_is_no_burden(self):
        """Its queue fills up, and usherd waits for no send buffer."""
        provider = self.provider(self.usherd, "victim", credit=1000)
        clients = [self.connect(self.address) for _ in range(500)]
        self.usherd.wait_until(
            lambda: self.usherd.provider("victim", "test")["state"] in ("blocked", "stuck"), "it to be blocked")
        self.check_bystander()
        provider.close()
        self.serving_child(self.usherd, "victim", "heir")
        self.assertEqual({network.read_all(client) for client in clients}, {b"heir\n"})

    def test_claim_for_another_channel_changes_nothing(self):
        owner = self.provider(self.usherd, "victim", name="owner")
        self.connect(self.address)
        owner.take(1)
        forger = self.provider(self.usherd, "victim", name="forger")
        forger.send(protocol.claim(1))
        forger.wait_closed()
        self.usherd.wait_service("victim", n_providers=1, unclaimed=1, in_service=0)
        owner.send(protocol.claim(1))
        self.usherd.wait_service("victim", in_service=1)

    def test_release_of_another_providers_connection_changes_nothing(self):
        owner = self.provider(self.usherd, "victim", name="owner")
        self.connect(self.address)
        connection, = owner.take_and_claim(1)
        self.usherd.wait_service("victim", in_service=1)
        forger = self.provider(self.usherd, "victim", name="forger")
        forger.send(protocol.release(connection.id))
        forger.wait_closed()
        self.usherd.wait_service("victim", n_providers=1, in_service=1)

    def test_second_release_of_the_same_connection(self):
        provider = self.provider(self.usherd, "victim")
        self.connect(self.address)
        connection, = provider.take_and_claim(1)
        provider.finish(connection)
        provider.send(protocol.release(connection.id))
        provider.wait_closed()
        self.usherd.wait_service("victim", in_service=0, n_providers=0)

    def test_storm_of_registrations(self):
        for _ in range(500):
            provider = protocol.Provider(self.usherd.rendezvous("victim"))
            provider.register()
            provider.close()
        self.usherd.wait_service("victim", n_providers=0)
        self.check_bystander()

    def test_storm_of_channels_that_say_nothing(self):
        """More than any limit: who says nothing must not keep out who has something to say."""
        crowd = []
        try:
            for _ in range(300):
                crowd.append(protocol.Provider(self.usherd.rendezvous("victim")))
                crowd[-1].socket.settimeout(1)
        except (BlockingIOError, TimeoutError):
            pass  # the rendezvous' own backlog is full: the crowd waits outside
        self.check_bystander()
        for provider in crowd:
            provider.close()
        self.serving_child(self.usherd, "victim", "at last")
        self.assertEqual(network.read_all(self.connect(self.address)), b"at last\n")

    def test_flood_of_status_texts(self):
        provider = self.provider(self.usherd, "victim", name="chatty")
        for number in range(5000):
            provider.send(protocol.status(f"text {number}"))
        self.usherd.wait_until(
            lambda: self.usherd.provider("victim", "chatty")["status"] == "text 4999", "the last text")
        self.check_bystander()


class HostileOnLinux61(Hostile):
    make_kernel = staticmethod(kernels.linux_6_1)


FORWARDING = """
service victim { listen = {"tcp:127.0.0.1:0"} providers { forward = {"target", "victim"} } }
service target { listen = {"tcp:127.0.0.1:0"} }
service bystander { listen = {"tcp:127.0.0.1:0"} }
"""
WORDS = bytes(protocol.MAX_FORWARDED_BYTES)


class HostileForward(harness.UsherTest):
    """Those who may send descriptors to usherd."""

    def setUp(self):
        super().setUp()
        processes.raise_own_limit(4096)
        self.usherd = self.start_usherd(FORWARDING)
        self.serving_child(self.usherd, "bystander", "bystander")

    def check_bystander(self):
        client = self.connect(self.usherd.addresses("bystander")[0])
        self.assertEqual(network.read_all(client), b"bystander\n")

    def claim_some(self, n):
        provider = self.provider(self.usherd, "victim", credit=n)
        for _ in range(n):
            self.connect(self.usherd.addresses("victim")[0])
        return provider, provider.take_and_claim(n)

    def check_thrown_out(self, provider):
        provider.wait_closed()
        provider.close()
        self.usherd.wait_service("victim", n_providers=0)
        self.check_bystander()

    def test_broken_forwards_close_the_channel(self):
        for name, fds, number, options in (
                ("no_descriptor", 0, 0, {}),
                ("two_descriptors", 2, 0, {}),
                ("hundreds_of_descriptors", 250, 0, {}),
                ("foreign_id", 1, 0x1234567890, {}),
                ("holding_that_was_never_said", 1, None, {}),
                ("too_many_bytes", 1, 0, {"data": WORDS + b"x"}),
                ("service_with_control_characters", 1, 0, {"service": "\x1b[2J"})):
            with self.subTest(name):
                provider, (connection,) = self.claim_some(1)
                number = 0 if number is None else connection.id + number
                provider.send(protocol.forward(number, **options), [connection.socket.fileno()] * fds)
                self.check_thrown_out(provider)

    def test_descriptors_with_other_messages(self):
        provider, (connection,) = self.claim_some(1)
        provider.send(protocol.status("x"), [connection.socket.fileno()])
        self.check_thrown_out(provider)

    def test_forwarding_twice(self):
        provider, (connection,) = self.claim_some(1)
        for _ in range(2):
            provider.send(protocol.forward(connection.id, "target"), [connection.socket.fileno()])
        self.check_thrown_out(provider)
        self.usherd.wait_service("target", taken_over=1)
        self.provider(self.usherd, "target").take_and_claim(1)

    def test_more_bytes_than_a_service_may_hold(self):
        """512 connections with 32 KiB each are 16 MiB; the next ones are reset."""
        provider, connections = self.claim_some(520)
        for connection in connections:
            provider.forward(connection, "target", WORDS)
        self.usherd.wait_service("victim", forwards_refused=8)
        self.usherd.wait_service("target", parked=512)
        self.usherd.wait_log("that service holds 16 MiB of forwarded bytes already")
        self.check_bystander()
        target = self.provider(self.usherd, "target", credit=512)
        target.take_and_claim(512)
        self.usherd.wait_service("target", unclaimed=0)
        self.connect(self.usherd.addresses("victim")[0])  # and there is room again
        provider.send(protocol.credit(520, 1))
        connection, = provider.take_and_claim(1)
        provider.forward(connection, "target", WORDS)
        target.send(protocol.credit(512, 1))
        target.take_and_claim(1)

    def test_refusals_do_not_fill_the_log(self):
        provider, connections = self.claim_some(200)
        for connection in connections:
            provider.forward(connection, "nowhere", WORDS)
        self.usherd.wait_service("victim", forwards_refused=200, in_service=0)
        self.check_bystander()
        self.assertLessEqual(self.usherd.read_whole_log().count("forwarded a connection to 'nowhere'"), 20)

    def test_references_to_usherd_itself(self):
        """Its own channel, another's, and a socket in whose queue the channel lies."""
        provider, connections = self.claim_some(3)
        other = self.stranger(self.usherd, "victim")
        near, far = (self.closing(end) for end in socket.socketpair())
        near.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", provider.fileno()))])
        for thing, connection in zip((provider, other, far), connections):
            provider.send(protocol.forward(connection.id, "target"), [thing.fileno()])
        self.usherd.wait_service("victim", forwards_refused=2)
        far.close()
        other.close()
        target = self.provider(self.usherd, "target")
        connection, = target.take_and_claim(1)
        connection.close()
        self.check_bystander()

    def test_handing_back_for_ever(self):
        """Only eight times: then the client is reset."""
        provider, (connection,) = self.claim_some(1)
        for number in range(8):
            provider.forward(connection)
            provider.send(protocol.credit(number + 1, 1))
            connection, = provider.take_and_claim(1)
        provider.forward(connection)
        self.usherd.wait_service("victim", forwards_refused=1)


if __name__ == "__main__":
    tap.main()
