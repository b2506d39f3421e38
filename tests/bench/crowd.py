# SPDX-License-Identifier: MIT
"""Connections by the thousand that wait in an usherd: parked, or in the hands of a provider.

Clients are in one process and providers in others, since all of them need a descriptor for each.
"""

import resource
import signal

import network
import processes
import protocol
import servers

PER_SLEEPER = 200  # connections whose messages fit into one channel
N_OF_OTHERS = 256  # descriptors that a process needs besides

SERVICES = """
service held {{
    listen = {{"tcp:{0}.200:20000"}}
    instances = 20000
}}
service parked {{
    listen = {{"tcp:{0}.201:20000"}}
    instances = 20000
    providers {{ max = 64 }}
    park {{ timeout = 1h }}
}}
"""


class CrowdedUsher(servers.Usher):
    """An usherd with services for connections that wait, and whoever makes them wait."""

    def configuration(self):
        return super().configuration() + SERVICES.format(self.network)

    def _child(self, function):
        """A process that does this and then waits for its end."""
        def run(say):
            done = function()  # keeps what must stay open
            say("done")
            signal.pause()
            del done

        child = processes.Child(run)
        self._cleanups.callback(child.kill)
        return child

    def _clients(self, service, n):
        address, = self.usherd.addresses(service)
        return self._child(lambda: [network.connect(address) for _ in range(n)])

    def hold(self, n):
        """So many in service: a provider has claimed them and does nothing more."""
        def take_all():
            provider = protocol.Provider(self.usherd.rendezvous("held"))
            provider.register(credit=n)
            n_left = n
            while n_left:
                connections = provider.receive_connections()
                provider.send(protocol.claim(connections[-1].sequence))
                provider.kept += connections
                n_left -= len(connections)
            return provider

        provider = self._child(take_all)
        self._clients("held", n).hear()
        provider.hear()
        self.usherd.wait_service("held", in_service=n, unclaimed=0)

    def park(self, n):
        """So many parked: their providers are gone before they have looked at them."""
        def register():
            provider = protocol.Provider(self.usherd.rendezvous("parked"))
            provider.register(credit=PER_SLEEPER)
            return provider

        sleepers = [self._child(register) for _ in range(-(-n // PER_SLEEPER))]
        for sleeper in sleepers:
            sleeper.hear()
        self._clients("parked", n).hear()
        self.usherd.wait_service("parked", unclaimed=n)
        for sleeper in sleepers:
            sleeper.kill()
        self.usherd.wait_service("parked", parked=n)


def check_descriptors(n):
    """Fail if a process cannot have so many connections."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < n + N_OF_OTHERS:
        raise AssertionError(f"needs {n + N_OF_OTHERS} descriptors, and the limit is {limit}")
