/* SPDX-License-Identifier: MIT */
/*
 * Sources: what each of them may, what is remembered of whom, and a million comings and goings
 * against a model of plain arrays.
 */
#include "random.h"
#include "sources.h"
#include "test.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define SECOND UINT64_C(1000000)
#define START  (1000 * SECOND)

static const uint8_t key[SIPHASH_KEY_SIZE] = "any key will do";

void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);

static bool is_out_of_memory;

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return is_out_of_memory ? NULL : __real_reallocarray(old, n, size);
}

static struct wire_address v4(uint32_t number)
{
	return (struct wire_address){.family = AF_INET,
		.address = {(uint8_t)(number >> 24), (uint8_t)(number >> 16),
			(uint8_t)(number >> 8), (uint8_t)number}};
}

static struct sources *begin(uint32_t n_places)
{
	struct sources *sources;

	assert_int_equal(sources_new(&sources, n_places, key), 0);
	return sources;
}

static void end(struct sources *sources)
{
	sources_check(sources);
	sources_free(sources);
}

/* Enter, and return the source; it must be allowed. */
static uint32_t enter(struct sources *sources, uint32_t number, const struct sources_limits *limits,
	uint64_t now_usec)
{
	const struct wire_address peer = v4(number);
	uint32_t source = 0;

	assert_int_equal(sources_enter(sources, &peer, limits, now_usec, &source), 0);
	assert_int_not_equal(source, 0);
	return source;
}

static int refused(struct sources *sources, uint32_t number, const struct sources_limits *limits,
	uint64_t now_usec)
{
	const struct wire_address peer = v4(number);

	return sources_enter(sources, &peer, limits, now_usec, &(uint32_t){0});
}

static void test_connections_at_once(void **state)
{
	const struct sources_limits limits = {.max_connections = 2};
	struct sources *sources = begin(10);
	uint32_t first;

	(void)state;
	first = enter(sources, 7, &limits, START);
	assert_int_equal(enter(sources, 7, &limits, START), first);
	assert_int_equal(refused(sources, 7, &limits, START), SOURCES_TOO_MANY);
	assert_int_not_equal(enter(sources, 8, &limits, START), first);
	assert_int_equal(sources_n_connections(sources, first), 2);
	sources_leave(sources, first, START);
	assert_int_equal(enter(sources, 7, &limits, START), first);
	assert_int_equal(refused(sources, 7, &limits, START), SOURCES_TOO_MANY);
	assert_int_equal(sources_n(sources), 2);
	end(sources);
}

/* What was refused takes nothing: it would never come in again who does not stop trying. */
static void test_rate(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(2, SECOND)};
	struct sources *sources = begin(10);

	(void)state;
	for (int i = 0; i < 2; i++)
		sources_leave(sources, enter(sources, 7, &limits, START), START);
	for (int i = 0; i < 100; i++)
		assert_int_equal(refused(sources, 7, &limits, START + 1), SOURCES_TOO_FAST);
	enter(sources, 8, &limits, START + 1);
	enter(sources, 7, &limits, START + SECOND / 2);
	assert_int_equal(refused(sources, 7, &limits, START + SECOND / 2), SOURCES_TOO_FAST);
	end(sources);
}

static void test_forgotten_when_nothing_is_left_to_be_known(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(2, SECOND)};
	struct sources *sources = begin(10);

	(void)state;
	sources_leave(sources, enter(sources, 7, &limits, START), START);
	assert_int_equal(sources_n(sources), 1);
	sources_leave(sources, enter(sources, 8, &limits, START + SECOND / 2), START + SECOND);
	assert_int_equal(sources_n(sources), 0); /* 8 at its end, 7 when 8 came */
	end(sources);
}

/* Nobody pays for all that was there before, and nobody misses a place because of it. */
static void test_a_few_are_forgotten_at_a_time(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(2, SECOND)};
	struct sources *sources = begin(1000);

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		sources_leave(sources, enter(sources, i, &limits, START), START);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t n_before = sources_n(sources);

		enter(sources, 2000 + i, &limits, START + SECOND);
		assert_true(sources_n(sources) + SOURCES_FORGET_AT_ONCE > n_before);
		assert_true(i > 0 || sources_n(sources) == 1001 - SOURCES_FORGET_AT_ONCE);
	}
	assert_int_equal(sources_n_unremembered(sources), 0);
	assert_int_equal(sources_n(sources), 1000);
	end(sources);
}

