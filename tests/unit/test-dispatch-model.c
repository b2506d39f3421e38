/* SPDX-License-Identifier: MIT */
/*
 * dispatch against a model of plain arrays: a million random events, most of them sensible, some of
 * them what only a broken provider says.
 *
 * After each event everything that dispatch.h shows is compared: who owns which connection, credit,
 * sequences, counts, totals, paused or not. The model does not foresee whom dispatch chooses, it
 * checks that the choice was allowed. Set USHER_TEST_SEED for a second run with other numbers.
 */
#include "dispatch.h"
#include "test.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_EVENTS      1000000
#define CHECK_EVERY   64 /* events, for dispatch_check() */
#define MAX_INSTANCES 150
#define MAX_MEMBERS   8
#define DEFAULT_SEED  UINT64_C(20261121)

/* A connection as the model sees it. */
struct connection {
	struct handoff *handoff;
	uint64_t id;
	uint64_t sequence;
	int number; /* in place of a descriptor */
};

struct connections {
	struct connection items[MAX_INSTANCES];
	size_t n;
};

/* A provider as the model sees it. */
struct member {
	struct dispatch_provider *p;
	enum provider_state state;
	int64_t credit;
	uint32_t weight, n_foreign;
	uint64_t last_sequence, claimed_sequence, unclaimed_since, n_served;
	uint32_t n_in_outbox; /* given and not sent yet */
	struct connections unclaimed, claimed;
};

struct model {
	struct dispatch *d;
	uint64_t random;
	uint64_t now_usec;
	enum dispatch_balance balance;
	uint32_t instances;
	bool is_paused;
	struct connections waiting;
	struct connections to_close; /* claimed by the event just told */
	struct member members[MAX_MEMBERS];
	size_t n_members;
	struct dispatch_totals totals;
	uint64_t n_refused;
	uint64_t *ids; /* of all connections that ever were */
};

/* xorshift64*: small, and good enough to choose events. */
static uint64_t random_below(struct model *m, uint64_t limit)
{
	m->random ^= m->random >> 12;
	m->random ^= m->random << 25;
	m->random ^= m->random >> 27;
	return (m->random * UINT64_C(2685821657736338717) >> 16) % limit;
}

static void insert(struct connections *list, size_t at, struct connection c)
{
	assert_true(list->n < MAX_INSTANCES && at <= list->n);
	memmove(&list->items[at + 1], &list->items[at], (list->n - at) * sizeof(c));
	list->items[at] = c;
	list->n++;
}

static void append(struct connections *list, struct connection c)
{
	insert(list, list->n, c);
}

static struct connection take(struct connections *list, size_t at)
{
	struct connection c = list->items[at];

	assert_true(at < list->n);
	list->n--;
	memmove(&list->items[at], &list->items[at + 1], (list->n - at) * sizeof(c));
	return c;
}

/* What the model expects of the whole */

static bool is_leaving(const struct member *member)
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

static int64_t expected_room(const struct model *m)
{
	int64_t room = (int64_t)m->instances - (int64_t)m->waiting.n - expected_unclaimed(m) -
		       expected_in_service(m);
	int64_t credit = 0;

	for (size_t i = 0; i < m->n_members; i++)
		if (is_usable(&m->members[i]))
			credit += m->members[i].credit;
	if (credit < room)
		room = credit;
	return room > 0 ? room : 0;
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

static void expect_least_loaded(const struct model *m, const struct member *chosen)
{
	for (size_t i = 0; i < m->n_members; i++) {
		const struct member *other = &m->members[i];

		if (is_usable(other))
			assert_true(
				load_of(chosen) * other->weight <= load_of(other) * chosen->weight);
	}
}

static void on_give(struct model *m, const struct handoff *h)
{
	struct member *member = member_of(m, h->provider);
	struct connection c;

	assert_true(is_usable(member));
	if (m->balance == DISPATCH_LEAST)
		expect_least_loaded(m, member);
	assert_true(m->waiting.n > 0);
	c = take(&m->waiting, 0);
	assert_ptr_equal(c.handoff, h);
	c.sequence = ++member->last_sequence;
	if (member->unclaimed.n == 0)
		member->unclaimed_since = m->now_usec;
	append(&member->unclaimed, c);
	member->credit--;
	member->n_in_outbox++;
}

static void do_actions(struct model *m)
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
	assert_int_equal(m->is_paused, expected_room(m) == 0);
	for (size_t i = 0; i < m->n_members && m->waiting.n > 0; i++)
		assert_false(is_usable(&m->members[i]));
}

/* The events. Each tells dispatch and the model the same. */

