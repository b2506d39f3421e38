/* SPDX-License-Identifier: MIT */
/*
 * Networks: every form that is understood, every refusal by its sentence, who is in a network, and
 * the order. calloc(3) is wrapped to fail once.
 */
#include "network.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static bool fail_calloc;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	return fail_calloc ? NULL : __real_calloc(n, size);
}

/* The networks of a text, formatted, with blanks between them. */
static void check_parsed(const char *text, const char *expected)
{
	struct network *networks = NULL;
	char why[512] = "", formatted[1024] = "", one[NETWORK_TEXT_MAX];
	size_t n = 0, length = 0;

	if (network_parse(text, &networks, &n, why, sizeof(why)) != 0)
		fail_msg("%s: %s", text, why);
	for (size_t i = 0; i < n; i++)
		length += (size_t)snprintf(formatted + length, sizeof(formatted) - length, "%s%s",
			i > 0 ? " " : "", network_format(&networks[i], one));
	assert_string_equal(formatted, expected);
	free(networks);
}

static struct network parse(const char *text)
{
	struct network *networks = NULL, network;
	char why[512] = "";
	size_t n = 0;

	if (network_parse(text, &networks, &n, why, sizeof(why)) != 0)
		fail_msg("%s: %s", text, why);
	assert_int_equal(n, 1);
	network = networks[0];
	free(networks);
	return network;
}

/* As usherd gets the address of a client, whose listener is of IPv4 or IPv6. */
static struct wire_address client(const char *text)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct wire_address address = {0};

	if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		wire_address_from_sockaddr(&address, (const struct sockaddr *)&in6);
	else if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		wire_address_from_sockaddr(&address, (const struct sockaddr *)&in);
	else
		fail_msg("%s is no address", text);
	return address;
}

