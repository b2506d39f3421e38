# SPDX-License-Identifier: MIT
"""Who may come in, when, how many and how often: the rules and limits of a service.

127.0.0.0/8 is enough of a network: every client binds an address of its own. USHER_TEST_SOAK=1 has the
overload last ten seconds.
"""

import collections
import datetime
import os
import signal
import socket
import threading
import time

import harness
import network
import processes
import protocol
import tap
from manager import FakeManager

OVERLOAD_SECONDS = 10 if os.environ.get("USHER_TEST_SOAK") else 2


def service(name, more="", port=0, address="127.0.0.1"):
    return f'service {name} {{ listen = {{"tcp:{address}:{port}"}} {more} }}\n'


class AdmissionTest(harness.UsherTest):
    """A service `one` with options, and a provider that tells everybody its name."""

    def start(self, more="", others="", address="127.0.0.1"):
        self.port = network.free_port()
        self.others = others
        self.listen_on = address
        self.usherd = self.start_usherd(self.config(more))
        self.address = f"tcp:127.0.0.1:{self.port}"
        self.serving_child(self.usherd, "one", "a", credit=1000)

    def config(self, more):
        return service("one", more, self.port, self.listen_on) + self.others

    def reload(self, more):
        self.usherd.write_config(self.config(more))
        answer = self.usherd.ask("reload")
        self.assertTrue(answer.get("ok"), answer)

    def outcome(self, source="127.0.0.1", address=None):
        """What a client gets to hear who comes from there; None when it is reset."""
        return network.answer(address or self.address, (source, 0))

    def check_served(self, *sources, **options):
        for source in sources:
            self.assertEqual(self.outcome(source, **options), b"a\n", source)

    def check_refused(self, *sources, **options):
        for source in sources:
            self.assertIsNone(self.outcome(source, **options), source)

    def refusals(self, name="one"):
        return {reason: n for reason, n in self.usherd.service(name)["refused"].items() if n}


class Rules(AdmissionTest):
    def test_only_from(self):
        self.start('only_from = {"127.0.1.0/24", "127.0.2.1"}')
        self.check_served("127.0.1.1", "127.0.1.255", "127.0.2.1")
        self.check_refused("127.0.0.1", "127.0.2.2")
        self.assertEqual(self.refusals(), {"only_from": 2})

    def test_no_access(self):
        self.start('no_access = {"127.0.1.0/24"}')
        self.check_served("127.0.0.1", "127.0.2.1")
        self.check_refused("127.0.1.1", "127.0.1.9")
        self.assertEqual(self.refusals(), {"no_access": 2})

    def test_most_specific_decides_and_of_two_alike_no_access(self):
        self.start('only_from = {"127.0.0.0/16", "127.0.1.7", "127.0.3.0/24"} '
                   'no_access = {"127.0.1.0/24", "127.0.3.0/24"}')
        self.check_served("127.0.0.1", "127.0.1.7", "127.0.2.1")
        self.check_refused("127.0.1.6", "127.0.3.1", "127.1.0.1")
        self.assertEqual(self.refusals(), {"no_access": 2, "only_from": 1})

    def test_ipv6_and_ipv4_on_one_socket(self):
        """On the wildcard an IPv4 client has a mapped address: IPv4 rules decide about it."""
        self.start('no_access = {"127.0.1.0/24", "::1"}', address="[::]")
        self.check_served("127.0.0.1")
        self.check_refused("127.0.1.1")
        self.check_refused("::1", address=f"tcp:[::1]:{self.port}")
        self.reload('only_from = {"::1"}')
        self.check_served("::1", address=f"tcp:[::1]:{self.port}")
        self.check_refused("127.0.0.1")

    def test_clients_without_an_address(self):
        path = self.folder / "client.sock"
        self.start('only_from = {} per_source = 1',
                   f'service two {{ listen = {{"unix:{path}", "tcp:127.0.0.1:0"}} only_from = {{}} per_source = 1 }}\n')
        self.serving_child(self.usherd, "two", "b")
        for _ in range(3):
            self.assertEqual(network.read_all(self.connect(f"unix:{path}")), b"b\n")
        self.check_refused("127.0.0.1")
        self.check_refused("127.0.0.1", address=self.usherd.addresses("two")[1])

    def test_refused_without_need_of_a_provider_with_credit(self):
        self.start('only_from = {"127.0.0.1"}')
        self.check_served(*["127.0.0.1"] * 30)
        self.check_refused(*["127.0.0.2"] * 30)
        self.usherd.wait_service("one", accepted=30, released=30, reset=30)

    def test_new_rules_from_the_next_connection_on(self):
        self.start()
        self.check_served("127.0.0.2")
        self.reload('no_access = {"127.0.0.2"}')
        self.check_refused("127.0.0.2")
        self.check_served("127.0.0.1")
        self.reload("")
        self.check_served("127.0.0.2")

    def test_ten_thousand_rules(self):
        rules = ", ".join(f'"10.{i // 256}.{i % 256}.0/24"' for i in range(10000))
        self.start(f'no_access = {{{rules}, "127.0.0.2"}}')
        self.check_refused("127.0.0.2")
        self.check_served("127.0.0.1")


