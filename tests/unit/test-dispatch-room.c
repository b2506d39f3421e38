/* SPDX-License-Identifier: MIT */
/*
 * dispatch: how many connections may come in. Room, batches, pause and resume, instances,
 * connections from an earlier channel, ids, the end of a service, and lack of memory.
 *
 * dispatch-world.h says how to read a test.
 */
#include "dispatch-world.h"

/* How many allocations succeed before one fails; negative: all succeed. */
static int n_allocations_left = -1;

void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);

static bool is_out_of_memory(void)
{
	return n_allocations_left >= 0 && n_allocations_left-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_out_of_memory() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return is_out_of_memory() ? NULL : __real_reallocarray(old, n, size);
}

/* Room, batches, pause and resume */

static void test_batch_larger_than_a_chunk_comes_out_in_order(void **state)
{
	struct world w;
	struct dispatch_provider *a;
	struct dispatch_action action;

	(void)state;
	begin(&w, DISPATCH_LEAST, 1000);
	a = join(&w, "a", 300);
	offer(&w, 300); /* the memory grows while actions are waiting */
	for (uint64_t n = 1; n <= 300; n++) {
		assert_true(dispatch_next(w.d, &action));
		assert_int_equal(action.type, DISPATCH_GIVE);
		assert_int_equal(action.handoff->sequence, n);
		assert_int_equal(action.handoff->fd, n);
	}
	assert_false(dispatch_next(w.d, &action));
	claim(&w, a, 300);
	for (int n = 1; n <= 300; n++) {
		assert_true(dispatch_next(w.d, &action));
		assert_int_equal(action.type, DISPATCH_CLOSE);
		assert_int_equal(action.handoff->fd, n);
	}
	assert_false(dispatch_next(w.d, &action));
	finish(&w);
}

static void test_room_is_the_least_of_credit_instances_and_what_is_asked(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 10);
	assert_int_equal(dispatch_room(w.d, 16), 0);
	join(&w, "a", 4);
	assert_int_equal(dispatch_room(w.d, 16), 4);
	assert_int_equal(dispatch_room(w.d, 3), 3);
	assert_int_equal(dispatch_room(w.d, 0), 0);
	join(&w, "b", 4);
	assert_int_equal(dispatch_room(w.d, 16), 8);
	join(&w, "c", 4);
	assert_int_equal(dispatch_room(w.d, 16), 10);
	offer(&w, 3);
	assert_int_equal(dispatch_room(w.d, 16), 7);
	happens_whatever(&w);
	finish(&w);
}

static void test_offer_beyond_room_returns_null(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	assert_null(dispatch_offer(w.d, 0, 0));
	join(&w, "a", 2);
	assert_null(dispatch_offer(w.d, 0, 0)); /* dispatch_room() has not made any */
	offer(&w, 2);
	assert_null(dispatch_offer(w.d, 0, 0));
	happens(&w, "1>a 2>a");
	assert_null(dispatch_offer(w.d, 0, 0));
	happens(&w, "");
	assert_int_equal(dispatch_totals(w.d)->n_accepted, 2);
	finish(&w);
}

static void test_pause_and_resume_are_said_once(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	happens(&w, ""); /* starts paused, so there is nothing to say */
	assert_true(dispatch_is_paused(w.d));
	a = join(&w, "a", 1);
	happens(&w, "resume");
	happens(&w, "");
	assert_false(dispatch_is_paused(w.d));
	set_credit(&w, a, 0, 2);
	happens(&w, "");
	set_credit(&w, a, 0, 0);
	happens(&w, "pause");
	happens(&w, "");
	set_credit(&w, a, 0, -1);
	happens(&w, "");
	finish(&w);
}

static void test_flutter_within_a_turn_says_nothing(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 1);
	happens(&w, "resume");
	set_credit(&w, a, 0, 0);
	set_credit(&w, a, 0, 1);
	happens(&w, "");
	offer(&w, 1);
	join(&w, "b", 1);
	happens(&w, "1>a");
	finish(&w);
}

