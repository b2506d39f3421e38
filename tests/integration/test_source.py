# SPDX-License-Identifier: MIT
"""balance = "source": each client has its provider, however its connections come there."""

import network
import protocol
import tap
import upgrades

CLIENTS = [f"127.0.0.{number}" for number in range(2, 42)]
BY_SOURCE = 'providers { balance = "source" }'


class Source(upgrades.UpgradeTest):
    def setUp(self):
        super().setUp()
        self.reload("")

    def reload(self, others):
        self.usherd.write_config(self.service(more=BY_SOURCE) + others)
        self.assertEqual(self.usherd.ask("reload").get("ok"), True)
        self.usherd.remember_fds()

    def connect_all(self, address):
        return {client: self.connect(address, source=(client, 0)) for client in CLIENTS}

    def names(self, connections):
        """Who has served each client."""
        return {client: network.read_all(connection).decode().strip() for client, connection in connections.items()}

    def ask_all(self):
        return self.names(self.connect_all(self.address))

    def replace_name(self, names, old, new):
        return {client: new if name == old else name for client, name in names.items()}

    def test_who_leaves_moves_its_clients_and_an_upgrade_nobody(self):
        self.assertEqual(self.usherd.service("one")["balance"], "source")
        _, child, _ = (self.serving_child(self.usherd, "one", name, credit=100) for name in ("a", "b", "c"))
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
        self.serving_child(self.usherd, "one", "d", credit=100)
        self.assertEqual(self.ask_all(), self.replace_name(first, "b", "d"))

    def test_unclaimed_ones_go_to_their_next_also_after_an_upgrade(self):
        silent = self.provider(self.usherd, "one", name="silent", credit=100)
        self.serving_child(self.usherd, "one", "a", credit=100)
        self.serving_child(self.usherd, "one", "b", credit=100)
        connections = self.connect_all(self.address)
        self.assertTrue(silent.has_message(protocol.DEADLINE))
        self.upgrade()
        silent.close()
        names = self.names(connections)
        self.assertEqual(set(names.values()), {"a", "b"})
        self.assertEqual(self.ask_all(), names)

    def test_forwarded_ones_go_to_their_clients_provider(self):
        self.reload(self.service("front", 'providers { forward = {"one"} }'))
        for name in ("a", "b", "c"):
            self.serving_child(self.usherd, "one", name, credit=100)
        front = self.provider(self.usherd, "front", credit=100)
        connections = self.connect_all(self.usherd.addresses("front")[0])
        for connection in front.take_and_claim(len(CLIENTS)):
            front.forward(connection, "one")
        self.assertEqual(self.names(connections), self.ask_all())


if __name__ == "__main__":
    tap.main()
