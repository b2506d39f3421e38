/* SPDX-License-Identifier: MIT */
/*
 * dispatch: connections that nobody can take now. Parking, connections that come from somewhere
 * else than accept4(2), and standby providers.
 *
 * dispatch-world.h says how to read a test.
 */
#include "dispatch-world.h"

/* Parking */

/* Two connections wait because nobody is there. */
static void begin_with_two_waiting(struct world *w, uint32_t instances)
{
	begin(w, DISPATCH_LEAST, instances);
	join(w, "x", 2);
	offer(w, 2);
	happens_whatever(w);
	leave(w, w->providers[0]);
	happens_whatever(w);
	assert_int_equal(dispatch_n_waiting(w->d), 2);
}

static void test_parked_ones_come_back_oldest_first_with_new_ids(void **state)
{
	struct world w;
	uint64_t old_ids[3];

	(void)state;
	begin_with_two_waiting(&w, 100);
	memcpy(old_ids, w.ids, sizeof(old_ids));
	park(&w, 2);
	happens(&w, "");
	assert_int_equal(dispatch_n_parked(w.d), 2);
	assert_int_equal(dispatch_n_waiting(w.d), 0);
	assert_null(dispatch_oldest_waiting(w.d));
	join(&w, "a", 9);
	happens(&w, "");
	unpark(&w, 2);
	happens(&w, "1>a 2>a resume");
	assert_int_equal(dispatch_n_parked(w.d), 0);
	assert_int_not_equal(w.ids[1], old_ids[1]);
	assert_int_not_equal(w.ids[2], old_ids[2]);
	assert_int_equal(dispatch_totals(w.d)->n_parked, 2);
	assert_int_equal(dispatch_totals(w.d)->n_accepted, 2);
	finish(&w);
}

static void test_no_room_for_new_ones_while_one_is_parked(void **state)
{
	struct world w;

	(void)state;
	begin_with_two_waiting(&w, 100);
	park(&w, 2);
	join(&w, "a", 9);
	happens(&w, "");
	assert_int_equal(dispatch_room(w.d, 16), 0);
	assert_null(dispatch_offer(w.d, 0, 0));
	unpark(&w, 1);
	happens(&w, "1>a");
	assert_true(dispatch_is_paused(w.d));
	expire(&w);
	happens(&w, "resume");
	assert_int_equal(dispatch_room(w.d, 16), 8);
	finish(&w);
}

static void test_parked_ones_stay_while_nobody_has_credit(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin_with_two_waiting(&w, 100);
	assert_false(dispatch_can_unpark(w.d));
	park(&w, 2);
	assert_false(dispatch_can_unpark(w.d));
	assert_null(dispatch_unpark(w.d, 0, 0));
	a = join(&w, "a", 1);
	unpark(&w, 1);
	happens(&w, "1>a");
	assert_false(dispatch_can_unpark(w.d));
	assert_null(dispatch_unpark(w.d, 0, 0));
	set_credit(&w, a, 1, 5);
	happens(&w, "");
	unpark(&w, 1);
	happens(&w, "2>a resume");
	finish(&w);
}

static void test_parked_ones_count_against_instances(void **state)
{
	struct world w;

	(void)state;
	begin_with_two_waiting(&w, 3);
	park(&w, 2);
	take_over(&w);
	assert_null(dispatch_take_over(w.d, 0, 0));
	happens(&w, "");
	expire(&w);
	take_over(&w);
	assert_null(dispatch_take_over(w.d, 0, 0));
	happens(&w, "");
	finish(&w);
}

static void test_parked_ones_come_back_above_fewer_instances(void **state)
{
	struct world w;

	(void)state;
	begin_with_two_waiting(&w, 100);
	park(&w, 2);
	dispatch_configure(w.d, DISPATCH_LEAST, 1);
	join(&w, "a", 9);
	unpark(&w, 2);
	happens(&w, "1>a 2>a");
	assert_int_equal(dispatch_room(w.d, 16), 0);
	finish(&w);
}

