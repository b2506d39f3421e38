# SPDX-License-Identifier: MIT
"""Registration, and how connections are shared: providers that behave."""

import collections
import errno
import os
import time

import harness
import network
import processes
import protocol
import tap

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} %s }\n'


class Registration(harness.UsherTest):
    def test_welcome_names_the_service_and_its_listeners(self):
        usherd = self.start_usherd('service one { listen = {"tcp:127.0.0.1:0", "tcp:[::1]:0"} }')
        provider = self.stranger(usherd, "one")
        service, listeners = provider.register()
        self.assertEqual(service, "one")
        ports = [int(address.rpartition(":")[2]) for address in usherd.addresses("one")]
        self.assertEqual(listeners, [("127.0.0.1", ports[0]), ("::1", ports[1])])

    def test_record_tells_listener_peer_and_time(self):
        usherd = self.start_usherd('service one { listen = {"tcp:127.0.0.1:0", "tcp:[::1]:0"} }')
        provider = self.provider(usherd, "one")
        before = time.time_ns()
        for number, address in enumerate(usherd.addresses("one")):
            client = self.connect(address)
            connection, = provider.take_and_claim(1)
            self.assertEqual(connection.listener, number)
            self.assertEqual(connection.peer, client.getsockname()[:2])
            self.assertEqual(connection.sequence, number + 1)
            self.assertTrue(before <= connection.accepted_ns <= time.time_ns())
            self.assertEqual(connection.socket.getpeername(), client.getsockname())

    def test_status_shows_who_is_there(self):
        usherd = self.start_usherd(ONE % "")
        provider = self.provider(usherd, "one", name="my-server", credit=5, weight=3)
        provider.send(protocol.status("all is well"))
        usherd.wait_until(lambda: usherd.provider("one", "my-server")["status"] == "all is well", "the text")
        entry = usherd.provider("one", "my-server")
        self.assertEqual((entry["pid"], entry["uid"], entry["credit"], entry["weight"], entry["state"]),
                         (os.getpid(), os.geteuid(), 5, 3, "ready"))

    @harness.needs_root
    def test_user_and_group_that_are_allowed(self):
        usherd = self.start_usherd(
            'service one { listen = {"tcp:127.0.0.1:0"} providers { users = {"games"} groups = {"news"} } }')
        for user in ("games", "news", "daemon", "root"):
            child = self.serving_child(usherd, "one", user, user=user)
            client = self.connect(usherd.addresses("one")[0])
            self.assertEqual(network.read_all(client), f"{user}\n".encode())
            child.kill()
            usherd.wait_service("one", n_providers=0)

    @harness.needs_root
    def test_wrong_user_is_refused_with_a_sentence(self):
        usherd = self.start_usherd(
            'service one { listen = {"tcp:127.0.0.1:0"} providers { users = {"games"} } }')
        path = usherd.rendezvous("one")

        def register(say):
            try:
                protocol.Provider(path).register()
                say("0 registered")
            except protocol.Refused as refusal:
                say(f"{refusal.error} {refusal.reason}")

        answer = self.child(register, harness.STRANGER_USER).hear()
        self.assertTrue(answer.startswith(f"{errno.EACCES} "), answer)
        self.assertGreater(len(answer), 20)
        usherd.wait_log(rf"{harness.STRANGER_USER}|{processes.user_id(harness.STRANGER_USER)}")
        self.assertEqual(usherd.service("one")["providers"], [])

    def test_version_that_usherd_does_not_speak_is_refused(self):
        usherd = self.start_usherd(ONE % "")
        with self.assertRaises(protocol.Refused) as caught:
            self.provider(usherd, "one", lowest=7, highest=9)
        self.assertEqual(caught.exception.error, errno.EPROTONOSUPPORT)

    def test_newer_provider_is_met_at_version_one(self):
        usherd = self.start_usherd(ONE % "")
        self.provider(usherd, "one", lowest=1, highest=9)

    def test_more_providers_than_allowed_are_refused(self):
        usherd = self.start_usherd(ONE % "providers { max = 2 }")
        first = self.provider(usherd, "one")
        self.provider(usherd, "one")
        with self.assertRaises(protocol.Refused) as caught:
            self.provider(usherd, "one")
        self.assertEqual(caught.exception.error, errno.EUSERS)
        first.close()
        usherd.wait_service("one", n_providers=1)
        self.provider(usherd, "one")


