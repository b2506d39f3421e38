/* SPDX-License-Identifier: MIT */
/*
 * Balance by source: named cases, the shares, and random providers against a model that foresees
 * every choice.
 */
#include "dispatch-copy.h"
#include "dispatch-world.h"
#include "siphash.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N_CLIENTS    60
#define DEFAULT_SEED UINT64_C(20261122)

/* Whom each client gets, by letter: it comes once, and is served. */
static void ask_all(struct world *w, char *ret)
{
	for (uint64_t client = 0; client < N_CLIENTS; client++) {
		struct dispatch_action action;
		struct dispatch_provider *p = NULL;

		offer_of(w, client);
		while (dispatch_next(w->d, &action))
			if (action.type == DISPATCH_GIVE)
				p = action.handoff->provider;
		assert_non_null(p);
		ret[client] = letter(p);
		claim(w, p, p->last_sequence);
		happens_whatever(w);
		release(w, p, w->n_offered);
		happens_whatever(w);
	}
	ret[N_CLIENTS] = '\0';
}

static void begin_with(struct world *w, const char *names)
{
	begin(w, DISPATCH_SOURCE, 1000);
	for (; *names; names++)
		join(w, names, 9);
	happens(w, "resume");
}

/* Those of whoever is gone go to others, and nobody else moves. */
static void expect_moved(const char *before, const char *after, char gone)
{
	for (size_t i = 0; i < N_CLIENTS; i++)
		assert_true(before[i] == gone ? after[i] != gone : after[i] == before[i]);
}

static void test_a_client_comes_to_the_same_again(void **state)
{
	char first[N_CLIENTS + 1], second[N_CLIENTS + 1];
	struct world w;

	(void)state;
	begin_with(&w, "abc");
	ask_all(&w, first);
	ask_all(&w, second);
	assert_string_equal(first, second);
	for (const char *name = "abc"; *name; name++)
		assert_non_null(strchr(first, *name));
	finish(&w);
}

static void test_who_leaves_moves_its_clients_only(void **state)
{
	char before[N_CLIENTS + 1], after[N_CLIENTS + 1];
	struct world w;

	(void)state;
	begin_with(&w, "abc");
	ask_all(&w, before);
	leave(&w, named(&w, "b"));
	happens(&w, "");
	ask_all(&w, after);
	expect_moved(before, after, 'b');
	finish(&w);
}

static void test_who_comes_takes_its_share_and_moves_nobody_else(void **state)
{
	char before[N_CLIENTS + 1], after[N_CLIENTS + 1];
	struct world w;

	(void)state;
	begin_with(&w, "abc");
	ask_all(&w, before);
	join(&w, "d", 9);
	ask_all(&w, after);
	expect_moved(after, before, 'd');
	assert_non_null(strchr(after, 'd'));
	finish(&w);
}

/* The next one gets the clients of `b`, whose place is free. */
static void replace_b(struct world *w, const char *before)
{
	char after[N_CLIENTS + 1];

	join(w, "d", 9);
	ask_all(w, after);
	for (size_t i = 0; i < N_CLIENTS; i++)
		assert_int_equal(after[i], before[i] == 'b' ? 'd' : before[i]);
}

static void test_who_comes_for_one_that_is_gone_gets_its_clients(void **state)
{
	char before[N_CLIENTS + 1];
	struct world w;

	(void)state;
	begin_with(&w, "abc");
	ask_all(&w, before);
	leave(&w, named(&w, "b"));
	happens(&w, "");
	replace_b(&w, before);
	finish(&w);
}

static void test_who_comes_for_one_that_drains_gets_its_clients(void **state)
{
	char before[N_CLIENTS + 1];
	struct world w;

	(void)state;
	begin_with(&w, "abc");
	ask_all(&w, before);
	set_state(&w, named(&w, "b"), PROVIDER_DRAINING);
	happens(&w, "");
	replace_b(&w, before);
	finish(&w);
}

static void test_without_credit_the_next_is_as_after_its_leave_and_it_is_back_with_credit(
	void **state)
{
	char before[N_CLIENTS + 1], meanwhile[N_CLIENTS + 1], after[N_CLIENTS + 1];
	struct dispatch_provider *b;
	struct world w;

	(void)state;
	begin_with(&w, "abc");
	b = named(&w, "b");
	ask_all(&w, before);
	set_credit(&w, b, b->last_sequence, 0);
	ask_all(&w, meanwhile);
	expect_moved(before, meanwhile, 'b');
	set_credit(&w, b, b->last_sequence, 9);
	ask_all(&w, after);
	assert_string_equal(before, after);
	leave(&w, b);
	ask_all(&w, after);
	assert_string_equal(meanwhile, after);
	finish(&w);
}

static void test_a_standby_serves_only_while_no_other_can(void **state)
{
	char before[N_CLIENTS + 1], after[N_CLIENTS + 1];
	struct world w;

	(void)state;
	begin_with(&w, "ab");
	join_standby(&w, "s", 9);
	ask_all(&w, before);
	assert_null(strchr(before, 's'));
	leave(&w, named(&w, "a"));
	leave(&w, named(&w, "b"));
	ask_all(&w, after);
	for (size_t i = 0; i < N_CLIENTS; i++)
		assert_int_equal(after[i], 's');
	finish(&w);
}

