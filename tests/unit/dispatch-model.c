/* SPDX-License-Identifier: MIT */
/* dispatch as plain arrays: see dispatch-model.h. */
#include "dispatch-model.h"

#include <stdlib.h>
#include <string.h>

/* xorshift64*: small, and good enough to choose events. */
uint64_t random_below(struct model *m, uint64_t limit)
{
	m->random ^= m->random >> 12;
	m->random ^= m->random << 25;
	m->random ^= m->random >> 27;
	return (m->random * UINT64_C(2685821657736338717) >> 16) % limit;
}

void insert(struct connections *list, size_t at, struct connection c)
{
	assert_true(list->n < MAX_INSTANCES && at <= list->n);
	memmove(&list->items[at + 1], &list->items[at], (list->n - at) * sizeof(c));
	list->items[at] = c;
	list->n++;
}

void append(struct connections *list, struct connection c)
{
	insert(list, list->n, c);
}

struct connection take(struct connections *list, size_t at)
{
	struct connection c = list->items[at];

	assert_true(at < list->n);
	list->n--;
	memmove(&list->items[at], &list->items[at + 1], (list->n - at) * sizeof(c));
	return c;
}

void end_connection(struct model *m, struct connection c, enum handoff_end end)
{
	c.end = end;
	append(&m->to_end, c);
}

/* What the model expects of the whole */

bool is_leaving(const struct member *member)
{
	return member->state == PROVIDER_DRAINING || member->state == PROVIDER_QUARANTINED;
}

static bool is_usable(const struct member *member)
{
	return member->state == PROVIDER_READY && member->credit > 0;
}

static uint32_t expected_in_service(const struct model *m)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->n_members; i++)
		n += (uint32_t)m->members[i].claimed.n + m->members[i].n_foreign;
	return n;
}

static uint32_t expected_unclaimed(const struct model *m)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->n_members; i++)
		n += (uint32_t)m->members[i].unclaimed.n;
	return n;
}

int64_t expected_credit(const struct model *m)
{
	int64_t credit = 0;

	for (size_t i = 0; i < m->n_members; i++)
		if (is_usable(&m->members[i]))
			credit += m->members[i].credit;
	return credit;
}

int64_t expected_instances_left(const struct model *m)
{
	return (int64_t)m->instances - (int64_t)m->waiting.n - (int64_t)m->parked.n -
	       expected_unclaimed(m) - expected_in_service(m);
}

int64_t expected_room(const struct model *m)
{
	int64_t room = expected_instances_left(m), credit = expected_credit(m);

	if (m->parked.n > 0)
		return 0;
	if (credit < room)
		room = credit;
	return room > 0 ? room : 0;
}

/* Has anybody claimed all, of those who may be next? Standbys may when nobody else has credit. */
static bool expected_idle(const struct model *m)
{
	bool is_idle = false, is_standby = true;

	for (size_t i = 0; i < m->n_members; i++)
		if (is_usable(&m->members[i]) && !m->members[i].is_standby)
			is_standby = false;
	for (size_t i = 0; i < m->n_members; i++)
		if (is_usable(&m->members[i]) && m->members[i].is_standby == is_standby)
			is_idle |= m->members[i].unclaimed.n == 0;
	return is_idle;
}

/* What dispatch wants done */

static struct member *member_of(struct model *m, const struct dispatch_provider *p)
{
	for (size_t i = 0; i < m->n_members; i++)
		if (m->members[i].p == p)
			return &m->members[i];
	print_error("a provider that is not registered\n");
	abort();
}

static uint64_t load_of(const struct member *member)
{
	return member->unclaimed.n + member->claimed.n + member->n_foreign + 1;
}

/* The least loaded, if it is to be; a standby only when no other can. */
static void expect_right_choice(const struct model *m, const struct member *chosen)
{
	assert_true(is_usable(chosen));
	for (size_t i = 0; i < m->n_members; i++) {
		const struct member *other = &m->members[i];

		if (!is_usable(other))
			continue;
		assert_true(other->is_standby || !chosen->is_standby);
		if (m->balance == DISPATCH_LEAST && other->is_standby == chosen->is_standby)
			assert_true(
				load_of(chosen) * other->weight <= load_of(other) * chosen->weight);
	}
}

static void on_give(struct model *m, const struct handoff *h)
{
	struct member *member = member_of(m, h->provider);
	struct connection c;

	expect_right_choice(m, member);
	assert_true(m->waiting.n > 0);
	c = take(&m->waiting, 0);
	assert_ptr_equal(c.handoff, h);
	c.sequence = ++member->last_sequence;
	c.given_usec = m->now_usec;
	if (member->unclaimed.n == 0)
		member->unclaimed_since = m->now_usec;
	append(&member->unclaimed, c);
	member->credit--;
	member->n_in_outbox++;
}