static void test_instances_reached_pauses_and_left_resumes(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 2);
	a = join(&w, "a", 100);
	happens(&w, "resume");
	offer(&w, 2);
	happens(&w, "1>a 2>a pause");
	claim(&w, a, 2);
	happens(&w, "close:1 close:2");
	release(&w, a, 2);
	happens(&w, "resume");
	offer(&w, 1);
	happens(&w, "3>a pause");
	leave(&w, a); /* 3 waits and still counts, 1 does not */
	join(&w, "b", 100);
	happens(&w, "3>b resume");
	finish(&w);
}

static void test_configure_fewer_instances_keeps_connections(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 10);
	a = join(&w, "a", 100);
	offer(&w, 4);
	happens(&w, "1>a 2>a 3>a 4>a resume");
	dispatch_configure(w.d, DISPATCH_LEAST, 2);
	happens(&w, "pause");
	claim(&w, a, 4);
	happens(&w, "close:1 close:2 close:3 close:4");
	release(&w, a, 1);
	release(&w, a, 2);
	happens(&w, "");
	release(&w, a, 3);
	happens(&w, "resume");
	dispatch_configure(w.d, DISPATCH_LEAST, 1);
	happens(&w, "pause");
	dispatch_configure(w.d, DISPATCH_LEAST, DISPATCH_MAX_INSTANCES);
	happens(&w, "resume");
	finish(&w);
}

static void test_configure_changes_balance(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join_as(&w, "a", 9, 1, 5);
	join(&w, "b", 9);
	offer(&w, 2);
	happens(&w, "1>b 2>b resume");
	dispatch_configure(w.d, DISPATCH_ROUND_ROBIN, 100);
	offer(&w, 3);
	happens(&w, "3>a 4>b 5>a");
	finish(&w);
}

/* Connections from an earlier channel */

static void test_foreign_connections_count_until_released(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 3);
	a = join_as(&w, "a", 0, 1, 3);
	happens(&w, "");
	assert_int_equal(dispatch_n_in_service(w.d), 3);
	set_credit(&w, a, 0, 1);
	happens(&w, "");
	assert_int_equal(release_one(w.d, a, 0, 0), 0);
	happens(&w, "resume");
	assert_int_equal(a->credit, 2);
	assert_int_equal(a->n_foreign, 2);
	assert_int_equal(a->n_served, 0);
	assert_int_equal(dispatch_totals(w.d)->n_released, 0);
	leave(&w, a);
	happens(&w, "pause");
	assert_int_equal(dispatch_n_in_service(w.d), 0);
	assert_int_equal(dispatch_totals(w.d)->n_lost, 0);
	finish(&w);
}

static void test_foreign_release_beyond_holding_is_refused(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join_as(&w, "a", 1, 1, 1);
	b = join_as(&w, "b", 1, 1, 0);
	happens(&w, "resume");
	assert_refused(&w, b, release_one(w.d, b, 0, 0));
	assert_int_equal(release_one(w.d, a, 0, 0), 0);
	happens(&w, "");
	assert_refused(&w, a, release_one(w.d, a, 0, 0));
	finish(&w);
}

/* Ids, the end of a service, memory */

static void test_ids_are_never_0_and_never_repeat(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 1);
	a = join(&w, "a", 1);
	happens(&w, "resume");
	for (int n = 1; n <= 200; n++) {
		offer(&w, 1);
		happens_whatever(&w);
		assert_int_not_equal(w.ids[n], 0);
		for (int earlier = 1; earlier < n; earlier++)
			assert_int_not_equal(w.ids[n], w.ids[earlier]);
		claim(&w, a, a->last_sequence);
		happens_whatever(&w);
		release(&w, a, n);
		happens_whatever(&w);
	}
	finish(&w);
}

