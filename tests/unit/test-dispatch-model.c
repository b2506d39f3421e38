/* SPDX-License-Identifier: MIT */
/*
 * dispatch against a model of plain arrays: a million random events, most of them sensible, some of
 * them what only a broken provider says.
 *
 * After each event everything that dispatch.h shows is compared: who owns which connection, credit,
 * sequences, counts, totals, paused or not. The model does not foresee whom dispatch chooses, it
 * checks that the choice was allowed. Now and then dispatch is replaced, as by an upgrade in place.
 * Set USHER_TEST_SEED for a second run with other numbers.
 */
#include "dispatch-copy.h"
#include "dispatch-model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define N_EVENTS     1000000
#define CHECK_EVERY  64 /* events, for dispatch_check() */
#define N_FOUND	     5	/* that are parked at the start */
#define DEFAULT_SEED UINT64_C(20261121)

/* The events. Each tells dispatch and the model the same. */

/* `h` is new in dispatch. */
static void enter(struct model *m, struct handoff *h, int number)
{
	assert_non_null(h);
	m->ids[m->n_ids++] = h->id;
	h->fd = number;
	h->source = (uint32_t)number;
	append(&m->waiting, (struct connection){
				    .handoff = h,
				    .id = h->id,
				    .number = number,
				    .entered_usec = m->now_usec,
			    });
}

static void offer(struct model *m, struct member *member)
{
	uint32_t max = 1 + (uint32_t)random_below(m, 16), room = dispatch_room(m->d, max);

	(void)member;
	assert_int_equal(room, expected_room(m) < max ? expected_room(m) : max);
	for (uint32_t i = 0; i < room; i++) {
		enter(m, dispatch_offer(m->d, random_below(m, 100), m->now_usec), ++m->last_number);
		m->totals.n_accepted++;
	}
	if (room < max)
		assert_null(dispatch_offer(m->d, 0, m->now_usec));
}

static void park_oldest(struct model *m)
{
	assert_ptr_equal(dispatch_oldest_waiting(m->d), m->waiting.items[0].handoff);
	dispatch_park(m->d);
	append(&m->parked, take(&m->waiting, 0));
	m->totals.n_parked++;
}

/* Behind parked ones it waits, whoever has credit. */
static void take_over(struct model *m, struct member *member)
{
	struct handoff *h = dispatch_take_over(m->d, random_below(m, 100), m->now_usec);

	(void)member;
	assert_int_equal(h != NULL, expected_instances_left(m) > 0);
	if (!h)
		return;
	enter(m, h, ++m->last_number);
	m->totals.n_taken_over++;
	while (m->parked.n > 0 && m->waiting.n > 0)
		park_oldest(m);
}

static void park(struct model *m, struct member *member)
{
	uint64_t n = 1 + random_below(m, 8);

	(void)member;
	for (uint64_t i = 0; i < n && m->waiting.n > 0; i++)
		park_oldest(m);
	if (m->waiting.n == 0)
		assert_null(dispatch_oldest_waiting(m->d));
}

static void unpark(struct model *m, struct member *member)
{
	int64_t credit = expected_credit(m);

	(void)member;
	for (uint64_t n = 1 + random_below(m, 16); n > 0; n--, credit--) {
		bool can_unpark = m->parked.n > 0 && credit > 0;

		assert_int_equal(dispatch_can_unpark(m->d), can_unpark);
		if (!can_unpark) {
			assert_null(dispatch_unpark(m->d, 0, m->now_usec));
			return;
		}
		enter(m, dispatch_unpark(m->d, 0, m->now_usec), take(&m->parked, 0).number);
	}
}

static void expire(struct model *m, struct member *member)
{
	(void)member;
	if (m->parked.n == 0)
		return;
	dispatch_expire(m->d);
	(void)take(&m->parked, 0);
	m->totals.n_expired++;
}

static void lose(struct model *m, struct member *member)
{
	(void)member;
	if (m->parked.n == 0)
		return;
	dispatch_lose(m->d);
	(void)take(&m->parked, 0);
	m->totals.n_lost++;
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

static void add_time(struct histogram *h, uint64_t usec)
{
	size_t n_below = 0;

	for (size_t i = 0; i < HISTOGRAM_N_BOUNDS; i++)
		n_below += histogram_bounds_usec[i] < usec;
	h->counts[n_below]++;
	h->sum_usec += usec;
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
		add_time(&m->totals.waiting_time, c.given_usec - c.entered_usec);
		add_time(&m->totals.handoff_time, m->now_usec - c.given_usec);
	}
	member->claimed_sequence = sequence;
	answered(m, member);
}

