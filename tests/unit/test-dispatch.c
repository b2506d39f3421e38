/* SPDX-License-Identifier: MIT */
/*
 * dispatch: who gets the next connection. Credit as dispatch.h counts it, and both ways of
 * balance, one named case for each rule.
 *
 * dispatch-world.h says how to read a test.
 */
#include "dispatch-world.h"

#include <stdio.h>

/* Credit */

static void test_give_takes_one_credit(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 3);
	happens(&w, "resume");
	offer(&w, 1);
	happens(&w, "1>a");
	assert_int_equal(a->credit, 2);
	offer(&w, 2);
	happens(&w, "2>a 3>a pause");
	assert_int_equal(a->credit, 0);
	assert_int_equal(a->last_sequence, 3);
	finish(&w);
}

static void test_claim_gives_no_credit(void **state)
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
	assert_int_equal(a->credit, 0);
	assert_int_equal(dispatch_n_unclaimed(w.d), 0);
	assert_int_equal(dispatch_n_in_service(w.d), 1);
	assert_int_equal(dispatch_totals(w.d)->n_claimed, 1);
	finish(&w);
}

static void test_release_gives_one_credit(void **state)
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
	release(&w, a, 1);
	happens(&w, "resume");
	assert_int_equal(a->credit, 1);
	assert_int_equal(a->n_served, 1);
	assert_int_equal(dispatch_n_in_service(w.d), 0);
	assert_int_equal(dispatch_totals(w.d)->n_released, 1);
	finish(&w);
}

static void test_credit_counts_connections_on_their_way(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 5);
	offer(&w, 4);
	happens(&w, "1>a 2>a 3>a 4>a resume");
	set_credit(&w, a, 1, 10); /* it had seen 1 of 4 */
	assert_int_equal(a->credit, 7);
	set_credit(&w, a, 4, 10);
	assert_int_equal(a->credit, 10);
	set_credit(&w, a, 0, 4);
	assert_int_equal(a->credit, 0);
	happens(&w, "pause");
	finish(&w);
}

static void test_credit_lets_the_waiting_ones_go_first(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 2);
	offer(&w, 2);
	happens(&w, "1>a 2>a");
	decline(&w, a, 1, 2);
	happens(&w, "");
	assert_int_equal(dispatch_n_waiting(w.d), 2);
	set_credit(&w, a, 2, 3);
	happens(&w, "1>a 2>a resume");
	offer(&w, 1);
	happens(&w, "3>a pause");
	finish(&w);
}

static void test_negative_credit_needs_releases_first(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 10);
	offer(&w, 3);
	happens(&w, "1>a 2>a 3>a resume");
	claim(&w, a, 3);
	happens(&w, "close:1 close:2 close:3");
	set_credit(&w, a, 3, -2);
	happens(&w, "pause");
	assert_int_equal(a->credit, -2);
	release(&w, a, 1);
	release(&w, a, 2);
	happens(&w, "");
	assert_int_equal(a->credit, 0);
	release(&w, a, 3);
	happens(&w, "resume");
	finish(&w);
}

static void test_credit_of_one_does_not_hide_debt_of_another(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join(&w, "a", -5);
	join(&w, "b", 1);
	happens(&w, "resume");
	assert_int_equal(dispatch_room(w.d, 100), 1);
	offer(&w, 1);
	happens(&w, "1>b pause");
	finish(&w);
}

static void test_decline_gives_no_credit_back(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 1);
	b = join(&w, "b", 1);
	offer(&w, 1);
	happens(&w, "1>a resume");
	decline(&w, a, 1, 1);
	happens(&w, "1>b pause");
	assert_int_equal(a->credit, 0);
	assert_int_equal(b->credit, 0);
	assert_int_equal(a->last_sequence, 1);
	assert_int_equal(dispatch_totals(w.d)->n_declined, 1);
	finish(&w);
}

static void test_unsent_gives_credit_and_sequence_back(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 5);
	offer(&w, 3);
	happens(&w, "1>a 2>a 3>a resume");
	dispatch_unsent(w.d, a, 2, 0);
	happens(&w, "pause");
	assert_int_equal(a->credit, 4);
	assert_int_equal(a->last_sequence, 1);
	assert_int_equal(a->state, PROVIDER_BLOCKED);
	assert_int_equal(dispatch_n_waiting(w.d), 2);
	set_state(&w, a, PROVIDER_READY);
	happens(&w, "2>a 3>a resume");
	assert_int_equal(a->last_sequence, 3);
	claim(&w, a, 3);
	happens(&w, "close:1 close:2 close:3");
	finish(&w);
}