/* IPv4 by /24 and IPv6 by /48; the families are never the same source. */
static void test_prefix(void **state)
{
	struct wire_address peer = {.family = AF_INET6, .address = {0x20, 1, 0x0d, 0xb8, 0, 1, 2}};
	struct sources *sources = begin(10);
	uint32_t source, other;

	(void)state;
	sources_reset(sources, 24, 48);
	source = enter(sources, 0xc0000201, NULL, START);
	assert_int_equal(enter(sources, 0xc00002ff, NULL, START), source);
	assert_int_not_equal(enter(sources, 0xc0000301, NULL, START), source);
	assert_int_equal(sources_enter(sources, &peer, NULL, START, &source), 0);
	peer.address[6] = 99;
	peer.address[15] = 1;
	assert_int_equal(sources_enter(sources, &peer, NULL, START, &other), 0);
	assert_int_equal(other, source);
	peer.address[5] = 2;
	assert_int_equal(sources_enter(sources, &peer, NULL, START, &other), 0);
	assert_int_not_equal(other, source);
	assert_int_equal(sources_n(sources), 4);
	end(sources);
}

static void test_reset_forgets_all(void **state)
{
	const struct sources_limits limits = {.max_connections = 1, .rate = bucket_rate(1, SECOND)};
	struct sources *sources = begin(10);

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		enter(sources, i, &limits, START);
	sources_reset(sources, 32, 128);
	assert_int_equal(sources_n(sources), 0);
	for (uint32_t i = 0; i < 1000; i++)
		enter(sources, i, &limits, START);
	end(sources);
}

/*
 * The attack: somebody has used up its rate, and has other addresses to spray the table with, as
 * many as there are. It must not come in before its time.
 */
static void test_nobody_resets_its_own_count_by_spraying(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(1, 60 * SECOND)};
	struct sources *sources = begin(SOURCES_MAX_REMEMBERED);

	(void)state;
	sources_leave(sources, enter(sources, 7, &limits, START), START);
	for (uint32_t i = 1; i <= 3 * SOURCES_MAX_REMEMBERED; i++) {
		uint64_t now_usec = START + i;

		sources_leave(sources, enter(sources, 1000 + i, &limits, now_usec), now_usec);
	}
	assert_int_equal(sources_n(sources), SOURCES_MAX_REMEMBERED);
	assert_int_equal(sources_n_unremembered(sources), 2 * SOURCES_MAX_REMEMBERED + 1);
	assert_int_equal(refused(sources, 7, &limits, START + 60 * SECOND - 1), SOURCES_TOO_FAST);
	enter(sources, 7, &limits, START + 60 * SECOND);
	end(sources);
}

/* The same between two connections: while it is there its place is not somebody else's. */
static void test_nobody_loses_its_place_while_it_is_connected(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(2, 60 * SECOND)};
	struct sources *sources = begin(4);
	uint32_t source;

	(void)state;
	sources_leave(sources, enter(sources, 7, &limits, START), START);
	source = enter(sources, 7, &limits, START);
	for (uint32_t i = 100; i < 200; i++)
		sources_leave(sources, enter(sources, i, &limits, START), START);
	sources_leave(sources, source, START);
	assert_int_equal(refused(sources, 7, &limits, START), SOURCES_TOO_FAST);
	end(sources);
}

/* Connections are never forgotten, however many sources have some, and without a place, too. */
static void test_sources_with_connections_stay(void **state)
{
	const struct sources_limits limits = {.max_connections = 1, .rate = bucket_rate(9, SECOND)};
	struct sources *sources = begin(4);

	(void)state;
	for (uint32_t i = 0; i < 5000; i++)
		enter(sources, i, &limits, START);
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(
			refused(sources, i, &limits, START + 9 * SECOND), SOURCES_TOO_MANY);
	end(sources);
}

/* To others, as in an upgrade in place. The connections are the caller's to enter. */
static void restore(struct sources *to, const struct sources *from, const struct bucket_rate *rate,
	uint64_t now_usec)
{
	struct network network;
	struct bucket bucket;

	for (uint32_t i = 0; (i = sources_next(from, i, now_usec, &network, &bucket)) > 0;)
		sources_restore(to, &network, &bucket, rate, now_usec);
}

