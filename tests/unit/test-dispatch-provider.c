/* SPDX-License-Identifier: MIT */
/*
 * dispatch: what providers say and what becomes of them. Claims, declines, every message that a
 * provider must not send, and the states of a provider up to its death.
 *
 * dispatch-world.h says how to read a test.
 */
#include "dispatch-world.h"

/* Claims, releases and declines */

static void test_claim_is_cumulative(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 5);
	happens(&w, "1>a 2>a 3>a 4>a 5>a resume");
	claim(&w, a, 3);
	happens(&w, "close:1 close:2 close:3");
	assert_int_equal(a->claimed_sequence, 3);
	assert_int_equal(a->unclaimed.n, 2);
	claim(&w, a, 5);
	happens(&w, "close:4 close:5");
	finish(&w);
}

static void test_claim_passes_over_declined_ones(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 5);
	offer(&w, 5);
	happens(&w, "1>a 2>a 3>a 4>a 5>a");
	b = join(&w, "b", 9);
	happens(&w, "resume");
	decline(&w, a, 2, 3);
	happens(&w, "2>b 3>b");
	claim(&w, a, 4);
	happens(&w, "close:1 close:4");
	decline(&w, a, 5, 5);
	happens(&w, "5>b");
	claim(&w, a, 5); /* nothing is left to claim, and it may say so */
	happens(&w, "");
	claim(&w, b, 3);
	happens(&w, "close:2 close:3 close:5");
	finish(&w);
}

static void test_declined_go_in_front_in_their_order(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 4);
	offer(&w, 4);
	happens(&w, "1>a 2>a 3>a 4>a");
	decline(&w, a, 3, 4);
	decline(&w, a, 1, 2);
	happens(&w, "");
	join(&w, "b", 4);
	happens(&w, "1>b 2>b 3>b 4>b");
	finish(&w);
}

static void test_declined_do_not_come_back_to_who_declined(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 100);
	offer(&w, 2);
	join(&w, "b", 1);
	happens(&w, "1>a 2>a resume");
	decline(&w, a, 1, 2);
	happens(&w, "1>b pause");
	assert_int_equal(a->credit, 0);
	set_credit(&w, a, 2, 1); /* until it asks again */
	happens(&w, "2>a");
	finish(&w);
}

static void test_many_ids_in_one_release(void **state)
{
	struct world w;
	struct dispatch_provider *a;
	uint64_t ids[3];

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 3);
	offer(&w, 3);
	happens_whatever(&w);
	claim(&w, a, 3);
	happens_whatever(&w);
	ids[0] = w.ids[1];
	ids[1] = w.ids[1]; /* wrong: released just before */
	ids[2] = w.ids[2];
	assert_int_equal(dispatch_released(w.d, a, ids, 3, 0), -EPROTO);
	assert_int_equal(a->claimed.n, 2);
	happens(&w, "resume");
	ids[1] = w.ids[3];
	assert_int_equal(dispatch_released(w.d, a, ids + 1, 2, 0), 0);
	assert_int_equal(a->claimed.n, 0);
	assert_int_equal(a->credit, 3);
	happens(&w, "");
	finish(&w);
}

static void test_forged_claim_is_refused(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	a = join(&w, "a", 9);
	b = join(&w, "b", 9);
	offer(&w, 5);
	happens(&w, "1>a 2>b 3>a 4>b 5>a resume");
	assert_refused(&w, a, dispatch_claimed(w.d, a, 0, 1));
	assert_refused(&w, a, dispatch_claimed(w.d, a, 4, 1));
	assert_refused(&w, a, dispatch_claimed(w.d, a, UINT64_MAX, 1));
	assert_refused(&w, b, dispatch_claimed(w.d, b, 3, 1));
	claim(&w, a, 2);
	happens(&w, "close:1 close:3");
	assert_refused(&w, a, dispatch_claimed(w.d, a, 2, 1));
	assert_refused(&w, a, dispatch_claimed(w.d, a, 1, 1));
	finish(&w);
}

static void test_forged_release_is_refused(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	a = join(&w, "a", 9);
	b = join(&w, "b", 9);
	offer(&w, 4);
	happens(&w, "1>a 2>b 3>a 4>b resume");
	claim(&w, a, 1);
	happens(&w, "close:1");
	claim(&w, b, 1);
	happens_whatever(&w);
	assert_refused(&w, a, release_one(w.d, a, w.ids[3], 1)); /* unclaimed */
	assert_refused(&w, a, release_one(w.d, a, w.ids[2], 1)); /* another's */
	for (uint64_t bit = 1; bit; bit <<= 1)
		assert_refused(&w, a, release_one(w.d, a, w.ids[1] ^ bit, 1));
	for (uint64_t place = 1; place < 1000; place++) /* what was never given an id */
		assert_refused(&w, a, release_one(w.d, a, place, 1));
	assert_refused(&w, a, release_one(w.d, a, UINT64_MAX, 1));
	release(&w, a, 1);
	happens(&w, "");
	assert_refused(&w, a, release_one(w.d, a, w.ids[1], 1)); /* again */
	finish(&w);
}

