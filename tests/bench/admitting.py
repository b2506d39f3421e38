# SPDX-License-Identifier: MIT
"""What an usherd has to look at before it lets somebody in: rules, and sources that it remembers."""

import network
import servers

# One connection takes half of it, so that nobody is as good as new before tomorrow; and then as many
# as the load makes from one address.
FEW = 'per_source_rate = {2, "24h"}'
MANY = 'per_source_rate = {1000000, "24h"}'


def make_rules(n):
    """A list for only_from, of so many networks of several lengths, one of them the load's."""
    def network_of(number):
        high, low = divmod(number, 250)
        if number % 3 == 0:
            return f"2001:db8:{number:x}::/48"
        return f"10.{high}.{low}.0/24" if number % 3 == 1 else f"10.{high}.{low}.{number % 250 + 1}"

    networks = ["127.0.0.0/8", *map(network_of, range(n - 1))]
    return "{" + ", ".join(f'"{one}"' for one in networks) + "}"


class RememberingUsher(servers.Usher):
    """An usherd that limits how fast each source comes."""

    def __init__(self, **options):
        super().__init__(options=FEW, **options)

    def remember(self, n):
        """Come from so many addresses. Returns how many are remembered."""
        address, = self.usherd.addresses("bench")
        for number in range(n):
            high, low = divmod(number, 250)
            source = f"127.{200 + high // 250}.{high % 250}.{low + 1}"
            client = network.connect(address, source=(source, 0))
            client.sendall(servers.GREETING)
            network.read_exactly(client, len(servers.GREETING))
            network.reset(client)  # so that the kernel, too, has nothing left of it
        self.options = MANY
        self.usherd.write_config(self.configuration())
        if not self.usherd.ask("reload").get("ok"):
            raise AssertionError(self.usherd.read_log())
        return self.usherd.service("bench")["sources"]
