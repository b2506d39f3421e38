/* SPDX-License-Identifier: MIT */
/*
 * The heart of a service: who has credit, who gets the next connection, who owns what, and what a
 * death means.
 *
 * Pure: events go in (offered, registered, claimed, released, credited, gone ...), actions come out
 * (give, close, pause, resume). It opens and closes nothing, reads no clock, logs nothing and calls
 * nobody back.
 *
 * The caller's part: after every event it carries out what dispatch_next() returns until there is
 * no more, and has everything that was given sent, or taken back with dispatch_unsent(), before it
 * tells what a provider said next. (Several offers in a row count as one event.)
 *
 * Invariants (dispatch_check() asserts them):
 *  - every hand-off is waiting, given (unclaimed) or claimed, and in exactly one list;
 *  - a hand-off leaves a provider only because it was released, declined or never sent, or because
 * the provider is gone: never because time has passed;
 *  - nothing is given without credit.
 */
#pragma once

#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISPATCH_MAX_INSTANCES (1u << 20)

struct dispatch;

enum handoff_state {
	HANDOFF_FREE,
	HANDOFF_WAITING, /* accepted, and nobody can take it now */
	HANDOFF_GIVEN,	 /* sent to `provider`, or about to be, and not claimed */
	HANDOFF_CLAIMED, /* the provider's own: only this record is left here */
};

/*
 * An accepted connection on its way. Belongs to the dispatch; the pointer is good until it is
 * released.
 */
struct handoff {
	uint64_t id;			    /* never 0, not used again for another connection */
	uint64_t sequence;		    /* on its provider's channel, from 1; 0 while waiting */
	struct dispatch_provider *provider; /* NULL while waiting */
	struct handoff *next, *previous;
	enum handoff_state state;

	/* The caller's, carried and not looked at. */
	int fd; /* our copy, closed by the caller at DISPATCH_CLOSE */
	uint32_t listener;
	uint64_t accepted_ns;
	struct wire_address peer;
};

struct handoff_list {
	struct handoff *first, *last;
	uint32_t n;
};

enum provider_state {
	PROVIDER_READY,	  /* gets connections while it has credit */
	PROVIDER_BLOCKED, /* its channel is full: nothing new until dispatch_set_state() says ready
			   */
	PROVIDER_STUCK, /* silent past the claim timeout: nothing new until it claims or declines */
	PROVIDER_DRAINING,    /* finishes what it has; from here only to quarantine */
	PROVIDER_QUARANTINED, /* broke the protocol, but may still receive what was sent; for good
			       */
};

/* One registered process, as dispatch sees it. Members are for reading only. */
struct dispatch_provider {
	struct dispatch_provider *next, *previous; /* a ring of all, in the order of registration */
	void *userdata;
	enum provider_state state;
	uint32_t weight;
	int64_t credit;		   /* how many more it takes now; may be negative */
	uint64_t last_sequence;	   /* of the latest connection given */
	uint64_t claimed_sequence; /* of its last CLAIM */
	uint64_t unclaimed_since;  /* when it last claimed or declined, or was given the first
				    * unclaimed one, µs
				    */
	uint32_t n_foreign;	   /* connections it holds from an earlier channel */
	uint32_t n_turns; /* round robin: how many connections more before the next's turn */
	struct handoff_list unclaimed; /* by sequence */
	struct handoff_list claimed;
	uint64_t n_served; /* released, since registration */
};

enum dispatch_balance {
	DISPATCH_LEAST,
	DISPATCH_ROUND_ROBIN,
};

enum dispatch_action_type {
	DISPATCH_GIVE,	 /* send `handoff` to its provider; actions come in order of sequence */
	DISPATCH_CLOSE,	 /* claimed: close our copy of `handoff` */
	DISPATCH_PAUSE,	 /* accept no more: dispatch_room() is 0 */
	DISPATCH_RESUME, /* accept again */
};

struct dispatch_action {
	enum dispatch_action_type type;
	struct handoff *handoff; /* GIVE, CLOSE */
};

/*
 * Since dispatch_new(). n_accepted = waiting + unclaimed + claimed now + n_released + n_lost +
 * n_given_up.
 */
struct dispatch_totals {
	uint64_t n_accepted;
	uint64_t n_claimed;
	uint64_t n_released;
	uint64_t n_redispatched; /* taken back unclaimed from a provider that is gone, and offered
				    again */
	uint64_t n_declined;	 /* handed back by a living provider, and offered again */
	uint64_t n_lost;	 /* gone with their provider after the claim */
	uint64_t n_touched;	 /* of those: used before the claim, see dispatch_touched() */
	uint64_t n_given_up;	 /* waited until the service ended: dispatch_take_waiting() */
};

