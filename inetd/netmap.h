/* SPDX-License-Identifier: MIT */
/*
 * A table of networks, each with a value and maybe a deadline: what admission remembers of clients.
 *
 * It grows and does not shrink, so that after a while nothing is allocated; how far it may grow is
 * its owner's business. The hash is keyed: who does not know the key cannot make it slow.
 *
 * Invariant: a network is in it at most once, and its slot stays the same until it is removed.
 */
#pragma once

#include "network.h"
#include "siphash.h"
#include <stddef.h>
#include <stdint.h>

/* A deadline that never comes. */
#define NETMAP_NEVER UINT64_MAX

struct netmap;

/*
 * Empty, for values of `value_size` bytes, 0 or a multiple of 8, which begin as zero. Returns 0
 * with *ret (free with netmap_free()) or -ENOMEM.
 */
int netmap_new(struct netmap **ret, size_t value_size, const uint8_t key[SIPHASH_KEY_SIZE]);

/* NULL is allowed. Returns NULL. */
struct netmap *netmap_free(struct netmap *map);

/* Forget all. The memory is kept. */
void netmap_clear(struct netmap *map);

/* The slot of this very network; 0: it is not there. */
uint32_t netmap_find(const struct netmap *map, const struct network *network);

/* Memory for one network more. Returns 0 or -ENOMEM. */
int netmap_reserve(struct netmap *map);

/* Add one that is not there: netmap_reserve() must have said yes since the last one. Returns its
 * slot, never 0. Its deadline is NETMAP_NEVER. */
uint32_t netmap_add(struct netmap *map, const struct network *network);

void netmap_remove(struct netmap *map, uint32_t slot);

/* Good until the next netmap_reserve(), and netmap_clear(). */
void *netmap_value(const struct netmap *map, uint32_t slot);
const struct network *netmap_network(const struct netmap *map, uint32_t slot);

void netmap_set_deadline(struct netmap *map, uint32_t slot, uint64_t usec);
uint64_t netmap_deadline(const struct netmap *map, uint32_t slot);

/* The slot whose deadline is the first; 0: none has one. */
uint32_t netmap_first_deadline(const struct netmap *map);

/* The used slot after `slot`, or the first (0); 0: there is no more. In no order. */
uint32_t netmap_next(const struct netmap *map, uint32_t slot);

uint32_t netmap_n(const struct netmap *map);

/* Assert that the table agrees with itself, by walking over everything: for tests. */
void netmap_check(const struct netmap *map);