static void offer(struct model *m, struct member *member)
{
	uint32_t max = 1 + (uint32_t)random_below(m, 16), room = dispatch_room(m->d, max);

	(void)member;
	assert_int_equal(room, expected_room(m) < max ? expected_room(m) : max);
	for (uint32_t i = 0; i < room; i++) {
		struct handoff *h = dispatch_offer(m->d, m->now_usec);

		assert_non_null(h);
		m->ids[m->totals.n_accepted++] = h->id;
		h->fd = (int)m->totals.n_accepted;
		append(&m->waiting,
			(struct connection){.handoff = h, .id = h->id, .number = h->fd});
	}
	if (room < max)
		assert_null(dispatch_offer(m->d, m->now_usec));
}

static void refused(struct model *m, int result)
{
	assert_int_equal(result, -EPROTO);
	m->n_refused++;
}

static void answered(struct model *m, struct member *member)
{
	member->unclaimed_since = m->now_usec;
	if (member->state == PROVIDER_STUCK)
		member->state = PROVIDER_READY;
}

static void claim(struct model *m, struct member *member)
{
	uint64_t span = member->last_sequence - member->claimed_sequence + 2;
	uint64_t sequence = member->claimed_sequence + random_below(m, span);
	int result = dispatch_claimed(m->d, member->p, sequence, m->now_usec);

	if (sequence <= member->claimed_sequence || sequence > member->last_sequence) {
		refused(m, result);
		return;
	}
	assert_int_equal(result, 0);
	while (member->unclaimed.n > 0 && member->unclaimed.items[0].sequence <= sequence) {
		struct connection c = take(&member->unclaimed, 0);

		append(&member->claimed, c);
		append(&m->to_close, c);
		m->totals.n_claimed++;
	}
	member->claimed_sequence = sequence;
	answered(m, member);
}

static void release(struct model *m, struct member *member)
{
	uint64_t id;

	if (member->claimed.n == 0)
		return;
	id = take(&member->claimed, random_below(m, member->claimed.n)).id;
	assert_int_equal(dispatch_released(m->d, member->p, &id, 1, m->now_usec), 0);
	member->credit++;
	member->n_served++;
	m->totals.n_released++;
}

static void release_foreign(struct model *m, struct member *member)
{
	int result = dispatch_released(m->d, member->p, &(uint64_t){0}, 1, m->now_usec);

	if (member->n_foreign == 0) {
		refused(m, result);
		return;
	}
	assert_int_equal(result, 0);
	member->n_foreign--;
	member->credit++;
}

/* Any id that there ever was, which is nearly always a wrong one. */
static void release_forged(struct model *m, struct member *member)
{
	uint64_t id = m->totals.n_accepted == 0 ? 1 : m->ids[random_below(m, m->totals.n_accepted)];

	for (size_t i = 0; i < member->claimed.n; i++)
		if (member->claimed.items[i].id == id)
			return;
	refused(m, dispatch_released(m->d, member->p, &id, 1, m->now_usec));
}

static void recredit(struct model *m, struct member *member)
{
	uint64_t n_on_way =
		random_below(m, member->last_sequence < 5 ? member->last_sequence + 1 : 5);
	uint64_t sequence = member->last_sequence - n_on_way;
	int32_t credit = (int32_t)random_below(m, 40) - 5;

	if (random_below(m, 16) == 0) {
		sequence = member->last_sequence + 1 + random_below(m, 3);
		refused(m, dispatch_credited(m->d, member->p, sequence, credit, m->now_usec));
		return;
	}
	assert_int_equal(dispatch_credited(m->d, member->p, sequence, credit, m->now_usec), 0);
	member->credit = credit - (int64_t)n_on_way;
}

/* Move the unclaimed connections from `first` to `last` to the front of those that wait. */
static size_t take_back(struct model *m, struct member *member, uint64_t first, uint64_t last)
{
	size_t n = 0;

	for (size_t i = 0; i < member->unclaimed.n;) {
		uint64_t sequence = member->unclaimed.items[i].sequence;

		if (sequence < first || sequence > last)
			i++;
		else
			insert(&m->waiting, n++, take(&member->unclaimed, i));
	}
	return n;
}

static void decline(struct model *m, struct member *member)
{
	uint64_t span = member->last_sequence - member->claimed_sequence + 2;
	uint64_t first = member->claimed_sequence + random_below(m, span);
	uint64_t last = first + random_below(m, 3);
	int result = dispatch_declined(m->d, member->p, first, last, m->now_usec);
	size_t n = 0;

	if (first > member->claimed_sequence && last <= member->last_sequence)
		n = take_back(m, member, first, last);
	if (n == 0) {
		refused(m, result);
		return;
	}
	assert_int_equal(result, 0);
	m->totals.n_declined += n;
	if (member->credit > 0)
		member->credit = 0;
	answered(m, member);
}

