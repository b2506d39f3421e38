/* SPDX-License-Identifier: MIT */
/*
 * A dispatch that goes on where an earlier one was: see dispatch.h.
 *
 * Whatever is passed, what comes out keeps the invariants: what contradicts them is refused.
 */
#include "dispatch-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Ids are counted up in steps of this. */
#define STEP (SLOT_MASK + 1)

uint64_t dispatch_id_limit(const struct dispatch *d)
{
	uint64_t last = d->first_ids;

	for (uint32_t i = 0; i < d->n_slots; i++)
		if (slot_at(d, i)->id > last)
			last = slot_at(d, i)->id;
	return (last | SLOT_MASK) + 1;
}

int dispatch_restore(struct dispatch *d, const struct dispatch_totals *totals, uint64_t id_limit)
{
	assert(d->n_slots == 0 && !d->cursor);
	if (id_limit > UINT64_MAX / 2)
		return -EINVAL;
	d->totals = *totals;
	d->first_ids = (id_limit + SLOT_MASK) & ~SLOT_MASK;
	return 0;
}

/* May a provider ever come to be like this? */
static bool is_possible(const struct dispatch_provider *p)
{
	return p->state <= PROVIDER_QUARANTINED && p->weight > 0 && p->n_turns > 0 &&
	       p->claimed_sequence <= p->last_sequence && p->credit > INT64_MIN / 2 &&
	       p->credit < INT64_MAX / 2;
}

struct dispatch_provider *dispatch_restore_provider(
	struct dispatch *d, const struct dispatch_provider *saved, void *userdata)
{
	struct dispatch_provider *p;

	if (!is_possible(saved))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	*p = *saved;
	p->userdata = userdata;
	p->unclaimed = p->claimed = (struct handoff_list){0};
	dispatch_add_provider(d, p);
	return p;
}

/* Is `sequence` that of such a hand-off, behind those that are there? */
static bool is_next(const struct dispatch_provider *p, uint64_t sequence, enum handoff_state state)
{
	switch (state) {
	case HANDOFF_WAITING:
		return !p && sequence == 0;
	case HANDOFF_GIVEN:
		return p && sequence > p->claimed_sequence && sequence <= p->last_sequence &&
		       (!p->unclaimed.last || sequence > p->unclaimed.last->sequence);
	case HANDOFF_CLAIMED:
		return p && sequence > 0 && sequence <= p->claimed_sequence;
	case HANDOFF_FREE:
	case HANDOFF_ENDED:
		break;
	}
	return false;
}

/* The slot of a connection of the earlier dispatch. NULL: out of memory, or it can't be one. */
static struct handoff *take_slot(struct dispatch *d, uint64_t id)
{
	struct handoff *h;

	if (id < STEP || id >= d->first_ids)
		return NULL;
	while (d->n_slots <= (id & SLOT_MASK))
		if (dispatch_add_chunk(d) < 0)
			return NULL;
	h = slot_at(d, id & SLOT_MASK);
	return h->state == HANDOFF_FREE ? h : NULL;
}

static struct handoff_list *list_of(
	struct dispatch *d, struct dispatch_provider *p, bool is_claimed)
{
	if (!p)
		return &d->waiting;
	return is_claimed ? &p->claimed : &p->unclaimed;
}

struct handoff *dispatch_restore_handoff(struct dispatch *d, struct dispatch_provider *p,
	uint64_t id, uint64_t sequence, enum handoff_state state)
{
	struct handoff *h = is_next(p, sequence, state) ? take_slot(d, id) : NULL;

	if (!h)
		return NULL;
	*h = (struct handoff){
		.id = id, .sequence = sequence, .provider = p, .state = state, .fd = -EBADF};
	list_append(list_of(d, p, state == HANDOFF_CLAIMED), h);
	d->n_unclaimed += state == HANDOFF_GIVEN;
	d->n_in_service += state == HANDOFF_CLAIMED;
	return h;
}

/* Name what is missing, or too many, so that the totals add up again. */
static void close_books(struct dispatch *d)
{
	uint64_t n_came = d->totals.n_accepted + d->totals.n_taken_over;
	uint64_t n_known = dispatch_n_known(d);

	if (n_known < n_came)
		d->totals.n_lost += n_came - n_known;
	else
		d->totals.n_taken_over += n_known - n_came;
}

void dispatch_restored(struct dispatch *d, uint64_t now_usec)
{
	dispatch_link_free(d, 0);
	close_books(d);
	dispatch_match(d, now_usec);
}
