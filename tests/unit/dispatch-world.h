/* SPDX-License-Identifier: MIT */
/*
 * A dispatch for tests, with what was told to it and what it wants in few words.
 *
 * Connections have numbers in the order of their offering, providers have letters. happens()
 * carries out what dispatch wants done and compares all of it with a line such as "1>a 2>b close:1
 * pause". Every call fails the test if dispatch refuses.
 *
 * The ends of hand-offs are not in that line, but counted: all that came must have ended.
 *
 * Invariant: after each happens() dispatch_check() has passed.
 */
#pragma once

#include "dispatch.h"
#include "test.h"

#include <errno.h>
#include <string.h>

#define MAX_PROVIDERS	4
#define MAX_CONNECTIONS 512

struct world {
	struct dispatch *d;
	struct dispatch_provider *providers[MAX_PROVIDERS];
	size_t n_providers;
	uint64_t ids[MAX_CONNECTIONS + 1]; /* by the number of the connection */
	int n_offered;
	bool has_ended[MAX_CONNECTIONS + 1]; /* its last hand-off */
	uint64_t n_handoffs, n_ended;	     /* parked ones are none */
	int parked[MAX_CONNECTIONS];	     /* their numbers, oldest first */
	int n_parked;
	uint64_t now_usec; /* the time of the next event */
};

void begin(struct world *w, enum dispatch_balance balance, uint32_t instances);

/* Everybody goes; the totals must add up and nothing be left over. */
void finish(struct world *w);

/* Register a provider; `name` is one letter. join(): no standby, of weight 1, holding nothing. */
struct dispatch_provider *join(struct world *w, const char *name, int32_t credit);
struct dispatch_provider *join_standby(struct world *w, const char *name, int32_t credit);
struct dispatch_provider *join_as(
	struct world *w, const char *name, int32_t credit, uint32_t weight, uint32_t n_foreign);
void leave(struct world *w, struct dispatch_provider *p);

/*
 * Offer `n` connections, one of that client, or one that somebody has forwarded; their descriptors
 * are their numbers.
 */
void offer(struct world *w, int n);
void offer_of(struct world *w, uint64_t client);
void take_over(struct world *w);

/*
 * Find `n` parked at the start; put `n` aside that wait, the oldest first; take `n` out again,
 * oldest first; close the oldest.
 */
void find_parked(struct world *w, int n);
void park(struct world *w, int n);
void unpark(struct world *w, int n);
void expire(struct world *w);

void claim(struct world *w, struct dispatch_provider *p, uint64_t sequence);
void release(struct world *w, struct dispatch_provider *p, int number);
void forward(struct world *w, struct dispatch_provider *p, int number);
void hand_back(struct world *w, struct dispatch_provider *p, int number);
void set_credit(struct world *w, struct dispatch_provider *p, uint64_t sequence, int32_t how_many);
void decline(struct world *w, struct dispatch_provider *p, uint64_t first, uint64_t last);
void set_state(struct world *w, struct dispatch_provider *p, enum provider_state state);

/* What dispatch wants done now is exactly `expected`. */
void happens(struct world *w, const char *expected);
void happens_whatever(struct world *w);

/* The name that the provider joined with, and the provider of that name. */
char letter(const struct dispatch_provider *p);
struct dispatch_provider *named(const struct world *w, const char *name);

/* RELEASE of one id. */
static inline int release_one(
	struct dispatch *d, struct dispatch_provider *p, uint64_t id, uint64_t now_usec)
{
	return dispatch_released(d, p, &id, 1, now_usec);
}

/* The call is refused, and has changed nothing. */
#define assert_refused(w, p, call)                                                                 \
	do {                                                                                       \
		unsigned char before[sizeof(*(p))];                                                \
		struct dispatch_totals totals_before = *dispatch_totals((w)->d);                   \
		memcpy(before, p, sizeof(before));                                                 \
		assert_int_equal(call, -EPROTO);                                                   \
		assert_memory_equal(before, p, sizeof(before));                                    \
		assert_memory_equal(                                                               \
			&totals_before, dispatch_totals((w)->d), sizeof(totals_before));           \
		happens(w, "");                                                                    \
	} while (0)
