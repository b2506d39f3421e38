/* SPDX-License-Identifier: MIT */
/*
 * A table of networks: see netmap.h.
 *
 * Chains by numbers of slots, which stay what they are when the memory moves; slot 0 is nobody's.
 * Deadlines are a binary heap of slots, each of which knows its place there.
 */
#include "netmap.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 64u

struct entry {
	struct network network;
	bool is_used;
	uint32_t next;	/* in its chain, or in the list of free ones */
	uint32_t place; /* in the heap, from 1; 0: it has no deadline */
	uint64_t deadline_usec;
};

struct netmap {
	uint8_t key[SIPHASH_KEY_SIZE];
	size_t value_size;
	struct entry *entries;
	char *values;
	uint32_t *chains; /* as many as slots: a power of two */
	uint32_t *heap;	  /* from 1 */
	uint32_t n_slots, n_used, n_in_heap, free;
};

int netmap_new(struct netmap **ret, size_t value_size, const uint8_t key[SIPHASH_KEY_SIZE])
{
	struct netmap *map = calloc(1, sizeof(*map));

	if (!map)
		return -ENOMEM;
	map->value_size = value_size;
	memcpy(map->key, key, sizeof(map->key));
	*ret = map;
	return 0;
}

struct netmap *netmap_free(struct netmap *map)
{
	if (!map)
		return NULL;
	free(map->entries);
	free(map->values);
	free(map->chains);
	free(map->heap);
	free(map);
	return NULL;
}

static uint32_t *chain_of(const struct netmap *map, const struct network *network)
{
	return &map->chains[siphash_of(map->key, network, sizeof(*network)) & (map->n_slots - 1)];
}

uint32_t netmap_find(const struct netmap *map, const struct network *network)
{
	uint32_t slot = map->n_used > 0 ? *chain_of(map, network) : 0;

	while (slot > 0 && memcmp(&map->entries[slot].network, network, sizeof(*network)) != 0)
		slot = map->entries[slot].next;
	return slot;
}

/* Put all slots from `first` on that are not used into the list of free ones. */
static void link_free(struct netmap *map, uint32_t first)
{
	for (uint32_t slot = map->n_slots; slot-- > first;) {
		map->entries[slot] = (struct entry){.next = map->free};
		map->free = slot;
	}
}

static void link_used(struct netmap *map)
{
	memset(map->chains, 0, map->n_slots * sizeof(*map->chains));
	for (uint32_t slot = netmap_next(map, 0); slot > 0; slot = netmap_next(map, slot)) {
		uint32_t *chain = chain_of(map, &map->entries[slot].network);

		map->entries[slot].next = *chain;
		*chain = slot;
	}
}

/* Returns whether there is as much memory; what could be had is kept in any case. */
static bool resize(void *pointer_to_array, size_t n, size_t size)
{
	void *array, *larger;

	memcpy(&array, pointer_to_array, sizeof(array));
	larger = reallocarray(array, n, size);
	if (larger)
		memcpy(pointer_to_array, &larger, sizeof(larger));
	return larger != NULL;
}

static int grow(struct netmap *map)
{
	uint32_t n_old = map->n_slots, n = n_old > 0 ? 2 * n_old : SMALLEST;

	if (n < n_old || !resize(&map->entries, n, sizeof(*map->entries)) ||
		(map->value_size > 0 && !resize(&map->values, n, map->value_size)) ||
		!resize(&map->chains, n, sizeof(*map->chains)) ||
		!resize(&map->heap, n, sizeof(*map->heap)))
		return -ENOMEM;
	map->n_slots = n;
	if (n_old == 0)
		map->entries[0] = (struct entry){0};
	link_free(map, n_old > 0 ? n_old : 1);
	link_used(map);
	return 0;
}

int netmap_reserve(struct netmap *map)
{
	return map->free > 0 ? 0 : grow(map);
}

uint32_t netmap_add(struct netmap *map, const struct network *network)
{
	uint32_t slot = map->free, *chain = chain_of(map, network);

	assert(slot > 0);
	map->free = map->entries[slot].next;
	map->entries[slot] = (struct entry){.network = *network,
		.is_used = true,
		.next = *chain,
		.deadline_usec = NETMAP_NEVER};
	*chain = slot;
	if (map->value_size > 0)
		memset(netmap_value(map, slot), 0, map->value_size);
	map->n_used++;
	return slot;
}

