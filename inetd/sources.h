/* SPDX-License-Identifier: MIT */
/*
 * Where the clients of a service come from: how many connections each source has now, and how fast
 * it came. A source is a network, `per_source_prefix` long.
 *
 * What is remembered is bounded, and nobody can make it forget somebody, himself least of all:
 *
 *  - A source with connections is there until the last of them is over. Their number is bounded by
 *    `instances`.
 *  - What is known of how fast a source came is kept until its bucket is full again, when nothing
 *    is left to be known. So many sources as there are places have one. It is held from the first
 *    connection on, so that it cannot be lost between two.
 *  - While all places are taken, those that are new get none: how fast they come is known only as
 *    long as they have connections. They are counted (sources_n_unremembered()). So whoever floods
 *    the table with addresses makes it blind for further ones, never for those it knows.
 *
 * Pure, on a clock that is passed in and does not go back. A source is found by a keyed hash, in
 * memory that grows with the most sources there ever were at once, and is then used again.
 */
#pragma once

#include "bucket.h"
#include "network.h"
#include "siphash.h"
#include "wire.h"
#include <stdint.h>

/* The usual number of places. */
#define SOURCES_MAX_REMEMBERED 65536u

/* Of so many at most one who comes has to clear away what is over. */
#define SOURCES_FORGET_AT_ONCE 64

struct sources;

struct sources_limits {
	uint32_t max_connections; /* of one source at once; 0: no limit */
	struct bucket_rate rate;
};

/* Why a source is not let in. */
enum sources_answer {
	SOURCES_TOO_MANY = 1, /* it has max_connections */
	SOURCES_TOO_FAST,
};

/*
 * Without sources, each a whole address, with `n_places`. Returns 0 with *ret (free with
 * sources_free()) or -ENOMEM.
 */
int sources_new(struct sources **ret, uint32_t n_places, const uint8_t key[SIPHASH_KEY_SIZE]);

/* NULL is allowed. Returns NULL. */
struct sources *sources_free(struct sources *sources);

/* Forget all: from now on a source is so many bits of an address, 0 to 32 and 0 to 128. */
void sources_reset(struct sources *sources, uint32_t bits_v4, uint32_t bits_v6);

/*
 * One connection more of `peer`, AF_INET or AF_INET6, if `limits` (NULL: none) allow it. Some of
 * those of whom nothing is left to be known are forgotten, so that there is a place if there is
 * any.
 *
 * Returns 0 with *ret_source, its source's number from 1 on, for sources_leave(); an enum
 * sources_answer; or -ENOMEM.
 */
int sources_enter(struct sources *sources, const struct wire_address *peer,
	const struct sources_limits *limits, uint64_t now_usec, uint32_t *ret_source);

/*
 * What sources_enter() would return, 0 or an enum sources_answer, if it has memory; changes
 * nothing. *ret_connections is how many connections the source has, *ret_ready_usec when it is not
 * too fast any more: `now_usec` or earlier is now.
 */
int sources_look(const struct sources *sources, const struct wire_address *peer,
	const struct sources_limits *limits, uint64_t now_usec, uint32_t *ret_connections,
	uint64_t *ret_ready_usec);

/* One of its connections is over. */
void sources_leave(struct sources *sources, uint32_t source, uint64_t now_usec);

/*
 * For an upgrade in place: those of whom it is known at `now_usec` how fast they came, one after
 * the other, beginning with 0. Returns what is to be passed to get the next one, 0 when there is
 * none.
 */
uint32_t sources_next(const struct sources *sources, uint32_t last, uint64_t now_usec,
	struct network *ret_network, struct bucket *ret_bucket);

/*
 * Know it again, after its connections were entered without limits. What is no source of this
 * length, or is over, is left out, and what there is no room or no memory for.
 */
void sources_restore(struct sources *sources, const struct network *network,
	const struct bucket *bucket, const struct bucket_rate *rate, uint64_t now_usec);

/* How many connections it has now. */
uint32_t sources_n_connections(const struct sources *sources, uint32_t source);

/* How many sources there are now, with those that are over and were not yet forgotten. */
uint32_t sources_n(const struct sources *sources);

/* How many came when no place was free. */
uint64_t sources_n_unremembered(const struct sources *sources);

/* Assert the invariants, by walking over everything: for tests. */
void sources_check(const struct sources *sources);
