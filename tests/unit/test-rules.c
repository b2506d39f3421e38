/* SPDX-License-Identifier: MIT */
/* Rules: which one decides, by spans and by looking at all of them, and how long that takes. */
#include "random.h"
#include "rules.h"
#include "test.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_RULES 10000

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static bool is_out_of_memory;

void *__wrap_calloc(size_t n, size_t size)
{
	return is_out_of_memory ? NULL : __real_calloc(n, size);
}

/* A rule as it is written: "+10.0.0.0/8" allows, "-10.9.0.0/16" does not. */
static struct config_rule rule(const char *text)
{
	struct config_rule rule = {.is_allowed = *text == '+'};
	struct network *networks;
	char why[256];
	size_t n;

	assert_int_equal(network_parse(text + 1, &networks, &n, why, sizeof(why)), 0);
	assert_int_equal(n, 1);
	rule.network = networks[0];
	free(networks);
	return rule;
}

static struct wire_address address_of(const char *text)
{
	struct config_rule whole = rule(text);
	struct wire_address address = {.family = whole.network.family};

	memcpy(address.address, whole.network.address, sizeof(address.address));
	return address;
}

/* "+2" is allowed by the rule 2, "-0" not by the rule 0, "none" matches none. */
static const char *decide(const struct rules *rules, const char *text)
{
	static char answer[32];
	const struct wire_address address = address_of(text);
	const struct config_rule *found = rules_find(rules, &address);

	if (!found)
		return "none";
	snprintf(answer, sizeof(answer), "%c%d", found->is_allowed ? '+' : '-',
		(int)(found - rules->rules));
	return answer;
}

/* All of it twice: with and without memory. */
static void with(const struct config_rule *list, size_t n, void (*test)(const struct rules *rules))
{
	struct rules rules;

	rules_init(&rules, list, n);
	assert_non_null(rules.v4);
	test(&rules);
	rules_done(&rules);
	is_out_of_memory = true;
	rules_init(&rules, list, n);
	is_out_of_memory = false;
	assert_null(rules.v4);
	test(&rules);
	rules_done(&rules);
}

static void find_most_specific(const struct rules *rules)
{
	assert_string_equal(decide(rules, "@10.8.1.1"), "+0");
	assert_string_equal(decide(rules, "@10.9.1.1"), "-1");
	assert_string_equal(decide(rules, "@10.9.9.9"), "+2");
	assert_string_equal(decide(rules, "@10.9.9.10"), "-1");
	assert_string_equal(decide(rules, "@10.255.255.255"), "+0");
	assert_string_equal(decide(rules, "@11.0.0.0"), "none");
	assert_string_equal(decide(rules, "@9.255.255.255"), "none");
	assert_string_equal(decide(rules, "@::"), "none");
}

static void test_most_specific_decides(void **state)
{
	const struct config_rule list[] = {
		rule("+10.0.0.0/8"), rule("-10.9.0.0/16"), rule("+10.9.9.9")};

	(void)state;
	with(list, 3, find_most_specific);
}

static void find_no_access(const struct rules *rules)
{
	assert_string_equal(decide(rules, "@10.1.1.1"), "-1");
	assert_string_equal(decide(rules, "@192.0.2.1"), "-2");
}

static void test_of_two_alike_no_access_decides(void **state)
{
	const struct config_rule list[] = {rule("+10.0.0.0/8"), rule("-10.0.0.0/8"),
		rule("-192.0.2.0/24"), rule("+192.0.2.0/24"), rule("+10.0.0.0/8")};

	(void)state;
	with(list, 5, find_no_access);
}

