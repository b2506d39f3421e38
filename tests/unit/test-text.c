/* SPDX-License-Identifier: MIT */
/* text: what is added comes out as printf(3) would write it, and no memory is noted. */
#include "random.h"
#include "test.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool has_memory = true;

void *__real_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size)
{
	return has_memory ? __real_realloc(bytes, size) : NULL;
}

/* The text is this, and is over. */
static void check_end(struct text *text, const char *expected)
{
	assert_false(text->is_short);
	assert_int_equal(text->size, strlen(expected));
	assert_memory_equal(text->bytes, expected, text->size);
	free(text->bytes);
	*text = (struct text){0};
}

static void test_numbers(void **state)
{
	static const uint64_t numbers[] = {0, 9, 10, 12345, UINT32_MAX, INT64_MAX, UINT64_MAX};
	struct text text = {0};
	char expected[32];

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		snprintf(expected, sizeof(expected), "%" PRIu64, numbers[i]);
		text_add_number(&text, numbers[i]);
		check_end(&text, expected);
	}
}

static void test_seconds(void **state)
{
	static const struct {
		uint64_t usec;
		const char *text;
	} cases[] = {
		{0, "0"},
		{1, "0.000001"},
		{30, "0.00003"},
		{100000, "0.1"},
		{1000000, "1"},
		{10000000, "10"},
		{12345678, "12.345678"},
		{1020000, "1.02"},
		{UINT64_MAX, "18446744073709.551615"},
	};
	struct text text = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		text_add_seconds(&text, cases[i].usec);
		check_end(&text, cases[i].text);
	}
}

static void escape(struct text *text, const char *string)
{
	text_add_escaped(text, string, strlen(string));
}

static void test_escaped(void **state)
{
	struct text text = {0};

	(void)state;
	escape(&text, "plain name_1.2-3");
	check_end(&text, "plain name_1.2-3");
	escape(&text, "a\"b\\c\nd");
	check_end(&text, "a\\\"b\\\\c\\nd");
	escape(&text, "\t\r\x01\x7f\xc3\xa4");
	check_end(&text, "??????");
	escape(&text, "");
	assert_int_equal(text.size, 0);
}

static void test_pieces_of_all_lengths(void **state)
{
	uint64_t random = random_seed(1);
	char model[200000] = "", piece[600];
	struct text text = {0};
	size_t size = 0;

	(void)state;
	while (size < sizeof(model) - sizeof(piece)) {
		size_t length = random_of(&random, sizeof(piece) - 1);

		memset(piece, (int)('a' + random_of(&random, 26)), length);
		piece[length] = '\0';
		text_add(&text, piece);
		memcpy(model + size, piece, length);
		size += length;
	}
	model[size] = '\0';
	check_end(&text, model);
}

static void test_no_memory_is_noted(void **state)
{
	struct text text = {0};
	char many[5000];

	(void)state;
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	text_add(&text, "before");
	has_memory = false;
	text_add(&text, many);
	has_memory = true;
	assert_true(text.is_short);
	text_add(&text, "after");
	assert_int_equal(text.size, strlen("before"));
	free(text.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_numbers),
		check_test(test_seconds),
		check_test(test_escaped),
		check_test(test_pieces_of_all_lengths),
		check_test(test_no_memory_is_noted),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
