/* SPDX-License-Identifier: MIT */
/*
 * The way of a connection until it is over, and what the caller has to do for it: see dispatch.h.
 *
 * What is to be done is queued in `actions`; pausing is not queued but compared with what was last
 * said, so that a flutter within one turn costs nothing.
 */
#include "dispatch-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void dispatch_push_action(struct dispatch *d, enum dispatch_action_type type, struct handoff *h)
{
	assert(d->n_actions < d->n_slots);
	d->actions[d->n_actions++] = (struct dispatch_action){.type = type, .handoff = h};
}

static void give(
	struct dispatch *d, struct handoff *h, struct dispatch_provider *p, uint64_t now_usec)
{
	if (p->unclaimed.n == 0)
		p->unclaimed_since = now_usec;
	h->state = HANDOFF_GIVEN;
	h->provider = p;
	h->sequence = ++p->last_sequence;
	h->given_usec = now_usec;
	list_append(&p->unclaimed, h);
	d->n_unclaimed++;
	dispatch_set_credit(d, p, p->credit - 1);
	dispatch_push_action(d, DISPATCH_GIVE, h);
}

void dispatch_match(struct dispatch *d, uint64_t now_usec)
{
	while (d->waiting.n > 0 && usable_credit_of_all(d) > 0) {
		struct handoff *h = d->waiting.first;

		list_remove(&d->waiting, h);
		give(d, h, dispatch_choose(d, h->client), now_usec);
	}
}

void dispatch_free_handoff(struct dispatch *d, struct handoff *h)
{
	h->state = HANDOFF_FREE;
	h->provider = NULL;
	h->next = d->free;
	d->free = h;
	d->n_free++;
}

void dispatch_end_handoff(struct dispatch *d, struct handoff *h, enum handoff_end end)
{
	h->state = HANDOFF_ENDED;
	h->end = end;
	list_append(&d->ended, h);
}

int dispatch_new(struct dispatch **ret, enum dispatch_balance balance, uint32_t instances)
{
	struct dispatch *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	dispatch_configure(d, balance, instances);
	d->is_paused = true;
	*ret = d;
	return 0;
}

struct dispatch *dispatch_free(struct dispatch *d)
{
	if (!d)
		return NULL;
	assert(!d->cursor && d->waiting.n == 0);
	dispatch_free_slots(d);
	free(d);
	return NULL;
}

void dispatch_configure(struct dispatch *d, enum dispatch_balance balance, uint32_t instances)
{
	assert(instances > 0 && instances <= DISPATCH_MAX_INSTANCES);
	d->balance = balance;
	d->instances = instances;
}

/* How many connections more would be welcome. When some wait there is no usable credit. */
static uint64_t room(const struct dispatch *d)
{
	uint64_t n_now = n_connections(d), credit = usable_credit_of_all(d);
	uint64_t n_instances = n_now < d->instances ? d->instances - n_now : 0;

	if (d->n_parked > 0)
		return 0;
	return n_instances < credit ? n_instances : credit;
}

uint32_t dispatch_room(struct dispatch *d, uint32_t max)
{
	uint64_t n = room(d);

	if (n > max)
		n = max;
	return dispatch_reserve(d, n) ? (uint32_t)n : d->n_free;
}

struct handoff *dispatch_enter(struct dispatch *d, uint64_t client, uint64_t now_usec)
{
	struct handoff *h = d->free;

	d->free = h->next;
	d->n_free--;
	*h = (struct handoff){
		.id = h->id + SLOT_MASK + 1,
		.state = HANDOFF_WAITING,
		.client = client,
		.entered_usec = now_usec,
		.fd = -EBADF,
	};
	list_append(&d->waiting, h);
	return h;
}

struct handoff *dispatch_offer(struct dispatch *d, uint64_t client, uint64_t now_usec)
{
	struct handoff *h;

	if (!d->free || room(d) == 0)
		return NULL;
	d->totals.n_accepted++;
	h = dispatch_enter(d, client, now_usec);
	dispatch_match(d, now_usec);
	return h;
}

struct handoff *dispatch_take_over(struct dispatch *d, uint64_t client, uint64_t now_usec)
{
	struct handoff *h;

	if (n_connections(d) >= d->instances || !dispatch_reserve(d, 1))
		return NULL;
	d->totals.n_taken_over++;
	h = dispatch_enter(d, client, now_usec);
	if (d->n_parked == 0)
		dispatch_match(d, now_usec);
	return h;
}

static void visit_list(const struct handoff_list *list,
	void (*visit)(struct handoff *h, void *userdata), void *userdata)
{
	for (struct handoff *h = list->first; h; h = h->next)
		visit(h, userdata);
}

void dispatch_visit_unclaimed(
	struct dispatch *d, void (*visit)(struct handoff *h, void *userdata), void *userdata)
{
	const struct dispatch_provider *p = d->cursor;

	visit_list(&d->waiting, visit, userdata);
	for (bool more = p; more; p = p->next, more = p != d->cursor)
		visit_list(&p->unclaimed, visit, userdata);
}

bool dispatch_is_paused(const struct dispatch *d)
{
	return room(d) == 0;
}

/* The record of the one before is free only now. */
static bool next_end(struct dispatch *d, struct dispatch_action *ret)
{
	struct handoff *h = d->ended.first;

	if (d->is_end_told) {
		list_remove(&d->ended, h);
		dispatch_free_handoff(d, h);
		h = d->ended.first;
	}
	d->is_end_told = h != NULL;
	*ret = (struct dispatch_action){.type = DISPATCH_ENDED, .handoff = h};
	return d->is_end_told;
}

bool dispatch_next(struct dispatch *d, struct dispatch_action *ret)
{
	bool is_paused;

	if (d->ended.first && next_end(d, ret))
		return true;
	if (d->next_action < d->n_actions) {
		*ret = d->actions[d->next_action++];
		return true;
	}
	d->next_action = d->n_actions = 0;
	is_paused = dispatch_is_paused(d);
	if (is_paused == d->is_paused)
		return false;
	d->is_paused = is_paused;
	*ret = (struct dispatch_action){.type = is_paused ? DISPATCH_PAUSE : DISPATCH_RESUME};
	return true;
}
