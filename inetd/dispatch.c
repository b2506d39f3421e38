/* SPDX-License-Identifier: MIT */
/*
 * Who gets the next connection: see dispatch.h.
 *
 * What is to be done is queued in `actions`; pausing is not queued but compared with what was last
 * said, so that a flutter within one turn costs nothing.
 */
#include "dispatch-private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* The one place where credit changes, so that the sums stay true. */
static void set_credit(struct dispatch *d, struct dispatch_provider *p, int64_t credit)
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

/* How many connections the provider has in hand, for balance. */
static uint64_t load_of(const struct dispatch_provider *p)
{
	return (uint64_t)p->unclaimed.n + p->claimed.n + p->n_foreign;
}

static bool is_eligible(const struct dispatch_provider *p, bool is_standby)
{
	return p->is_standby == is_standby && usable_credit(p) > 0;
}

static bool is_less_loaded(const struct dispatch_provider *a, const struct dispatch_provider *b)
{
	return (load_of(a) + 1) * b->weight < (load_of(b) + 1) * a->weight;
}

/*
 * The eligible provider with the least load for its weight; among equals the one after the last
 * chosen.
 */
static struct dispatch_provider *choose_least(struct dispatch *d, bool is_standby)
{
	struct dispatch_provider *p = d->cursor, *best = NULL;

	do {
		if (is_eligible(p, is_standby) && (!best || is_less_loaded(p, best)))
			best = p;
		p = p->next;
	} while (p != d->cursor);
	d->cursor = best->next;
	return best;
}

/* The eligible providers in turn; each gets as many in a row as its weight says. */
static struct dispatch_provider *choose_round_robin(struct dispatch *d, bool is_standby)
{
	struct dispatch_provider *p = d->cursor;

	while (!is_eligible(p, is_standby)) {
		p->n_turns = p->weight;
		p = p->next;
	}
	d->cursor = p;
	if (--p->n_turns == 0) {
		p->n_turns = p->weight;
		d->cursor = p->next;
	}
	return p;
}

/* Standbys only when no other has usable credit. Somebody must have. */
static struct dispatch_provider *choose(struct dispatch *d)
{
	bool is_standby = d->usable_credit[false] == 0;

	return d->balance == DISPATCH_LEAST ? choose_least(d, is_standby)
					    : choose_round_robin(d, is_standby);
}

static void push_action(struct dispatch *d, enum dispatch_action_type type, struct handoff *h)
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
	list_append(&p->unclaimed, h);
	d->n_unclaimed++;
	set_credit(d, p, p->credit - 1);
	push_action(d, DISPATCH_GIVE, h);
}

void dispatch_match(struct dispatch *d, uint64_t now_usec)
{
	while (d->waiting.n > 0 && usable_credit_of_all(d) > 0) {
		struct handoff *h = d->waiting.first;

		list_remove(&d->waiting, h);
		give(d, h, choose(d), now_usec);
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

struct handoff *dispatch_enter(struct dispatch *d)
{
	struct handoff *h = d->free;

	d->free = h->next;
	d->n_free--;
	*h = (struct handoff){.id = h->id + SLOT_MASK + 1, .state = HANDOFF_WAITING, .fd = -EBADF};
	list_append(&d->waiting, h);
	return h;
}

struct handoff *dispatch_offer(struct dispatch *d, uint64_t now_usec)
{
	struct handoff *h;

	if (!d->free || room(d) == 0)
		return NULL;
	d->totals.n_accepted++;
	h = dispatch_enter(d);
	dispatch_match(d, now_usec);
	return h;
}

struct handoff *dispatch_take_over(struct dispatch *d, uint64_t now_usec)
{
	struct handoff *h;

	if (n_connections(d) >= d->instances || !dispatch_reserve(d, 1))
		return NULL;
	d->totals.n_taken_over++;
	h = dispatch_enter(d);
	if (d->n_parked == 0)
		dispatch_match(d, now_usec);
	return h;
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
	push_action(d, DISPATCH_CLOSE, h);
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
	set_credit(d, p, p->credit + 1);
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
	set_credit(d, p, p->credit + 1);
	dispatch_match(d, now_usec);
	return 0;
}

int dispatch_handed_back(
	struct dispatch *d, struct dispatch_provider *p, uint64_t id, struct handoff *ret)
{
	int r = forward(d, p, id, ret);

	if (r < 0)
		return r;
	set_credit(d, p, p->credit < 0 ? p->credit + 1 : 0);
	return 0;
}

int dispatch_credited(struct dispatch *d, struct dispatch_provider *p, uint64_t sequence,
	int32_t credit, uint64_t now_usec)
{
	assert(d->n_actions == 0);
	if (sequence > p->last_sequence)
		return -EPROTO;
	/* What was on its way when the provider said so counts against it. */
	set_credit(d, p, credit - (int64_t)(p->last_sequence - sequence));
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
		set_credit(d, p, 0);
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
	set_credit(d, p, p->credit + n);
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
	set_credit(d, p, 0);
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

uint32_t dispatch_least_unclaimed(const struct dispatch *d)
{
	bool is_standby = d->usable_credit[false] == 0;
	const struct dispatch_provider *p = d->cursor;
	uint32_t least = UINT32_MAX;

	if (usable_credit_of_all(d) == 0)
		return least;
	do {
		if (is_eligible(p, is_standby) && p->unclaimed.n < least)
			least = p->unclaimed.n;
		p = p->next;
	} while (p != d->cursor && least > 0);
	return least;
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