class Hours(AdmissionTest):
    @staticmethod
    def hour(offset):
        """As usher.conf has it: so many hours after the present one."""
        now = datetime.datetime.now()
        return f"{(now.hour + offset) % 24:02}:{now.minute:02}"

    def test_within_and_outside(self):
        self.start(f'access_times = {{"{self.hour(-1)}-{self.hour(1)}"}}')
        self.check_served("127.0.0.1")
        self.reload(f'access_times = {{"{self.hour(1)}-{self.hour(2)}"}}')
        self.check_refused("127.0.0.1")
        self.assertEqual(self.refusals(), {"access_times": 1})
        self.reload(f'access_times = {{"{self.hour(1)}-{self.hour(2)}", "{self.hour(2)}-{self.hour(1)}"}}')
        self.check_served("127.0.0.1")


class Sources(AdmissionTest):
    """Two providers that keep what they get."""

    def start_two(self, more):
        self.port = network.free_port()
        self.others = ""
        self.listen_on = "127.0.0.1"
        self.usherd = self.start_usherd(self.config(more))
        self.address = f"tcp:127.0.0.1:{self.port}"
        self.providers = [self.provider(self.usherd, "one", credit=100) for _ in range(2)]

    def tearDown(self):
        """Nothing is left unclaimed: it would be parked, and kept."""
        if not self.has_failed() and hasattr(self, "providers"):
            self.usherd.wait_until(self.is_all_claimed, "everything to be claimed")

    def is_all_claimed(self):
        self.take_all()
        status = self.usherd.service("one")
        return status["unclaimed"] + status["waiting"] + status["parked"] == 0

    def come(self, source, n=1):
        """As many connections, all of which come in."""
        n_before = self.usherd.service("one")["totals"]["accepted"]
        clients = [self.connect(self.address, source=(source, 0)) for _ in range(n)]
        self.usherd.wait_service("one", accepted=n_before + n)
        return clients

    def take_all(self):
        """What the providers have, claimed: provider and connection."""
        taken = []
        while readable := processes.find_readable(self.providers, 0):
            for provider in readable:
                connections = provider.receive_connections()
                provider.send(protocol.claim(connections[-1].sequence))
                provider.kept += connections
                taken += [(provider, connection) for connection in connections]
        return taken

    def check_full(self, source):
        self.assertIsNone(self.outcome(source))

    def test_counted_over_all_providers_and_until_released(self):
        self.start_two("per_source = 4")
        clients = self.come("127.0.0.2", 4)
        taken = self.take_all()
        self.assertEqual(len(taken), 4)
        self.assertEqual({provider for provider, _ in taken}, set(self.providers))
        self.check_full("127.0.0.2")
        self.come("127.0.0.3")
        clients[0].close()
        self.check_full("127.0.0.2")  # the provider has not said that it is over
        provider, connection = taken[0]
        provider.finish(connection)
        self.usherd.wait_service("one", released=1)
        self.come("127.0.0.2")
        self.check_full("127.0.0.2")
        self.assertEqual(self.refusals(), {"per_source": 3})
        self.assertEqual(self.usherd.service("one")["sources"], 2)

    def test_death_of_a_provider_ends_what_it_had(self):
        self.start_two("per_source = 4")
        self.come("127.0.0.2", 4)
        taken = self.take_all()
        n = sum(provider is self.providers[0] for provider, _ in taken)
        self.check_full("127.0.0.2")
        self.providers.pop(0).close()
        self.usherd.wait_service("one", lost=n)
        self.come("127.0.0.2", n)
        self.check_full("127.0.0.2")

    def test_unclaimed_connections_of_a_dead_provider_still_count(self):
        self.start_two("per_source = 4")
        self.come("127.0.0.2", 4)
        self.providers.pop(0).close()
        self.usherd.wait_service("one", n_providers=1)
        self.check_full("127.0.0.2")
        self.assertEqual(len(self.take_all()), 4)

    def test_parked_connections_are_counted_when_they_are_taken_out(self):
        self.start_two("per_source = 2")
        self.come("127.0.0.2", 2)
        for provider in self.providers:
            provider.close()
        self.usherd.wait_service("one", n_providers=0)
        self.assertEqual(self.usherd.service("one")["sources"], 0)
        self.providers = [self.provider(self.usherd, "one", credit=100)]
        self.usherd.wait_service("one", parked=0, unclaimed=2, sources=1)
        self.check_full("127.0.0.2")

    def test_prefix(self):
        self.start_two("per_source = 2 per_source_prefix = {24, 64}")
        self.come("127.0.5.1")
        self.come("127.0.5.2")
        self.check_full("127.0.5.3")
        self.come("127.0.6.1")

    def test_reload_counts_what_is_there(self):
        self.start_two("")
        self.come("127.0.5.1", 2)
        self.take_all()
        self.come("127.0.5.2")
        self.reload("per_source = 2")
        self.check_full("127.0.5.1")
        self.come("127.0.5.2")
        self.check_full("127.0.5.2")
        self.reload("per_source = 5 per_source_prefix = {24, 64}")
        self.come("127.0.5.3")
        self.check_full("127.0.5.4")
        self.reload("")
        self.come("127.0.5.4")
        self.assertEqual(self.usherd.service("one")["sources"], 0)

    def test_upgrade_counts_what_is_there(self):
        self.start_two("per_source = 3 no_access = {\"127.0.0.9\"}")
        self.come("127.0.0.2", 2)
        taken = self.take_all()
        self.come("127.0.0.2")
        self.check_full("127.0.0.2")
        self.check_full("127.0.0.9")
        self.assertNotIn("error", self.usherd.ask("upgrade"))
        self.check_full("127.0.0.2")
        self.assertEqual(self.refusals(), {"per_source": 2, "no_access": 1})
        provider, connection = taken[0]
        provider.finish(connection)
        self.usherd.wait_service("one", released=1)
        self.come("127.0.0.2")
        self.check_full("127.0.0.2")

    def test_rate(self):
        self.start("per_source_rate = {3, 1h}")
        self.check_served(*["127.0.0.2"] * 3)
        self.check_refused(*["127.0.0.2"] * 3)
        self.check_served("127.0.0.3")
        self.assertEqual(self.refusals(), {"per_source_rate": 3})

    def test_upgrade_remembers_how_fast_they_came(self):
        self.start("per_source_rate = {3, 1h}")
        self.check_served(*["127.0.0.2"] * 3)
        self.assertNotIn("error", self.usherd.ask("upgrade"))
        self.check_refused("127.0.0.2")
        self.check_served(*["127.0.0.3"] * 3)
        self.check_refused("127.0.0.3")

    def test_rate_comes_back(self):
        self.start("per_source_rate = {4, 2s}")
        self.check_served(*["127.0.0.2"] * 4)
        self.check_refused("127.0.0.2")
        self.usherd.wait_until(lambda: self.outcome("127.0.0.2") == b"a\n", "its next turn")


