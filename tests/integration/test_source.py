# SPDX-License-Identifier: MIT
"""balance = "source": each client has its provider, however its connections come there."""

import harness
import network
import processes
import tap
from upgrades import UpgradeTest

CLIENTS = [f"127.0.0.{number}" for number in range(2, 42)]
ONE = 'service one { listen = {"tcp:127.0.0.1:0"} providers { balance = "source" } }\n'
FRONT = 'service front { listen = {"tcp:127.0.0.1:0"} providers { forward = {"one"} } }\n'


def connect_all(test, address):
    return {client: test.connect(address, source=(client, 0)) for client in CLIENTS}


def read_names(connections):
    """Who has served each client."""
    return {client: network.read_all(connection).decode().strip() for client, connection in connections.items()}


class Source(UpgradeTest):
    def setUp(self):
        super().setUp()
        self.usherd.write_config(ONE)
        self.assertEqual(self.usherd.ask("reload").get("ok"), True)

    def ask_all(self):
        return read_names(connect_all(self, self.address))

    def serve_as(self, name):
        return self.serving_child(self.usherd, "one", name, credit=100)

    def test_who_leaves_moves_its_clients_and_an_upgrade_nobody(self):
        self.assertEqual(self.usherd.service("one")["balance"], "source")
        _, child, _ = (self.serve_as(name) for name in ("a", "b", "c"))
        first = self.ask_all()
        self.assertEqual(set(first.values()), {"a", "b", "c"})
        self.upgrade()
        self.assertEqual(self.ask_all(), first)
        child.kill()
        self.usherd.wait_service("one", n_providers=2)
        second = self.ask_all()
        for client in CLIENTS:
            self.assertIn(second[client], ("a", "c") if first[client] == "b" else (first[client],))
        self.upgrade()
        self.assertEqual(self.ask_all(), second)
        self.serve_as("d")
        self.assertEqual(self.ask_all(), {client: name.replace("b", "d") for client, name in first.items()})

    def test_unclaimed_ones_go_to_their_next_also_after_an_upgrade(self):
        silent = self.provider(self.usherd, "one", credit=100)
        self.serve_as("a")
        self.serve_as("b")
        connections = connect_all(self, self.address)
        self.assertTrue(silent.has_message(processes.DEADLINE))
        self.upgrade()
        silent.close()
        names = read_names(connections)
        self.assertEqual(set(names.values()), {"a", "b"})
        self.assertEqual(self.ask_all(), names)


class Forwarding(harness.UsherTest):
    def test_forwarded_ones_go_to_their_clients_provider(self):
        usherd = self.start_usherd(ONE + FRONT)
        for name in ("a", "b", "c"):
            self.serving_child(usherd, "one", name, credit=100)
        front = self.provider(usherd, "front", credit=100)
        connections = connect_all(self, usherd.addresses("front")[0])
        for connection in front.take_and_claim(len(CLIENTS)):
            front.forward(connection, "one")
        names = read_names(connections)
        self.assertEqual(set(names.values()), {"a", "b", "c"})
        self.assertEqual(read_names(connect_all(self, usherd.addresses("one")[0])), names)


if __name__ == "__main__":
    tap.main()
