/* SPDX-License-Identifier: MIT */
/* SipHash-2-4: the values that its authors have published. */
#include "siphash.h"
#include "test.h"

static uint64_t hash_of_first(size_t n)
{
	uint8_t key[SIPHASH_KEY_SIZE], data[64];

	for (uint8_t i = 0; i < sizeof(key); i++)
		key[i] = i;
	for (uint8_t i = 0; i < sizeof(data); i++)
		data[i] = i;
	return siphash(key, data, n);
}

static void test_values_of_the_paper(void **state)
{
	(void)state;
	assert_int_equal(hash_of_first(0), UINT64_C(0x726fdb47dd0e0e31));
	assert_int_equal(hash_of_first(1), UINT64_C(0x74f839c593dc67fd));
	assert_int_equal(hash_of_first(8), UINT64_C(0x93f5f5799a932462));
	assert_int_equal(hash_of_first(15), UINT64_C(0xa129ca6149be45e5)); /* appendix A */
}

static void test_key_counts(void **state)
{
	const uint8_t key[SIPHASH_KEY_SIZE] = {1}, other[SIPHASH_KEY_SIZE] = {[15] = 1};

	(void)state;
	assert_int_not_equal(siphash(key, "usher", 5), siphash(other, "usher", 5));
	assert_int_equal(siphash(key, "usher", 5), siphash(key, "usher!", 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_values_of_the_paper),
		check_test(test_key_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