static void tell_nobody(struct dispatch *d)
{
	struct dispatch_action action;

	while (dispatch_next(d, &action))
		;
}

static void discard(struct dispatch *d, struct dispatch_provider *providers[], size_t n)
{
	struct handoff h;

	tell_nobody(d);
	for (size_t i = 0; i < n; i++) {
		dispatch_gone(d, providers[i], 0);
		tell_nobody(d);
	}
	while (dispatch_take_waiting(d, &h))
		;
	dispatch_free(d);
}

/* Without a world: more connections than that has room for. */
static void expect_shares(const uint32_t *weights, size_t n_providers)
{
	struct dispatch_provider *providers[4];
	uint32_t n_weights = 0, n = 40000;
	struct dispatch_hello hello = {.credit = INT32_MAX};
	struct dispatch *d;

	assert_int_equal(dispatch_new(&d, DISPATCH_SOURCE, n), 0);
	for (size_t i = 0; i < n_providers; i++) {
		hello.weight = weights[i];
		n_weights += weights[i];
		providers[i] = dispatch_register(d, &hello, NULL, 0);
	}
	assert_int_equal(dispatch_room(d, n), n);
	for (uint64_t client = 0; client < n; client++)
		assert_non_null(dispatch_offer(d, client, 0));
	for (size_t i = 0; i < n_providers; i++)
		assert_in_range(providers[i]->unclaimed.n + 500, n * weights[i] / n_weights,
			n * weights[i] / n_weights + 1000);
	discard(d, providers, n_providers);
}

static void test_shares_are_as_the_weights(void **state)
{
	(void)state;
	expect_shares((const uint32_t[]){1, 1, 1}, 3);
	expect_shares((const uint32_t[]){1, 2, 5}, 3);
	expect_shares((const uint32_t[]){1000, 1}, 2);
	expect_shares((const uint32_t[]){1000, 500, 250, 250}, 4);
}

/* The model: providers in the order of registration, and what each client thinks of them. */

#define MAX_MEMBERS 100 /* more than there are bits in a word */
#define N_EVENTS    100000

struct member {
	struct dispatch_provider *p;
	uint32_t place, weight;
	int64_t credit;
	bool is_standby, is_leaving;
};

struct model {
	struct dispatch *d;
	struct member members[MAX_MEMBERS];
	size_t n_members;
	uint64_t random, n_given, n_beyond_a_word;
};

static uint64_t random_below(struct model *m, uint64_t limit)
{
	m->random ^= m->random >> 12;
	m->random ^= m->random << 25;
	m->random ^= m->random >> 27;
	return (m->random * UINT64_C(2685821657736338717) >> 16) % limit;
}

static bool is_eligible(const struct model *m, const struct member *member)
{
	bool is_standby = true;

	for (size_t i = 0; i < m->n_members; i++)
		if (!m->members[i].is_standby && !m->members[i].is_leaving &&
			m->members[i].credit > 0)
			is_standby = false;
	return !member->is_leaving && member->credit > 0 && member->is_standby == is_standby;
}

static uint32_t expected_place(const struct model *m)
{
	for (uint32_t place = 1;; place++) {
		bool is_taken = false;

		for (size_t i = 0; i < m->n_members; i++)
			is_taken |= !m->members[i].is_leaving && m->members[i].place == place;
		if (!is_taken)
			return place;
	}
}

/* The greatest weight-th root of the hash wins (Efraimidis and Spirakis, 2006). */
static long double draw(uint64_t client, const struct member *member)
{
	static const uint8_t key[SIPHASH_KEY_SIZE];
	uint64_t pair[] = {client, member->place};
	uint64_t hash = siphash_of(key, pair, sizeof(pair)) >> 12;

	return powl(((long double)hash + 0.5L) / 0x1p52L, 1.0L / member->weight);
}

static struct member *expected_choice(struct model *m, uint64_t client)
{
	struct member *best = NULL;

	for (size_t i = 0; i < m->n_members; i++) {
		struct member *member = &m->members[i];

		if (!is_eligible(m, member))
			continue;
		if (member->place == 0)
			member->place = expected_place(m);
		if (!best || draw(client, member) > draw(client, best))
			best = member;
	}
	if (!best)
		abort(); /* nobody may have been chosen */
	return best;
}

static void expect_actions(struct model *m)
{
	struct dispatch_action action;

	while (dispatch_next(m->d, &action)) {
		const struct handoff *h = action.handoff;
		struct member *member;

		if (action.type != DISPATCH_GIVE)
			continue;
		assert_int_equal(h->client, h->listener);
		member = expected_choice(m, h->client);
		assert_ptr_equal(h->provider, member->p);
		assert_int_equal(h->provider->place, member->place);
		member->credit--;
		m->n_given++;
		m->n_beyond_a_word += member->place > 64;
	}
	dispatch_check(m->d);
}

