/* SPDX-License-Identifier: MIT */
/*
 * The heart of a service: who has credit, who gets the next connection, who owns what, and what a
 * death means.
 *
 * Pure: events go in (offered, registered, claimed, released, credited, gone ...), actions come out
 * (give, close, ended, pause, resume). It opens and closes nothing, reads no clock, logs nothing
 * and calls nobody back.
 *
 * The caller's part: after every event it carries out what dispatch_next() returns until there is
 * no more, and has everything that was given sent, or taken back with dispatch_unsent(), before it
 * tells what a provider said next. (Several connections in a row that are offered, taken over or
 * taken out of the parking queue count as one event.)
 *
 * Invariants (dispatch_check() asserts what can be seen of them):
 *
 *  - Every hand-off is waiting, given (unclaimed) or claimed, and in exactly one list. One that is
 *    parked is no hand-off for as long: it is only counted here.
 *  - A hand-off leaves a provider only because it was released, forwarded, declined or never sent,
 *    or because the provider is gone: never because time has passed.
 *  - Nothing is given without credit, and nothing waits while somebody has credit to use, unless
 *    older ones are parked.
 *  - No connection is forgotten: the totals add up, see struct dispatch_totals. Each hand-off ends
 *    in exactly one DISPATCH_ENDED, unless it is parked.
 */
#pragma once

#include "histogram.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISPATCH_MAX_INSTANCES (1u << 20)

struct dispatch;
struct forwarded;

enum handoff_state {
	HANDOFF_FREE,
	HANDOFF_WAITING, /* accepted, and nobody can take it now */
	HANDOFF_GIVEN,	 /* sent to `provider`, or about to be, and not claimed */
	HANDOFF_CLAIMED, /* the provider's own: only this record is left here */
	HANDOFF_ENDED,	 /* `end` says how: good until the call after its DISPATCH_ENDED */
};

/* How it went on with a hand-off that is none any more. */
enum handoff_end {
	HANDOFF_RELEASED,
	HANDOFF_FORWARDED, /* given on, or handed back after the claim */
	HANDOFF_LOST,	   /* gone with its provider after the claim */
	HANDOFF_GIVEN_UP,  /* by dispatch_take_waiting() */
};

/*
 * An accepted connection on its way. Belongs to the dispatch; the pointer is good until it is
 * released.
 */
struct handoff {
	uint64_t id;			    /* never 0, not used again for another connection */
	uint64_t sequence;		    /* on its provider's channel, from 1; 0 while waiting */
	struct dispatch_provider *provider; /* NULL while waiting, and when lost */
	struct handoff *next, *previous;
	enum handoff_state state;
	enum handoff_end end; /* HANDOFF_ENDED */
	uint64_t client;      /* for DISPATCH_SOURCE: a hash of who it is */
	/*
	 * When it came to this dispatch, and was given to `provider`, in µs. The caller changes the
	 * first if he has had it before: while it was parked, or in an earlier usherd.
	 */
	uint64_t entered_usec, given_usec;

	/* The caller's, carried and not looked at. */
	int fd; /* our copy, closed by the caller at DISPATCH_CLOSE */
	uint32_t listener;
	uint32_t n_hops; /* how often it was forwarded, also when claimed */
	uint32_t source; /* admission's handle, see sources.h; 0: it is not counted */
	bool is_refused; /* by a service that gives it on to one that can tell it so */
	uint64_t accepted_ns;
	struct wire_address peer;
	struct forwarded *forwarded; /* see forwarded.h; NULL when claimed, or from accept4(2) */
	uint64_t parked_usec;	     /* when it was parked first; 0: it never was */
};

struct handoff_list {
	struct handoff *first, *last;
	uint32_t n;
};

enum provider_state {
	PROVIDER_READY, /* gets connections while it has credit */
	/* Its channel is full: nothing new until dispatch_set_state() says ready. */
	PROVIDER_BLOCKED,
	/* Silent past the claim timeout: nothing new until it claims or declines. */
	PROVIDER_STUCK,
	/* Finishes what it has; from here only to quarantine. */
	PROVIDER_DRAINING,
	/* Broke the protocol, but may still receive what was sent; for good. */
	PROVIDER_QUARANTINED,
};

/* One registered process, as dispatch sees it. Members are for reading only. */
struct dispatch_provider {
	struct dispatch_provider *next, *previous; /* a ring of all, in the order of registration */
	void *userdata;
	enum provider_state state;
	bool is_standby; /* gets connections only while no other has credit to use */
	uint32_t weight;
	int64_t credit;		   /* how many more it takes now; may be negative */
	uint64_t last_sequence;	   /* of the latest connection given */
	uint64_t claimed_sequence; /* of its last CLAIM */
	/* When it last claimed or declined, or was given the first unclaimed one, in µs. */
	uint64_t unclaimed_since;
	uint32_t n_foreign; /* connections it holds from an earlier channel */
	uint32_t n_turns;   /* round robin: how many connections more before the next's turn */
	/*
	 * By source: its clients are those of this place, which is no other's who is not leaving.
	 * 0: it has none yet.
	 */
	uint32_t place;
	struct handoff_list unclaimed; /* by sequence */
	struct handoff_list claimed;
	uint64_t n_served; /* released, since registration */
};

