/* SPDX-License-Identifier: MIT */
/* array: elements stay what they are while it grows, new ones are zero, and no memory changes
 * nothing. */
#include "array.h"
#include "test.h"

#include <stdlib.h>

static bool has_memory = true;

void *__real_reallocarray(void *first, size_t n, size_t size);
void *__wrap_reallocarray(void *first, size_t n, size_t size);
void *__wrap_reallocarray(void *first, size_t n, size_t size)
{
	return has_memory ? __real_reallocarray(first, n, size) : NULL;
}

struct element {
	size_t number;
	char rest[5];
};

static void test_elements_stay_while_it_grows(void **state)
{
	struct element *array = NULL, *added;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < 1000; i++) {
		added = array_add(&array, &n, sizeof(*added));
		assert_int_equal(n, i + 1);
		assert_ptr_equal(added, &array[i]);
		assert_int_equal(added->number, 0);
		added->number = i + 1;
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(array[i].number, i + 1);
	free(array);
}

/* Also what was there before it was made shorter. */
static void test_new_elements_are_zero(void **state)
{
	struct element *array = NULL;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 5; i++)
		*(struct element *)array_add(&array, &n, sizeof(*array)) =
			(struct element){7, {1, 2, 3, 4, 5}};
	for (n = 3; n < 20;) {
		struct element *added = array_add(&array, &n, sizeof(*array));

		assert_int_equal(added->number, 0);
		assert_int_equal(added->rest[4], 0);
	}
	assert_int_equal(array[2].rest[4], 5);
	free(array);
}

static void test_without_memory_nothing_changes(void **state)
{
	struct element *array = NULL;
	size_t n = 0;

	(void)state;
	has_memory = false;
	assert_null(array_add(&array, &n, sizeof(*array)));
	assert_null(array);
	has_memory = true;
	for (int i = 0; i < 4; i++)
		assert_non_null(array_add(&array, &n, sizeof(*array)));
	array[3].number = 9;
	has_memory = false;
	assert_null(array_add(&array, &n, sizeof(*array)));
	has_memory = true;
	assert_int_equal(n, 4);
	assert_int_equal(array[3].number, 9);
	free(array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_elements_stay_while_it_grows),
		check_test(test_new_elements_are_zero),
		check_test(test_without_memory_nothing_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
