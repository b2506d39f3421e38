/* SPDX-License-Identifier: MIT */
/*
 * Who gets the next connection: see dispatch.h.
 *
 * Hand-offs live in chunks that never move; a free one keeps its id, so that its next use gets
 * another. The id carries the place (low bits), which makes RELEASE a look-up without a search.
 * What is to be done is queued in `actions`; pausing is not queued but compared with what was last
 * said, so that a flutter within one turn costs nothing.
 */
#include "dispatch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	struct handoff *free; /* linked by next */
	uint32_t n_free;

	struct handoff_list waiting;
	struct dispatch_provider *cursor; /* who is asked first */
	uint32_t n_serving;
	uint64_t usable_credit; /* of all ready providers together */
	uint32_t n_unclaimed;
	uint64_t n_in_service;

	struct dispatch_action *actions; /* room for one of each slot */
	uint32_t n_actions, next_action;
	bool is_paused; /* what was last said */

	struct dispatch_totals totals;
};

static void list_insert(struct handoff_list *list, struct handoff *before, struct handoff *h)
{
	h->next = before;
	h->previous = before ? before->previous : list->last;
	*(h->previous ? &h->previous->next : &list->first) = h;
	*(before ? &before->previous : &list->last) = h;
	list->n++;
}

static void list_append(struct handoff_list *list, struct handoff *h)
{
	list_insert(list, NULL, h);
}

static void list_remove(struct handoff_list *list, struct handoff *h)
{
	*(h->previous ? &h->previous->next : &list->first) = h->next;
	*(h->next ? &h->next->previous : &list->last) = h->previous;
	h->next = h->previous = NULL;
	list->n--;
}

static bool is_leaving(const struct dispatch_provider *p)
{
	return p->state == PROVIDER_DRAINING || p->state == PROVIDER_QUARANTINED;
}

static uint64_t usable_credit(const struct dispatch_provider *p)
{
	return p->state == PROVIDER_READY && p->credit > 0 ? (uint64_t)p->credit : 0;
}

/* The one place where credit changes, so that the sum stays true. */
static void set_credit(struct dispatch *d, struct dispatch_provider *p, int64_t credit)
{
	d->usable_credit -= usable_credit(p);
	p->credit = credit;
	d->usable_credit += usable_credit(p);
}

static void set_state(struct dispatch *d, struct dispatch_provider *p, enum provider_state state)
{
	if (is_leaving(p) && !(p->state == PROVIDER_DRAINING && state == PROVIDER_QUARANTINED))
		return;
	d->usable_credit -= usable_credit(p);
	d->n_serving -= !is_leaving(p);
	p->state = state;
	d->usable_credit += usable_credit(p);
	d->n_serving += !is_leaving(p);
}

/* How many connections the provider has in hand, for balance. */
static uint64_t load_of(const struct dispatch_provider *p)
{
	return (uint64_t)p->unclaimed.n + p->claimed.n + p->n_foreign;
}

static bool is_less_loaded(const struct dispatch_provider *a, const struct dispatch_provider *b)
{
	return (load_of(a) + 1) * b->weight < (load_of(b) + 1) * a->weight;
}

/*
 * The usable provider with the least load for its weight; among equals the one after the last
 * chosen.
 */
static struct dispatch_provider *choose_least(struct dispatch *d)
{
	struct dispatch_provider *p = d->cursor, *best = NULL;

	do {
		if (usable_credit(p) > 0 && (!best || is_less_loaded(p, best)))
			best = p;
		p = p->next;
	} while (p != d->cursor);
	d->cursor = best->next;
	return best;
}

/* The usable providers in turn; each gets as many in a row as its weight says. */
static struct dispatch_provider *choose_round_robin(struct dispatch *d)
{
	struct dispatch_provider *p = d->cursor;