static void test_forms_that_are_understood(void **state)
{
	static const struct {
		const char *text, *formatted;
	} cases[] = {
		{"192.0.2.1", "192.0.2.1"},
		{"255.255.255.255", "255.255.255.255"},
		{"192.0.2.1/32", "192.0.2.1"},
		{"192.0.2.0/24", "192.0.2.0/24"},
		{"192.0.2.77/24", "192.0.2.0/24"},
		{"192.0.2.77/31", "192.0.2.76/31"},
		{"255.255.255.255/1", "128.0.0.0/1"},
		{"192.0.2.1/0", "0.0.0.0/0"},
		{"0/0", "0.0.0.0/0"},
		{"10/8", "10.0.0.0/8"},
		{"10.1/16", "10.1.0.0/16"},
		{"192.0.2.0/255.255.255.0", "192.0.2.0/24"},
		{"192.0.2.9/255.255.255.252", "192.0.2.8/30"},
		{"192.0.2.9/255.255.255.255", "192.0.2.9"},
		{"192.0.2.9/0.0.0.0", "0.0.0.0/0"},
		{"2001:db8::1", "2001:db8::1"},
		{"2001:DB8::1/128", "2001:db8::1"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"2001:db8:ffff::/33", "2001:db8:8000::/33"},
		{"2001:db8::", "2001:db8::"}, /* zeros at its end mean nothing */
		{"::/0", "::/0"},
		{"::1", "::1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"::ffff:192.0.2.0", "192.0.2.0"},
		{"::ffff:c000:201", "192.0.2.1"},
		{"::ffff:192.0.2.9/120", "192.0.2.0/24"},
		{"::ffff:0:0/96", "0.0.0.0/0"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_parsed(cases[i].text, cases[i].formatted);
}

static void test_forms_of_xinetd(void **state)
{
	static const struct {
		const char *text, *formatted;
	} cases[] = {
		{"192.0.2.0", "192.0.2.0/24"},
		{"192.0.0.0", "192.0.0.0/8"},
		{"192.168.0.0", "192.168.0.0/16"},
		{"0.0.0.0", "0.0.0.0/0"},
		{"192.0.2.", "192.0.2.0/24"},
		{"192.0.2", "192.0.2.0/24"},
		{"192.168", "192.168.0.0/16"},
		{"10.0", "10.0.0.0/16"}, /* what is written, not what it ends with */
		{"10.", "10.0.0.0/8"},
		{"192.0.2.{1,2,64}", "192.0.2.1 192.0.2.2 192.0.2.64"},
		{"192.0.{2,3}", "192.0.2.0/24 192.0.3.0/24"},
		{"10.{1}", "10.1.0.0/16"},
		{"192.0.2.{0,1}", "192.0.2.0/24 192.0.2.1"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_parsed(cases[i].text, cases[i].formatted);
}

static void test_names_are_told_apart(void **state)
{
	static const char *const names[] = {"localhost", "a", "3com.example", ".example.org",
		"my-host", "my_host", "loopback", "10.0.0.x", "ab.cd.ef."};
	struct network *networks;
	char why[512];
	size_t n;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(names); i++)
		assert_int_equal(network_parse(names[i], &networks, &n, why, sizeof(why)), 1);
}

#define IPV4_EXPECTED                                                                              \
	", expected numbers from 0 to 255, as in 192.0.2.1, 192.0.2.0/24 or 192.0.2.{1,2}"
#define IPV6_EXPECTED ", expected one as in 2001:db8::1 or 2001:db8::/32"
#define BRACES_EXPECTED                                                                            \
	", expected them at the end of an IPv4 address, around 1 to 1024 numbers, as in "          \
	"192.0.2.{1,2,64}"
#define BITS_EXPECTED ", expected 0 to 32 bits after the '/', or a mask as in /255.255.255.0"

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "'' is no address, expected one as in 192.0.2.1, 192.0.2.0/24 or "
		     "2001:db8::/32"},
		{"192.0.2.1 ", "'192.0.2.1 ' is no address, expected one as in 192.0.2.1, "
			       "192.0.2.0/24 or 2001:db8::/32"},
		{"*", "'*' is no address, expected one as in 192.0.2.1, 192.0.2.0/24 or "
		      "2001:db8::/32"},
		{"example.org/24", "'example.org/24' is no address, expected one as in 192.0.2.1, "
				   "192.0.2.0/24 or 2001:db8::/32"},
		{"-1", "'-1' is no address, expected one as in 192.0.2.1, 192.0.2.0/24 or "
		       "2001:db8::/32"},
		{"-x", "'-x' is no address, expected one as in 192.0.2.1, 192.0.2.0/24 or "
		       "2001:db8::/32"},
		{"256.0.0.1", "bad IPv4 address '256.0.0.1'" IPV4_EXPECTED},
		{"192.0.2.010", "bad IPv4 address '192.0.2.010'" IPV4_EXPECTED},
		{"192.0.2.1.1", "bad IPv4 address '192.0.2.1.1'" IPV4_EXPECTED},
		{"192.0.2.1.", "bad IPv4 address '192.0.2.1.'" IPV4_EXPECTED},
		{"192..2.1", "bad IPv4 address '192..2.1'" IPV4_EXPECTED},
		{"3221225985", "bad IPv4 address '3221225985'" IPV4_EXPECTED},
		{"10", "unclear address '10', expected a network as in 10.0.0.0/8"},
		{"192.0.2.1/33", "bad length in '192.0.2.1/33'" BITS_EXPECTED},
		{"192.0.2.1/", "bad length in '192.0.2.1/'" BITS_EXPECTED},
		{"192.0.2.1/24/8", "bad length in '192.0.2.1/24/8'" BITS_EXPECTED},
		{"192.0.2.1/024", "bad length in '192.0.2.1/024'" BITS_EXPECTED},
		{"192.0.2.0/255.0.255.0", "bad length in '192.0.2.0/255.0.255.0'" BITS_EXPECTED},
		{"192.0.2.0/0.0.0.255", "bad length in '192.0.2.0/0.0.0.255'" BITS_EXPECTED},
		{"/24", "'/24' is no address, expected one as in 192.0.2.1, 192.0.2.0/24 or "
			"2001:db8::/32"},
		{"2001:db8::g", "bad IPv6 address '2001:db8::g'" IPV6_EXPECTED},
		{":", "bad IPv6 address ':'" IPV6_EXPECTED},
		{"[::1]", "bad IPv6 address '[::1]'" IPV6_EXPECTED},
		{"1:2:3:4:5:6:7:8:9", "bad IPv6 address '1:2:3:4:5:6:7:8:9'" IPV6_EXPECTED},
		{"::1/129", "bad length in '::1/129', expected 0 to 128 bits after the '/'"},
		{"::1/", "bad length in '::1/', expected 0 to 128 bits after the '/'"},
		{"::1/ffff::", "bad length in '::1/ffff::', expected 0 to 128 bits after the '/'"},
		{"fe80::1%lo", "'fe80::1%lo' names an interface, expected an address without: "
			       "rules are for all interfaces"},
		{"::ffff:192.0.2.0/95",
			"'::ffff:192.0.2.0/95' has an IPv4-mapped address and less than 96 bits, "
			"expected the network of IPv4 itself, as in 192.0.2.0/24"},
		{"192.0.2.{1,2", "unclear braces in '192.0.2.{1,2'" BRACES_EXPECTED},
		{"192.0.2.1}", "unclear braces in '192.0.2.1}'" BRACES_EXPECTED},
		{"192.0.2.{}", "unclear braces in '192.0.2.{}'" BRACES_EXPECTED},
		{"192.0.2.{1,}", "unclear braces in '192.0.2.{1,}'" BRACES_EXPECTED},
		{"192.0.2.{256}", "unclear braces in '192.0.2.{256}'" BRACES_EXPECTED},
		{"192.0.2.{1 }", "unclear braces in '192.0.2.{1 }'" BRACES_EXPECTED},
		{"192.0.2{1}", "unclear braces in '192.0.2{1}'" BRACES_EXPECTED},
		{"{1,2}", "unclear braces in '{1,2}'" BRACES_EXPECTED},
		{"192.0.2.{1}/32", "unclear braces in '192.0.2.{1}/32'" BRACES_EXPECTED},
		{"192.{1,2}.3", "unclear braces in '192.{1,2}.3'" BRACES_EXPECTED},
		{"192.0.2.{1,{2}}", "unclear braces in '192.0.2.{1,{2}}'" BRACES_EXPECTED},
		{"192.0.2.3.{1}", "bad IPv4 address '192.0.2.3.1'" IPV4_EXPECTED},
		{"x.{1}", "bad IPv4 address 'x.1'" IPV4_EXPECTED},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct network *networks = NULL;
		char why[512] = "";
		size_t n = 0;

		assert_int_equal(
			network_parse(cases[i].text, &networks, &n, why, sizeof(why)), -EINVAL);
		assert_string_equal(why, cases[i].why);
		assert_null(networks);
	}
}

/* `n` factors as "10.0.0.{1,1,...}". To be freed. */
static char *many_factors(size_t n)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	fputs("10.0.0.{1", stream);
	for (size_t i = 1; i < n; i++)
		fputs(",1", stream);
	fputs("}", stream);
	assert_int_equal(fclose(stream), 0);
	return text;
}