static void test_unsent_go_to_somebody_else(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 2);
	offer(&w, 2);
	happens(&w, "1>a 2>a");
	b = join(&w, "b", 9);
	happens(&w, "resume");
	dispatch_unsent(w.d, a, 2, 0);
	happens(&w, "1>b 2>b");
	assert_int_equal(b->last_sequence, 2);
	assert_int_equal(dispatch_totals(w.d)->n_redispatched, 0);
	assert_int_equal(dispatch_totals(w.d)->n_declined, 0);
	finish(&w);
}

static void test_unsent_to_a_leaving_provider_keeps_its_state(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 2);
	offer(&w, 1);
	happens(&w, "1>a resume");
	set_state(&w, a, PROVIDER_DRAINING);
	happens(&w, "pause");
	dispatch_unsent(w.d, a, 1, 0);
	happens(&w, "");
	assert_int_equal(a->state, PROVIDER_DRAINING);
	assert_int_equal(dispatch_n_waiting(w.d), 1);
	finish(&w);
}

/* Balance */

static void test_least_chooses_who_has_less_in_hand(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 3);
	happens(&w, "1>a 2>a 3>a resume");
	b = join(&w, "b", 9);
	claim(&w, a, 2);
	happens(&w, "close:1 close:2");
	offer(&w, 2);
	happens(&w, "4>b 5>b");
	claim(&w, b, 2);
	happens(&w, "close:4 close:5");
	release(&w, b, 4);
	release(&w, b, 5);
	release(&w, a, 1);
	happens_whatever(&w);
	offer(&w, 2);
	happens(&w, "6>b 7>b");
	finish(&w);
}

static void test_least_divides_load_by_weight(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join_as(&w, "a", 100, 1, 0);
	join_as(&w, "b", 100, 3, 0);
	happens(&w, "resume");
	offer(&w, 8);
	happens(&w, "1>b 2>b 3>a 4>b 5>b 6>b 7>a 8>b");
	finish(&w);
}

static void test_least_counts_connections_held_from_before(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join_as(&w, "a", 9, 1, 2);
	join_as(&w, "b", 9, 1, 0);
	happens(&w, "resume");
	offer(&w, 2);
	happens(&w, "1>b 2>b");
	finish(&w);
}

static void test_least_rotates_among_equals(void **state)
{
	struct world w;
	struct dispatch_provider *providers[3];
	const char *names[] = {"a", "b", "c"};

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	for (int i = 0; i < 3; i++)
		providers[i] = join(&w, names[i], 9);
	happens(&w, "resume");
	for (int round = 0; round < 4; round++) {
		struct dispatch_provider *chosen = providers[round % 3];
		char expected[16];

		offer(&w, 1);
		snprintf(expected, sizeof(expected), "%d>%c", w.n_offered, letter(chosen));
		happens(&w, expected);
		claim(&w, chosen, chosen->last_sequence);
		happens_whatever(&w);
		release(&w, chosen, w.n_offered);
		happens_whatever(&w);
	}
	finish(&w);
}

static void test_least_passes_over_who_has_no_credit(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join(&w, "a", 0);
	join(&w, "b", 3);
	happens(&w, "resume");
	offer(&w, 3);
	happens(&w, "1>b 2>b 3>b pause");
	finish(&w);
}

static void test_round_robin_takes_turns_whatever_the_load(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	join_as(&w, "a", 9, 1, 50);
	join(&w, "b", 9);
	happens(&w, "resume");
	offer(&w, 4);
	happens(&w, "1>a 2>b 3>a 4>b");
	join(&w, "c", 9);
	offer(&w, 4);
	happens(&w, "5>a 6>b 7>c 8>a");
	finish(&w);
}

static void test_round_robin_gives_as_many_in_a_row_as_the_weight(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	join_as(&w, "a", 99, 1, 0);
	join_as(&w, "b", 99, 3, 0);
	happens(&w, "resume");
	offer(&w, 9);
	happens(&w, "1>a 2>b 3>b 4>b 5>a 6>b 7>b 8>b 9>a");
	finish(&w);
}

static void test_round_robin_skips_who_has_no_credit(void **state)
{
	struct world w;
	struct dispatch_provider *b;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	join(&w, "a", 9);
	b = join_as(&w, "b", 1, 2, 0);
	join(&w, "c", 9);
	happens(&w, "resume");
	offer(&w, 5);
	happens(&w, "1>a 2>b 3>c 4>a 5>c");
	set_credit(&w, b, 1, 9); /* a new turn, not the rest of the one it could not use */
	offer(&w, 4);
	happens(&w, "6>a 7>b 8>b 9>c");
	finish(&w);
}