static void test_expired_ones_have_a_count_of_their_own(void **state)
{
	struct world w;

	(void)state;
	begin_with_two_waiting(&w, 100);
	park(&w, 2);
	expire(&w);
	happens(&w, "");
	assert_int_equal(dispatch_n_parked(w.d), 1);
	assert_int_equal(dispatch_totals(w.d)->n_parked, 2);
	assert_int_equal(dispatch_totals(w.d)->n_expired, 1);
	assert_int_equal(dispatch_totals(w.d)->n_given_up, 0);
	finish(&w);
}

static void test_parked_ones_found_at_the_start_are_taken_over(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	find_parked(&w, 3);
	happens(&w, "");
	assert_int_equal(dispatch_totals(w.d)->n_taken_over, 3);
	assert_int_equal(dispatch_totals(w.d)->n_parked, 0);
	join(&w, "a", 9);
	happens(&w, "");
	unpark(&w, 3);
	happens(&w, "1>a 2>a 3>a resume");
	finish(&w);
}

/* More may be found at the start than there can be instances: one in excess stays where it is. */
static void test_parked_ones_beyond_all_slots_stay_parked(void **state)
{
	const uint32_t n = DISPATCH_MAX_INSTANCES + 1;
	const struct dispatch_hello hello = {.credit = (int32_t)n, .weight = 1};
	struct dispatch_provider *p;
	struct dispatch_action action;
	struct dispatch *d;

	(void)state;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, DISPATCH_MAX_INSTANCES), 0);
	dispatch_set_parked(d, n);
	p = dispatch_register(d, &hello, NULL, 0);
	assert_non_null(p);
	for (uint32_t i = 1; i < n; i++)
		if (!dispatch_unpark(d, 0, 0))
			fail_msg("only %u could be taken out", i);
	assert_false(dispatch_can_unpark(d));
	assert_null(dispatch_unpark(d, 0, 0));
	assert_int_equal(dispatch_n_parked(d), 1);
	while (dispatch_next(d, &action))
		;
	dispatch_check(d);
	dispatch_gone(d, p, 0);
	while (dispatch_take_waiting(d, &(struct handoff){0}))
		;
	dispatch_free(d);
}

/* Connections that are there already */

static void test_taken_over_waits_although_nobody_has_credit(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 0);
	take_over(&w);
	happens(&w, "");
	assert_int_equal(dispatch_n_waiting(w.d), 1);
	assert_int_equal(dispatch_oldest_waiting(w.d)->fd, 1);
	set_credit(&w, a, 0, 2);
	happens(&w, "1>a resume");
	take_over(&w);
	happens(&w, "2>a pause");
	assert_int_equal(dispatch_totals(w.d)->n_taken_over, 2);
	assert_int_equal(dispatch_totals(w.d)->n_accepted, 0);
	finish(&w);
}

static void test_taken_over_waits_behind_those_that_are_parked(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 0);
	find_parked(&w, 2);
	set_credit(&w, a, 0, 5);
	take_over(&w);
	happens(&w, "");
	dispatch_check(w.d);
	park(&w, 1);
	unpark(&w, 3);
	happens(&w, "1>a 2>a 3>a resume");
	take_over(&w);
	happens(&w, "4>a");
	finish(&w);
}

static void test_forward_ends_the_connection_and_gives_credit_back(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 1);
	offer(&w, 1);
	happens(&w, "1>a");
	claim(&w, a, 1);
	happens(&w, "close:1");
	forward(&w, a, 1);
	happens(&w, "resume");
	assert_int_equal(a->credit, 1);
	assert_int_equal(a->n_served, 0);
	assert_int_equal(dispatch_n_in_service(w.d), 0);
	assert_int_equal(dispatch_totals(w.d)->n_forwarded, 1);
	assert_int_equal(dispatch_totals(w.d)->n_released, 0);
	assert_refused(&w, a, release_one(w.d, a, w.ids[1], 0));
	finish(&w);
}

