/* SPDX-License-Identifier: MIT */
/* Texts and addresses: what may stand in a field of a message, and what is made to stand there. */
#include "test.h"
#include "wire.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* Texts by their bytes, and whether a field may hold them. */
static const struct {
	const char *name;
	const char *text;
	bool is_clean;
} texts[] = {
	{"empty", "", true},
	{"printable ASCII", " ~", true},
	{"two bytes", "\xc3\xa9", true},
	{"least of two bytes that is no control", "\xc2\xa0", true},
	{"three bytes", "\xe2\x82\xac", true},
	{"before the surrogates", "\xed\x9f\xbf", true},
	{"after the surrogates", "\xee\x80\x80", true},
	{"four bytes", "\xf0\x9f\x90\x9d", true},
	{"last character", "\xf4\x8f\xbf\xbf", true},
	{"U+0001", "\x01", false},
	{"U+001F", "a\x1f", false},
	{"escape", "\x1b[2J", false},
	{"line break", "a\nb", false},
	{"U+007F", "\x7f", false},
	{"U+0080", "\xc2\x80", false},
	{"U+009B, a one-character CSI", "\xc2\x9b", false},
	{"U+009F", "\xc2\x9f", false},
	{"lone continuation", "\x80", false},
	{"two continuations", "\xbf\x80", false},
	{"Latin-1", "\xe9t\xe9", false},
	{"cut two bytes", "\xc3", false},
	{"cut three bytes", "\xe2\x82", false},
	{"cut four bytes", "\xf0\x9f\x90", false},
	{"cut by another character", "\xe2\x82z", false},
	{"slash in two bytes", "\xc0\xaf", false},
	{"slash in three bytes", "\xe0\x80\xaf", false},
	{"overlong two bytes", "\xc1\xbf", false},
	{"overlong three bytes", "\xe0\x9f\xbf", false},
	{"overlong four bytes", "\xf0\x8f\xbf\xbf", false},
	{"first surrogate", "\xed\xa0\x80", false},
	{"last surrogate", "\xed\xbf\xbf", false},
	{"after the last character", "\xf4\x90\x80\x80", false},
	{"five bytes", "\xf8\x88\x80\x80\x80", false},
	{"four bytes that begin like five", "\xf8\x90\x80\x80", false},
	{"0xFF", "\xff", false},
};

/* Does wire_check() accept a STATUS with that field? */
static bool is_accepted(const char field[WIRE_STATUS_SIZE])
{
	static union wire_message message;
	const char *why = NULL;

	message.header.type = WIRE_STATUS;
	memcpy(message.status.text, field, WIRE_STATUS_SIZE);
	if (wire_check(&message, sizeof(message.status), 0, WIRE_FROM_PROVIDER, &why) == 0)
		return true;
	assert_string_equal(why, "a text has control characters or is not UTF-8");
	return false;
}

static void test_texts_are_utf8_without_control_characters(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		char text[WIRE_STATUS_SIZE] = {0};

		memcpy(text, texts[i].text, strlen(texts[i].text));
		if (is_accepted(text) != texts[i].is_clean)
			fail_msg("%s: expected otherwise", texts[i].name);
	}
}

static void test_set_text_makes_any_text_clean(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++) {
		char text[WIRE_STATUS_SIZE];

		wire_set_text(text, sizeof(text), texts[i].text);
		if (!is_accepted(text))
			fail_msg("%s: not clean", texts[i].name);
		if (texts[i].is_clean)
			assert_string_equal(text, texts[i].text);
		else
			assert_non_null(strchr(text, '?'));
	}
}

static void test_set_text_replaces_each_bad_byte(void **state)
{
	char field[16];

	(void)state;
	wire_set_text(field, sizeof(field), "a\nb\xc2\x9b\xe2\x82z");
	assert_string_equal(field, "a?b????z");
}

static void test_set_text_never_splits_a_character(void **state)
{
	char field[6];

	(void)state;
	wire_set_text(field, sizeof(field), "12345");
	assert_memory_equal(field, "12345", 6);
	wire_set_text(field, sizeof(field), "123456");
	assert_memory_equal(field, "12345", 6);
	wire_set_text(field, sizeof(field), "12\xe2\x82\xac");
	assert_memory_equal(field, "12\xe2\x82\xac", 6);
	wire_set_text(field, sizeof(field), "123\xe2\x82\xac");
	assert_memory_equal(field, "123\0\0", 6);
}

static void test_ipv4_address_there_and_back(void **state)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(7)};
	struct sockaddr_storage to;
	struct wire_address address;

	(void)state;
	from.sin_addr.s_addr = htonl(0xc0000207);
	wire_address_from_sockaddr(&address, (const struct sockaddr *)&from);
	assert_int_equal(address.family, AF_INET);
	assert_int_equal(address.port, htons(7));
	assert_memory_equal(address.address, "\xc0\x00\x02\x07\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(wire_address_to_sockaddr(&address, &to), sizeof(from));
	assert_memory_equal(&to, &from, sizeof(from));
}

static void test_ipv6_address_there_and_back(void **state)
{
	struct sockaddr_in6 from = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(7),
		.sin6_scope_id = 3,
		.sin6_addr = {.s6_addr = {0xfe, 0x80, [15] = 9}},
	};
	struct sockaddr_storage to;
	struct wire_address address;

	(void)state;
	wire_address_from_sockaddr(&address, (const struct sockaddr *)&from);
	assert_int_equal(address.scope_id, 3);
	assert_memory_equal(address.address, &from.sin6_addr, 16);
	assert_int_equal(wire_address_to_sockaddr(&address, &to), sizeof(from));
	assert_memory_equal(&to, &from, sizeof(from));
}

static void test_ipv4_mapped_address_becomes_ipv4(void **state)
{
	struct sockaddr_in6 from = {.sin6_family = AF_INET6, .sin6_port = htons(7)};
	struct wire_address address;

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &from.sin6_addr), 1);
	wire_address_from_sockaddr(&address, (const struct sockaddr *)&from);
	assert_int_equal(address.family, AF_INET);
	assert_int_equal(address.port, htons(7));
	assert_memory_equal(address.address, "\xc0\x00\x02\x07\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void test_other_address_keeps_only_its_family(void **state)
{
	struct sockaddr_un from = {.sun_family = AF_UNIX, .sun_path = "/run/test"};
	const struct wire_address expected = {.family = AF_UNIX};
	struct sockaddr_storage to;
	struct wire_address address;

	(void)state;
	wire_address_from_sockaddr(&address, (const struct sockaddr *)&from);
	assert_memory_equal(&address, &expected, sizeof(address));
	assert_int_equal(wire_address_to_sockaddr(&address, &to), sizeof(sa_family_t));
	assert_int_equal(to.ss_family, AF_UNIX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_texts_are_utf8_without_control_characters),
		check_test(test_set_text_makes_any_text_clean),
		check_test(test_set_text_replaces_each_bad_byte),
		check_test(test_set_text_never_splits_a_character),
		check_test(test_ipv4_address_there_and_back),
		check_test(test_ipv6_address_there_and_back),
		check_test(test_ipv4_mapped_address_becomes_ipv4),
		check_test(test_other_address_keeps_only_its_family),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