static void change_state(struct model *m, struct member *member)
{
	static const enum provider_state states[] = {PROVIDER_READY, PROVIDER_READY,
		PROVIDER_BLOCKED, PROVIDER_BLOCKED, PROVIDER_STUCK, PROVIDER_DRAINING,
		PROVIDER_QUARANTINED};
	enum provider_state to = states[random_below(m, sizeof(states) / sizeof(states[0]))];

	if (member->state == PROVIDER_STUCK && to == PROVIDER_READY)
		return; /* only its answer makes it ready */
	dispatch_set_state(m->d, member->p, to, m->now_usec);
	if (!is_leaving(member) ||
		(member->state == PROVIDER_DRAINING && to == PROVIDER_QUARANTINED))
		member->state = to;
}

static void join(struct model *m, struct member *member)
{
	struct member new = {
		.state = PROVIDER_READY,
		.credit = (int64_t)random_below(m, 60),
		.weight = 1 + (uint32_t)random_below(m, 4),
		.n_foreign = random_below(m, 4) == 0 ? (uint32_t)random_below(m, 10) : 0,
	};

	(void)member;
	if (m->n_members == MAX_MEMBERS)
		return;
	new.p = dispatch_register(
		m->d, (int32_t) new.credit, new.weight, new.n_foreign, m, m->now_usec);
	assert_non_null(new.p);
	m->members[m->n_members++] = new;
}

static void leave(struct model *m, struct member *member)
{
	dispatch_gone(m->d, member->p, m->now_usec);
	m->totals.n_redispatched += take_back(m, member, 1, UINT64_MAX);
	m->totals.n_lost += member->claimed.n;
	*member = m->members[--m->n_members];
}

static void configure(struct model *m, struct member *member)
{
	(void)member;
	m->balance = random_below(m, 2) ? DISPATCH_LEAST : DISPATCH_ROUND_ROBIN;
	m->instances = 1 + (uint32_t)random_below(m, MAX_INSTANCES);
	dispatch_configure(m->d, m->balance, m->instances);
}

static void give_up_one(struct model *m, struct member *member)
{
	struct handoff h;
	bool is_one = dispatch_take_waiting(m->d, &h);

	(void)member;
	assert_int_equal(is_one, m->waiting.n > 0);
	if (!is_one)
		return;
	assert_int_equal(h.id, take(&m->waiting, 0).id);
	m->totals.n_given_up++;
}

static struct member *next_with_outbox(struct model *m)
{
	for (size_t i = 0; i < m->n_members; i++)
		if (m->members[i].n_in_outbox > 0)
			return &m->members[i];
	return NULL;
}

/* Empty all outboxes before the next event, as dispatch.h wants it; sometimes a channel is full and
 * the last few cannot be sent. */
static void send_outboxes(struct model *m)
{
	for (struct member *member; (member = next_with_outbox(m));) {
		uint32_t n = 1 + (uint32_t)random_below(m, member->n_in_outbox);

		member->n_in_outbox = 0;
		if (random_below(m, 8) != 0)
			continue;
		dispatch_unsent(m->d, member->p, n, m->now_usec);
		take_back(m, member, member->last_sequence - n + 1, UINT64_MAX);
		member->last_sequence -= n;
		member->credit += n;
		if (member->state == PROVIDER_READY)
			member->state = PROVIDER_BLOCKED;
		do_actions(m);
	}
}

static const struct {
	void (*tell)(struct model *m, struct member *member);
	unsigned int share;
	bool is_of_member;
} events[] = {
	{offer, 28, false},
	{claim, 24, true},
	{release, 44, true},
	{release_foreign, 2, true},
	{release_forged, 2, true},
	{recredit, 6, true},
	{decline, 5, true},
	{change_state, 6, true},
	{join, 3, false},
	{leave, 2, true},
	{configure, 1, false},
	{give_up_one, 1, false},
};

static void tell_random_event(struct model *m)
{
	struct member *member =
		m->n_members > 0 ? &m->members[random_below(m, m->n_members)] : NULL;
	unsigned int n_shares = 0;
	uint64_t choice;
	size_t i = 0;

	for (size_t k = 0; k < sizeof(events) / sizeof(events[0]); k++)
		n_shares += events[k].share;
	for (choice = random_below(m, n_shares); choice >= events[i].share; i++)
		choice -= events[i].share;
	if (member || !events[i].is_of_member)
		events[i].tell(m, member);
	do_actions(m);
	send_outboxes(m);
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
	assert_int_equal(p->credit, member->credit);
	assert_int_equal(p->weight, member->weight);
	assert_int_equal(p->n_foreign, member->n_foreign);
	assert_int_equal(p->n_served, member->n_served);
	assert_int_equal(p->last_sequence, member->last_sequence);
	assert_int_equal(p->claimed_sequence, member->claimed_sequence);
	if (member->unclaimed.n > 0)
		assert_int_equal(p->unclaimed_since, member->unclaimed_since);
}