class Waiting(AdmissionTest):
    """Limits that let clients wait: nobody is refused, and it goes on by itself."""

    def overload(self, seconds, per_second):
        """Clients as fast as said. Returns what each got to hear, and when they stopped coming."""
        heard = collections.Counter()
        threads = []
        begin = time.monotonic()

        def come():
            try:
                with network.connect(self.address, timeout=60) as client:
                    heard[network.read_all(client)] += 1
            except OSError as error:
                heard[str(error)] += 1

        for i in range(seconds * per_second):
            while begin + i / per_second > time.monotonic():
                self.usherd.watch(0.002)
            threads.append(threading.Thread(target=come))
            threads[-1].start()
        return heard, threads, time.monotonic()

    def test_cps_pauses_and_goes_on_by_itself(self):
        self.start("cps = {20, 1}")
        begin = time.monotonic()
        heard, threads, end = self.overload(OVERLOAD_SECONDS, 200)
        n_during = heard[b"a\n"]
        self.assertGreaterEqual(n_during, 20)
        self.assertLessEqual(n_during, 20 * (end - begin) + 40)
        self.usherd.wait_until(lambda: heard[b"a\n"] > n_during, "the first one after the overload")
        self.assertLess(time.monotonic() - end, 1.5)  # a pause is a second, and the machine is slow
        status = self.usherd.service("one")
        self.assertGreaterEqual(status["delayed"]["cps"], OVERLOAD_SECONDS - 1)
        self.assertEqual(self.refusals(), {})
        self.assertEqual(len(self.usherd.read_whole_log().split("see cps")), 2, "one line, not one for each")
        self.reload("")  # those who still wait, at once
        for thread in threads:
            thread.join()
        self.assertEqual(heard, {b"a\n": OVERLOAD_SECONDS * 200})

    def test_who_waits_is_shown_and_costs_nothing(self):
        self.start("cps = {1, 1h}")
        self.check_served("127.0.0.1")
        client = self.connect(self.address)
        self.usherd.wait_service("one", state="limited")
        limited = self.usherd.service("one")["limited"]
        self.assertEqual(limited["reason"], "cps")
        self.assertTrue(3500 < limited["seconds"] <= 3600, limited)
        n_before = self.usherd.count_wakeups()
        clients = [self.connect(self.address) for _ in range(50)]
        self.usherd.wait_idle()
        self.assertLessEqual(self.usherd.count_wakeups() - n_before, 5)
        self.reload("")
        for one in [client, *clients]:
            self.assertEqual(network.read_all(one), b"a\n")

    def test_pause_goes_on_after_an_upgrade(self):
        self.start("cps = {1, 1h}")
        self.check_served("127.0.0.1")
        client = self.connect(self.address)
        self.usherd.wait_service("one", state="limited")
        self.assertNotIn("error", self.usherd.ask("upgrade"))
        self.usherd.wait_service("one", state="limited")  # nobody else had to come
        status = self.usherd.service("one")
        self.assertEqual(status["limited"]["reason"], "cps")
        self.assertTrue(3500 < status["limited"]["seconds"] <= 3600, status)
        self.assertEqual(status["delayed"]["cps"], 1)
        self.reload("")
        self.assertEqual(network.read_all(client), b"a\n")

    def test_rate_is_kept_and_nobody_waits_longer(self):
        self.start("rate = {50, 1s}")
        begin = time.monotonic()
        clients = [self.connect(self.address) for _ in range(100)]
        for client in clients:
            self.assertEqual(network.read_all(client), b"a\n")
        seconds = time.monotonic() - begin
        self.assertGreater(seconds, 0.98)  # 50 at once and 50 in a second
        self.assertLess(seconds, 2.5)

    def test_max_load(self):
        path = self.folder / "loadavg"
        self.start("max_load = 0.01" if os.getloadavg()[0] > 0.2 else "max_load = 10000")
        if os.getloadavg()[0] <= 0.2:
            self.check_served("127.0.0.1")
            self.skipTest(f"the machine is idle: its load is not above any limit ({path})")
        client = self.connect(self.address)
        self.usherd.wait_service("one", state="limited")
        self.assertEqual(self.usherd.service("one")["limited"]["reason"], "max_load")
        self.usherd.wait_log("see max_load")
        self.reload("max_load = 10000")
        self.assertEqual(network.read_all(client), b"a\n")


