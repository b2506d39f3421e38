# SPDX-License-Identifier: MIT
"""A provider of another user does its worst: the other services do not notice."""

import mmap
import os
import signal

import attacks
import chaos
import harness
import kernels
import processes

CONFIG = f"""
service victim {{
    listen = {{"tcp:127.0.0.1:0"}}
    claim_timeout = "200ms"
    providers {{ users = {{"{harness.PROVIDER_USER}"}} }}
}}
service guarded {{
    listen = {{"tcp:127.0.0.1:0"}}
    providers {{ users = {{"{harness.STRANGER_USER}"}} }}
}}
service bystander {{ listen = {{"tcp:127.0.0.1:0"}} }}
"""

UNIX_LISTENERS = """
service resetting {{ listen = {{"unix:{folder}/resetting"}}  unavailable = reset }}
service waiting {{ listen = {{"unix:{folder}/waiting"}} }}
"""

N_ATTACKERS = {attacks.flood_of_words: 8}  # one for all others
N_ATTACKS = {attacks.malformed_messages: 1_000_000}  # in the long form; for all others the time counts
RATE = 300  # clients of the bystander, a second: the time that one waits is that of its hand-off
P99_MS = 10  # of the long form
MAX_TRIES = 3  # to reach it: the machine may have had other things to do, for a while
P99_MS_OF_ANY_MACHINE = 1000


@harness.needs_root
class Hostile(chaos.ChaosTest):
    make_kernel = None  # usherd runs on this kernel as it is
    row = "hostile provider"

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(CONFIG, before_exec=self.make_kernel)
        self.providers_of_bystander = self.providers(self.usherd, "bystander", 2)
        self.warm_up(self.usherd, "bystander")

    def attack(self, attack):
        """While clients of the bystander come; returns (the p99 of their hand-offs in ms, attacks)."""
        counter = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        path = self.usherd.rendezvous("victim")
        host, _, port = self.usherd.addresses("victim")[0].removeprefix("tcp:").rpartition(":")

        def run(_say):
            attacks.repeat(attack, attacks.Target(path, (host, int(port)), counter))

        attackers = [self.child(run, harness.PROVIDER_USER) for _ in range(N_ATTACKERS.get(attack, 1))]
        self.usherd.wait_until(lambda: counter[0] > 0, attack.__name__)
        p99_ms = [self.serve_bystander()]
        while chaos.IS_SOAK and (counter[0] < N_ATTACKS.get(attack, 0)
                                 or min(p99_ms) >= P99_MS and len(p99_ms) < MAX_TRIES):
            p99_ms.append(self.serve_bystander())
        self.assertFalse(processes.find_readable([one.lines for one in attackers], 0), "an attacker has ended")
        for attacker in attackers:
            attacker.kill()
        self.clear_victim()
        return min(p99_ms), counter[0]

    def serve_bystander(self):
        return self.load(self.usherd, "bystander", chaos.size(200, 6000), rate=RATE).latency_ms(99)

    def clear_victim(self):
        """Somebody who behaves serves whom the attacker has left, its own clients mostly."""
        self.usherd.wait_service("victim", n_providers=0)
        provider = self.providers(self.usherd, "victim", 1)
        self.load(self.usherd, "victim", 10)
        self.wait_settled(self.usherd, "victim")
        provider.end()

    def test_one_attack_after_the_other(self):
        found = {"undisturbed": (self.serve_bystander(), 0)}
        found |= {attack.__name__: self.attack(attack) for attack in attacks.ATTACKS}
        for name, (p99_ms, n) in found.items():
            print(f"# {name}: {n} times, p99 {p99_ms:.1f} ms", flush=True)
        ledger = self.ledger()
        undisturbed_ms, _ = found.pop("undisturbed")
        worst_ms = max(p99_ms for p99_ms, _ in found.values())
        self.figure(self.row, f"{len(attacks.ATTACKS)} attacks, {sum(n for _, n in found.values())} times; "
                    f"another service: {ledger}, p99 of a hand-off at most {worst_ms:.1f} ms "
                    f"({undisturbed_ms:.1f} ms without an attack)",
                    len(ledger["served"]) == len(ledger) and worst_ms < P99_MS)
        self.check_ledger(ledger)
        self.assertLess(worst_ms, P99_MS_OF_ANY_MACHINE)
        self.check_settled(self.usherd, self.providers_of_bystander, "bystander", "victim")


def attack_once(attack, path, say):
    target = attacks.Target(path)
    target.in_a_child(attack)
    say("done")
    signal.pause()  # with what its sockets cannot get rid of


@harness.needs_root
class Unread(chaos.ChaosTest):
    """Descriptors of sockets that linger, in what usherd will never read: it closes them all the same."""

    make_kernel = None

    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(
            CONFIG + UNIX_LISTENERS.format(folder=self.folder), before_exec=self.make_kernel)
        self.providers(self.usherd, "bystander", 2)

    def attack(self, attack, path):
        """usherd stands still until everything has been said, so that it finds it all at once."""
        processes.stop_process(self.usherd.pid)
        attacker = self.child(lambda say: attack_once(attack, str(path), say), harness.PROVIDER_USER)
        self.assertEqual(attacker.hear(), "done")
        os.kill(self.usherd.pid, signal.SIGCONT)

    def check_bystander(self):
        clients = self.load(self.usherd, "bystander", 100)
        self.assertLess(clients.latency_ms(100), 5000)
        self.check_ledger(self.ledger())

    def test_behind_what_is_no_hello(self):
        self.attack(attacks.begin_with_slow_messages, self.usherd.rendezvous("victim"))
        self.check_bystander()

    def test_of_who_may_not_register(self):
        self.attack(attacks.begin_with_slow_messages, self.usherd.rendezvous("guarded"))
        self.check_bystander()

    def test_at_the_control_socket(self):
        self.attack(attacks.say_slow_words, self.usherd.run_dir / "control.sock")
        self.check_bystander()

    def test_at_a_listener_that_resets(self):
        self.attack(attacks.say_slow_words, self.folder / "resetting")
        self.check_bystander()

    def test_in_the_backlog_of_a_listener_that_is_removed(self):
        self.attack(attacks.say_slow_words, self.folder / "waiting")
        self.usherd.write_config(CONFIG)
        self.assertTrue(self.usherd.ask("reload").get("ok"))
        self.check_bystander()


class UnreadOnLinux61(Unread):
    make_kernel = staticmethod(kernels.linux_6_1)


class HostileOnLinux61(Hostile):
    """Where usherd has to receive every descriptor before it can close it."""

    make_kernel = staticmethod(kernels.linux_6_1)
    row = "hostile provider on Linux 6.1"