static void compare(const struct model *m)
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
	assert_int_equal(dispatch_n_unclaimed(m->d), expected_unclaimed(m));
	assert_int_equal(dispatch_n_in_service(m->d), expected_in_service(m));
	assert_int_equal(dispatch_is_paused(m->d), m->is_paused);
	assert_memory_equal(dispatch_totals(m->d), &m->totals, sizeof(m->totals));
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void expect_ids_unique(struct model *m)
{
	qsort(m->ids, m->totals.n_accepted, sizeof(*m->ids), compare_ids);
	assert_int_not_equal(m->ids[0], 0);
	for (uint64_t i = 1; i < m->totals.n_accepted; i++)
		assert_int_not_equal(m->ids[i], m->ids[i - 1]);
}

static void run_model(uint64_t seed)
{
	struct model m = {.random = seed ? seed : DEFAULT_SEED,
		.balance = DISPATCH_LEAST,
		.instances = MAX_INSTANCES,
		.is_paused = true};

	printf("# seed %" PRIu64 "\n", m.random);
	fflush(stdout);
	m.ids = calloc(N_EVENTS * 16, sizeof(*m.ids));
	assert_non_null(m.ids);
	assert_int_equal(dispatch_new(&m.d, m.balance, m.instances), 0);
	for (m.now_usec = 1; m.now_usec <= N_EVENTS; m.now_usec++) {
		tell_random_event(&m);
		compare(&m);
		if (m.now_usec % CHECK_EVERY == 0)
			dispatch_check(m.d);
	}
	while (m.n_members > 0) {
		leave(&m, &m.members[0]);
		do_actions(&m);
	}
	while (m.waiting.n > 0)
		give_up_one(&m, NULL);
	do_actions(&m);
	compare(&m);
	dispatch_free(m.d);
	printf("# %" PRIu64 " accepted, %" PRIu64 " released, %" PRIu64 " redispatched, %" PRIu64
	       " declined, %" PRIu64 " lost, %" PRIu64 " given up, %" PRIu64 " messages refused\n",
		m.totals.n_accepted, m.totals.n_released, m.totals.n_redispatched,
		m.totals.n_declined, m.totals.n_lost, m.totals.n_given_up, m.n_refused);
	expect_ids_unique(&m);
	free(m.ids);
}

static void test_a_million_random_events_as_the_model_says(void **state)
{
	const char *seed = getenv("USHER_TEST_SEED");

	(void)state;
	run_model(DEFAULT_SEED);
	if (seed)
		run_model(strtoull(seed, NULL, 0));
}

static void run_actions(struct dispatch *d)
{
	struct dispatch_action action;

	while (dispatch_next(d, &action))
		;
}

/* How fast dispatch is without the model: said, not judged. */
static void test_rate_is_told(void **state)
{
	const uint32_t n_providers = 4, batch = 16;
	const uint64_t n_rounds = 20000;
	struct dispatch_provider *providers[4];
	struct timespec begin, end;
	struct dispatch *d;
	uint64_t ids[16], n_events = 0;

	(void)state;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, 4096), 0);
	for (uint32_t i = 0; i < n_providers; i++)
		assert_non_null(providers[i] = dispatch_register(d, 1000, 1, 0, NULL, 0));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint64_t round = 0; round < n_rounds; round++) {
		struct dispatch_provider *owners[16];

		assert_int_equal(dispatch_room(d, batch), batch);
		for (uint32_t i = 0; i < batch; i++) {
			struct handoff *h = dispatch_offer(d, round);

			ids[i] = h->id;
			owners[i] = h->provider;
		}
		run_actions(d);
		for (uint32_t i = 0; i < n_providers; i++) {
			struct dispatch_provider *p = providers[i];

			assert_int_equal(dispatch_claimed(d, p, p->last_sequence, round), 0);
			run_actions(d);
		}
		for (uint32_t i = 0; i < batch; i++) {
			assert_int_equal(dispatch_released(d, owners[i], &ids[i], 1, round), 0);
			run_actions(d);
		}
		n_events += batch + n_providers + batch;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	for (uint32_t i = 0; i < n_providers; i++) {
		dispatch_gone(d, providers[i], 0);
		run_actions(d);
	}
	dispatch_free(d);
	printf("# %.1f million events a second\n",
		(double)n_events / ((double)(end.tv_sec - begin.tv_sec) * 1e6 +
					   (double)(end.tv_nsec - begin.tv_nsec) / 1e3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_a_million_random_events_as_the_model_says),
		check_test(test_rate_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