static void test_as_many_factors_as_allowed(void **state)
{
	char *most = many_factors(NETWORK_MAX_FACTORS),
	     *more = many_factors(NETWORK_MAX_FACTORS + 1);
	struct network *networks;
	char why[16];
	size_t n;

	(void)state;
	assert_int_equal(network_parse(most, &networks, &n, why, sizeof(why)), 0);
	assert_int_equal(n, NETWORK_MAX_FACTORS);
	free(networks);
	assert_int_equal(network_parse(more, &networks, &n, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "unclear braces "); /* cut at the size */
	free(most);
	free(more);
}

static void test_very_long_texts(void **state)
{
	static const char begins[] = {'1', '.', ':', '{', '/', 'a', '-'};
	char text[4096], why[64];
	struct network *networks;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(begins); i++) {
		memset(text, begins[i], sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		assert_int_equal(network_parse(text, &networks, &n, why, sizeof(why)), -EINVAL);
		memcpy(text + sizeof(text) - 6, ".{1}", 5);
		assert_int_equal(network_parse(text, &networks, &n, why, sizeof(why)), -EINVAL);
	}
}

static void test_out_of_memory(void **state)
{
	struct network *networks;
	char why[64];
	size_t n;
	int r;

	(void)state;
	fail_calloc = true;
	r = network_parse("10.0.0.1", &networks, &n, why, sizeof(why));
	fail_calloc = false;
	assert_int_equal(r, -ENOMEM);
}

static void test_who_is_in_a_network(void **state)
{
	static const struct {
		const char *network, *client;
		bool is_in;
	} cases[] = {
		{"192.0.2.0/24", "192.0.2.255", true},
		{"192.0.2.0/24", "192.0.3.0", false},
		{"192.0.2.0/24", "::ffff:192.0.2.1", true},
		{"192.0.2.0/24", "::192.0.2.1", false},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.0", false},
		{"192.0.2.128/25", "192.0.2.127", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "::1", false},
		{"0.0.0.0/0", "::ffff:1.2.3.4", true},
		{"::/0", "::1", true},
		{"::/0", "192.0.2.1", false},
		{"::/0", "::ffff:192.0.2.1", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"::ffff:192.0.2.0/120", "192.0.2.7", true},
		{"::ffff:192.0.2.0/120", "::ffff:192.0.2.7", true},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct network network = parse(cases[i].network);
		struct wire_address address = client(cases[i].client);

		if (network_contains(&network, &address) != cases[i].is_in)
			fail_msg("%s and %s", cases[i].network, cases[i].client);
	}
}

static void test_unix_clients_are_in_no_network(void **state)
{
	const struct wire_address local = {.family = AF_UNIX};
	struct network ipv4 = parse("0.0.0.0/0"), ipv6 = parse("::/0");

	(void)state;
	assert_false(network_contains(&ipv4, &local));
	assert_false(network_contains(&ipv6, &local));
}

static void test_every_prefix_contains_its_address(void **state)
{
	static const char *const texts[] = {"255.170.85.1", "2001:db8:ffff:aaaa:5555:0:ff:1"};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		struct wire_address address = client(texts[i]);
		unsigned int most = address.family == AF_INET ? 32 : 128;

		for (unsigned int n_bits = 0; n_bits <= most; n_bits++) {
			struct network network = network_of(&address, n_bits);
			struct wire_address other = address;
			char text[NETWORK_TEXT_MAX];
			struct network again;

			assert_true(network_contains(&network, &address));
			again = parse(network_format(&network, text));
			/* "0.0.0.0/0" and the like have their length, so nothing is implied */
			assert_int_equal(network_compare(&network, &again), 0);
			if (n_bits == 0)
				continue;
			other.address[(n_bits - 1) / 8] ^= (uint8_t)(0x80u >> (n_bits - 1) % 8);
			assert_false(network_contains(&network, &other));
		}
	}
}

static void test_order(void **state)
{
	static const char *const sorted[] = {"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.1",
		"10.1.0.0/16", "192.0.2.1", "::/0", "::1", "2001:db8::/32", "2001:db8::/48",
		"fe80::/10"};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(sorted); i++)
		for (size_t j = 0; j < N_ELEMENTS(sorted); j++) {
			struct network a = parse(sorted[i]), b = parse(sorted[j]);
			int r = network_compare(&a, &b);

			assert_int_equal((r > 0) - (r < 0), (i > j) - (i < j));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_forms_that_are_understood),
		check_test(test_forms_of_xinetd),
		check_test(test_names_are_told_apart),
		check_test(test_refusals),
		check_test(test_as_many_factors_as_allowed),
		check_test(test_very_long_texts),
		check_test(test_out_of_memory),
		check_test(test_who_is_in_a_network),
		check_test(test_unix_clients_are_in_no_network),
		check_test(test_every_prefix_contains_its_address),
		check_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