static void release(struct model *m, struct member *member)
{
	struct connection c;

	if (member->claimed.n == 0)
		return;
	c = take(&member->claimed, random_below(m, member->claimed.n));
	assert_int_equal(dispatch_released(m->d, member->p, &c.id, 1, m->now_usec), 0);
	end_connection(m, c, HANDOFF_RELEASED);
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
	uint64_t id = m->n_ids == 0 ? 1 : m->ids[random_below(m, m->n_ids)];
	struct handoff h;

	for (size_t i = 0; i < member->claimed.n; i++)
		if (member->claimed.items[i].id == id)
			return;
	refused(m, dispatch_released(m->d, member->p, &id, 1, m->now_usec));
	refused(m, dispatch_forwarded(m->d, member->p, id, &h, m->now_usec));
	refused(m, dispatch_handed_back(m->d, member->p, id, &h));
}

/* Take one that `member` may forward out of the model: its id, 0 for one of an earlier channel. */
static bool choose_to_forward(struct model *m, struct member *member, uint64_t *ret_id)
{
	struct connection c;

	if (member->n_foreign > 0 && random_below(m, 4) == 0) {
		member->n_foreign--;
		*ret_id = 0;
		return true;
	}
	if (member->claimed.n == 0)
		return false;
	c = take(&member->claimed, random_below(m, member->claimed.n));
	end_connection(m, c, HANDOFF_FORWARDED);
	*ret_id = c.id;
	m->totals.n_forwarded++;
	return true;
}

static void forward(struct model *m, struct member *member)
{
	struct handoff h;
	uint64_t id;

	if (!choose_to_forward(m, member, &id))
		return;
	assert_int_equal(dispatch_forwarded(m->d, member->p, id, &h, m->now_usec), 0);
	assert_true(h.id == id && h.fd == -EBADF);
	member->credit++;
}

static void hand_back(struct model *m, struct member *member)
{
	struct handoff h;
	uint64_t id;

	if (!choose_to_forward(m, member, &id))
		return;
	assert_int_equal(dispatch_handed_back(m->d, member->p, id, &h), 0);
	assert_true(h.id == id && h.fd == -EBADF);
	member->credit = member->credit < 0 ? member->credit + 1 : 0;
	take_over(m, NULL);
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
		.is_standby = random_below(m, 4) == 0,
		.credit = (int64_t)random_below(m, 60),
		.weight = 1 + (uint32_t)random_below(m, 4),
		.n_foreign = random_below(m, 4) == 0 ? (uint32_t)random_below(m, 10) : 0,
	};

	struct dispatch_hello hello = {
		.credit = (int32_t) new.credit,
		.weight = new.weight,
		.n_foreign = new.n_foreign,
		.is_standby = new.is_standby,
	};

	(void)member;
	if (m->n_members == MAX_MEMBERS)
		return;
	new.p = dispatch_register(m->d, &hello, m, m->now_usec);
	assert_non_null(new.p);
	m->members[m->n_members++] = new;
}

/* In the order of claims, which is not that of an upgraded model. */
static void end_claimed(struct model *m, struct member *member)
{
	m->totals.n_lost += member->claimed.n;
	for (const struct handoff *h = member->p->claimed.first; h; h = h->next)
		for (size_t i = 0; i < member->claimed.n; i++)
			if (member->claimed.items[i].handoff == h) {
				end_connection(m, take(&member->claimed, i), HANDOFF_LOST);
				break;
			}
	assert_int_equal(member->claimed.n, 0);
}

static void leave(struct model *m, struct member *member)
{
	end_claimed(m, member);
	dispatch_gone(m->d, member->p, m->now_usec);
	m->totals.n_redispatched += take_back(m, member, 1, UINT64_MAX);
	*member = m->members[--m->n_members];
}

static void configure(struct model *m, struct member *member)
{
	static const enum dispatch_balance balances[] = {
		DISPATCH_LEAST, DISPATCH_ROUND_ROBIN, DISPATCH_SOURCE};

	(void)member;
	m->balance = balances[random_below(m, sizeof(balances) / sizeof(balances[0]))];
	m->instances = 1 + (uint32_t)random_below(m, MAX_INSTANCES);
	dispatch_configure(m->d, m->balance, m->instances);
}