static void test_take_waiting_is_oldest_first(void **state)
{
	struct world w;
	struct dispatch_provider *a;
	struct handoff h;

	(void)state;
	begin(&w, DISPATCH_LEAST, 2);
	a = join(&w, "a", 2);
	offer(&w, 2);
	happens(&w, "1>a 2>a");
	assert_false(dispatch_take_waiting(w.d, &h));
	leave(&w, a);
	assert_true(dispatch_take_waiting(w.d, &h));
	assert_int_equal(h.fd, 1);
	assert_int_equal(h.id, w.ids[1]);
	assert_int_equal(dispatch_n_waiting(w.d), 1);
	assert_true(dispatch_take_waiting(w.d, &h));
	assert_int_equal(h.fd, 2);
	assert_false(dispatch_take_waiting(w.d, &h));
	assert_int_equal(dispatch_totals(w.d)->n_given_up, 2);
	join(&w, "b", 9);
	happens(&w, "resume");
	assert_int_equal(dispatch_room(w.d, 16), 2);
	finish(&w);
}

static void test_free_of_null_returns_null(void **state)
{
	(void)state;
	assert_null(dispatch_free(NULL));
}

static void test_new_out_of_memory(void **state)
{
	struct dispatch *d = NULL;

	(void)state;
	n_allocations_left = 0;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, 100), -ENOMEM);
	assert_null(d);
}

static void test_register_out_of_memory_changes_nothing(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	n_allocations_left = 0;
	assert_null(dispatch_register(
		w.d, &(struct dispatch_hello){.credit = 9, .weight = 1, .n_foreign = 9}, NULL, 0));
	happens(&w, "");
	assert_int_equal(dispatch_n_serving(w.d), 0);
	assert_int_equal(dispatch_n_in_service(w.d), 0);
	finish(&w);
}

static void test_room_out_of_memory_is_no_room_then_goes_on(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 500);
	join(&w, "a", 500);
	happens(&w, "resume");
	for (int n_successes = 0; n_successes < 3; n_successes++) {
		n_allocations_left = n_successes;
		assert_int_equal(dispatch_room(w.d, 16), 0);
		assert_int_equal(n_allocations_left, -1);
		assert_null(dispatch_offer(w.d, 0, 0));
		happens(&w, "");
	}
	assert_int_equal(dispatch_room(w.d, 16), 16);
	offer(&w, 16);
	happens_whatever(&w);
	finish(&w);
}

static void test_room_out_of_memory_is_what_memory_there_is(void **state)
{
	struct world w;
	uint32_t n_before;

	(void)state;
	begin(&w, DISPATCH_LEAST, 500);
	join(&w, "a", 500);
	assert_int_equal(dispatch_room(w.d, 1), 1);
	n_allocations_left = 0;
	n_before = dispatch_room(w.d, 500); /* of the chunk that the first one needed */
	assert_in_range(n_before, 1, 499);
	offer(&w, (int)n_before);
	n_allocations_left = 0;
	assert_int_equal(dispatch_room(w.d, 500), 0);
	happens_whatever(&w);
	assert_int_equal(dispatch_room(w.d, 500), 500 - n_before);
	offer(&w, 500 - (int)n_before);
	happens_whatever(&w);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_batch_larger_than_a_chunk_comes_out_in_order),
		check_test(test_room_is_the_least_of_credit_instances_and_what_is_asked),
		check_test(test_offer_beyond_room_returns_null),
		check_test(test_pause_and_resume_are_said_once),
		check_test(test_flutter_within_a_turn_says_nothing),
		check_test(test_instances_reached_pauses_and_left_resumes),
		check_test(test_configure_fewer_instances_keeps_connections),
		check_test(test_configure_changes_balance),
		check_test(test_foreign_connections_count_until_released),
		check_test(test_foreign_release_beyond_holding_is_refused),
		check_test(test_ids_are_never_0_and_never_repeat),
		check_test(test_take_waiting_is_oldest_first),
		check_test(test_free_of_null_returns_null),
		check_test(test_new_out_of_memory),
		check_test(test_register_out_of_memory_changes_nothing),
		check_test(test_room_out_of_memory_is_no_room_then_goes_on),
		check_test(test_room_out_of_memory_is_what_memory_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