class Sensors(AdmissionTest):
    def setUp(self):
        super().setUp()
        self.trap_port = network.free_port()
        self.trap = f"tcp:127.0.0.1:{self.trap_port}"

    def trap_service(self, more=""):
        return service("trap", f"sensor = true {more}", self.trap_port)

    def test_who_touches_it_is_refused_everywhere(self):
        self.start("", self.trap_service('deny_time = "1h" no_access = {"127.0.0.7"}'))
        self.check_served("127.0.0.2")
        self.check_refused("127.0.0.2", address=self.trap)  # without any provider
        self.check_refused("127.0.0.2", "127.0.0.2")
        self.check_served("127.0.0.3")
        self.check_refused("127.0.0.7", address=self.trap)  # who is let off is not denied
        self.check_served("127.0.0.7")
        self.assertEqual(self.refusals(), {"denied": 2})
        self.assertEqual(self.refusals("trap"), {"sensor": 1, "no_access": 1})
        self.assertEqual(self.usherd.status()["denied"], 1)

    def test_who_is_forwarded_to_it_is_reset_too(self):
        self.start("", self.trap_service('refused_to = "sorry"')
                   + 'service sorry { listen = {} }\n'
                   'service mux { listen = {"tcp:127.0.0.1:0"} providers { forward = {"trap"} } }\n')
        self.serving_child(self.usherd, "sorry", "sorry")
        mux = self.provider(self.usherd, "mux")
        client = self.connect(self.usherd.addresses("mux")[0], source=("127.0.0.2", 0))
        mux.forward(mux.take_and_claim(1)[0], "trap")
        with self.assertRaises(ConnectionResetError):
            network.read_all(client)
        self.assertEqual(self.outcome("127.0.0.2", address=self.trap), b"sorry\n")  # denied by now

    def test_for_a_while(self):
        self.start("", self.trap_service('deny_time = "1s"'))
        self.check_refused("127.0.0.2", address=self.trap)
        self.check_refused("127.0.0.2")
        self.usherd.wait_until(lambda: self.outcome("127.0.0.2") == b"a\n", "the end of its time")
        self.assertEqual(self.usherd.status()["denied"], 0)

    def test_over_reload_and_upgrade(self):
        self.start("", self.trap_service('deny_time = "1h"'))
        self.check_refused("127.0.0.2", address=self.trap)
        self.others = self.trap_service("deny_time = forever")
        self.reload("")
        self.check_refused("127.0.0.3", address=self.trap)
        self.assertNotIn("error", self.usherd.ask("upgrade"))
        self.check_refused("127.0.0.2", "127.0.0.3")
        self.check_served("127.0.0.4")
        self.assertEqual(self.usherd.status()["denied"], 2)


