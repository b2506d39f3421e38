/* SPDX-License-Identifier: MIT */
/* Who is refused everywhere: for how long, how many, and a million events against a model. */
#include "denied.h"
#include "random.h"
#include "test.h"

#include <errno.h>
#include <sys/socket.h>

#define SECOND UINT64_C(1000000)
#define START  (1000 * SECOND)

static const uint8_t key[SIPHASH_KEY_SIZE] = "any key will do";

static struct wire_address v4(uint32_t number)
{
	return (struct wire_address){.family = AF_INET,
		.address = {(uint8_t)(number >> 24), (uint8_t)(number >> 16),
			(uint8_t)(number >> 8), (uint8_t)number}};
}

static struct denied *begin(uint32_t max)
{
	struct denied *denied;

	assert_int_equal(denied_new(&denied, max, key), 0);
	return denied;
}

static void end(struct denied *denied)
{
	denied_check(denied);
	denied_free(denied);
}

static int deny(struct denied *denied, uint32_t number, unsigned int n_bits, uint64_t until_usec,
	uint64_t now_usec)
{
	const struct wire_address address = v4(number);
	const struct network network = network_of(&address, n_bits);

	return denied_add(denied, &network, until_usec, now_usec);
}

static bool has(const struct denied *denied, uint32_t number, uint64_t now_usec)
{
	const struct wire_address address = v4(number);

	return denied_has(denied, &address, now_usec);
}

static void test_until_its_time(void **state)
{
	struct denied *denied = begin(9);

	(void)state;
	assert_false(has(denied, 7, START));
	assert_int_equal(deny(denied, 7, 32, START + SECOND, START), 0);
	assert_true(has(denied, 7, START + SECOND - 1));
	assert_false(has(denied, 7, START + SECOND));
	assert_false(has(denied, 8, START));
	assert_int_equal(denied_n(denied, START), 1);
	assert_int_equal(denied_n(denied, START + SECOND), 0);
	end(denied);
}

/* Once more makes it longer, never shorter. */
static void test_longest_counts(void **state)
{
	struct denied *denied = begin(9);

	(void)state;
	assert_int_equal(deny(denied, 7, 32, START + 2 * SECOND, START), 0);
	assert_int_equal(deny(denied, 7, 32, START + SECOND, START), 0);
	assert_true(has(denied, 7, START + SECOND));
	assert_int_equal(deny(denied, 7, 32, DENIED_FOREVER, START), 0);
	assert_int_equal(deny(denied, 7, 32, START + SECOND, START), 0);
	assert_true(has(denied, 7, UINT64_MAX - 1));
	assert_int_equal(denied_n(denied, UINT64_MAX - 1), 1);
	end(denied);
}

static void test_networks_of_several_lengths(void **state)
{
	struct wire_address v6 = {.family = AF_INET6, .address = {0x20, 1, 0x0d, 0xb8}};
	struct denied *denied = begin(9);
	struct network network;

	(void)state;
	assert_int_equal(deny(denied, 0x0a000000, 8, DENIED_FOREVER, START), 0);
	assert_int_equal(deny(denied, 0xc0000201, 32, DENIED_FOREVER, START), 0);
	assert_true(has(denied, 0x0affffff, START));
	assert_false(has(denied, 0x0b000000, START));
	assert_true(has(denied, 0xc0000201, START));
	assert_false(has(denied, 0xc0000202, START));
	assert_false(denied_has(denied, &v6, START));
	network = network_of(&v6, 64);
	assert_int_equal(denied_add(denied, &network, DENIED_FOREVER, START), 0);
	v6.address[15] = 1;
	assert_true(denied_has(denied, &v6, START));
	v6.address[7] = 1;
	assert_false(denied_has(denied, &v6, START));
	end(denied);
}

/* Nobody who is denied is let in for others who are new; when his time is over there is room. */
static void test_full(void **state)
{
	struct denied *denied = begin(DENIED_MAX);

	(void)state;
	assert_int_equal(deny(denied, 7, 32, START + 2 * SECOND, START), 0);
	for (uint32_t i = 1; i < DENIED_MAX; i++)
		assert_int_equal(deny(denied, 1000 + i, 32, START + SECOND, START), 0);
	for (uint32_t i = 0; i < DENIED_MAX; i++)
		assert_int_equal(deny(denied, 1000000 + i, 32, START + 9 * SECOND, START), -ENOSPC);
	assert_int_equal(denied_n_missed(denied), DENIED_MAX);
	assert_true(has(denied, 7, START));
	assert_false(has(denied, 1000000, START));
	assert_int_equal(deny(denied, 7, 32, START + 3 * SECOND, START), 0);
	assert_int_equal(deny(denied, 1000000, 32, START + 9 * SECOND, START + SECOND), 0);
	assert_true(has(denied, 7, START + 3 * SECOND - 1));
	assert_int_equal(denied_n(denied, START + SECOND), 2);
	end(denied);
}