static void give_up_one(struct model *m, struct member *member)
{
	struct handoff h;
	bool is_one = dispatch_take_waiting(m->d, &h);
	struct connection c;

	(void)member;
	assert_int_equal(is_one, m->waiting.n > 0);
	if (!is_one)
		return;
	c = take(&m->waiting, 0);
	assert_true(h.id == c.id && h.fd == c.number);
	end_connection(m, c, HANDOFF_GIVEN_UP);
	m->totals.n_given_up++;
}

/* The hand-offs of the new dispatch in place of those of the old one. */
static void find_handoffs(struct connections *list, struct handoff *first)
{
	for (struct handoff *h = first; h; h = h->next)
		for (size_t i = 0; i < list->n; i++)
			if (list->items[i].id == h->id)
				list->items[i].handoff = h;
}

static void find_waiting(struct handoff *h, void *userdata)
{
	if (h->state == HANDOFF_WAITING && !h->previous)
		find_handoffs(userdata, h);
}

static void upgrade(struct model *m, struct member *member)
{
	struct dispatch_provider *providers[MAX_MEMBERS];

	(void)member;
	for (size_t i = 0; i < m->n_members; i++)
		providers[i] = m->members[i].p;
	replace_dispatch(&m->d, m->balance, m->instances, providers, m->n_members);
	for (size_t i = 0; i < m->n_members; i++) {
		struct member *each = &m->members[i];

		each->p = providers[i];
		find_handoffs(&each->unclaimed, each->p->unclaimed.first);
		find_handoffs(&each->claimed, each->p->claimed.first);
	}
	dispatch_visit_unclaimed(m->d, find_waiting, &m->waiting);
	m->is_paused = true;
	m->n_upgrades++;
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
	{offer, 280, false},
	{take_over, 20, false},
	{claim, 240, true},
	{release, 420, true},
	{release_foreign, 20, true},
	{release_forged, 20, true},
	{forward, 30, true},
	{hand_back, 20, true},
	{recredit, 60, true},
	{decline, 50, true},
	{change_state, 60, true},
	{join, 30, false},
	{leave, 20, true},
	{configure, 10, false},
	{give_up_one, 10, false},
	{park, 40, false},
	{unpark, 120, false},
	{expire, 10, false},
	{lose, 5, false},
	{upgrade, 1, false},
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

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void expect_ids_unique(struct model *m)
{
	qsort(m->ids, m->n_ids, sizeof(*m->ids), compare_ids);
	assert_int_not_equal(m->ids[0], 0);
	for (uint64_t i = 1; i < m->n_ids; i++)
		assert_int_not_equal(m->ids[i], m->ids[i - 1]);
}

static void find_parked(struct model *m)
{
	for (int i = 0; i < N_FOUND; i++)
		append(&m->parked, (struct connection){.number = ++m->last_number});
	dispatch_set_parked(m->d, N_FOUND);
	m->totals.n_taken_over += N_FOUND;
}

/* Everybody goes, and nothing may be left over. */
static void end(struct model *m)
{
	while (m->n_members > 0) {
		leave(m, &m->members[0]);
		do_actions(m);
	}
	while (m->waiting.n > 0)
		give_up_one(m, NULL);
	while (m->parked.n > 0)
		expire(m, NULL);
	do_actions(m);
	compare(m);
	dispatch_check(m->d);
	dispatch_free(m->d);
}

static void print_totals(const struct model *m)
{
	const struct dispatch_totals *t = &m->totals;

	printf("# %" PRIu64 " accepted, %" PRIu64 " taken over, %" PRIu64 " released, %" PRIu64
	       " redispatched, %" PRIu64 " declined, %" PRIu64 " lost, %" PRIu64
	       " forwarded, %" PRIu64 " parked, %" PRIu64 " expired, %" PRIu64 " given up, %" PRIu64
	       " messages refused, %" PRIu64 " upgrades\n",
		t->n_accepted, t->n_taken_over, t->n_released, t->n_redispatched, t->n_declined,
		t->n_lost, t->n_forwarded, t->n_parked, t->n_expired, t->n_given_up, m->n_refused,
		m->n_upgrades);
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
	find_parked(&m);
	for (m.now_usec = 1; m.now_usec <= N_EVENTS; m.now_usec++) {
		tell_random_event(&m);
		compare(&m);
		if (m.now_usec % CHECK_EVERY == 0)
			dispatch_check(m.d);
	}
	end(&m);
	print_totals(&m);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_a_million_random_events_as_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