static void test_forged_credit_is_refused(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 2);
	happens(&w, "1>a 2>a resume");
	assert_refused(&w, a, dispatch_credited(w.d, a, 3, 100, 1));
	assert_refused(&w, a, dispatch_credited(w.d, a, UINT64_MAX, 100, 1));
	finish(&w);
}

static void test_forged_decline_is_refused(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 5);
	happens(&w, "resume");
	assert_refused(&w, a, dispatch_declined(w.d, a, 1, 1, 1));
	offer(&w, 5);
	happens(&w, "1>a 2>a 3>a 4>a 5>a pause");
	claim(&w, a, 2);
	happens(&w, "close:1 close:2");
	assert_refused(&w, a, dispatch_declined(w.d, a, 1, 2, 1)); /* claimed */
	assert_refused(&w, a, dispatch_declined(w.d, a, 2, 3, 1)); /* one of them claimed */
	assert_refused(&w, a, dispatch_declined(w.d, a, 5, 6, 1)); /* one of them not given */
	assert_refused(&w, a, dispatch_declined(w.d, a, 6, 6, 1));
	assert_refused(&w, a, dispatch_declined(w.d, a, 3, UINT64_MAX, 1));
	assert_refused(&w, a, dispatch_declined(w.d, a, 4, 3, 1)); /* backwards */
	decline(&w, a, 4, 4);
	happens(&w, "");
	assert_refused(&w, a, dispatch_declined(w.d, a, 4, 4, 1)); /* again */
	finish(&w);
}

/* Providers that end, or stop taking */

static void test_gone_redispatches_oldest_first_before_new_ones(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_ROUND_ROBIN, 100);
	a = join(&w, "a", 3);
	b = join(&w, "b", 3);
	offer(&w, 6);
	happens(&w, "1>a 2>b 3>a 4>b 5>a 6>b");
	decline(&w, b, 3, 3);
	happens(&w, "");
	leave(&w, a);
	happens(&w, "");
	assert_int_equal(dispatch_n_waiting(w.d), 4);
	assert_int_equal(dispatch_totals(w.d)->n_redispatched, 3);
	join(&w, "c", 5);
	happens(&w, "1>c 3>c 5>c 6>c resume");
	leave(&w, b);
	happens(&w, "2>c pause");
	finish(&w);
}

static void test_gone_gives_to_the_next_provider_at_once(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 3);
	offer(&w, 3);
	happens(&w, "1>a 2>a 3>a");
	claim(&w, a, 1);
	b = join(&w, "b", 9);
	happens(&w, "close:1 resume");
	leave(&w, a);
	happens(&w, "2>b 3>b");
	assert_int_equal(b->last_sequence, 2);
	assert_int_equal(dispatch_totals(w.d)->n_lost, 1);
	assert_int_equal(dispatch_totals(w.d)->n_redispatched, 2);
	assert_int_equal(dispatch_n_in_service(w.d), 0);
	finish(&w);
}

static void test_gone_takes_its_credit_along(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	happens(&w, "resume");
	assert_int_equal(dispatch_n_serving(w.d), 1);
	leave(&w, a);
	happens(&w, "pause");
	assert_int_equal(dispatch_room(w.d, 16), 0);
	assert_int_equal(dispatch_n_serving(w.d), 0);
	finish(&w);
}

static void test_redispatched_connection_keeps_id_and_members(void **state)
{
	struct world w;
	struct dispatch_provider *a;
	struct dispatch_action action;
	struct handoff *h;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 1);
	assert_int_equal(dispatch_room(w.d, 16), 1);
	h = dispatch_offer(w.d, 0, 0);
	assert_non_null(h);
	h->fd = w.n_offered = 1;
	w.n_handoffs = 1;
	h->listener = 3;
	h->accepted_ns = 12345;
	h->peer.port = 99;
	w.ids[1] = h->id;
	happens(&w, "1>a");
	leave(&w, a);
	happens(&w, "");
	assert_int_equal(h->sequence, 0);
	assert_null(h->provider);
	a = join(&w, "b", 1);
	assert_true(dispatch_next(w.d, &action));
	assert_ptr_equal(action.handoff, h);
	assert_int_equal(h->id, w.ids[1]);
	assert_int_equal(h->fd, 1);
	assert_int_equal(h->listener, 3);
	assert_int_equal(h->accepted_ns, 12345);
	assert_int_equal(h->peer.port, 99);
	assert_int_equal(h->sequence, 1);
	assert_ptr_equal(h->provider, a);
	happens(&w, "");
	finish(&w);
}

