/* SPDX-License-Identifier: MIT */
/*
 * A provider, from its registration to its death, and what it says of its connections: see
 * dispatch.h.
 */
#include "dispatch-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void dispatch_set_credit(struct dispatch *d, struct dispatch_provider *p, int64_t credit)
{
	d->usable_credit[p->is_standby] -= usable_credit(p);
	p->credit = credit;
	d->usable_credit[p->is_standby] += usable_credit(p);
}

static void set_state(struct dispatch *d, struct dispatch_provider *p, enum provider_state state)
{
	if (is_leaving(p) && !(p->state == PROVIDER_DRAINING && state == PROVIDER_QUARANTINED))
		return;
	d->usable_credit[p->is_standby] -= usable_credit(p);
	d->n_serving -= !is_leaving(p);
	p->state = state;
	d->usable_credit[p->is_standby] += usable_credit(p);
	d->n_serving += !is_leaving(p);
}

/* Take an unclaimed hand-off away from its provider; it waits before `before`, or as the last. */
static void take_back(struct dispatch *d, struct handoff *h, struct handoff *before)
{
	list_remove(&h->provider->unclaimed, h);
	d->n_unclaimed--;
	h->state = HANDOFF_WAITING;
	h->provider = NULL;
	h->sequence = 0;
	list_insert(&d->waiting, before, h);
}

void dispatch_add_provider(struct dispatch *d, struct dispatch_provider *p)
{
	d->n_serving += !is_leaving(p);
	d->n_in_service += p->n_foreign;
	d->usable_credit[p->is_standby] += usable_credit(p);
	if (d->cursor) { /* before the cursor is the end of the ring */
		p->next = d->cursor;
		p->previous = d->cursor->previous;
		p->previous->next = p->next->previous = p;
	} else {
		d->cursor = p->next = p->previous = p;
	}
}

struct dispatch_provider *dispatch_register(
	struct dispatch *d, const struct dispatch_hello *hello, void *userdata, uint64_t now_usec)
{
	struct dispatch_provider *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct dispatch_provider){
		.userdata = userdata,
		.state = PROVIDER_READY,
		.is_standby = hello->is_standby,
		.weight = hello->weight,
		.credit = hello->credit,
		.n_foreign = hello->n_foreign,
		.n_turns = hello->weight,
	};
	dispatch_add_provider(d, p);
	dispatch_match(d, now_usec);
	return p;
}

/* A claim or a decline: the claim timeout starts anew. */
static void note_answer(struct dispatch *d, struct dispatch_provider *p, uint64_t now_usec)
{
	p->unclaimed_since = now_usec;
	if (p->state == PROVIDER_STUCK)
		set_state(d, p, PROVIDER_READY);
}

/* From the unclaimed to the claimed ones. */
static void claim(struct dispatch *d, struct handoff *h)
{
	list_remove(&h->provider->unclaimed, h);
	list_append(&h->provider->claimed, h);
	h->state = HANDOFF_CLAIMED;
	d->n_unclaimed--;
	d->n_in_service++;
	dispatch_push_action(d, DISPATCH_CLOSE, h);
}

int dispatch_claimed(
	struct dispatch *d, struct dispatch_provider *p, uint64_t sequence, uint64_t now_usec)
{
	assert(d->n_actions == 0);
	if (sequence <= p->claimed_sequence || sequence > p->last_sequence)
		return -EPROTO;
	for (struct handoff *h; (h = p->unclaimed.first) && h->sequence <= sequence;) {
		claim(d, h);
		d->totals.n_claimed++;
		histogram_add(&d->totals.waiting_time, h->entered_usec, h->given_usec);
		histogram_add(&d->totals.handoff_time, h->given_usec, now_usec);
	}
	p->claimed_sequence = sequence;
	note_answer(d, p, now_usec);
	dispatch_match(d, now_usec);
	return 0;
}

/* The hand-off of that id if it is one that `p` has claimed, else NULL. */
static struct handoff *find_claimed(
	const struct dispatch *d, const struct dispatch_provider *p, uint64_t id)
{
	uint64_t slot = id & SLOT_MASK;
	struct handoff *h;

	if (slot >= d->n_slots)
		return NULL;
	h = slot_at(d, slot);
	return h->id == id && h->state == HANDOFF_CLAIMED && h->provider == p ? h : NULL;
}

/*
 * A provider says that it has a connection no more. *ret is its record, in no list now; NULL if it
 * is of an earlier channel. Returns 0 or -EPROTO.
 */
static int end_service(
	struct dispatch *d, struct dispatch_provider *p, uint64_t id, struct handoff **ret)
{
	struct handoff *h = NULL;

	if (id == 0) {
		if (p->n_foreign == 0)
			return -EPROTO;
		p->n_foreign--;
	} else {
		h = find_claimed(d, p, id);
		if (!h)
			return -EPROTO;
		list_remove(&p->claimed, h);
	}
	d->n_in_service--;
	*ret = h;
	return 0;
}

