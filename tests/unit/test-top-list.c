/* SPDX-License-Identifier: MIT */
/* The list of `usherctl top` and its numbers: order, selection, place, few columns. */
#include "random.h"
#include "table.h"
#include "test.h"
#include "top-list.h"
#include "top-text.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static struct top_row providers[] = {{.name = "p", .number = 4}, {.name = "p", .number = 9}};

static struct top_row services[] = {
	{.name = "a", .accepted = NAN, .p99_seconds = NAN, .in_service = 3},
	{.name = "b", .accepted = 5, .p99_seconds = 0.1, .in_service = 7},
	{.name = "c",
		.accepted = 9,
		.p99_seconds = NAN,
		.in_service = 3,
		.providers = providers,
		.n_providers = 2},
};

static const struct top_model model = {.services = services, .n_services = 3};

/* "c c/4 c/9 a b", and the selected one in brackets. */
static const char *lines_of(const struct top_list *list)
{
	static char text[256];
	size_t length = 0;

	for (size_t i = 0; i < list->n_lines; i++) {
		const struct top_line *line = &list->lines[i];
		bool is_selected = i == list->selected;
		char number[24] = "";

		if (line->provider)
			snprintf(number, sizeof(number), "/%d", (int)line->provider->number);
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s%s%s%s",
			i > 0 ? " " : "", is_selected ? "[" : "", line->service->name, number,
			is_selected ? "]" : "");
	}
	text[length] = '\0';
	return text;
}

static void update(struct top_list *list, const struct top_model *of)
{
	assert_int_equal(top_list_update(list, of), 0);
}

static void test_order(void **state)
{
	const char *const expected[TOP_N_ORDERS] = {
		[TOP_BY_NAME] = "[a] b c",
		[TOP_BY_ACCEPTED] = "c b [a]",
		[TOP_BY_REFUSED] = "[a] b c",
		[TOP_BY_IN_SERVICE] = "b [a] c",
		[TOP_BY_LATENCY] = "b [a] c",
	};
	struct top_list list = {0};

	(void)state;
	for (enum top_order order = 0; order < TOP_N_ORDERS; order++) {
		list.order = order;
		update(&list, &model);
		assert_string_equal(lines_of(&list), expected[order]);
		assert_non_null(top_order_name(order));
	}
	top_list_done(&list);
}

static void test_providers_are_shown_below_their_service(void **state)
{
	struct top_list list = {0};

	(void)state;
	update(&list, &model);
	top_list_move(&list, 2);
	top_list_toggle(&list);
	update(&list, &model);
	assert_string_equal(lines_of(&list), "a b [c] c/4 c/9");
	top_list_move(&list, 2);
	list.order = TOP_BY_ACCEPTED;
	update(&list, &model);
	assert_string_equal(lines_of(&list), "c c/4 [c/9] b a");
	top_list_toggle(&list); /* at a provider: its service is closed, and selected */
	update(&list, &model);
	assert_string_equal(lines_of(&list), "[c] b a");
	top_list_done(&list);
}

static void test_selection_stays_when_others_come_and_go(void **state)
{
	const struct top_model last = {.services = services + 2, .n_services = 1};
	const struct top_model none = {0};
	struct top_list list = {0};

	(void)state;
	update(&list, &model);
	top_list_move(&list, 2);
	update(&list, &last);
	assert_string_equal(lines_of(&list), "[c]");
	update(&list, &model);
	assert_string_equal(lines_of(&list), "a b [c]");
	top_list_move(&list, -1);
	update(&list, &last); /* b has gone: what is there is selected */
	assert_string_equal(lines_of(&list), "[c]");
	update(&list, &none);
	assert_int_equal(list.n_lines, 0);
	top_list_move(&list, 1);
	top_list_move(&list, -1);
	top_list_toggle(&list);
	top_list_fit(&list, 5);
	update(&list, &model);
	assert_string_equal(lines_of(&list), "a b [c]");
	top_list_done(&list);
}

static void test_move_ends_at_the_ends(void **state)
{
	struct top_list list = {0};

	(void)state;
	update(&list, &model);
	top_list_move(&list, 100);
	assert_string_equal(lines_of(&list), "a b [c]");
	top_list_move(&list, -100);
	assert_string_equal(lines_of(&list), "[a] b c");
	top_list_done(&list);
}

