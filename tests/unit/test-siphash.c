/* SPDX-License-Identifier: MIT */
/* siphash: the values that its authors give. */
#include "siphash.h"
#include "test.h"

#include <string.h>

static uint8_t key[SIPHASH_KEY_SIZE], message[64];

static int begin(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < sizeof(message); i++)
		message[i] = i;
	memcpy(key, message, sizeof(key));
	return 0;
}

/* Appendix A of the paper has the one of 15 bytes; the reference implementation the others. */
static void test_values_of_the_authors(void **state)
{
	(void)state;
	assert_true(siphash_of(key, message, 15) == UINT64_C(0xa129ca6149be45e5));
	assert_true(siphash_of(key, message, 0) == UINT64_C(0x726fdb47dd0e0e31));
	assert_true(siphash_of(key, message, 1) == UINT64_C(0x74f839c593dc67fd));
	assert_true(siphash_of(key, message, 8) == UINT64_C(0x93f5f5799a932462));
	assert_true(siphash_of(key, message, 63) == UINT64_C(0x958a324ceb064572));
}

static void test_every_bit_counts(void **state)
{
	uint64_t hash = siphash_of(key, message, 18);

	(void)state;
	for (size_t i = 0; i < 18 * 8; i++) {
		message[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_true(siphash_of(key, message, 18) != hash);
		message[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	for (size_t i = 0; i < sizeof(key) * 8; i++) {
		key[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_true(siphash_of(key, message, 18) != hash);
		key[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_values_of_the_authors),
		check_test(test_every_bit_counts),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