class Refused(AdmissionTest):
    """What becomes of those that are refused."""

    def test_to_a_service_that_tells_them(self):
        self.start('only_from = {"127.0.0.1"} refused_to = "sorry"',
                   'service sorry { listen = {} only_from = {"127.0.0.1"} }\n')
        self.serving_child(self.usherd, "sorry", "sorry")
        self.check_served("127.0.0.1")
        self.assertEqual(self.outcome("127.0.0.2"), b"sorry\n")
        self.assertEqual(self.refusals(), {"only_from": 1})
        self.assertEqual(self.refusals("sorry"), {})
        self.usherd.wait_service("sorry", taken_over=1, released=1)

    def test_reset_when_that_one_is_full(self):
        self.start('only_from = {"127.0.0.1"} refused_to = "sorry"',
                   'service sorry { listen = {} instances = 1 }\n')
        provider = self.provider(self.usherd, "sorry")
        client = self.connect(self.address, source=("127.0.0.2", 0))
        self.assertEqual(len(provider.take_and_claim(1)), 1)
        self.check_refused("127.0.0.2")
        client.close()

    def test_forwarded_connections_are_asked_too(self):
        self.start('only_from = {"127.0.0.1"} per_source = 2',
                   'service mux { listen = {"tcp:127.0.0.1:0"} providers { forward = {"one", "mux"} } }\n')
        mux = self.provider(self.usherd, "mux")
        for source in "127.0.0.1", "127.0.0.2":
            client = self.connect(self.usherd.addresses("mux")[0], source=(source, 0))
            mux.forward(mux.take_and_claim(1)[0], "one", b"one\r\n")
            if source == "127.0.0.1":
                self.assertEqual(network.read_all(client), b"a\n")
            else:
                with self.assertRaises(ConnectionResetError):
                    network.read_all(client)
        self.assertEqual(self.refusals(), {"only_from": 1})
        self.usherd.wait_log("forwarded a connection to 'one', but that service does not let this client in")

    def test_handed_back_is_one_connection_and_not_asked_again(self):
        self.port = network.free_port()
        self.others, self.listen_on = "", "127.0.0.1"
        self.usherd = self.start_usherd(self.config("per_source = 1 providers { forward = {\"one\"} }"))
        self.address = f"tcp:127.0.0.1:{self.port}"
        first, second = (self.provider(self.usherd, "one", credit=9) for _ in range(2))
        self.connect(self.address)
        first.forward(first.take_and_claim(1)[0])
        second.take_and_claim(1)
        self.check_refused("127.0.0.1")
        self.assertEqual(self.usherd.service("one")["sources"], 1)
        second.finish(*second.kept)
        self.usherd.wait_service("one", released=1, sources=0)

    def test_forwarded_connections_are_counted_until_they_are_released(self):
        self.start("per_source = 1 instances = 2",
                   'service mux { listen = {"tcp:127.0.0.1:0"} providers { forward = {"one"} } }\n')
        self.usherd.ask("drain one")
        self.usherd.wait_service("one", n_providers=0)
        one, mux = self.provider(self.usherd, "one"), self.provider(self.usherd, "mux")
        for source in "127.0.0.1", "127.0.0.2", "127.0.0.3":  # the third finds no place, and counts for nothing
            self.connect(self.usherd.addresses("mux")[0], source=(source, 0))
            mux.forward(mux.take_and_claim(1)[0], "one")
        self.usherd.wait_service("mux", forwards_refused=1)
        connections = one.take_and_claim(2)
        self.assertEqual(self.usherd.service("one")["sources"], 2)
        one.finish(*connections)
        self.usherd.wait_service("one", released=2, sources=0)

    def test_connection_log_says_why(self):
        self.start('no_access = {"127.0.0.2"} log_on_failure = {"host", "reason"}')
        self.check_refused("127.0.0.2")
        self.usherd.wait_log(r"127\.0\.0\.2.*no_access|no_access.*127\.0\.0\.2")