static void test_known_again(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(2, 10 * SECOND)};
	struct sources *sources = begin(3), *others = begin(2);

	(void)state;
	sources_leave(sources, enter(sources, 5, &limits, START - 5 * SECOND), START);
	for (int i = 0; i < 2; i++) {
		sources_leave(sources, enter(sources, 7, &limits, START), START);
		enter(sources, 8, &limits, START);
	}
	enter(others, 8, NULL, START);
	restore(others, sources, &limits.rate, START);
	assert_int_equal(sources_n(others), 2); /* nothing is to be known of 5 any more */
	assert_int_equal(refused(others, 7, &limits, START + 5 * SECOND - 1), SOURCES_TOO_FAST);
	assert_int_equal(refused(others, 8, &limits, START + 5 * SECOND - 1), SOURCES_TOO_FAST);
	enter(others, 9, &limits, START);
	assert_int_equal(sources_n_unremembered(others), 1);
	enter(others, 7, &limits, START + 5 * SECOND);
	end(others);
	end(sources);
}

/* Another configuration, or nonsense. */
static void test_not_known_again(void **state)
{
	const struct sources_limits limits = {.rate = bucket_rate(1, 100 * SECOND)};
	const struct bucket_rate none = {0}, shorter = bucket_rate(1, SECOND);
	struct network bad = {.family = AF_INET, .n_bits = 24, .address = {0, 0, 0, 7}};
	struct bucket forever = {.full_nsec = INT64_MAX};
	struct sources *sources = begin(9), *others = begin(9);

	(void)state;
	sources_leave(sources, enter(sources, 7, &limits, START), START);
	restore(others, sources, &none, START);
	sources_reset(others, 24, 48);
	restore(others, sources, &limits.rate, START);
	sources_restore(others, &bad, &forever, &limits.rate, START);
	bad.family = 99;
	sources_restore(others, &bad, &forever, &limits.rate, START);
	assert_int_equal(sources_n(others), 0);
	sources_reset(others, 32, 48);
	restore(others, sources, &shorter, START); /* it was a longer time before */
	assert_int_equal(refused(others, 7, &limits, START + SECOND - 1), SOURCES_TOO_FAST);
	enter(others, 8, &limits, START + SECOND);
	assert_int_equal(sources_n(others), 1);
	end(others);
	end(sources);
}

static void test_out_of_memory(void **state)
{
	struct sources *sources = begin(4);

	(void)state;
	is_out_of_memory = true;
	assert_int_equal(refused(sources, 1, NULL, START), -ENOMEM);
	is_out_of_memory = false;
	enter(sources, 1, NULL, START);
	for (uint32_t i = 2; i < 64; i++)
		enter(sources, i, NULL, START);
	is_out_of_memory = true;
	assert_int_equal(refused(sources, 64, NULL, START), -ENOMEM);
	enter(sources, 1, NULL, START); /* it is there */
	is_out_of_memory = false;
	enter(sources, 64, NULL, START);
	assert_int_equal(sources_n(sources), 64);
	end(sources);
}

/* The model: every source that there can be has its place in an array. */

#define N_NUMBERS 200
#define N_PLACES  120 /* more than are forgotten at once */
#define N_EVENTS  1000000

struct known {
	uint32_t n_connections, source;
	bool is_remembered;
	struct bucket bucket;
};

struct model {
	struct known all[N_NUMBERS];
	struct sources_limits limits;
	uint64_t random, now_usec, n_unremembered, n_unremembered_before, n_times_behind,
		n_of_answer[3];
	struct sources *sources;
};

/* Is anything to be known of it? */
static bool is_known(const struct model *m, const struct known *known)
{
	return known->n_connections > 0 ||
	       (known->is_remembered && bucket_full(&known->bucket) > m->now_usec);
}

static uint32_t n_remembered(const struct model *m)
{
	uint32_t n = 0;

	for (size_t i = 0; i < N_NUMBERS; i++)
		n += m->all[i].is_remembered;
	return n;
}

static void forget_what_is_over(struct model *m)
{
	for (size_t i = 0; i < N_NUMBERS; i++)
		if (!is_known(m, &m->all[i]))
			m->all[i] = (struct known){0};
}

static int expected_answer(const struct model *m, const struct known *known)
{
	if (m->limits.max_connections > 0 && known->n_connections >= m->limits.max_connections)
		return SOURCES_TOO_MANY;
	return bucket_ready(&known->bucket, &m->limits.rate, m->now_usec) > m->now_usec
		       ? SOURCES_TOO_FAST
		       : 0;
}

static void come(struct model *m, uint32_t number)
{
	const struct wire_address peer = v4(number);
	struct known *known = &m->all[number];
	bool has_rate = m->limits.rate.interval_nsec > 0;
	uint32_t source = 0;
	int r, expected;

	forget_what_is_over(m);
	expected = expected_answer(m, known);
	r = sources_enter(m->sources, &peer, &m->limits, m->now_usec, &source);
	assert_int_equal(r, expected);
	m->n_of_answer[r]++;
	if (r > 0)
		return;
	if (has_rate && !known->is_remembered) {
		known->is_remembered = n_remembered(m) < N_PLACES;
		m->n_unremembered += !known->is_remembered;
	}
	if (known->n_connections++ > 0)
		assert_int_equal(source, known->source);
	known->source = source;
	bucket_take(&known->bucket, &m->limits.rate, m->now_usec);
}