static void test_round_robin_goes_on_when_the_next_one_is_gone(void **state)
{
	struct world w;
	struct dispatch_provider *b;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	join(&w, "a", 9);
	b = join(&w, "b", 9);
	join(&w, "c", 9);
	happens(&w, "resume");
	offer(&w, 1);
	happens(&w, "1>a");
	leave(&w, b);
	offer(&w, 3);
	happens(&w, "2>c 3>a 4>c");
	finish(&w);
}

/* Who is idle */

static void check_who_claims_is_idle_again(enum dispatch_balance balance)
{
	struct world w;
	struct dispatch_provider *a, *b;

	begin(&w, balance, 100);
	assert_false((dispatch_least_unclaimed(w.d) == 0));
	a = join(&w, "a", 9);
	b = join(&w, "b", 0);
	assert_true((dispatch_least_unclaimed(w.d) == 0));
	offer(&w, 2);
	happens(&w, "1>a 2>a resume");
	assert_false((dispatch_least_unclaimed(w.d) == 0)); /* b has no credit */
	claim(&w, a, 1);
	happens(&w, "close:1");
	assert_false((dispatch_least_unclaimed(w.d) == 0));
	claim(&w, a, 2);
	happens(&w, "close:2");
	assert_true((dispatch_least_unclaimed(w.d) == 0)); /* whatever is in service */
	set_state(&w, a, PROVIDER_BLOCKED);
	happens(&w, "pause");
	assert_false((dispatch_least_unclaimed(w.d) == 0));
	set_credit(&w, b, 0, 1);
	happens(&w, "resume");
	assert_true((dispatch_least_unclaimed(w.d) == 0));
	finish(&w);
}

static void test_who_claims_is_idle_again(void **state)
{
	(void)state;
	check_who_claims_is_idle_again(DISPATCH_LEAST);
	check_who_claims_is_idle_again(DISPATCH_ROUND_ROBIN);
}

static void check_a_standby_is_idle_only_when_others_lack_credit(enum dispatch_balance balance)
{
	struct world w;
	struct dispatch_provider *a;

	begin(&w, balance, 100);
	a = join(&w, "a", 2);
	join_standby(&w, "s", 9);
	happens(&w, "resume");
	offer(&w, 1);
	happens(&w, "1>a");
	assert_false((dispatch_least_unclaimed(w.d) == 0));
	offer(&w, 1);
	happens(&w, "2>a");
	assert_true((dispatch_least_unclaimed(w.d) == 0));
	offer(&w, 1);
	happens(&w, "3>s");
	assert_false((dispatch_least_unclaimed(w.d) == 0));
	claim(&w, a, 2);
	happens(&w, "close:1 close:2");
	assert_false((dispatch_least_unclaimed(w.d) == 0)); /* a has no credit */
	release(&w, a, 1);
	assert_true((dispatch_least_unclaimed(w.d) == 0));
	finish(&w);
}

static void test_a_standby_is_idle_only_when_others_lack_credit(void **state)
{
	(void)state;
	check_a_standby_is_idle_only_when_others_lack_credit(DISPATCH_LEAST);
	check_a_standby_is_idle_only_when_others_lack_credit(DISPATCH_ROUND_ROBIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_give_takes_one_credit),
		check_test(test_claim_gives_no_credit),
		check_test(test_release_gives_one_credit),
		check_test(test_credit_counts_connections_on_their_way),
		check_test(test_credit_lets_the_waiting_ones_go_first),
		check_test(test_negative_credit_needs_releases_first),
		check_test(test_credit_of_one_does_not_hide_debt_of_another),
		check_test(test_decline_gives_no_credit_back),
		check_test(test_unsent_gives_credit_and_sequence_back),
		check_test(test_unsent_go_to_somebody_else),
		check_test(test_unsent_to_a_leaving_provider_keeps_its_state),
		check_test(test_least_chooses_who_has_less_in_hand),
		check_test(test_least_divides_load_by_weight),
		check_test(test_least_counts_connections_held_from_before),
		check_test(test_least_rotates_among_equals),
		check_test(test_least_passes_over_who_has_no_credit),
		check_test(test_round_robin_takes_turns_whatever_the_load),
		check_test(test_round_robin_gives_as_many_in_a_row_as_the_weight),
		check_test(test_round_robin_skips_who_has_no_credit),
		check_test(test_round_robin_goes_on_when_the_next_one_is_gone),
		check_test(test_who_claims_is_idle_again),
		check_test(test_a_standby_is_idle_only_when_others_lack_credit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