class Lent(AdmissionTest):
    """The kernel carries out the rules where usherd sees nobody."""

    def start_lending(self, kind, more, address="127.0.0.1", **options):
        self.port = network.free_port()
        self.more = f'listen = {{"{kind}:{address}:{self.port}"}} deliver = "listener"'
        self.usherd = self.start_usherd(f"service one {{ {self.more} {more} }}", **options)
        self.borrower = self.provider(self.usherd, "one", takes_listeners=True)
        lent, = self.borrower.receive_listeners()
        self.socket = lent.socket
        self.socket.setblocking(False)

    def reload(self, more):
        self.usherd.write_config(f"service one {{ {self.more} {more} }}")
        answer = self.usherd.ask("reload")
        self.assertTrue(answer.get("ok"), answer)

    def sends(self, source, to="127.0.0.1"):
        """Whether a datagram from there arrives. Over loopback it is there when sendto(2) is back."""
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.bind((source, 0))
            client.sendto(b"x", (to, self.port))
            try:
                return self.socket.recv(10) == b"x"
            except BlockingIOError:
                return False

    def test_datagrams(self):
        self.start_lending("udp", 'only_from = {"127.0.1.0/24"} no_access = {"127.0.1.9"}')
        self.assertTrue(self.sends("127.0.1.1"))
        self.assertFalse(self.sends("127.0.1.9"))
        self.assertFalse(self.sends("127.0.0.1"))
        self.reload('no_access = {"127.0.1.1"}')
        self.assertFalse(self.sends("127.0.1.1"))
        self.assertTrue(self.sends("127.0.0.1"))
        self.reload("")
        self.assertTrue(self.sends("127.0.1.1"))

    def test_datagrams_of_both_families(self):
        self.start_lending("udp", 'no_access = {"127.0.1.0/24", "::1"}', "[::]")
        self.assertTrue(self.sends("127.0.0.1"))
        self.assertFalse(self.sends("127.0.1.1"))
        self.assertFalse(self.sends("::1", "::1"))
        self.reload('only_from = {"::1"}')
        self.assertTrue(self.sends("::1", "::1"))
        self.assertFalse(self.sends("127.0.0.1"))

    def test_what_a_borrower_has_attached_does_not_stay(self):
        self.start_lending("udp", 'no_access = {"127.0.1.1"}')
        so_detach_filter = 27
        self.socket.setsockopt(socket.SOL_SOCKET, so_detach_filter, 0)
        self.assertTrue(self.sends("127.0.1.1"))  # who borrows is trusted, see usher.conf(5)
        self.borrower.close()
        self.usherd.wait_service("one", n_providers=0)
        self.borrower = self.provider(self.usherd, "one", takes_listeners=True)
        self.socket = self.borrower.receive_listeners()[0].socket
        self.socket.setblocking(False)
        self.assertFalse(self.sends("127.0.1.1"))
        self.assertTrue(self.sends("127.0.0.1"))

    def test_what_a_borrower_has_locked_is_lent_to_nobody(self):
        self.start_lending("udp", 'no_access = {"127.0.1.1"}')
        so_detach_filter, so_lock_filter = 27, 44
        self.socket.setsockopt(socket.SOL_SOCKET, so_detach_filter, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, so_lock_filter, 1)
        other = self.provider(self.usherd, "one", takes_listeners=True)
        self.assertEqual(other.receive_listeners(), [])
        self.borrower.close()
        self.usherd.wait_log("filter-failed")
        self.usherd.wait_service("one", n_providers=1)
        self.borrower = self.provider(self.usherd, "one", takes_listeners=True)
        self.assertEqual(self.borrower.receive_listeners(), [])

    def test_listening_sockets(self):
        self.start_lending("tcp", 'only_from = {"127.0.1.0/24"}')
        self.connect(f"tcp:127.0.0.1:{self.port}", source=("127.0.1.1", 0))
        self.socket.accept()[0].close()
        with self.assertRaises(TimeoutError):  # its SYN is not answered
            network.connect(f"tcp:127.0.0.1:{self.port}", timeout=0.3, source=("127.0.0.1", 0))
        self.reload("")
        self.connect(f"tcp:127.0.0.1:{self.port}")
        self.socket.accept()[0].close()

    def test_who_waited_for_usherd_is_asked_by_it(self):
        """A service that lends already has usherd keep the right to filter TCP."""
        self.port, address = network.free_port(), "tcp:127.0.0.1:{}"
        listen = f'listen = {{"tcp:127.0.0.1:{self.port}"}} no_access = {{"127.0.1.1"}}'
        other = service("other", 'deliver = "listener" no_access = {"127.0.1.1"}')
        self.usherd = self.start_usherd(f"{other} service one {{ {listen} }}")
        self.borrower = self.provider(self.usherd, "one", takes_listeners=True, credit=0)
        self.assertEqual(self.borrower.receive_listeners(), [])
        bad, good = (self.connect(address.format(self.port), source=(source, 0))
                     for source in ("127.0.1.1", "127.0.0.1"))
        self.usherd.write_config(f'{other} service one {{ {listen} deliver = "listener" }}')
        self.assertIn("ok", self.usherd.ask("reload"))
        lent, = self.borrower.receive_listeners()
        lent.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):
            lent.socket.accept()
        with self.assertRaises(ConnectionResetError):
            bad.recv(1)
        self.assertEqual(self.usherd.service("one")["refused"]["no_access"], 1)
        self.borrower.send(protocol.credit(0, 1))
        connection, = self.borrower.take_and_claim(1)
        self.assertEqual(connection.peer, good.getsockname())
        self.borrower.finish(connection)

    def test_who_waited_for_an_earlier_usherd_is_asked(self):
        self.port, manager = network.free_port(), FakeManager()
        listen = f'listen = {{"tcp:127.0.0.1:{self.port}"}} no_access = {{"127.0.1.1"}}'
        self.usherd = self.start_usherd(f"service one {{ {listen} }}", manager=manager)
        self.usherd.wait_until(lambda: len(manager.names()) == 2, "the manager to keep both sockets")
        bad, good = (self.connect(f"tcp:127.0.0.1:{self.port}", source=(source, 0))
                     for source in ("127.0.1.1", "127.0.0.1"))
        self.usherd.write_config(f'service one {{ {listen} deliver = "listener" }}')
        self.usherd.restart(signal.SIGKILL)
        with self.assertRaises(ConnectionResetError):
            bad.recv(1)
        self.borrower = self.provider(self.usherd, "one", takes_listeners=True, credit=1)
        connection, = self.borrower.take_and_claim(1)
        self.assertEqual(connection.peer, good.getsockname())
        self.borrower.finish(connection)

    def test_who_waited_before_an_upgrade_is_asked(self):
        """While others are in service."""
        self.port, address = network.free_port(), "tcp:127.0.0.1:{}"
        listen = f'listen = {{"tcp:127.0.0.1:{self.port}"}} no_access = {{"127.0.1.1"}}'
        other = service("other", 'deliver = "listener" no_access = {"127.0.1.1"}')
        self.usherd = self.start_usherd(f"{other} service one {{ {listen} }}")
        self.borrower = self.provider(self.usherd, "one", takes_listeners=True, credit=1)
        self.assertEqual(self.borrower.receive_listeners(), [])
        self.connect(address.format(self.port))
        served, = self.borrower.take_and_claim(1)
        bad, good = (self.connect(address.format(self.port), source=(source, 0))
                     for source in ("127.0.1.1", "127.0.0.1"))
        self.usherd.write_config(f'{other} service one {{ {listen} deliver = "listener" }}')
        self.assertNotIn("error", self.usherd.ask("upgrade"))
        self.assertEqual(len(self.borrower.receive_listeners()), 1)
        with self.assertRaises(ConnectionResetError):
            bad.recv(1)
        self.borrower.finish(served)
        connection, = self.borrower.take_and_claim(1)
        self.assertEqual(connection.peer, good.getsockname())
        self.borrower.finish(connection)
        self.usherd.wait_service("one", released=2)
        totals = self.usherd.service("one")["totals"]
        self.assertEqual((totals["accepted"], totals["taken_over"], totals["released"]), (1, 1, 2))

    def test_the_next_usherd_leaves_who_came_by_the_rules(self):
        manager = FakeManager()
        self.start_lending("tcp", 'no_access = {"127.0.1.1"}', manager=manager)
        self.usherd.wait_until(lambda: len(manager.names()) == 2, "the manager to keep both sockets")
        client = self.connect(f"tcp:127.0.0.1:{self.port}")
        self.borrower.close()
        self.usherd.restart(signal.SIGKILL)
        other = self.provider(self.usherd, "one", takes_listeners=True)
        lent, = other.receive_listeners()
        lent.socket.settimeout(processes.DEADLINE)
        accepted, address = lent.socket.accept()
        self.assertEqual(address, client.getsockname())
        accepted.close()

    def test_what_cannot_be_filtered_is_lent_to_nobody(self):
        """A right that was not needed at the start is not there at a reload."""
        self.start_lending("tcp", "")
        self.reload('only_from = {"127.0.1.0/24"}')
        if "filter-failed" not in self.usherd.read_whole_log():
            self.skipTest("this kernel lets everybody filter TCP")
        self.assertEqual(self.borrower.receive_listeners(), [])
        self.usherd.wait_log("lent to nobody, because .*CAP_NET_ADMIN")
        self.reload("")
        lent, = self.borrower.receive_listeners()
        self.connect(f"tcp:127.0.0.1:{self.port}")
        lent.socket.settimeout(processes.DEADLINE)
        lent.socket.accept()[0].close()

    def test_after_an_upgrade(self):
        self.start_lending("udp", 'no_access = {"127.0.1.1"}')
        self.assertNotIn("error", self.usherd.ask("upgrade"))
        self.assertFalse(self.sends("127.0.1.1"))
        self.assertTrue(self.sends("127.0.0.1"))


if __name__ == "__main__":
    tap.main()