static void find_at_the_ends(const struct rules *rules)
{
	assert_string_equal(decide(rules, "@0.0.0.0"), "-1");
	assert_string_equal(decide(rules, "@0.0.0.1"), "+0");
	assert_string_equal(decide(rules, "@255.255.255.254"), "+0");
	assert_string_equal(decide(rules, "@255.255.255.255"), "-2");
	assert_string_equal(decide(rules, "@::"), "+3");
	assert_string_equal(decide(rules, "@ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "-4");
	assert_string_equal(decide(rules, "@ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"), "+3");
}

static void test_first_and_last_address(void **state)
{
	const struct config_rule list[] = {rule("+0.0.0.0/0"), rule("-0.0.0.0/32"),
		rule("-255.255.255.255"), rule("+::/0"),
		rule("-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")};

	(void)state;
	with(list, 5, find_at_the_ends);
}

static void find_nothing(const struct rules *rules)
{
	assert_string_equal(decide(rules, "@192.0.2.1"), "none");
	assert_string_equal(decide(rules, "@2001:db8::1"), "none");
}

static void test_no_rules(void **state)
{
	(void)state;
	with(NULL, 0, find_nothing);
}

/* A bit differs here and there, so that networks are parts of each other. */
static void fill(uint64_t *random, struct wire_address *ret, uint16_t family)
{
	*ret = (struct wire_address){.family = family};
	for (size_t i = 0; i < (family == AF_INET ? 4 : 16); i++)
		ret->address[i] = (uint8_t)(random_of(random, 3) ? 0 : 1u << random_of(random, 8));
	if (random_of(random, 16) == 0)
		memset(ret->address, 0xff, family == AF_INET ? 4 : 16);
}

static uint16_t some_family(uint64_t *random)
{
	return random_of(random, 2) ? AF_INET : AF_INET6;
}

static void fill_rules(uint64_t *random, struct config_rule *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct wire_address address;
		uint16_t family = some_family(random);

		fill(random, &address, family);
		rules[i] = (struct config_rule){
			.network = network_of(&address,
				(unsigned int)random_of(random, family == AF_INET ? 33 : 129)),
			.is_allowed = random_of(random, 2),
		};
	}
}

static void compare(const struct rules *rules, const struct rules *slow, uint64_t *random)
{
	struct wire_address address;
	const struct config_rule *one, *other;

	fill(random, &address, some_family(random));
	one = rules_find(rules, &address);
	other = rules_find(slow, &address);
	assert_int_equal(one == NULL, other == NULL);
	if (!one)
		return;
	assert_int_equal(one->is_allowed, other->is_allowed);
	assert_int_equal(network_compare(&one->network, &other->network), 0);
	assert_true(network_contains(&one->network, &address));
}

static void test_a_million_lookups_are_what_looking_at_all_gives(void **state)
{
	uint64_t random = random_seed(20261125);

	(void)state;
	for (int round = 0; round < 5000; round++) {
		struct config_rule list[40];
		size_t n = random_of(&random, 41);
		struct rules rules, slow;

		fill_rules(&random, list, n);
		rules_init(&rules, list, n);
		is_out_of_memory = true;
		rules_init(&slow, list, n);
		is_out_of_memory = false;
		for (int i = 0; i < 200; i++)
			compare(&rules, &slow, &random);
		rules_done(&rules);
		rules_done(&slow);
	}
}

static double nsec_of(const struct rules *rules, uint16_t family, uint64_t *random)
{
	enum { N = 200000 };
	static struct wire_address addresses[1024];
	struct timespec begin, end;
	uintptr_t sum = 0;

	for (size_t i = 0; i < 1024; i++)
		addresses[i] = (struct wire_address){.family = family,
			.address = {
				(uint8_t)random_of(random, 256), (uint8_t)random_of(random, 256)}};
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (size_t i = 0; i < N; i++)
		sum += (uintptr_t)rules_find(rules, &addresses[i % 1024]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_int_not_equal(sum, 1);
	return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) /
	       N;
}

/* Said, not judged. */
static void test_time_with_ten_thousand_rules_is_told(void **state)
{
	static struct config_rule list[MAX_RULES];
	uint64_t random = 1;
	struct rules rules;

	(void)state;
	for (size_t i = 0; i < MAX_RULES; i++) {
		struct wire_address address = {.family = i % 2 ? AF_INET : AF_INET6};

		for (size_t j = 0; j < (i % 2 ? 4 : 16); j++)
			address.address[j] = (uint8_t)random_of(&random, 256);
		list[i].network = network_of(
			&address, 8 + (unsigned int)random_of(&random, i % 2 ? 25 : 121));
	}
	rules_init(&rules, list, MAX_RULES);
	printf("# IPv4 %.0f ns, IPv6 %.0f ns\n", nsec_of(&rules, AF_INET, &random),
		nsec_of(&rules, AF_INET6, &random));
	rules_done(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_most_specific_decides),
		check_test(test_of_two_alike_no_access_decides),
		check_test(test_first_and_last_address),
		check_test(test_no_rules),
		check_test(test_a_million_lookups_are_what_looking_at_all_gives),
		check_test(test_time_with_ten_thousand_rules_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