static void go(struct model *m, uint32_t number)
{
	struct known *known = &m->all[number];

	if (known->n_connections == 0)
		return;
	assert_int_equal(sources_n_connections(m->sources, known->source), known->n_connections);
	known->n_connections--;
	sources_leave(m->sources, known->source, m->now_usec);
}

/* The same sources, known again by others: all but how those came who had no place. */
static void upgrade(struct model *m)
{
	struct sources *others = begin(N_PLACES);

	for (uint32_t i = 0; i < N_NUMBERS; i++) {
		struct known *known = &m->all[i];

		for (uint32_t n = 0; n < known->n_connections; n++)
			known->source = enter(others, i, NULL, m->now_usec);
		known->bucket = bucket_limit(&known->bucket, &m->limits.rate, m->now_usec);
		known->is_remembered &= bucket_full(&known->bucket) > m->now_usec;
		if (!known->is_remembered)
			known->bucket = (struct bucket){0};
	}
	restore(others, m->sources, &m->limits.rate, m->now_usec);
	end(m->sources);
	m->sources = others;
	m->n_unremembered_before += m->n_unremembered;
	m->n_unremembered = 0;
}

static void change_limits(struct model *m)
{
	m->limits = (struct sources_limits){
		.max_connections = (uint32_t)random_of(&m->random, 4),
		.rate = bucket_rate((uint32_t)random_of(&m->random, 4),
			SECOND * (1 + random_of(&m->random, 3))),
	};
}

static void compare(struct model *m)
{
	uint32_t n = 0, n_more;

	for (size_t i = 0; i < N_NUMBERS; i++)
		n += is_known(m, &m->all[i]);
	/* What is over is forgotten when others come, a few at a time. */
	n_more = sources_n(m->sources);
	assert_true(n_more >= n);
	m->n_times_behind += n_more > n;
	assert_int_equal(sources_n_unremembered(m->sources), m->n_unremembered);
}

static void test_a_million_events_as_the_model_says(void **state)
{
	struct model m = {
		.random = random_seed(20261123), .now_usec = START, .sources = begin(N_PLACES)};

	(void)state;
	for (int i = 0; i < N_EVENTS; i++) {
		uint32_t number = (uint32_t)random_of(&m.random, N_NUMBERS);

		if (i % 5000 == 0)
			change_limits(&m);
		if (i % 1000 == 999)
			upgrade(&m);
		m.now_usec += random_of(&m.random, 4) ? 0 : random_of(&m.random, SECOND / 16);
		if (random_of(&m.random, 100) < 45)
			go(&m, number);
		else
			come(&m, number);
		if (i % 64 == 0) {
			sources_check(m.sources);
			compare(&m);
		}
	}
	printf("# behind %" PRIu64 "\n", m.n_times_behind);
	printf("# %" PRIu64 " came in, %" PRIu64 " were too many, %" PRIu64 " too fast, %" PRIu64
	       " not remembered\n",
		m.n_of_answer[0], m.n_of_answer[1], m.n_of_answer[2], m.n_unremembered_before);
	for (int i = 0; i < 3; i++)
		assert_true(m.n_of_answer[i] > 10000);
	assert_true(m.n_unremembered_before > 10000);
	assert_true(m.n_times_behind > 100);
	for (uint32_t i = 0; i < N_NUMBERS; i++)
		while (m.all[i].n_connections > 0)
			go(&m, i);
	m.now_usec += 9 * SECOND;
	m.limits = (struct sources_limits){0};
	come(&m, 0);
	go(&m, 0);
	assert_int_equal(sources_n(m.sources), 0);
	end(m.sources);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_connections_at_once),
		check_test(test_rate),
		check_test(test_forgotten_when_nothing_is_left_to_be_known),
		check_test(test_a_few_are_forgotten_at_a_time),
		check_test(test_prefix),
		check_test(test_reset_forgets_all),
		check_test(test_nobody_resets_its_own_count_by_spraying),
		check_test(test_nobody_loses_its_place_while_it_is_connected),
		check_test(test_sources_with_connections_stay),
		check_test(test_known_again),
		check_test(test_not_known_again),
		check_test(test_out_of_memory),
		check_test(test_a_million_events_as_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
