# SPDX-License-Identifier: MIT
"""Accepted connections that nobody can take: where they wait, for how long, and who gets them."""

import resource
import time

import harness
import network
import processes
import tap

ONE = 'service one {{ listen = {{"tcp:127.0.0.1:0"}} instances = 8192 {} socket {{ backlog = 4096 }} }}\n'

FEW_FDS = 400
MOST = 200  # connections one by one: more messages may not fit into a channel


def allow_few_fds():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FDS, FEW_FDS))


class ParkingTest(harness.UsherTest):
    """One usherd, and connections whose provider died before it claimed them."""

    def start(self, settings="", **options):
        self.usherd = self.start_usherd(ONE.format(settings), **options)
        self.address = self.usherd.addresses("one")[0]

    def strand(self, n):
        """n clients whose connections were sent to providers that are killed then."""
        victims = [self.holding_child(self.usherd, "one", "victim", credit=min(n - start, MOST))
                   for start in range(0, n, MOST)]
        clients = [self.connect(self.address) for _ in range(n)]
        self.usherd.wait_service("one", unclaimed=n)
        for victim in victims:
            victim.kill()
        self.usherd.wait_service("one", n_providers=0)
        return clients

    def check_served(self, clients):
        self.assertEqual([network.read_all(client) for client in clients], [b"heir\n"] * len(clients))

    def check_reset(self, client):
        with self.assertRaises(ConnectionResetError):
            client.recv(1)


class Waiting(ParkingTest):
    def test_two_thousand_wait_without_descriptors_and_all_are_served(self):
        processes.raise_own_limit(4096)
        self.start()
        clients = self.strand(2000)
        for client in clients[::10]:
            client.sendall(b"impatient")
        self.usherd.wait_service("one", parked=2000, waiting=0, unclaimed=0)
        if self.usherd.fds_ready is not None:  # two for each lot, of at least 500 connections
            self.assertLessEqual(len(self.usherd.list_fds()) - len(self.usherd.fds_ready), 8)
        self.serving_child(self.usherd, "one", "heir", credit=64)
        self.check_served(clients)
        self.usherd.wait_service("one", accepted=2000, redispatched=2000, released=2000, lost=0, parked=0)

    def test_the_oldest_come_first_and_before_the_backlog(self):
        self.start()
        for number, client in enumerate(self.strand(40)):
            client.sendall(bytes([number]))
        self.usherd.wait_service("one", parked=40)
        self.connect(self.address).sendall(bytes([40]))
        provider = self.provider(self.usherd, "one", credit=41)
        connections = provider.take_and_claim(41)
        self.assertEqual([network.read_exactly(connection.socket, 1)[0] for connection in connections],
                         list(range(41)))
        self.assertEqual([connection.listener for connection in connections], [0] * 41)
        self.assertLessEqual(max(provider.batches), 16)

    def test_their_bytes_wait_with_them(self):
        self.start()
        client, = self.strand(1)
        client.sendall(b"first words")
        self.usherd.wait_service("one", parked=1)
        provider = self.provider(self.usherd, "one")
        connection, = provider.take_and_claim(1)
        self.assertEqual(network.read_exactly(connection.socket, 11), b"first words")
        self.assertEqual(connection.peer, client.getsockname())

    def test_the_listener_on_which_they_came_is_found_again(self):
        """By the address of the socket: a wildcard's IPv4 clients have an IPv4-mapped one."""
        self.usherd = self.start_usherd(
            f'service one {{ listen = {{"tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:0", "unix:{self.folder}/one"}} }}')
        addresses = self.usherd.addresses("one")
        port = addresses[2].rpartition(":")[2]
        victim = self.holding_child(self.usherd, "one", "victim")
        for address in (*addresses[:2], f"tcp:127.0.0.1:{port}", f"tcp:[::1]:{port}", addresses[3]):
            self.connect(address)
        self.usherd.wait_service("one", unclaimed=5)
        victim.kill()
        self.usherd.wait_service("one", parked=5)
        connections = self.provider(self.usherd, "one").take_and_claim(5)
        self.assertEqual(sorted(connection.listener for connection in connections), [0, 1, 2, 2, 3])

    def test_a_reload_leaves_them_alone(self):
        self.start()
        clients = self.strand(20)
        self.usherd.wait_service("one", parked=20)
        self.usherd.write_config(ONE.format('unavailable = "refuse"'))
        self.assertTrue(self.usherd.ask("reload")["ok"])
        self.usherd.wait_service("one", parked=20, state="refusing")
        self.serving_child(self.usherd, "one", "heir")
        self.check_served(clients)

    def test_a_removed_service_resets_them(self):
        self.start()
        clients = self.strand(3)
        self.usherd.wait_service("one", parked=3)
        self.usherd.write_config("")
        self.assertTrue(self.usherd.ask("reload")["ok"])
        for client in clients:
            self.check_reset(client)
        self.usherd.wait_until(lambda: not self.usherd.status()["services"], "the service to be over")
        self.usherd.remember_fds()

    def test_who_takes_some_leaves_the_others(self):
        self.start()
        clients = self.strand(100)
        for _ in range(4):  # each takes a quarter and dies, too
            child = self.holding_child(self.usherd, "one", "mortal", credit=25)
            self.usherd.wait_service("one", unclaimed=25, parked=75)
            child.kill()
            self.usherd.wait_service("one", n_providers=0, parked=100)
        self.serving_child(self.usherd, "one", "heir")
        self.check_served(clients)
        self.usherd.wait_service("one", accepted=100, released=100, lost=0, parked=0)


