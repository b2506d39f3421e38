/* SPDX-License-Identifier: MIT */
/*
 * Who is refused everywhere: see denied.h.
 *
 * An address is looked for as a part of each length of network that there is, of which there are
 * as many as sensors differ in per_source_prefix: one or two.
 */
#include "denied.h"

#include "netmap.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MAX_BITS 128

struct denied {
	struct netmap *map;
	uint32_t max;
	uint32_t n_of_length[2][MAX_BITS + 1]; /* of IPv4, of IPv6 */
	uint64_t n_missed;
};

int denied_new(struct denied **ret, uint32_t max, const uint8_t key[SIPHASH_KEY_SIZE])
{
	struct denied *denied = calloc(1, sizeof(*denied));

	if (!denied)
		return -ENOMEM;
	if (netmap_new(&denied->map, 0, key) < 0) {
		free(denied);
		return -ENOMEM;
	}
	denied->max = max;
	*ret = denied;
	return 0;
}

struct denied *denied_free(struct denied *denied)
{
	if (!denied)
		return NULL;
	netmap_free(denied->map);
	free(denied);
	return NULL;
}

static uint32_t *n_of_length(struct denied *denied, const struct network *network)
{
	return &denied->n_of_length[network->family == AF_INET6][network->n_bits];
}

static void forget_old(struct denied *denied, uint32_t max, uint64_t now_usec)
{
	for (uint32_t slot; max > 0; max--) {
		slot = netmap_first_deadline(denied->map);
		if (slot == 0 || netmap_deadline(denied->map, slot) > now_usec)
			break;
		--*n_of_length(denied, netmap_network(denied->map, slot));
		netmap_remove(denied->map, slot);
	}
}

/* Returns 0 with *ret, or a negative errno. */
static int add(struct denied *denied, const struct network *network, uint32_t *ret)
{
	int r = netmap_n(denied->map) >= denied->max ? -ENOSPC : netmap_reserve(denied->map);

	if (r < 0) {
		denied->n_missed++;
		return r;
	}
	*ret = netmap_add(denied->map, network);
	++*n_of_length(denied, network);
	netmap_set_deadline(denied->map, *ret, 0);
	return 0;
}

int denied_add(struct denied *denied, const struct network *network, uint64_t until_usec,
	uint64_t now_usec)
{
	uint32_t slot;
	int r = 0;

	forget_old(denied, DENIED_FORGET_AT_ONCE, now_usec);
	slot = netmap_find(denied->map, network);
	if (slot == 0)
		r = add(denied, network, &slot);
	if (r >= 0 && netmap_deadline(denied->map, slot) < until_usec)
		netmap_set_deadline(denied->map, slot, until_usec);
	return r;
}

bool denied_is_empty(const struct denied *denied)
{
	return netmap_n(denied->map) == 0;
}

bool denied_has(const struct denied *denied, const struct wire_address *peer, uint64_t now_usec)
{
	return denied_until(denied, peer, now_usec) > 0;
}

uint64_t denied_until(
	const struct denied *denied, const struct wire_address *peer, uint64_t now_usec)
{
	uint64_t until_usec = now_usec;
	const uint32_t *n_of_lengths = denied->n_of_length[peer->family == AF_INET6];
	unsigned int n_bits = peer->family == AF_INET6 ? MAX_BITS : 32;

	for (unsigned int i = 0; i <= n_bits && !denied_is_empty(denied); i++) {
		struct network network;
		uint32_t slot;

		if (n_of_lengths[i] == 0)
			continue;
		network = network_of(peer, i);
		slot = netmap_find(denied->map, &network);
		if (slot > 0 && netmap_deadline(denied->map, slot) > until_usec)
			until_usec = netmap_deadline(denied->map, slot);
	}
	return until_usec > now_usec ? until_usec : 0;
}

uint32_t denied_n(struct denied *denied, uint64_t now_usec)
{
	forget_old(denied, UINT32_MAX, now_usec);
	return netmap_n(denied->map);
}

uint64_t denied_n_missed(const struct denied *denied)
{
	return denied->n_missed;
}

uint32_t denied_next(const struct denied *denied, uint32_t last, struct network *ret_network,
	uint64_t *ret_until_usec)
{
	uint32_t slot = netmap_next(denied->map, last);

	if (slot > 0) {
		*ret_network = *netmap_network(denied->map, slot);
		*ret_until_usec = netmap_deadline(denied->map, slot);
	}
	return slot;
}

void denied_check(const struct denied *denied)
{
	uint32_t n = 0;

	netmap_check(denied->map);
	assert(netmap_n(denied->map) <= denied->max);
	for (int family = 0; family < 2; family++)
		for (int i = 0; i <= MAX_BITS; i++)
			n += denied->n_of_length[family][i];
	assert(n == netmap_n(denied->map));
}
