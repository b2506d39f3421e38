/* SPDX-License-Identifier: MIT */
/* The line of TCPMUX and the names that it may say, byte by byte and from hostile hands. */
#include "directory.h"
#include "request.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum request_state feed(struct request *r, const char *text, size_t *ret_taken)
{
	return request_feed(r, text, strlen(text), ret_taken);
}

static void assert_request(const char *text, enum request_state state, const char *name)
{
	struct request r = {0};
	size_t n_taken;

	assert_int_equal(feed(&r, text, &n_taken), state);
	if (state == REQUEST_COMPLETE)
		assert_string_equal(r.name, name);
	if (state == REQUEST_MORE)
		assert_int_equal(n_taken, strlen(text));
}

static void test_line_is_a_name_and_crlf(void **state)
{
	(void)state;
	assert_request("smtp\r\n", REQUEST_COMPLETE, "smtp");
	assert_request("X", REQUEST_MORE, NULL);
	assert_request("smtp\r", REQUEST_MORE, NULL);
	assert_request("@!~\r\n", REQUEST_COMPLETE, "@!~");
	assert_request("", REQUEST_MORE, NULL);
}

static void test_anything_else_is_no_name(void **state)
{
	static const char *const bad[] = {"\r\n", "\n", "smtp\n", "smtp\r\r\n", "smtp\rx", " smtp",
		"sm tp\r\n", "smtp\t", "\x7f", "\xc3\xa4", "\x01"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_request(bad[i], REQUEST_BAD, NULL);
}

static void test_nul_is_no_name(void **state)
{
	struct request r = {0};
	size_t n_taken;

	(void)state;
	assert_int_equal(request_feed(&r, "a\0b\r\n", 5, &n_taken), REQUEST_BAD);
	assert_int_equal(n_taken, 2);
}

static void test_name_of_sixty_three_bytes_is_the_longest(void **state)
{
	char text[80] = "";

	(void)state;
	memset(text, 'a', REQUEST_NAME_MAX);
	assert_request(text, REQUEST_MORE, NULL);
	strcat(text, "\r\n");
	text[REQUEST_NAME_MAX] = '\0';
	strcat(text, "a");
	assert_request(text, REQUEST_BAD, NULL);
}

static void test_only_the_line_is_taken(void **state)
{
	struct request r = {0};
	size_t n_taken;

	(void)state;
	assert_int_equal(feed(&r, "smtp\r\nEHLO me\r\n", &n_taken), REQUEST_COMPLETE);
	assert_int_equal(n_taken, 6);
}

/* Whatever comes, in whatever pieces, the outcome is that of one piece. */
static void test_pieces_make_no_difference(void **state)
{
	static const char letters[] = "aZ+=\r\n\r\n \0\xff";

	(void)state;
	srandom(1);
	for (int i = 0; i < 200000; i++) {
		struct request whole = {0}, parts = {0};
		enum request_state expected, got = REQUEST_MORE;
		size_t n_taken, n_expected, n_done = 0;
		char text[8];

		for (size_t j = 0; j < sizeof(text); j++)
			text[j] = letters[(size_t)random() % (sizeof(letters) - 1)];
		expected = request_feed(&whole, text, sizeof(text), &n_expected);
		while (n_done < sizeof(text) && got == REQUEST_MORE) {
			size_t n = 1 + (size_t)random() % (sizeof(text) - n_done);

			got = request_feed(&parts, text + n_done, n, &n_taken);
			n_done += n_taken;
		}
		assert_int_equal(got, expected);
		assert_int_equal(n_done, n_expected);
		assert_memory_equal(&parts, &whole, sizeof(whole));
	}
}

static void test_names_are_found_without_case(void **state)
{
	struct directory d = {0};

	(void)state;
	assert_int_equal(directory_add(&d, "Smtp=mail"), 0);
	assert_int_equal(directory_add(&d, "+whois"), 0);
	assert_string_equal(directory_find(&d, "sMTP")->service, "mail");
	assert_false(directory_find(&d, "smtp")->is_announced);
	assert_string_equal(directory_find(&d, "WHOIS")->service, "whois");
	assert_true(directory_find(&d, "whois")->is_announced);
	assert_null(directory_find(&d, "mail")); /* a service is no name */
	assert_null(directory_find(&d, "smt"));
	assert_null(directory_find(&d, "smtpx"));
	assert_null(directory_find(&d, ""));
	directory_done(&d);
}

static void test_help_is_the_names_in_their_order(void **state)
{
	struct directory d = {0};

	(void)state;
	assert_int_equal(directory_add(&d, "Smtp=mail"), 0);
	assert_int_equal(directory_add(&d, "+whois"), 0);
	assert_int_equal(d.help_size, 13);
	assert_memory_equal(d.help, "Smtp\r\nwhois\r\n", 13);
	assert_true(directory_is_help("hElP"));
	assert_false(directory_is_help("helpx"));
	directory_done(&d);
}

static void test_bad_entries_change_nothing(void **state)
{
	static const char *const bad[] = {"", "+", "=x", "+=x", "a=", "a b", "a=b c", "a=.b",
		"a=../b", "@a", "help", "+HELP=x", "++a", "a=b=c"};
	struct directory d = {0};
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(directory_add(&d, bad[i]), -EINVAL);
	memset(text, 'a', sizeof(text));
	text[64] = '\0';
	assert_int_equal(directory_add(&d, text), -EINVAL);
	text[1] = '=';
	text[66] = 'a';
	text[64] = 'a';
	text[66] = '\0';
	assert_int_equal(directory_add(&d, text), -EINVAL);
	assert_int_equal(d.n, 0);
	assert_int_equal(directory_add(&d, "a=b"), 0);
	assert_int_equal(directory_add(&d, "+A=c"), -EEXIST);
	assert_int_equal(d.n, 1);
	assert_int_equal(d.help_size, 3);
	directory_done(&d);
}

static void test_directory_has_an_end(void **state)
{
	struct directory d = {0};
	char name[16];

	(void)state;
	for (int i = 0; i < DIRECTORY_MAX; i++) {
		(void)snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(directory_add(&d, name), 0);
	}
	assert_int_equal(directory_add(&d, "more"), -E2BIG);
	directory_done(&d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_line_is_a_name_and_crlf),
		check_test(test_anything_else_is_no_name),
		check_test(test_nul_is_no_name),
		check_test(test_name_of_sixty_three_bytes_is_the_longest),
		check_test(test_only_the_line_is_taken),
		check_test(test_pieces_make_no_difference),
		check_test(test_names_are_found_without_case),
		check_test(test_help_is_the_names_in_their_order),
		check_test(test_bad_entries_change_nothing),
		check_test(test_directory_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