	while (usable_credit(p) == 0) {
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

/* Give what waits, oldest first, while somebody has credit. */
static void match(struct dispatch *d, uint64_t now_usec)
{
	while (d->waiting.n > 0 && d->usable_credit > 0) {
		struct handoff *h = d->waiting.first;

		list_remove(&d->waiting, h);
		give(d, h, d->balance == DISPATCH_LEAST ? choose_least(d) : choose_round_robin(d),
			now_usec);
	}
}

static void free_handoff(struct dispatch *d, struct handoff *h)
{
	h->state = HANDOFF_FREE;
	h->provider = NULL;
	h->next = d->free;
	d->free = h;
	d->n_free++;
}

/* Take an unclaimed hand-off away from its provider; it waits before `before` (NULL: behind all).
 */
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
	for (uint32_t i = 0; i < d->n_slots / CHUNK_SIZE; i++)
		free(d->chunks[i]);
	free(d->chunks);
	free(d->actions);
	free(d);
	return NULL;
}

void dispatch_configure(struct dispatch *d, enum dispatch_balance balance, uint32_t instances)
{
	assert(instances > 0 && instances <= DISPATCH_MAX_INSTANCES);
	d->balance = balance;
	d->instances = instances;
}

static int add_chunk(struct dispatch *d)
{
	uint32_t n_chunks = d->n_slots / CHUNK_SIZE, n_slots = d->n_slots + CHUNK_SIZE;
	struct handoff **chunks = reallocarray(d->chunks, n_chunks + 1, sizeof(*chunks));
	struct dispatch_action *actions;
	struct handoff *chunk;

	if (!chunks)
		return -ENOMEM;
	d->chunks = chunks;
	actions = reallocarray(d->actions, n_slots, sizeof(*actions));
	if (!actions)
		return -ENOMEM;
	d->actions = actions;
	chunk = calloc(CHUNK_SIZE, sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	chunks[n_chunks] = chunk;
	for (uint32_t i = CHUNK_SIZE; i-- > 0;) {
		chunk[i].id = d->n_slots + i;
		chunk[i].fd = -EBADF;
		free_handoff(d, &chunk[i]);
	}
	d->n_slots = n_slots;
	return 0;
}

/* How many connections more would be welcome. When some wait there is no usable credit. */
static uint64_t room(const struct dispatch *d)
{
	uint64_t n_now = (uint64_t)d->waiting.n + d->n_unclaimed + d->n_in_service;
	uint64_t n_instances = n_now < d->instances ? d->instances - n_now : 0;

	return n_instances < d->usable_credit ? n_instances : d->usable_credit;
}

uint32_t dispatch_room(struct dispatch *d, uint32_t max)
{
	uint64_t n = room(d);

	if (n > max)
		n = max;
	while (d->n_free < n)
		if (add_chunk(d) < 0)
			return d->n_free;
	return (uint32_t)n;
}

struct handoff *dispatch_offer(struct dispatch *d, uint64_t now_usec)
{
	struct handoff *h = d->free;

	if (!h || room(d) == 0)
		return NULL;
	d->free = h->next;
	d->n_free--;
	*h = (struct handoff){.id = h->id + SLOT_MASK + 1, .state = HANDOFF_WAITING, .fd = -EBADF};
	list_append(&d->waiting, h);
	d->totals.n_accepted++;
	match(d, now_usec);
	return h;
}

struct dispatch_provider *dispatch_register(struct dispatch *d, int32_t credit, uint32_t weight,
	uint32_t n_foreign, void *userdata, uint64_t now_usec)
{
	struct dispatch_provider *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->userdata = userdata;
	p->weight = p->n_turns = weight;
	p->n_foreign = n_foreign;
	p->state = PROVIDER_READY;
	d->n_serving++;
	d->n_in_service += n_foreign;
	if (d->cursor) { /* before the cursor is the end of the ring */
		p->next = d->cursor;
		p->previous = d->cursor->previous;
		p->previous->next = p->next->previous = p;
	} else {
		d->cursor = p->next = p->previous = p;
	}
	set_credit(d, p, credit);
	match(d, now_usec);
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
	match(d, now_usec);
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
	h = &d->chunks[slot >> CHUNK_BITS][slot & (CHUNK_SIZE - 1)];
	return h->id == id && h->state == HANDOFF_CLAIMED && h->provider == p ? h : NULL;
}

static int release(struct dispatch *d, struct dispatch_provider *p, uint64_t id)
{
	if (id == 0) {
		if (p->n_foreign == 0)
			return -EPROTO;
		p->n_foreign--;
	} else {
		struct handoff *h = find_claimed(d, p, id);

		if (!h)
			return -EPROTO;
		list_remove(&p->claimed, h);
		free_handoff(d, h);
		d->totals.n_released++;
		p->n_served++;
	}
	d->n_in_service--;
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
	match(d, now_usec);
	return r;
}

int dispatch_credited(struct dispatch *d, struct dispatch_provider *p, uint64_t sequence,
	int32_t credit, uint64_t now_usec)
{
	assert(d->n_actions == 0);
	if (sequence > p->last_sequence)
		return -EPROTO;
	/* What was on its way when the provider said so counts against it. */
	set_credit(d, p, credit - (int64_t)(p->last_sequence - sequence));
	match(d, now_usec);
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
	match(d, now_usec);
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
	match(d, now_usec);
}

void dispatch_set_state(struct dispatch *d, struct dispatch_provider *p, enum provider_state state,
	uint64_t now_usec)
{
	set_state(d, p, state);
	match(d, now_usec);
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
		free_handoff(d, h);
		d->totals.n_lost++;
	}
	d->n_serving -= !is_leaving(p);
	p->next->previous = p->previous;
	p->previous->next = p->next;
	if (d->cursor == p)
		d->cursor = p->next == p ? NULL : p->next;
	free(p);
	match(d, now_usec);
}

bool dispatch_take_waiting(struct dispatch *d, struct handoff *ret)
{
	struct handoff *h = d->waiting.first;

	if (!h)
		return false;
	list_remove(&d->waiting, h);
	*ret = *h;
	free_handoff(d, h);
	d->totals.n_given_up++;
	return true;
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

bool dispatch_next(struct dispatch *d, struct dispatch_action *ret)
{
	bool is_paused;

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

uint32_t dispatch_n_serving(const struct dispatch *d)
{
	return d->n_serving;
}

uint32_t dispatch_n_waiting(const struct dispatch *d)
{
	return d->waiting.n;
}

uint32_t dispatch_n_unclaimed(const struct dispatch *d)
{
	return d->n_unclaimed;
}

uint64_t dispatch_n_in_service(const struct dispatch *d)
{
	return d->n_in_service;
}

bool dispatch_is_paused(const struct dispatch *d)
{
	return room(d) == 0;
}

const struct dispatch_totals *dispatch_totals(const struct dispatch *d)
{
	return &d->totals;
}

static uint32_t check_list(const struct handoff_list *list, enum handoff_state state,
	const struct dispatch_provider *p)
{
	uint64_t sequence = 0;
	uint32_t n = 0;

	for (const struct handoff *h = list->first; h; h = h->next, n++) {
		assert(h->state == state && h->provider == p);
		assert(h->next ? h->next->previous == h : list->last == h);
		assert(state != HANDOFF_GIVEN || h->sequence > sequence);
		sequence = h->sequence;
	}
	assert(n == list->n);
	return n;
}

void dispatch_check(const struct dispatch *d)
{
	uint32_t n = check_list(&d->waiting, HANDOFF_WAITING, NULL), n_unclaimed = 0, n_claimed = 0;
	uint32_t n_foreign = 0, n_serving = 0, n_free = 0;
	const struct dispatch_provider *p = d->cursor;
	uint64_t credit = 0;

	for (bool more = p; more; p = p->next, more = p != d->cursor) {
		n_unclaimed += check_list(&p->unclaimed, HANDOFF_GIVEN, p);
		n_claimed += check_list(&p->claimed, HANDOFF_CLAIMED, p);
		n_foreign += p->n_foreign;
		n_serving += !is_leaving(p);
		credit += usable_credit(p);
		assert(p->next->previous == p);
	}
	for (const struct handoff *h = d->free; h; h = h->next, n_free++)
		assert(h->state == HANDOFF_FREE);
	assert(n_free == d->n_free && n + n_unclaimed + n_claimed + n_free == d->n_slots);
	assert(n_unclaimed == d->n_unclaimed && n_claimed + n_foreign == d->n_in_service);
	assert(n_serving == d->n_serving && credit == d->usable_credit);
	assert(d->waiting.n == 0 || d->usable_credit == 0);
	assert(d->totals.n_accepted == n + n_unclaimed + n_claimed + d->totals.n_released +
					       d->totals.n_lost + d->totals.n_given_up);
}