class Limits(ParkingTest):
    def test_more_than_may_be_parked_are_reset(self):
        self.start("park { max = 5 }")
        clients = self.strand(8)
        self.usherd.wait_log(r"5 accepted connections wait for a provider already, see park \{ max \}")
        for client in clients[5:]:
            self.check_reset(client)
        self.usherd.wait_service("one", parked=5, given_up=3, reset=3)
        self.serving_child(self.usherd, "one", "heir")
        self.check_served(clients[:5])

    def test_who_waits_for_too_long_is_reset(self):
        self.start("park { timeout = 1s }")
        begin = time.monotonic()
        clients = self.strand(300)
        for client in clients:
            self.check_reset(client)
        self.assertGreater(time.monotonic() - begin, 0.9)
        self.usherd.wait_log(r"no provider took a connection within 1 seconds, see park \{ timeout \}")
        self.usherd.wait_service("one", parked=0, expired=300, reset=300)
        self.assertEqual(self.usherd.read_whole_log().count("see park { timeout }"), 1)

    def test_waiting_costs_nothing(self):
        self.start()
        clients = self.strand(100)
        self.usherd.wait_service("one", parked=100)
        self.usherd.wait_idle()
        before = self.usherd.count_wakeups()
        self.usherd.watch(1.0)
        self.assertLessEqual(self.usherd.count_wakeups() - before, 3)
        self.serving_child(self.usherd, "one", "heir")
        self.check_served(clients)


class Shortage(ParkingTest):
    def check_rests(self):
        """It waits for what it lacks, and does not run in circles."""
        before = self.usherd.count_wakeups()
        self.usherd.watch(1.0)
        self.assertLessEqual(self.usherd.count_wakeups() - before, 100)

    def test_limit_of_descriptors(self):
        """Three quarters of the limit are parked, the rest is kept open; and all are served."""
        self.start("providers { max = 4 }", before_exec=allow_few_fds)
        clients = self.strand(340)
        self.usherd.wait_service("one", parked=FEW_FDS * 3 // 4, waiting=340 - FEW_FDS * 3 // 4)
        self.usherd.wait_log("cannot park connections for which there is no provider")
        self.check_rests()
        self.assertEqual(self.usherd.read_whole_log().count("cannot park"), 1)
        self.serving_child(self.usherd, "one", "heir", credit=50)
        self.check_served(clients)
        self.usherd.wait_service("one", released=340, lost=0, parked=0, waiting=0)

    def test_errors_of_sending_for_a_while(self):
        """Whatever is being sent then, to a parking lot or to a provider: later it is sent again."""
        for error in ("ETOOMANYREFS", "ENOBUFS", "ENOMEM", "EAGAIN"):
            with self.subTest(error):
                # The first ones go to the service manager, and are WELCOME.
                self.start(inject=f"sendmsg:error={error}:when=15..60")
                self.serving_child(self.usherd, "one", "heir", credit=3)
                victim = self.holding_child(self.usherd, "one", "victim", credit=40)
                clients = [self.connect(self.address) for _ in range(60)]
                self.usherd.wait_service("one", accepted=60)  # the heir serves some of them meanwhile
                victim.kill()
                self.check_served(clients)
                self.usherd.wait_service("one", released=60, lost=0, given_up=0)


if __name__ == "__main__":
    tap.main()