static void join_random(struct model *m)
{
	struct member member = {
		.weight = 1 + (uint32_t)random_below(m, random_below(m, 2) ? 4 : 1000),
		.credit = (int64_t)random_below(m, 20),
		.is_standby = random_below(m, 5) == 0,
	};
	const struct dispatch_hello hello = {
		.credit = (int32_t)member.credit,
		.weight = member.weight,
		.is_standby = member.is_standby,
	};

	if (m->n_members == MAX_MEMBERS)
		return;
	member.p = dispatch_register(m->d, &hello, NULL, 0);
	m->members[m->n_members++] = member;
}

/* In whatever way it comes. Those that wait are parked sometimes, and come out as random ones. */
static void offer_random(struct model *m)
{
	uint32_t client = (uint32_t)random_below(m, 1000);
	struct handoff *h = NULL;

	if (random_below(m, 8) == 0)
		h = dispatch_take_over(m->d, client, 0);
	else if (dispatch_can_unpark(m->d))
		h = dispatch_unpark(m->d, client, 0);
	else if (dispatch_room(m->d, 1) == 1)
		h = dispatch_offer(m->d, client, 0);
	if (h)
		h->listener = client;
	while (dispatch_n_parked(m->d) > 0 && dispatch_oldest_waiting(m->d))
		dispatch_park(m->d);
	if (random_below(m, 16) == 0 && dispatch_oldest_waiting(m->d))
		dispatch_park(m->d);
}

/* It has claimed everything, and one connection is over. */
static void serve(struct model *m, struct member *member)
{
	struct dispatch_provider *p = member->p;

	if (p->last_sequence > p->claimed_sequence)
		assert_int_equal(dispatch_claimed(m->d, p, p->last_sequence, 0), 0);
	expect_actions(m);
	if (!p->claimed.first)
		return;
	member->credit++;
	assert_int_equal(release_one(m->d, p, p->claimed.first->id, 0), 0);
}

static void recredit(struct model *m, struct member *member)
{
	member->credit = (int64_t)random_below(m, 20);
	assert_int_equal(dispatch_credited(m->d, member->p, member->p->last_sequence,
				 (int32_t)member->credit, 0),
		0);
}

static void drain(struct model *m, struct member *member)
{
	member->is_leaving = true;
	dispatch_set_state(m->d, member->p, PROVIDER_DRAINING, 0);
}

static void go(struct model *m, struct member *member)
{
	struct dispatch_provider *p = member->p;

	m->n_members--;
	memmove(member, member + 1, (size_t)(&m->members[m->n_members] - member) * sizeof(*member));
	dispatch_gone(m->d, p, 0);
}

static void upgrade(struct model *m)
{
	struct dispatch_provider *providers[MAX_MEMBERS];

	for (size_t i = 0; i < m->n_members; i++)
		providers[i] = m->members[i].p;
	replace_dispatch(&m->d, DISPATCH_SOURCE, 2000, providers, m->n_members);
	for (size_t i = 0; i < m->n_members; i++)
		m->members[i].p = providers[i];
}

static void tell_random_event(struct model *m)
{
	struct member *member =
		m->n_members > 0 ? &m->members[random_below(m, m->n_members)] : NULL;
	uint64_t event = random_below(m, 1000);

	if (event < 60 || !member)
		join_random(m);
	else if (event < 480)
		offer_random(m);
	else if (event < 880)
		serve(m, member);
	else if (event < 935)
		recredit(m, member);
	else if (event < 950)
		drain(m, member);
	else if (event < 990)
		go(m, member);
	else
		upgrade(m);
	expect_actions(m);
}

static void run_model(uint64_t seed)
{
	struct model m = {.random = seed ? seed : DEFAULT_SEED};

	printf("# seed %" PRIu64 "\n", m.random);
	assert_int_equal(dispatch_new(&m.d, DISPATCH_SOURCE, 2000), 0);
	for (int i = 0; i < N_EVENTS; i++)
		tell_random_event(&m);
	printf("# %" PRIu64 " given, %" PRIu64 " of them to places above 64\n", m.n_given,
		m.n_beyond_a_word);
	assert_true(m.n_beyond_a_word > 0);
	while (dispatch_n_parked(m.d) > 0)
		dispatch_expire(m.d);
	while (m.n_members > 0) {
		go(&m, &m.members[0]);
		expect_actions(&m);
	}
	discard(m.d, NULL, 0);
}

static void test_random_providers_get_who_the_model_says(void **state)
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
		check_test(test_a_client_comes_to_the_same_again),
		check_test(test_who_leaves_moves_its_clients_only),
		check_test(test_who_comes_takes_its_share_and_moves_nobody_else),
		check_test(test_who_comes_for_one_that_is_gone_gets_its_clients),
		check_test(test_who_comes_for_one_that_drains_gets_its_clients),
		check_test(
			test_without_credit_the_next_is_as_after_its_leave_and_it_is_back_with_credit),
		check_test(test_a_standby_serves_only_while_no_other_can),
		check_test(test_shares_are_as_the_weights),
		check_test(test_random_providers_get_who_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
