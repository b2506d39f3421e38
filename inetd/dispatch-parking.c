/* SPDX-License-Identifier: MIT */
/* Connections that nobody can take now, given up or counted as parked: see dispatch.h. */
#include "dispatch-private.h"

#include <assert.h>
#include <errno.h>

bool dispatch_take_waiting(struct dispatch *d, struct handoff *ret)
{
	struct handoff *h = d->waiting.first;

	if (!h)
		return false;
	list_remove(&d->waiting, h);
	*ret = *h;
	h->fd = -EBADF;
	h->forwarded = NULL;
	dispatch_end_handoff(d, h, HANDOFF_GIVEN_UP);
	d->totals.n_given_up++;
	return true;
}

const struct handoff *dispatch_oldest_waiting(const struct dispatch *d)
{
	return d->waiting.first;
}

void dispatch_park(struct dispatch *d)
{
	struct handoff *h = d->waiting.first;

	assert(h);
	list_remove(&d->waiting, h);
	dispatch_free_handoff(d, h);
	d->n_parked++;
	d->totals.n_parked++;
}

bool dispatch_can_unpark(struct dispatch *d)
{
	return d->n_parked > 0 && usable_credit_of_all(d) > 0 && dispatch_reserve(d, 1);
}

struct handoff *dispatch_unpark(struct dispatch *d, uint64_t client, uint64_t now_usec)
{
	struct handoff *h;

	if (!dispatch_can_unpark(d))
		return NULL;
	d->n_parked--;
	h = dispatch_enter(d, client, now_usec);
	dispatch_match(d, now_usec);
	return h;
}

void dispatch_expire(struct dispatch *d)
{
	assert(d->n_parked > 0);
	d->n_parked--;
	d->totals.n_expired++;
}

void dispatch_lose(struct dispatch *d)
{
	assert(d->n_parked > 0);
	d->n_parked--;
	d->totals.n_lost++;
}

void dispatch_set_parked(struct dispatch *d, uint32_t n)
{
	assert(d->n_parked == 0);
	d->n_parked = n;
	d->totals.n_taken_over += n;
}
