/* SPDX-License-Identifier: MIT */
/*
 * What the files of dispatch.c share, and nobody else includes:
 *
 *   dispatch.c          the way of a connection: offered, given, over; and what is to be done
 *   dispatch-provider.c the way of a provider, and what it says of its connections
 *   dispatch-choose.c   which provider is next
 *   dispatch-slots.c    the memory of hand-offs
 *   dispatch-parking.c  connections that nobody can take now
 *   dispatch-restore.c  from one usherd to the next
 *   dispatch-check.c    counts, and whether they are true
 *
 * A hand-off lives in a slot. A free one keeps its id, so that its next use gets another. The id
 * carries the place (low bits), which makes RELEASE a look-up without a search.
 */
#pragma once

#include "dispatch.h"

#define SLOT_BITS  20
#define SLOT_MASK  ((UINT64_C(1) << SLOT_BITS) - 1)
#define CHUNK_BITS 6
#define CHUNK_SIZE (1u << CHUNK_BITS)

_Static_assert(DISPATCH_MAX_INSTANCES <= SLOT_MASK + 1, "an id must have room for every place");

struct dispatch {
	enum dispatch_balance balance;
	uint32_t instances;

	struct handoff **chunks;
	uint32_t n_slots;
	uint64_t first_ids;   /* what the ids of unused slots begin with: all but the slot's bits */
	struct handoff *free; /* linked by next */
	uint32_t n_free;

	struct handoff_list waiting;
	struct dispatch_provider *cursor; /* who is asked first */
	uint32_t n_serving;
	uint64_t usable_credit[2]; /* of all ready providers together; [true]: of standbys */
	uint32_t n_parked;
	uint32_t n_unclaimed;
	uint64_t n_in_service;

	struct dispatch_action *actions; /* room for one of each slot */
	uint32_t n_actions, next_action;
	struct handoff_list ended; /* in this order they are told, before all actions */
	bool is_end_told;	   /* of the first of them: it was what dispatch_next() said last */
	bool is_paused;		   /* what was last said */

	struct dispatch_totals totals;
};

static inline void list_insert(struct handoff_list *list, struct handoff *before, struct handoff *h)
{
	h->next = before;
	h->previous = before ? before->previous : list->last;
	*(h->previous ? &h->previous->next : &list->first) = h;
	*(before ? &before->previous : &list->last) = h;
	list->n++;
}

static inline void list_append(struct handoff_list *list, struct handoff *h)
{
	list_insert(list, NULL, h);
}

static inline void list_remove(struct handoff_list *list, struct handoff *h)
{
	*(h->previous ? &h->previous->next : &list->first) = h->next;
	*(h->next ? &h->next->previous : &list->last) = h->previous;
	h->next = h->previous = NULL;
	list->n--;
}

static inline struct handoff *slot_at(const struct dispatch *d, uint64_t slot)
{
	return &d->chunks[slot >> CHUNK_BITS][slot & (CHUNK_SIZE - 1)];
}

static inline bool is_leaving(const struct dispatch_provider *p)
{
	return p->state == PROVIDER_DRAINING || p->state == PROVIDER_QUARANTINED;
}

static inline uint64_t usable_credit(const struct dispatch_provider *p)
{
	return p->state == PROVIDER_READY && p->credit > 0 ? (uint64_t)p->credit : 0;
}

static inline uint64_t usable_credit_of_all(const struct dispatch *d)
{
	return d->usable_credit[false] + d->usable_credit[true];
}

/* All connections that count against `instances`. */
static inline uint64_t n_connections(const struct dispatch *d)
{
	return (uint64_t)d->waiting.n + d->n_parked + d->n_unclaimed + d->n_in_service;
}

/* Give what waits, oldest first, while somebody has credit. */
void dispatch_match(struct dispatch *d, uint64_t now_usec);

/* Queue what is to be done with `h`. */
void dispatch_push_action(struct dispatch *d, enum dispatch_action_type type, struct handoff *h);

/*
 * Whose turn it is to get a connection of `client`, which is over by that. Somebody must have
 * usable credit; standbys are chosen only when no other has.
 */
struct dispatch_provider *dispatch_choose(struct dispatch *d, uint64_t client);

/* The one place where credit changes, so that the sums stay true. */
void dispatch_set_credit(struct dispatch *d, struct dispatch_provider *p, int64_t credit);

/* Memory for CHUNK_SIZE slots more, behind the others. Returns 0 or -ENOMEM. */
int dispatch_add_chunk(struct dispatch *d);

/* The unused slots from `first` on are the next to be used, in their order. */
void dispatch_link_free(struct dispatch *d, uint32_t first);

/* Make slots until `n` are free. Returns whether they are: false is out of memory. */
bool dispatch_reserve(struct dispatch *d, uint64_t n);

/* The end of all slots. */
void dispatch_free_slots(struct dispatch *d);

/* A connection comes into a free slot, of which there is one; it waits until dispatch_match(). */
struct handoff *dispatch_enter(struct dispatch *d, uint64_t client, uint64_t now_usec);

/* A record that is in no list may be used again. */
void dispatch_free_handoff(struct dispatch *d, struct handoff *h);

/* A hand-off that is in no list is over: its record is free when that was told. */
void dispatch_end_handoff(struct dispatch *d, struct handoff *h, enum handoff_end end);

/* Behind all others in the ring, with what it has: credit, state and foreign connections. */
void dispatch_add_provider(struct dispatch *d, struct dispatch_provider *p);

/* The right side of the sum at struct dispatch_totals: connections that are over, or here. */
uint64_t dispatch_n_known(const struct dispatch *d);
