/* SPDX-License-Identifier: MIT */
/*
 * Who is refused everywhere for a while, because it has touched a sensor: one memory for the whole
 * server.
 *
 * It has room for so many networks and no more. What is in force is never given up for something
 * newer: while it is full, others are not denied, and counted. Pure, on a clock that is passed in
 * and does not go back.
 */
#pragma once

#include "network.h"
#include "siphash.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

/* The usual number of networks. */
#define DENIED_MAX 65536u

/* Of so many at most one who is denied has to clear away what is over. */
#define DENIED_FORGET_AT_ONCE 64

/* A time that does not come. */
#define DENIED_FOREVER UINT64_MAX

struct denied;

/* Empty, for `max` networks. Returns 0 with *ret (free with denied_free()) or -ENOMEM. */
int denied_new(struct denied **ret, uint32_t max, const uint8_t key[SIPHASH_KEY_SIZE]);

/* NULL is allowed. Returns NULL. */
struct denied *denied_free(struct denied *denied);

/*
 * Deny `network` before `until_usec`, or for longer if that is what it was denied for already.
 * Returns 0; or -ENOSPC or -ENOMEM: it is not denied.
 */
int denied_add(struct denied *denied, const struct network *network, uint64_t until_usec,
	uint64_t now_usec);

/* Is any network of `peer` denied? AF_INET or AF_INET6. */
bool denied_has(const struct denied *denied, const struct wire_address *peer, uint64_t now_usec);

/* Until when; 0: none is. */
uint64_t denied_until(
	const struct denied *denied, const struct wire_address *peer, uint64_t now_usec);

/* Is nobody denied? False also if there is only who was denied for a time that is over. */
bool denied_is_empty(const struct denied *denied);

/* How many networks are denied. */
uint32_t denied_n(struct denied *denied, uint64_t now_usec);

/* How many were not denied, for lack of room. */
uint64_t denied_n_missed(const struct denied *denied);

/*
 * For an upgrade in place: one after the other, beginning with 0. Returns what is to be passed to
 * get the next one, 0 when there is none.
 */
uint32_t denied_next(const struct denied *denied, uint32_t last, struct network *ret_network,
	uint64_t *ret_until_usec);

/* Assert the invariants, by walking over everything: for tests. */
void denied_check(const struct denied *denied);