static uint32_t count_kept(const struct denied *denied)
{
	struct network network;
	uint64_t until_usec;
	uint32_t n = 0;

	for (uint32_t i = 0; (i = denied_next(denied, i, &network, &until_usec)) > 0;)
		n++;
	return n;
}

/* Nobody pays for all that was there before, and nobody misses its place because of it. */
static void test_a_few_are_forgotten_at_a_time(void **state)
{
	struct denied *denied = begin(1000);

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(deny(denied, i, 32, START + SECOND, START), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t n_before = count_kept(denied);

		assert_int_equal(deny(denied, 2000 + i, 32, START + 9 * SECOND, START + SECOND), 0);
		assert_true(count_kept(denied) + DENIED_FORGET_AT_ONCE > n_before);
	}
	assert_int_equal(denied_n(denied, START + SECOND), 1000);
	end(denied);
}

static void test_all_are_told(void **state)
{
	struct denied *denied = begin(9), *copy = begin(9);
	struct network network;
	uint64_t until_usec;
	uint32_t i = 0, n = 0;

	(void)state;
	assert_int_equal(deny(denied, 7, 32, START + SECOND, START), 0);
	assert_int_equal(deny(denied, 0x0a000000, 8, DENIED_FOREVER, START), 0);
	for (; (i = denied_next(denied, i, &network, &until_usec)) > 0; n++)
		assert_int_equal(denied_add(copy, &network, until_usec, START), 0);
	assert_int_equal(n, 2);
	assert_true(has(copy, 7, START + SECOND - 1));
	assert_false(has(copy, 7, START + SECOND));
	assert_true(has(copy, 0x0a123456, START + SECOND));
	end(denied);
	end(copy);
}

/* The model: until when each of the networks is denied, of two lengths. */

#define N_NUMBERS 48
#define N_ROOM	  20
#define N_EVENTS  1000000

struct model {
	uint64_t until_usec[2][N_NUMBERS]; /* of /32 and, by four, of /30 */
	uint64_t now_usec;
	struct denied *denied;
};

static uint32_t n_in_force(const struct model *m)
{
	uint32_t n = 0;

	for (size_t i = 0; i < N_NUMBERS; i++)
		n += (m->until_usec[0][i] > m->now_usec) + (m->until_usec[1][i] > m->now_usec);
	return n;
}

static void deny_in_both(struct model *m, uint32_t number, bool is_wide, uint64_t until_usec)
{
	uint64_t *known = &m->until_usec[is_wide][is_wide ? number / 4 : number];
	bool has_room = *known > m->now_usec || n_in_force(m) < N_ROOM;

	assert_int_equal(deny(m->denied, number, is_wide ? 30 : 32, until_usec, m->now_usec),
		has_room ? 0 : -ENOSPC);
	if (has_room && until_usec > *known)
		*known = until_usec;
}

static void test_a_million_events_as_the_model_says(void **state)
{
	struct model m = {.now_usec = START, .denied = begin(N_ROOM)};
	uint64_t random = random_seed(20261124), n_denied = 0;

	(void)state;
	for (int i = 0; i < N_EVENTS; i++) {
		uint32_t number = (uint32_t)random_of(&random, N_NUMBERS);
		bool is_denied = m.until_usec[0][number] > m.now_usec ||
				 m.until_usec[1][number / 4] > m.now_usec;

		assert_int_equal(has(m.denied, number, m.now_usec), is_denied);
		n_denied += is_denied;
		m.now_usec += random_of(&random, SECOND / 8);
		number = (uint32_t)random_of(&random, N_NUMBERS);
		if (random_of(&random, 4) == 0)
			deny_in_both(&m, number, random_of(&random, 4) == 0,
				m.now_usec + random_of(&random, 10 * SECOND));
		if (i % 64 == 0)
			assert_int_equal(denied_n(m.denied, m.now_usec), n_in_force(&m));
		if (i % 1024 == 0)
			denied_check(m.denied);
	}
	printf("# %" PRIu64 " found denied, %" PRIu64 " missed\n", n_denied,
		denied_n_missed(m.denied));
	assert_true(n_denied > 100000 && denied_n_missed(m.denied) > 1000);
	end(m.denied);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_until_its_time),
		check_test(test_longest_counts),
		check_test(test_networks_of_several_lengths),
		check_test(test_full),
		check_test(test_a_few_are_forgotten_at_a_time),
		check_test(test_all_are_told),
		check_test(test_a_million_events_as_the_model_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