static void test_forward_tells_what_was_known_of_the_connection(void **state)
{
	struct world w;
	struct dispatch_provider *a;
	struct handoff h;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join_as(&w, "a", 1, 1, 1);
	offer(&w, 1);
	a->unclaimed.first->n_hops = 3;
	a->unclaimed.first->accepted_ns = 99;
	happens(&w, "1>a");
	claim(&w, a, 1);
	happens(&w, "close:1");
	assert_int_equal(dispatch_forwarded(w.d, a, w.ids[1], &h, 0), 0);
	happens(&w, "resume");
	assert_int_equal(h.n_hops, 3);
	assert_int_equal(h.accepted_ns, 99);
	assert_int_equal(h.fd, -EBADF);
	assert_int_equal(dispatch_forwarded(w.d, a, 0, &h, 0), 0);
	happens(&w, "");
	assert_int_equal(h.id, 0);
	assert_int_equal(h.n_hops, 0);
	assert_int_equal(h.fd, -EBADF);
	finish(&w);
}

static void test_forward_of_a_foreign_one_counts_it_out(void **state)
{
	struct world w;
	struct dispatch_provider *a;
	struct handoff h;

	(void)state;
	begin(&w, DISPATCH_LEAST, 1);
	a = join_as(&w, "a", 0, 1, 1);
	happens(&w, "");
	assert_int_equal(dispatch_forwarded(w.d, a, 0, &h, 0), 0);
	happens(&w, "resume");
	assert_int_equal(a->n_foreign, 0);
	assert_int_equal(a->credit, 1);
	assert_int_equal(dispatch_totals(w.d)->n_forwarded, 0);
	assert_refused(&w, a, dispatch_forwarded(w.d, a, 0, &h, 0));
	finish(&w);
}

static void test_forged_forward_is_refused(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;
	struct handoff h;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 1);
	offer(&w, 1);
	happens(&w, "1>a");
	b = join(&w, "b", 0);
	assert_refused(&w, a, dispatch_forwarded(w.d, a, w.ids[1], &h, 0)); /* not claimed */
	assert_refused(&w, a, dispatch_handed_back(w.d, a, w.ids[1], &h));
	claim(&w, a, 1);
	happens(&w, "close:1");
	assert_refused(&w, b, dispatch_forwarded(w.d, b, w.ids[1], &h, 0)); /* not its own */
	assert_refused(&w, b, dispatch_handed_back(w.d, b, w.ids[1], &h));
	assert_refused(&w, a, dispatch_forwarded(w.d, a, w.ids[1] + 1, &h, 0));
	assert_refused(&w, a, dispatch_forwarded(w.d, a, UINT64_MAX, &h, 0));
	assert_refused(&w, a, dispatch_handed_back(w.d, a, 0, &h));
	finish(&w);
}

static void test_handed_back_goes_to_somebody_else(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 5);
	b = join_as(&w, "b", 5, 1, 4);
	offer(&w, 1);
	happens(&w, "1>a resume");
	claim(&w, a, 1);
	happens(&w, "close:1");
	hand_back(&w, a, 1);
	take_over(&w);
	happens(&w, "2>b");
	assert_int_equal(a->credit, 0);
	assert_int_equal(b->credit, 4);
	set_credit(&w, a, 1, 5);
	offer(&w, 1);
	happens(&w, "3>a");
	finish(&w);
}

static void test_handing_back_pays_one_of_a_debt(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 2);
	offer(&w, 2);
	happens(&w, "1>a 2>a");
	claim(&w, a, 2);
	happens(&w, "close:1 close:2");
	set_credit(&w, a, 2, -2);
	hand_back(&w, a, 1);
	assert_int_equal(a->credit, -1);
	take_over(&w);
	happens(&w, "");
	assert_int_equal(dispatch_n_waiting(w.d), 1);
	finish(&w);
}