static void test_stuck_gets_nothing_until_it_claims(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 2);
	happens(&w, "1>a 2>a resume");
	set_state(&w, a, PROVIDER_STUCK);
	happens(&w, "pause");
	assert_int_equal(a->unclaimed.n, 2); /* it may still have received them */
	assert_int_equal(dispatch_n_serving(w.d), 1);
	set_credit(&w, a, 2, 20);
	happens(&w, "");
	claim(&w, a, 1);
	happens(&w, "close:1 resume");
	assert_int_equal(a->state, PROVIDER_READY);
	finish(&w);
}

static void test_stuck_recovers_by_declining(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 1);
	offer(&w, 1);
	happens(&w, "1>a");
	set_state(&w, a, PROVIDER_STUCK);
	decline(&w, a, 1, 1);
	happens(&w, "");
	assert_int_equal(a->state, PROVIDER_READY);
	set_credit(&w, a, 1, 2);
	happens(&w, "1>a resume");
	finish(&w);
}

static void test_unclaimed_since_is_the_first_given_or_the_last_answer(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 4);
	for (w.now_usec = 10; w.now_usec < 40; w.now_usec += 10)
		offer(&w, 1);
	happens(&w, "1>a 2>a 3>a resume");
	assert_int_equal(a->unclaimed_since, 10);
	claim(&w, a, 1);
	happens(&w, "close:1");
	assert_int_equal(a->unclaimed_since, 40);
	w.now_usec = 50;
	decline(&w, a, 2, 2);
	happens(&w, "pause");
	assert_int_equal(a->unclaimed_since, 50);
	w.now_usec = 60;
	claim(&w, a, 3);
	happens(&w, "close:3");
	w.now_usec = 70;
	set_credit(&w, a, 3, 1);
	happens(&w, "2>a");
	assert_int_equal(a->unclaimed_since, 70);
	finish(&w);
}

static void test_blocked_gets_nothing_until_ready(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 1);
	happens(&w, "1>a resume");
	set_state(&w, a, PROVIDER_BLOCKED);
	happens(&w, "pause");
	claim(&w, a, 1); /* does not say that its channel has room */
	happens(&w, "close:1");
	assert_int_equal(a->state, PROVIDER_BLOCKED);
	release(&w, a, 1);
	happens(&w, "");
	set_state(&w, a, PROVIDER_READY);
	happens(&w, "resume");
	assert_int_equal(a->credit, 9);
	finish(&w);
}

/* In a leaving state a provider gets nothing, may finish what it has, and never comes back. */
static void check_leaving(enum provider_state leaving)
{
	struct world w;
	struct dispatch_provider *a;

	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 2);
	happens(&w, "1>a 2>a resume");
	set_state(&w, a, leaving);
	happens(&w, "pause");
	assert_int_equal(dispatch_n_serving(w.d), 0);
	assert_int_equal(a->unclaimed.n, 2);
	set_state(&w, a, PROVIDER_READY);
	set_state(&w, a, PROVIDER_BLOCKED);
	set_state(&w, a, PROVIDER_STUCK);
	claim(&w, a, 2);
	happens(&w, "close:1 close:2");
	release(&w, a, 1);
	set_credit(&w, a, 2, 50);
	happens(&w, "");
	assert_int_equal(a->state, leaving);
	assert_int_equal(dispatch_n_serving(w.d), 0);
	finish(&w);
}

static void test_draining_finishes_for_good(void **state)
{
	(void)state;
	check_leaving(PROVIDER_DRAINING);
}

static void test_quarantined_finishes_for_good(void **state)
{
	(void)state;
	check_leaving(PROVIDER_QUARANTINED);
}

static void test_draining_can_be_quarantined_but_not_back(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	set_state(&w, a, PROVIDER_DRAINING);
	set_state(&w, a, PROVIDER_QUARANTINED);
	assert_int_equal(a->state, PROVIDER_QUARANTINED);
	set_state(&w, a, PROVIDER_DRAINING);
	assert_int_equal(a->state, PROVIDER_QUARANTINED);
	happens(&w, "");
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_claim_is_cumulative),
		check_test(test_claim_passes_over_declined_ones),
		check_test(test_declined_go_in_front_in_their_order),
		check_test(test_declined_do_not_come_back_to_who_declined),
		check_test(test_many_ids_in_one_release),
		check_test(test_forged_claim_is_refused),
		check_test(test_forged_release_is_refused),
		check_test(test_forged_credit_is_refused),
		check_test(test_forged_decline_is_refused),
		check_test(test_gone_redispatches_oldest_first_before_new_ones),
		check_test(test_gone_gives_to_the_next_provider_at_once),
		check_test(test_gone_takes_its_credit_along),
		check_test(test_redispatched_connection_keeps_id_and_members),
		check_test(test_stuck_gets_nothing_until_it_claims),
		check_test(test_stuck_recovers_by_declining),
		check_test(test_unclaimed_since_is_the_first_given_or_the_last_answer),
		check_test(test_blocked_gets_nothing_until_ready),
		check_test(test_draining_finishes_for_good),
		check_test(test_quarantined_finishes_for_good),
		check_test(test_draining_can_be_quarantined_but_not_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
