/* SPDX-License-Identifier: MIT */
/* Counting what there is, and asserting that it is as dispatch.h promises. */
#include "dispatch-private.h"

#include <assert.h>

uint32_t dispatch_n_serving(const struct dispatch *d)
{
	return d->n_serving;
}

uint32_t dispatch_n_waiting(const struct dispatch *d)
{
	return d->waiting.n;
}

uint32_t dispatch_n_parked(const struct dispatch *d)
{
	return d->n_parked;
}

uint32_t dispatch_n_unclaimed(const struct dispatch *d)
{
	return d->n_unclaimed;
}

uint64_t dispatch_n_in_service(const struct dispatch *d)
{
	return d->n_in_service;
}

const struct dispatch_totals *dispatch_totals(const struct dispatch *d)
{
	return &d->totals;
}

uint64_t dispatch_n_known(const struct dispatch *d)
{
	const struct dispatch_totals *totals = &d->totals;
	const struct dispatch_provider *p = d->cursor;
	uint64_t n_here = (uint64_t)d->waiting.n + d->n_parked + d->n_unclaimed;

	for (bool more = p; more; p = p->next, more = p != d->cursor)
		n_here += p->claimed.n;
	return n_here + totals->n_released + totals->n_forwarded + totals->n_lost +
	       totals->n_expired + totals->n_given_up;
}

static uint32_t check_list(const struct handoff_list *list, enum handoff_state state,
	const struct dispatch_provider *p)
{
	uint64_t sequence = 0;
	uint32_t n = 0;

	for (const struct handoff *h = list->first; h; h = h->next, n++) {
		assert(h->state == state && (h->provider == p || state == HANDOFF_ENDED));
		assert(h->next ? h->next->previous == h : list->last == h);
		assert(state != HANDOFF_GIVEN || h->sequence > sequence);
		sequence = h->sequence;
	}
	assert(n == list->n);
	return n;
}

/* Returns how many hand-offs are in the lists of providers. */
static uint32_t check_providers(const struct dispatch *d)
{
	uint32_t n_unclaimed = 0, n_claimed = 0, n_serving = 0;
	uint64_t n_foreign = 0, credit[2] = {0};
	const struct dispatch_provider *p = d->cursor;

	for (bool more = p; more; p = p->next, more = p != d->cursor) {
		n_unclaimed += check_list(&p->unclaimed, HANDOFF_GIVEN, p);
		n_claimed += check_list(&p->claimed, HANDOFF_CLAIMED, p);
		n_foreign += p->n_foreign;
		n_serving += !is_leaving(p);
		credit[p->is_standby] += usable_credit(p);
		assert(p->claimed_sequence <= p->last_sequence);
		assert(p->next->previous == p);
	}
	assert(n_unclaimed == d->n_unclaimed && n_claimed + n_foreign == d->n_in_service);
	assert(n_serving == d->n_serving);
	assert(credit[false] == d->usable_credit[false] && credit[true] == d->usable_credit[true]);
	return n_unclaimed + n_claimed;
}

/* Every slot is found by the id in it, and the unused ones are in the list of free ones. */
static uint32_t check_slots(const struct dispatch *d)
{
	uint32_t n_free = 0, n_linked = 0;

	for (uint32_t i = 0; i < d->n_slots; i++) {
		assert((slot_at(d, i)->id & SLOT_MASK) == i);
		n_free += slot_at(d, i)->state == HANDOFF_FREE;
	}
	for (const struct handoff *h = d->free; h; h = h->next, n_linked++)
		assert(h->state == HANDOFF_FREE);
	assert(n_free == d->n_free && n_linked == d->n_free);
	return n_free;
}

void dispatch_check(const struct dispatch *d)
{
	uint32_t n = check_list(&d->waiting, HANDOFF_WAITING, NULL);

	n += check_list(&d->ended, HANDOFF_ENDED, NULL);
	n += check_providers(d);
	n += check_slots(d);
	assert(n == d->n_slots);
	assert(d->waiting.n == 0 || usable_credit_of_all(d) == 0 || d->n_parked > 0);
	assert(d->totals.n_accepted + d->totals.n_taken_over == dispatch_n_known(d));
}