static void test_the_only_provider_may_hand_back_at_the_limit_of_instances(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 1);
	a = join(&w, "a", 5);
	offer(&w, 1);
	happens(&w, "1>a");
	claim(&w, a, 1);
	happens(&w, "close:1");
	hand_back(&w, a, 1);
	take_over(&w);
	happens(&w, "");
	park(&w, 1);
	set_credit(&w, a, 1, 1);
	unpark(&w, 1);
	happens(&w, "2>a");
	finish(&w);
}

/* Standby */

static void test_standby_gets_nothing_while_another_has_credit(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join_standby(&w, "s", 9);
	a = join_as(&w, "a", 3, 1, 50); /* however loaded */
	happens(&w, "resume");
	assert_int_equal(dispatch_room(w.d, 100), 12);
	offer(&w, 5);
	happens(&w, "1>a 2>a 3>a 4>s 5>s");
	set_credit(&w, a, 3, 1);
	offer(&w, 2);
	happens(&w, "6>a 7>s");
	finish(&w);
}

static void test_standby_steps_in_for_who_is_not_ready(void **state)
{
	static const enum provider_state states[] = {
		PROVIDER_BLOCKED, PROVIDER_STUCK, PROVIDER_DRAINING, PROVIDER_QUARANTINED};

	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct world w;
		struct dispatch_provider *a;

		begin(&w, DISPATCH_ROUND_ROBIN, 100);
		a = join(&w, "a", 9);
		join_standby(&w, "s", 9);
		offer(&w, 1);
		happens(&w, "1>a resume");
		set_state(&w, a, states[i]);
		happens(&w, "");
		offer(&w, 1);
		happens(&w, "2>s");
		finish(&w);
	}
}

static void test_standby_takes_over_from_a_dead_one(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 2);
	join_standby(&w, "s", 9);
	offer(&w, 2);
	happens(&w, "1>a 2>a resume");
	leave(&w, a);
	happens(&w, "1>s 2>s");
	finish(&w);
}

static void test_standbys_are_balanced_among_themselves(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	join_standby(&w, "s", 9);
	join(&w, "a", 2);
	join_standby(&w, "t", 9);
	offer(&w, 6);
	happens(&w, "1>a 2>a 3>t 4>s 5>t 6>s resume");
	finish(&w);
}

static void test_standby_counts_as_serving(void **state)
{
	struct world w;
	struct dispatch_provider *s;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	s = join_standby(&w, "s", 9);
	happens(&w, "resume");
	assert_int_equal(dispatch_n_serving(w.d), 1);
	set_state(&w, s, PROVIDER_DRAINING);
	happens(&w, "pause");
	assert_int_equal(dispatch_n_serving(w.d), 0);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_parked_ones_come_back_oldest_first_with_new_ids),
		check_test(test_no_room_for_new_ones_while_one_is_parked),
		check_test(test_parked_ones_stay_while_nobody_has_credit),
		check_test(test_parked_ones_count_against_instances),
		check_test(test_parked_ones_come_back_above_fewer_instances),
		check_test(test_expired_ones_have_a_count_of_their_own),
		check_test(test_parked_ones_found_at_the_start_are_taken_over),
		check_test(test_parked_ones_beyond_all_slots_stay_parked),
		check_test(test_taken_over_waits_although_nobody_has_credit),
		check_test(test_taken_over_waits_behind_those_that_are_parked),
		check_test(test_forward_ends_the_connection_and_gives_credit_back),
		check_test(test_forward_tells_what_was_known_of_the_connection),
		check_test(test_forward_of_a_foreign_one_counts_it_out),
		check_test(test_forged_forward_is_refused),
		check_test(test_handed_back_goes_to_somebody_else),
		check_test(test_handing_back_pays_one_of_a_debt),
		check_test(test_the_only_provider_may_hand_back_at_the_limit_of_instances),
		check_test(test_standby_gets_nothing_while_another_has_credit),
		check_test(test_standby_steps_in_for_who_is_not_ready),
		check_test(test_standby_takes_over_from_a_dead_one),
		check_test(test_standbys_are_balanced_among_themselves),
		check_test(test_standby_counts_as_serving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