/* Once for each, with all that it carried but its descriptor. */
static void on_ended(struct model *m, const struct handoff *h)
{
	struct connection c;

	assert_true(m->to_end.n > 0);
	c = take(&m->to_end, 0);
	assert_ptr_equal(c.handoff, h);
	assert_true(h->id == c.id && h->state == HANDOFF_ENDED && h->end == c.end);
	assert_int_equal(h->source, c.number);
	if (c.end == HANDOFF_LOST || c.end == HANDOFF_GIVEN_UP)
		assert_null(h->provider);
	else
		assert_non_null(member_of(m, h->provider));
}

void do_actions(struct model *m)
{
	struct dispatch_action action;
	size_t n_changes = 0;

	while (dispatch_next(m->d, &action)) {
		switch (action.type) {
		case DISPATCH_GIVE:
			on_give(m, action.handoff);
			break;
		case DISPATCH_CLOSE:
			assert_true(m->to_close.n > 0);
			assert_ptr_equal(take(&m->to_close, 0).handoff, action.handoff);
			break;
		case DISPATCH_ENDED:
			on_ended(m, action.handoff);
			break;
		case DISPATCH_PAUSE:
		case DISPATCH_RESUME:
			assert_int_not_equal(m->is_paused, action.type == DISPATCH_PAUSE);
			m->is_paused = action.type == DISPATCH_PAUSE;
			n_changes++;
			break;
		}
	}
	assert_true(n_changes <= 1);
	assert_int_equal(m->to_close.n, 0);
	assert_int_equal(m->to_end.n, 0);
	assert_int_equal(m->is_paused, expected_room(m) == 0);
	for (size_t i = 0; i < m->n_members && m->waiting.n > 0; i++)
		assert_false(is_usable(&m->members[i]));
}

/* Comparing */

static void compare_list(const struct connections *expected, const struct handoff_list *list,
	enum handoff_state state, const struct dispatch_provider *p, bool is_ordered)
{
	const struct handoff *h = list->first;

	assert_int_equal(list->n, expected->n);
	for (size_t i = 0; i < expected->n; i++, h = h->next) {
		const struct connection *c = &expected->items[i];

		/* Plain comparisons: there are hundreds of millions of them. */
		if (!h || (is_ordered && h != c->handoff) || c->handoff->id != c->id ||
			c->handoff->fd != c->number || c->handoff->state != state ||
			c->handoff->provider != p || c->handoff->sequence != c->sequence)
			fail_msg("connection %d is not where it should be", c->number);
	}
	assert_null(h);
}

static void compare_member(const struct member *member)
{
	const struct dispatch_provider *p = member->p;

	compare_list(&member->unclaimed, &p->unclaimed, HANDOFF_GIVEN, p, true);
	compare_list(&member->claimed, &p->claimed, HANDOFF_CLAIMED, p, false);
	assert_int_equal(p->state, member->state);
	assert_int_equal(p->is_standby, member->is_standby);
	assert_int_equal(p->credit, member->credit);
	assert_int_equal(p->weight, member->weight);
	assert_int_equal(p->n_foreign, member->n_foreign);
	assert_int_equal(p->n_served, member->n_served);
	assert_int_equal(p->last_sequence, member->last_sequence);
	assert_int_equal(p->claimed_sequence, member->claimed_sequence);
	if (member->unclaimed.n > 0)
		assert_int_equal(p->unclaimed_since, member->unclaimed_since);
}

void compare(const struct model *m)
{
	uint32_t n_serving = 0;

	for (size_t i = 0; i < m->n_members; i++) {
		compare_member(&m->members[i]);
		n_serving += !is_leaving(&m->members[i]);
	}
	for (size_t i = 0; i < m->waiting.n; i++) {
		const struct handoff *h = m->waiting.items[i].handoff;

		assert_true(h->state == HANDOFF_WAITING && !h->provider && h->sequence == 0);
		assert_true(h->id == m->waiting.items[i].id && h->fd == m->waiting.items[i].number);
	}
	assert_int_equal(dispatch_n_serving(m->d), n_serving);
	assert_int_equal(dispatch_n_waiting(m->d), m->waiting.n);
	assert_int_equal(dispatch_n_parked(m->d), m->parked.n);
	assert_int_equal(dispatch_n_unclaimed(m->d), expected_unclaimed(m));
	assert_int_equal(dispatch_n_in_service(m->d), expected_in_service(m));
	assert_int_equal(dispatch_is_paused(m->d), m->is_paused);
	assert_int_equal((dispatch_least_unclaimed(m->d) == 0), expected_idle(m));
	assert_memory_equal(dispatch_totals(m->d), &m->totals, sizeof(m->totals));
}