enum dispatch_balance {
	DISPATCH_LEAST,
	DISPATCH_ROUND_ROBIN,
	/*
	 * By rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit
	 * rates", 1998), weighted: each client ranks all places, and goes to the first who has
	 * credit to use. So who leaves moves its own clients only.
	 */
	DISPATCH_SOURCE,
};

enum dispatch_action_type {
	DISPATCH_GIVE,	/* send `handoff` to its provider; actions come in order of sequence */
	DISPATCH_CLOSE, /* claimed: close our copy of `handoff` */
	/*
	 * `handoff` is over, and its record is good until the next call. Its fd and what it brought
	 * are not here any more.
	 */
	DISPATCH_ENDED,
	DISPATCH_PAUSE,	 /* accept no more: dispatch_room() is 0 */
	DISPATCH_RESUME, /* accept again */
};

struct dispatch_action {
	enum dispatch_action_type type;
	struct handoff *handoff; /* GIVE, CLOSE, ENDED */
};

/*
 * Since dispatch_new() of the first usherd in a row of upgrades. It adds up:
 *
 *     n_accepted + n_taken_over = n_released + n_forwarded + n_lost + n_expired + n_given_up
 *                                 + those that are waiting, parked, unclaimed and claimed now
 *
 * and n_redispatched, n_declined and n_parked count what is not the end of a connection. The
 * histograms have each connection that was claimed, when it was.
 */