void netmap_remove(struct netmap *map, uint32_t slot)
{
	uint32_t *link = chain_of(map, &map->entries[slot].network);

	netmap_set_deadline(map, slot, NETMAP_NEVER);
	while (*link != slot)
		link = &map->entries[*link].next;
	*link = map->entries[slot].next;
	map->entries[slot] = (struct entry){.next = map->free};
	map->free = slot;
	map->n_used--;
}

void netmap_clear(struct netmap *map)
{
	if (map->n_slots == 0)
		return;
	map->n_used = map->n_in_heap = map->free = 0;
	link_free(map, 1);
	link_used(map);
}

void *netmap_value(const struct netmap *map, uint32_t slot)
{
	return map->values + slot * map->value_size;
}

const struct network *netmap_network(const struct netmap *map, uint32_t slot)
{
	return &map->entries[slot].network;
}

/* Deadlines. */

static void put(struct netmap *map, uint32_t place, uint32_t slot)
{
	map->heap[place] = slot;
	map->entries[slot].place = place;
}

static uint64_t deadline_at(const struct netmap *map, uint32_t place)
{
	return map->entries[map->heap[place]].deadline_usec;
}

/* The slot belongs where `place` is, or above it. */
static void sift_up(struct netmap *map, uint32_t place, uint32_t slot)
{
	uint64_t usec = map->entries[slot].deadline_usec;

	for (; place > 1 && deadline_at(map, place / 2) > usec; place /= 2)
		put(map, place, map->heap[place / 2]);
	put(map, place, slot);
}

/* The slot belongs where `place` is, or below it. */
static void sift_down(struct netmap *map, uint32_t place, uint32_t slot)
{
	uint64_t usec = map->entries[slot].deadline_usec;

	for (uint32_t child; (child = 2 * place) <= map->n_in_heap; place = child) {
		if (child < map->n_in_heap && deadline_at(map, child + 1) < deadline_at(map, child))
			child++;
		if (deadline_at(map, child) >= usec)
			break;
		put(map, place, map->heap[child]);
	}
	put(map, place, slot);
}

/* Whatever stands at `place`, it is to stand where it belongs. */
static void sift(struct netmap *map, uint32_t place, uint32_t slot)
{
	if (place > 1 && deadline_at(map, place / 2) > map->entries[slot].deadline_usec)
		sift_up(map, place, slot);
	else
		sift_down(map, place, slot);
}

static void leave_heap(struct netmap *map, uint32_t slot)
{
	uint32_t place = map->entries[slot].place, last;

	if (place == 0)
		return;
	map->entries[slot].place = 0;
	last = map->heap[map->n_in_heap--];
	if (last != slot)
		sift(map, place, last);
}

void netmap_set_deadline(struct netmap *map, uint32_t slot, uint64_t usec)
{
	leave_heap(map, slot);
	map->entries[slot].deadline_usec = usec;
	if (usec != NETMAP_NEVER)
		sift_up(map, ++map->n_in_heap, slot);
}

uint64_t netmap_deadline(const struct netmap *map, uint32_t slot)
{
	return map->entries[slot].deadline_usec;
}

uint32_t netmap_first_deadline(const struct netmap *map)
{
	return map->n_in_heap > 0 ? map->heap[1] : 0;
}

uint32_t netmap_next(const struct netmap *map, uint32_t slot)
{
	while (++slot < map->n_slots)
		if (map->entries[slot].is_used)
			return slot;
	return 0;
}

uint32_t netmap_n(const struct netmap *map)
{
	return map->n_used;
}

void netmap_check(const struct netmap *map)
{
	uint32_t n_used = 0, n_free = 0, n_in_heap = 0;

	for (uint32_t slot = netmap_next(map, 0); slot > 0; slot = netmap_next(map, slot)) {
		const struct entry *entry = &map->entries[slot];

		assert(netmap_find(map, &entry->network) == slot);
		assert((entry->place > 0) == (entry->deadline_usec != NETMAP_NEVER));
		assert(entry->place == 0 || map->heap[entry->place] == slot);
		n_in_heap += entry->place > 0;
		n_used++;
	}
	for (uint32_t place = 2; place <= map->n_in_heap; place++)
		assert(deadline_at(map, place / 2) <= deadline_at(map, place));
	for (uint32_t slot = map->free; slot > 0; slot = map->entries[slot].next)
		n_free++;
	assert(n_used == map->n_used && n_in_heap == map->n_in_heap);
	assert(map->n_slots == 0 || n_used + n_free == map->n_slots - 1);
}