class Sharing(harness.UsherTest):
    def ask_names(self, usherd, n):
        """How many of n clients, all connected at once, each provider served."""
        return collections.Counter(
            network.read_all(client).decode().strip()
            for client in [self.connect(usherd.addresses("one")[0]) for _ in range(n)])

    def test_round_robin_takes_turns(self):
        usherd = self.start_usherd(ONE % 'providers { balance = "round_robin" }')
        for name in ("a", "b", "c"):
            self.serving_child(usherd, "one", name)
        self.assertEqual(self.ask_names(usherd, 30), {"a": 10, "b": 10, "c": 10})

    def test_least_goes_to_the_one_with_less_in_hand(self):
        usherd = self.start_usherd(ONE % 'providers { balance = "least" }')
        first, second = (self.provider(usherd, "one", name=name) for name in ("a", "b"))
        for _ in range(6):
            self.connect(usherd.addresses("one")[0])
        taken = first.take_and_claim(3)
        second.take_and_claim(3)
        first.finish(*taken)
        usherd.wait_service("one", in_service=3)
        for _ in range(3):
            self.connect(usherd.addresses("one")[0])
        first.take_and_claim(3)

    def test_least_respects_weight(self):
        usherd = self.start_usherd(ONE % "")
        light = self.provider(usherd, "one", weight=1)
        heavy = self.provider(usherd, "one", weight=3)
        for _ in range(12):
            self.connect(usherd.addresses("one")[0])
        light.take_and_claim(3)
        heavy.take_and_claim(9)

    def test_restart_of_one_provider_is_not_seen_by_clients(self):
        usherd = self.start_usherd(ONE % "")
        self.serving_child(usherd, "one", "a")
        other = self.serving_child(usherd, "one", "b")
        for _ in range(5):
            other.kill()
            other = self.serving_child(usherd, "one", "b")
            self.assertEqual(sum(self.ask_names(usherd, 20).values()), 20)
        usherd.wait_service("one", accepted=100, in_service=0)