/*
 * `instances`: most connections at once, 1 to DISPATCH_MAX_INSTANCES. Starts paused: nobody is
 * registered. Returns 0 with *ret (free with dispatch_free()) or -ENOMEM.
 */
int dispatch_new(struct dispatch **ret, enum dispatch_balance balance, uint32_t instances);

/*
 * NULL is allowed. Returns NULL. Descriptors of hand-offs are the caller's: take them out first
 * with dispatch_take_waiting() and dispatch_gone().
 */
struct dispatch *dispatch_free(struct dispatch *d);

/* After a reload. Connections above a smaller `instances` stay. */
void dispatch_configure(struct dispatch *d, enum dispatch_balance balance, uint32_t instances);

/*
 * How many connections can be offered now: credit that nobody waits for, within `instances`, and at
 * most `max`. Memory for as many is there when this returns; out of memory looks like no room.
 */
uint32_t dispatch_room(struct dispatch *d, uint32_t max);

/*
 * A connection was accepted: fill the returned hand-off's own members (fd, listener, accepted_ns,
 * peer) before the next dispatch_next(). To be called at most as often as dispatch_room() said:
 * beyond that it returns NULL.
 */
struct handoff *dispatch_offer(struct dispatch *d, uint64_t now_usec);

/*
 * A provider has registered: `credit` and `weight` as in HELLO, `n_foreign` its `holding`.
 * Returns NULL when out of memory.
 */
struct dispatch_provider *dispatch_register(struct dispatch *d, int32_t credit, uint32_t weight,
	uint32_t n_foreign, void *userdata, uint64_t now_usec);

/*
 * What a provider said. Each returns 0, or -EPROTO if the provider should have known better (a
 * sequence that was not sent or was claimed before, an id that is not its own): nothing
 * has changed then, except that ids before the wrong one are released. Sequences and ids are as in
 * usher-protocol(7).
 */
int dispatch_claimed(
	struct dispatch *d, struct dispatch_provider *p, uint64_t sequence, uint64_t now_usec);
int dispatch_released(struct dispatch *d, struct dispatch_provider *p, const uint64_t *ids,
	size_t n_ids, uint64_t now_usec);
int dispatch_credited(struct dispatch *d, struct dispatch_provider *p, uint64_t sequence,
	int32_t credit, uint64_t now_usec);
int dispatch_declined(struct dispatch *d, struct dispatch_provider *p, uint64_t first,
	uint64_t last, uint64_t now_usec);

/*
 * The last `n` connections given to `p` could not be sent (its channel is full): they go to
 * somebody else, and `p` is blocked if it was ready.
 */
void dispatch_unsent(
	struct dispatch *d, struct dispatch_provider *p, uint32_t n, uint64_t now_usec);

/* A call that would leave DRAINING (but for quarantine) or QUARANTINED changes nothing. */
void dispatch_set_state(struct dispatch *d, struct dispatch_provider *p, enum provider_state state,
	uint64_t now_usec);

/*
 * For an unclaimed hand-off of a provider that is about to be gone: it was used all the same, so
 * nobody else may begin anew with it. It counts as claimed, and will be lost.
 */
void dispatch_touched(struct dispatch *d, struct handoff *h);

/*
 * The provider's channel has hung up and everything it had said was read: its unclaimed connections
 * go to the next provider, in their order and before all others; its claimed ones are over. Frees
 * `p`.
 */
void dispatch_gone(struct dispatch *d, struct dispatch_provider *p, uint64_t now_usec);

/* The longest waiting connection, no longer dispatch's: the caller owns the returned copy and its
 * fd. Returns false when none waits. For a service that ends. */
bool dispatch_take_waiting(struct dispatch *d, struct handoff *ret);

/*
 * Call `visit` for every hand-off that may still be given, waiting or unclaimed: so that the caller
 * can change what it carries. `visit` must not tell dispatch anything.
 */
void dispatch_visit_unclaimed(
	struct dispatch *d, void (*visit)(struct handoff *h, void *userdata), void *userdata);

/* The next thing to do, false when there is none. */
bool dispatch_next(struct dispatch *d, struct dispatch_action *ret);

/* Counts of this moment. */
uint32_t dispatch_n_serving(const struct dispatch *d); /* providers that are not leaving */
uint32_t dispatch_n_waiting(const struct dispatch *d);
uint32_t dispatch_n_unclaimed(const struct dispatch *d);
uint64_t dispatch_n_in_service(
	const struct dispatch *d); /* claimed, and held from earlier channels */
bool dispatch_is_paused(const struct dispatch *d);
const struct dispatch_totals *dispatch_totals(const struct dispatch *d);

/* Assert the invariants at the top, by walking over everything: for tests. */
void dispatch_check(const struct dispatch *d);
