/* SPDX-License-Identifier: MIT */
/*
 * Where the clients of a service come from: see sources.h.
 *
 * A source without connections has the time at which its bucket is full as its deadline in the
 * table. Those whose time has come are as good as new ones, and removed a few at a time whenever
 * somebody comes: more than one, so that whoever comes finds a place where one of them had it.
 */
#include "sources.h"

#include "netmap.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

struct sources {
	struct netmap *map;
	uint32_t bits_v4, bits_v6;
	uint32_t n_places, n_remembered;
	uint64_t n_unremembered;
};

struct source {
	struct bucket bucket;
	uint32_t n_connections;
	bool is_remembered; /* it has a place for after its last connection */
};

int sources_new(struct sources **ret, uint32_t n_places, const uint8_t key[SIPHASH_KEY_SIZE])
{
	struct sources *sources = calloc(1, sizeof(*sources));

	if (!sources)
		return -ENOMEM;
	if (netmap_new(&sources->map, sizeof(struct source), key) < 0) {
		free(sources);
		return -ENOMEM;
	}
	sources->n_places = n_places;
	sources_reset(sources, 32, 128);
	*ret = sources;
	return 0;
}

struct sources *sources_free(struct sources *sources)
{
	if (!sources)
		return NULL;
	netmap_free(sources->map);
	free(sources);
	return NULL;
}

void sources_reset(struct sources *sources, uint32_t bits_v4, uint32_t bits_v6)
{
	netmap_clear(sources->map);
	sources->n_remembered = 0;
	sources->bits_v4 = bits_v4;
	sources->bits_v6 = bits_v6;
}

static void forget(struct sources *sources, uint32_t number)
{
	const struct source *source = netmap_value(sources->map, number);

	sources->n_remembered -= source->is_remembered;
	netmap_remove(sources->map, number);
}

/* Those of whom nothing is left to be known. */
static void forget_some(struct sources *sources, uint64_t now_usec)
{
	for (int i = 0; i < SOURCES_FORGET_AT_ONCE; i++) {
		uint32_t number = netmap_first_deadline(sources->map);

		if (number == 0 || netmap_deadline(sources->map, number) > now_usec)
			break;
		forget(sources, number);
	}
}

/* Its number, 0: out of memory. */
static uint32_t find_or_add(struct sources *sources, const struct network *network)
{
	uint32_t number = netmap_find(sources->map, network);

	if (number > 0)
		return number;
	return netmap_reserve(sources->map) < 0 ? 0 : netmap_add(sources->map, network);
}

/* Keep a place for it, if there is one. */
static void remember(struct sources *sources, struct source *source)
{
	if (source->is_remembered)
		return;
	if (sources->n_remembered < sources->n_places) {
		source->is_remembered = true;
		sources->n_remembered++;
	} else {
		sources->n_unremembered++;
	}
}

static int ask(const struct source *source, const struct sources_limits *limits, uint64_t now_usec)
{
	if (limits->max_connections > 0 && source->n_connections >= limits->max_connections)
		return SOURCES_TOO_MANY;
	if (bucket_ready(&source->bucket, &limits->rate, now_usec) > now_usec)
		return SOURCES_TOO_FAST;
	return 0;
}

static struct network source_of(const struct sources *sources, const struct wire_address *peer)
{
	return network_of(peer, peer->family == AF_INET ? sources->bits_v4 : sources->bits_v6);
}

int sources_look(const struct sources *sources, const struct wire_address *peer,
	const struct sources_limits *limits, uint64_t now_usec, uint32_t *ret_connections,
	uint64_t *ret_ready_usec)
{
	static const struct source unknown;
	const struct network network = source_of(sources, peer);
	uint32_t number = netmap_find(sources->map, &network);
	const struct source *source = number > 0 ? netmap_value(sources->map, number) : &unknown;

	*ret_connections = source->n_connections;
	*ret_ready_usec = bucket_ready(&source->bucket, &limits->rate, now_usec);
	return ask(source, limits, now_usec);
}

int sources_enter(struct sources *sources, const struct wire_address *peer,
	const struct sources_limits *limits, uint64_t now_usec, uint32_t *ret_source)
{
	static const struct sources_limits none;
	const struct network network = source_of(sources, peer);
	struct source *source;
	uint32_t number;
	int r;

	limits = limits ? limits : &none;
	forget_some(sources, now_usec);
	number = find_or_add(sources, &network);
	if (number == 0)
		return -ENOMEM;
	source = netmap_value(sources->map, number);
	r = ask(source, limits, now_usec);
	if (r > 0)
		return r;
	if (limits->rate.interval_nsec > 0)
		remember(sources, source);
	netmap_set_deadline(sources->map, number, NETMAP_NEVER);
	bucket_take(&source->bucket, &limits->rate, now_usec);
	source->n_connections++;
	*ret_source = number;
	return 0;
}

void sources_leave(struct sources *sources, uint32_t number, uint64_t now_usec)
{
	struct source *source = netmap_value(sources->map, number);

	assert(source->n_connections > 0);
	if (--source->n_connections > 0)
		return;
	if (source->is_remembered && bucket_full(&source->bucket) > now_usec)
		netmap_set_deadline(sources->map, number, bucket_full(&source->bucket));
	else
		forget(sources, number);
}

uint32_t sources_next(const struct sources *sources, uint32_t last, uint64_t now_usec,
	struct network *ret_network, struct bucket *ret_bucket)
{
	uint32_t number = last;

	while ((number = netmap_next(sources->map, number)) > 0) {
		const struct source *source = netmap_value(sources->map, number);

		if (!source->is_remembered || bucket_full(&source->bucket) <= now_usec)
			continue;
		*ret_network = *netmap_network(sources->map, number);
		*ret_bucket = source->bucket;
		break;
	}
	return number;
}

static bool is_source(const struct sources *sources, const struct network *network)
{
	return network_is_valid(network) &&
	       network->n_bits ==
		       (network->family == AF_INET ? sources->bits_v4 : sources->bits_v6);
}

void sources_restore(struct sources *sources, const struct network *network,
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec)
{
	const struct bucket limited = bucket_limit(bucket, rate, now_usec);
	struct source *source;
	uint32_t number;

	if (!is_source(sources, network) || bucket_full(&limited) <= now_usec ||
		sources->n_remembered >= sources->n_places)
		return;
	number = find_or_add(sources, network);
	if (number == 0)
		return;
	source = netmap_value(sources->map, number);
	remember(sources, source);
	source->bucket = limited;
	if (source->n_connections == 0)
		netmap_set_deadline(sources->map, number, bucket_full(&limited));
}

uint32_t sources_n_connections(const struct sources *sources, uint32_t number)
{
	const struct source *source = netmap_value(sources->map, number);

	return source->n_connections;
}

uint32_t sources_n(const struct sources *sources)
{
	return netmap_n(sources->map);
}

uint64_t sources_n_unremembered(const struct sources *sources)
{
	return sources->n_unremembered;
}

void sources_check(const struct sources *sources)
{
	uint32_t n_remembered = 0;

	netmap_check(sources->map);
	for (uint32_t number = netmap_next(sources->map, 0); number > 0;
		number = netmap_next(sources->map, number)) {
		const struct source *source = netmap_value(sources->map, number);
		bool is_waiting = netmap_deadline(sources->map, number) != NETMAP_NEVER;

		assert(is_waiting == (source->n_connections == 0));
		assert(source->is_remembered || source->n_connections > 0);
		n_remembered += source->is_remembered;
	}
	assert(n_remembered == sources->n_remembered && n_remembered <= sources->n_places);
}