static void test_selected_line_is_always_on_the_screen(void **state)
{
	struct top_row many[50] = {{0}};
	struct top_model of = {.services = many, .n_services = 50};
	struct top_list list = {0};
	char names[50][8];
	uint64_t random = random_seed(7);

	(void)state;
	for (size_t i = 0; i < 50; i++) {
		snprintf(names[i], sizeof(names[i]), "s%zu", i);
		many[i].name = names[i];
	}
	for (int round = 0; round < 20000; round++) {
		size_t height = random_of(&random, 60);

		of.n_services = random_of(&random, 51);
		update(&list, &of);
		top_list_move(&list, (int)random_of(&random, 100) - 50);
		top_list_fit(&list, height);
		if (height == 0 || list.n_lines == 0)
			continue;
		assert_true(list.first <= list.selected && list.selected < list.first + height);
		assert_true(list.first == 0 || list.first + height <= list.n_lines);
	}
	top_list_done(&list);
}

static void check_rate(double number, const char *expected)
{
	char text[TOP_TEXT_SIZE];

	assert_string_equal(top_text_rate(number, text), expected);
}

static void test_rates(void **state)
{
	(void)state;
	check_rate(NAN, "-");
	check_rate(0, "0");
	check_rate(0.42, "0.4");
	check_rate(9.94, "9.9");
	check_rate(9.96, "10");
	check_rate(999.4, "999");
	check_rate(999.6, "1.0k");
	check_rate(12345, "12k");
	check_rate(83e6, "83M");
	check_rate(1e300, "999T");
}

static void test_counts(void **state)
{
	char text[TOP_TEXT_SIZE];

	(void)state;
	assert_string_equal(top_text_count(0, text), "0");
	assert_string_equal(top_text_count(9999, text), "9999");
	assert_string_equal(top_text_count(10000, text), "10k");
	assert_string_equal(top_text_count(UINT64_MAX, text), "999T");
}

static void test_seconds(void **state)
{
	char text[TOP_TEXT_SIZE];

	(void)state;
	assert_string_equal(top_text_seconds(NAN, true, text), "-");
	assert_string_equal(top_text_seconds(84e-6, true, text), "84\302\265s");
	assert_string_equal(top_text_seconds(84e-6, false, text), "84us");
	assert_string_equal(top_text_seconds(0.0012, true, text), "1.2ms");
	assert_string_equal(top_text_seconds(31, true, text), "31s");
	assert_string_equal(top_text_seconds(1e9, true, text), "999s");
}

static void test_no_number_is_too_wide(void **state)
{
	char text[TOP_TEXT_SIZE];

	(void)state;
	for (double number = 1e-9; number < 1e20; number *= 1.01) {
		assert_true(strlen(top_text_rate(number, text)) <= TOP_TEXT_WIDTH);
		assert_true(strlen(top_text_count((uint64_t)fmin(number, 1e19), text)) <=
			    TOP_TEXT_WIDTH);
		assert_true(strlen(top_text_seconds(number, false, text)) <= TOP_TEXT_WIDTH);
	}
}

static void test_bar_is_empty_or_full_only_if_that_is_so(void **state)
{
	(void)state;
	assert_int_equal(top_text_bar(0, 100, 10), 0);
	assert_int_equal(top_text_bar(1, 1000, 10), 1);
	assert_int_equal(top_text_bar(50, 100, 10), 5);
	assert_int_equal(top_text_bar(999, 1000, 10), 9);
	assert_int_equal(top_text_bar(1000, 1000, 10), 10);
	assert_int_equal(top_text_bar(7, 0, 10), 1); /* nonsense, but within the bar */
	assert_int_equal(top_text_bar(5, 10, 0), 0);
	assert_int_equal(top_text_bar(5, 10, 1), 1);
}

static void test_cut_text_fits(void **state)
{
	char text[] = "a\346\227\245\346\234\254z"; /* 1, 2, 2 and 1 columns */

	(void)state;
	assert_string_equal(text_cut(text, 6), "a\346\227\245\346\234\254z");
	assert_string_equal(text_cut(text, 4), "a\346\227\245");
	assert_string_equal(text_cut(text, 0), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_order),
		check_test(test_providers_are_shown_below_their_service),
		check_test(test_selection_stays_when_others_come_and_go),
		check_test(test_move_ends_at_the_ends),
		check_test(test_selected_line_is_always_on_the_screen),
		check_test(test_rates),
		check_test(test_counts),
		check_test(test_seconds),
		check_test(test_no_number_is_too_wide),
		check_test(test_bar_is_empty_or_full_only_if_that_is_so),
		check_test(test_cut_text_fits),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