struct dispatch_totals {
	uint64_t n_accepted;
	/*
	 * By dispatch_take_over() and dispatch_set_parked(): from another service, back from a
	 * provider after the claim, from a socket that is about to be lent, or from an earlier
	 * usherd.
	 */
	uint64_t n_taken_over;
	uint64_t n_claimed;
	uint64_t n_released;
	uint64_t n_redispatched; /* taken back unclaimed from a provider that is gone */
	uint64_t n_declined;	 /* handed back unclaimed by a living provider */
	/*
	 * Gone with their provider after the claim, on the way from an earlier usherd, or damaged
	 * while they were parked.
	 */
	uint64_t n_lost;
	uint64_t n_touched;   /* of those: used before the claim, see dispatch_touched() */
	uint64_t n_forwarded; /* given on by their providers, or handed back after the claim */
	uint64_t n_parked;    /* put aside because nobody could take them */
	uint64_t n_expired;   /* of those: nobody could for too long */
	uint64_t n_given_up;  /* nobody could take them, and they could not be put aside */
	struct histogram waiting_time; /* from its entrance to when it was given, the last time */
	struct histogram handoff_time; /* from then to the claim */
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
 * How many connections can be offered now: credit that nobody waits for (parked ones wait, too),
 * within `instances`, and at most `max`. Memory for as many is there when this returns; out of
 * memory looks like no room.
 */
uint32_t dispatch_room(struct dispatch *d, uint32_t max);

/*
 * A connection of `client` (looked at by DISPATCH_SOURCE only) was accepted: fill the returned
 * hand-off's own members (fd, listener, source, accepted_ns, peer) before the next dispatch_next().
 * To be called at most as often as dispatch_room() said: beyond that it returns NULL.
 */
struct handoff *dispatch_offer(struct dispatch *d, uint64_t client, uint64_t now_usec);

/*
 * A connection that is there already and has to be taken, whether anybody has credit or not: one
 * that a provider has forwarded, or that has waited in what is about to be lent. As
 * dispatch_offer(), but limited only by `instances` (and by memory): dispatch_room() need not be
 * asked. While any are parked it waits, to be parked behind them.
 */
struct handoff *dispatch_take_over(struct dispatch *d, uint64_t client, uint64_t now_usec);

/* What a provider says in HELLO, as usher-protocol(7) has it. */
struct dispatch_hello {
	int32_t credit;
	uint32_t weight;
	uint32_t n_foreign; /* its `holding` */
	bool is_standby;
};

/*
 * A provider has registered. `userdata` is the caller's, in the returned record, which is good
 * until dispatch_gone(). Returns NULL when out of memory.
 */
struct dispatch_provider *dispatch_register(
	struct dispatch *d, const struct dispatch_hello *hello, void *userdata, uint64_t now_usec);

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
 * FORWARD: the claimed connection `id` is `p`'s no more, which gives one credit back; *ret is what
 * was known of it: the caller's members, with fd -EBADF. Of one that it holds from an earlier
 * channel, id 0, nothing is known, and all else is zero. Returns as above.
 *
 * dispatch_handed_back(): the same for FORWARD to the own service. What credit `p` has left is
 * withdrawn, or the least loaded, as it is now, would get the same connection again. The connection
 * does not come back by itself: see dispatch_take_over().
 */
int dispatch_forwarded(struct dispatch *d, struct dispatch_provider *p, uint64_t id,
	struct handoff *ret, uint64_t now_usec);
int dispatch_handed_back(
	struct dispatch *d, struct dispatch_provider *p, uint64_t id, struct handoff *ret);

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

/*
 * The longest waiting connection, no longer dispatch's: the caller owns the returned copy, its fd
 * and what it brings. Returns false when none waits. It counts as given up, and DISPATCH_ENDED will
 * say so, too.
 */
bool dispatch_take_waiting(struct dispatch *d, struct handoff *ret);

/*
 * Parking: the caller keeps connections that wait elsewhere (parking.h), and dispatch only counts
 * them. They are older than all that is offered, so there is no room for new ones while any is
 * parked. They count against `instances`.
 */

/* The connection to be parked next, NULL when none waits. Its members are still the caller's. */
const struct handoff *dispatch_oldest_waiting(const struct dispatch *d);

/*
 * That one was stored, and its record here is no more: without DISPATCH_ENDED, because it goes on
 * in another record, or the caller has it closed. `source` is the caller's to take note of.
 */
void dispatch_park(struct dispatch *d);

/*
 * Is one parked, has somebody credit for it, and is there memory? To be asked before one is taken
 * out of the store.
 */
bool dispatch_can_unpark(struct dispatch *d);

/* As dispatch_offer(), for one that was parked: NULL when dispatch_can_unpark() would say no. */
struct handoff *dispatch_unpark(struct dispatch *d, uint64_t client, uint64_t now_usec);

/* A parked one was closed instead; or it was damaged, and so is lost. */
void dispatch_expire(struct dispatch *d);
void dispatch_lose(struct dispatch *d);

/*
 * So many were found in the store at the start: they count as taken over. Before
 * dispatch_restore(), whose totals know them already.
 */
void dispatch_set_parked(struct dispatch *d, uint32_t n);

/*
 * For an upgrade in place: make a new dispatch what an earlier one was, in the order of these
 * declarations. Nothing is given before dispatch_restored(), and until then the only other thing to
 * do is to end it all, with dispatch_gone() and dispatch_take_waiting().
 */

/* Above all ids that were ever given: no later connection may have one of them. */
uint64_t dispatch_id_limit(const struct dispatch *d);

/*
 * Go on counting from `totals`, and give ids from `id_limit`. Returns 0, or -EINVAL when `id_limit`
 * leaves none to give.
 */
int dispatch_restore(struct dispatch *d, const struct dispatch_totals *totals, uint64_t id_limit);

/*
 * A provider with all members of *saved but the lists, the links and `userdata`. In the order of
 * registration. Returns NULL when out of memory, or when members contradict each other.
 */
struct dispatch_provider *dispatch_restore_provider(
	struct dispatch *d, const struct dispatch_provider *saved, void *userdata);

/*
 * A hand-off, waiting (`p` is NULL, `sequence` 0), given or claimed as `state` says, in the order
 * of its list; the caller fills its own members, and `client`. Returns NULL when out of memory,
 * when the id is there already or was never given, or when the sequence is not one of such a
 * connection.
 */
struct handoff *dispatch_restore_handoff(struct dispatch *d, struct dispatch_provider *p,
	uint64_t id, uint64_t sequence, enum handoff_state state);

/*
 * That was all. What the totals know and is not here now was lost on the way. As after
 * dispatch_new() it is paused until dispatch_next() says DISPATCH_RESUME.
 */
void dispatch_restored(struct dispatch *d, uint64_t now_usec);

/*
 * Call `visit` for every hand-off that may still be given: the waiting ones, oldest first, and the
 * unclaimed ones. The caller may change what they carry, and `client`, but `visit` must not tell
 * dispatch anything.
 */
void dispatch_visit_unclaimed(
	struct dispatch *d, void (*visit)(struct handoff *h, void *userdata), void *userdata);

/* The next thing to do. Returns false when there is none. */
bool dispatch_next(struct dispatch *d, struct dispatch_action *ret);

/* Counts of this moment. */
uint32_t dispatch_n_serving(const struct dispatch *d); /* providers not leaving, with standbys */
uint32_t dispatch_n_waiting(const struct dispatch *d);
uint32_t dispatch_n_parked(const struct dispatch *d);
uint32_t dispatch_n_unclaimed(const struct dispatch *d);
/* Claimed, and held from earlier channels. */
uint64_t dispatch_n_in_service(const struct dispatch *d);
bool dispatch_is_paused(const struct dispatch *d);
/*
 * Of the providers whose turn it may be next, the fewest connections that one has not claimed;
 * UINT32_MAX: there is no such provider.
 */
uint32_t dispatch_least_unclaimed(const struct dispatch *d);
const struct dispatch_totals *dispatch_totals(const struct dispatch *d);

/* Assert the invariants at the top, by walking over everything: for tests. */
void dispatch_check(const struct dispatch *d);