class Credit(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(ONE % "")
        self.address = self.usherd.addresses("one")[0]

    def test_no_more_than_credit_is_given(self):
        provider = self.provider(self.usherd, "one", credit=3)
        for _ in range(5):
            self.connect(self.address)
        first = provider.take_and_claim(3)
        self.usherd.wait_service("one", state="full", in_service=3)
        self.assertFalse(provider.has_message())
        provider.finish(first[0])
        provider.take_and_claim(1)
        provider.finish(first[1])
        provider.take_and_claim(1)

    def test_credit_message_gives_more(self):
        provider = self.provider(self.usherd, "one", credit=0)
        self.connect(self.address)
        self.usherd.wait_service("one", state="full", accepted=0)
        provider.send(protocol.credit(0, 1))
        connection, = provider.take_and_claim(1)
        self.connect(self.address)
        provider.send(protocol.credit(connection.sequence, 1))
        provider.take_and_claim(1)

    def test_negative_credit_holds_until_releases_made_it_good(self):
        provider = self.provider(self.usherd, "one", credit=3)
        for _ in range(3):
            self.connect(self.address)
        taken = provider.take_and_claim(3)
        provider.send(protocol.credit(3, -1))
        self.connect(self.address)
        provider.finish(taken[0])
        self.usherd.wait_service("one", in_service=2)
        self.assertFalse(provider.has_message())
        provider.finish(taken[1])
        provider.take_and_claim(1)

    def test_clients_wait_in_the_backlog_and_usherd_rests(self):
        """The listener is not polled while nobody has credit: no processor time, no wake-ups."""
        provider = self.provider(self.usherd, "one", credit=0)
        clients = [self.connect(self.address) for _ in range(50)]
        self.usherd.wait_service("one", state="full", accepted=0)
        self.assertEqual(self.usherd.service("one")["listeners"][0]["state"], "paused")
        before = self.usherd.count_wakeups()
        self.usherd.watch(0.5)
        self.assertLessEqual(self.usherd.count_wakeups() - before, 5)
        provider.send(protocol.credit(0, 50))
        connections = provider.take_and_claim(50)
        for connection in connections:
            connection.socket.sendall(b"at last")
        provider.finish(*connections)
        self.assertEqual({network.read_all(client) for client in clients}, {b"at last"})

    def test_provider_that_comes_later_takes_those_who_wait(self):
        clients = [self.connect(self.address) for _ in range(10)]
        self.usherd.wait_service("one", state="waiting", accepted=0)
        self.serving_child(self.usherd, "one", "late")
        self.assertEqual({network.read_all(client) for client in clients}, {b"late\n"})

    def test_batches_are_at_most_sixteen(self):
        provider = self.provider(self.usherd, "one", credit=0)
        for _ in range(100):
            self.connect(self.address)
        provider.send(protocol.credit(0, 100))
        taken = provider.take_and_claim(100)
        self.assertEqual([one.sequence for one in taken], list(range(1, 101)))
        self.assertLessEqual(max(provider.batches), protocol.MAX_CONNECTIONS)
        self.assertGreater(max(provider.batches), 1)

    def test_decline_gives_the_connection_to_another(self):
        provider = self.provider(self.usherd, "one", credit=2)
        client = self.connect(self.address)
        connection, = provider.take(1)
        connection.socket.close()
        self.serving_child(self.usherd, "one", "other")
        provider.send(protocol.decline(1, 1))
        self.assertEqual(network.read_all(client), b"other\n")
        self.usherd.wait_service("one", declined=1, lost=0)

    def test_drain_ends_new_connections_and_keeps_the_old(self):
        provider = self.provider(self.usherd, "one", name="old")
        client = self.connect(self.address)
        connection, = provider.take_and_claim(1)
        provider.send(protocol.message(protocol.DRAIN))
        self.usherd.wait_until(
            lambda: self.usherd.provider("one", "old")["state"] == "draining", "the drain")
        self.serving_child(self.usherd, "one", "new")
        self.assertEqual(network.read_all(self.connect(self.address)), b"new\n")
        connection.socket.sendall(b"still here")
        self.assertEqual(network.read_exactly(client, 10), b"still here")
        provider.finish(connection)
        self.assertEqual(network.read_all(client), b"")


class Instances(harness.UsherTest):
    def test_no_more_than_instances_at_once(self):
        usherd = self.start_usherd(ONE % "instances = 4")
        provider = self.provider(usherd, "one", credit=100)
        for _ in range(6):
            self.connect(usherd.addresses("one")[0])
        taken = provider.take_and_claim(4)
        usherd.wait_service("one", state="full", in_service=4, accepted=4)
        self.assertFalse(provider.has_message())
        provider.finish(*taken[:2])
        provider.take_and_claim(2)

    def test_holding_counts_connections_of_an_earlier_channel(self):
        usherd = self.start_usherd(ONE % "instances = 4")
        provider = self.provider(usherd, "one", credit=100, holding=3)
        for _ in range(2):
            self.connect(usherd.addresses("one")[0])
        provider.take_and_claim(1)
        usherd.wait_service("one", state="full")
        provider.send(protocol.release(0))
        provider.take_and_claim(1)


class Unavailable(harness.UsherTest):
    def test_refuse_stops_listening_until_somebody_registers(self):
        usherd = self.start_usherd(
            'service one { listen = {"tcp:127.0.0.1:0"} unavailable = "refuse" }')
        self.assertEqual(usherd.service("one")["state"], "refusing")
        address = usherd.addresses("one")[0]
        with self.assertRaises(ConnectionRefusedError):
            network.connect(address)
        self.serving_child(usherd, "one", "a")
        usherd.wait_service("one", state="serving")
        self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")

    def test_reset_ends_clients_at_once(self):
        usherd = self.start_usherd(ONE % 'unavailable = "reset"')
        self.assertEqual(usherd.service("one")["state"], "resetting")
        with self.assertRaises(ConnectionResetError):
            self.connect(usherd.addresses("one")[0]).recv(1)
        usherd.wait_service("one", reset=1)
        self.serving_child(usherd, "one", "a")
        usherd.wait_service("one", state="serving")
        self.assertEqual(network.read_all(self.connect(usherd.addresses("one")[0])), b"a\n")


if __name__ == "__main__":
    tap.main()