static int release(struct dispatch *d, struct dispatch_provider *p, uint64_t id)
{
	struct handoff *h;
	int r = end_service(d, p, id, &h);

	if (r < 0)
		return r;
	if (h) {
		dispatch_end_handoff(d, h, HANDOFF_RELEASED);
		d->totals.n_released++;
		p->n_served++;
	}
	dispatch_set_credit(d, p, p->credit + 1);
	return 0;
}

int dispatch_released(struct dispatch *d, struct dispatch_provider *p, const uint64_t *ids,
	size_t n_ids, uint64_t now_usec)
{
	int r = 0;

	assert(d->n_actions == 0);
	for (size_t i = 0; i < n_ids && r >= 0; i++)
		r = release(d, p, ids[i]);
	dispatch_match(d, now_usec);
	return r;
}

static int forward(
	struct dispatch *d, struct dispatch_provider *p, uint64_t id, struct handoff *ret)
{
	struct handoff *h;
	int r = end_service(d, p, id, &h);

	if (r < 0)
		return r;
	*ret = h ? *h : (struct handoff){0};
	ret->fd = -EBADF;
	if (h) {
		dispatch_end_handoff(d, h, HANDOFF_FORWARDED);
		d->totals.n_forwarded++;
	}
	return 0;
}

int dispatch_forwarded(struct dispatch *d, struct dispatch_provider *p, uint64_t id,
	struct handoff *ret, uint64_t now_usec)
{
	int r;

	assert(d->n_actions == 0);
	r = forward(d, p, id, ret);
	if (r < 0)
		return r;
	dispatch_set_credit(d, p, p->credit + 1);
	dispatch_match(d, now_usec);
	return 0;
}

int dispatch_handed_back(
	struct dispatch *d, struct dispatch_provider *p, uint64_t id, struct handoff *ret)
{
	int r = forward(d, p, id, ret);

	if (r < 0)
		return r;
	dispatch_set_credit(d, p, p->credit < 0 ? p->credit + 1 : 0);
	return 0;
}

int dispatch_credited(struct dispatch *d, struct dispatch_provider *p, uint64_t sequence,
	int32_t credit, uint64_t now_usec)
{
	assert(d->n_actions == 0);
	if (sequence > p->last_sequence)
		return -EPROTO;
	/* What was on its way when the provider said so counts against it. */
	dispatch_set_credit(d, p, credit - (int64_t)(p->last_sequence - sequence));
	dispatch_match(d, now_usec);
	return 0;
}

int dispatch_declined(struct dispatch *d, struct dispatch_provider *p, uint64_t first,
	uint64_t last, uint64_t now_usec)
{
	struct handoff *h = p->unclaimed.first, *oldest_waiting = d->waiting.first;

	assert(d->n_actions == 0);
	if (first <= p->claimed_sequence || last > p->last_sequence)
		return -EPROTO;
	while (h && h->sequence < first)
		h = h->next;
	if (!h || h->sequence > last)
		return -EPROTO;
	while (h && h->sequence <= last) {
		struct handoff *next = h->next;

		take_back(d, h, oldest_waiting);
		d->totals.n_declined++;
		h = next;
	}
	if (p->credit > 0) /* or the least loaded, as it is now, would get the same ones again */
		dispatch_set_credit(d, p, 0);
	note_answer(d, p, now_usec);
	dispatch_match(d, now_usec);
	return 0;
}

void dispatch_unsent(struct dispatch *d, struct dispatch_provider *p, uint32_t n, uint64_t now_usec)
{
	assert(d->n_actions == 0 && n <= p->unclaimed.n);
	for (uint32_t i = 0; i < n; i++) {
		assert(p->unclaimed.last->sequence == p->last_sequence);
		p->last_sequence--;
		take_back(d, p->unclaimed.last, d->waiting.first);
	}
	dispatch_set_credit(d, p, p->credit + n);
	if (p->state == PROVIDER_READY)
		set_state(d, p, PROVIDER_BLOCKED);
	dispatch_match(d, now_usec);
}

void dispatch_set_state(struct dispatch *d, struct dispatch_provider *p, enum provider_state state,
	uint64_t now_usec)
{
	set_state(d, p, state);
	dispatch_match(d, now_usec);
}

void dispatch_touched(struct dispatch *d, struct handoff *h)
{
	assert(h->state == HANDOFF_GIVEN);
	claim(d, h);
	d->totals.n_touched++;
}

void dispatch_gone(struct dispatch *d, struct dispatch_provider *p, uint64_t now_usec)
{
	assert(d->n_actions == 0);
	dispatch_set_credit(d, p, 0);
	while (p->unclaimed.last) {
		take_back(d, p->unclaimed.last, d->waiting.first);
		d->totals.n_redispatched++;
	}
	d->n_in_service -= p->claimed.n + p->n_foreign;
	while (p->claimed.first) {
		struct handoff *h = p->claimed.first;

		list_remove(&p->claimed, h);
		h->provider = NULL;
		dispatch_end_handoff(d, h, HANDOFF_LOST);
		d->totals.n_lost++;
	}
	d->n_serving -= !is_leaving(p);
	p->next->previous = p->previous;
	p->previous->next = p->next;
	if (d->cursor == p)
		d->cursor = p->next == p ? NULL : p->next;
	free(p);
	dispatch_match(d, now_usec);
}
