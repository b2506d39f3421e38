/* SPDX-License-Identifier: MIT */
/*
 * dispatch: how hand-offs end. Each one says so once, with all that its record carried, before that
 * is used for another connection.
 *
 * dispatch-world.h says how to read a test. What ended is noted there, too: here it is asked for.
 */
#include "dispatch-world.h"

/* A provider of credit 9 with two connections claimed and one given. */
static struct dispatch_provider *begin_with_three(struct world *w)
{
	struct dispatch_provider *a;

	begin(w, DISPATCH_LEAST, 100);
	a = join(w, "a", 9);
	offer(w, 3);
	for (const struct handoff *h = a->unclaimed.first; h; h = h->next)
		((struct handoff *)(uintptr_t)h)->source = (uint32_t)h->fd + 70;
	happens(w, "1>a 2>a 3>a resume");
	claim(w, a, 2);
	happens(w, "close:1 close:2");
	return a;
}

/* The next action is the end of that connection, with what its record had. */
static void ends(struct world *w, int number, enum handoff_end end, struct dispatch_provider *p)
{
	struct dispatch_action action;

	assert_true(dispatch_next(w->d, &action));
	assert_int_equal(action.type, DISPATCH_ENDED);
	assert_int_equal(action.handoff->id, w->ids[number]);
	assert_int_equal(action.handoff->source, number + 70);
	assert_int_equal(action.handoff->state, HANDOFF_ENDED);
	assert_int_equal(action.handoff->end, end);
	assert_ptr_equal(action.handoff->provider, p);
	dispatch_check(w->d);
	w->n_ended++;
}

static void test_released(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);

	(void)state;
	release(&w, a, 2);
	release(&w, a, 1);
	ends(&w, 2, HANDOFF_RELEASED, a);
	ends(&w, 1, HANDOFF_RELEASED, a);
	happens(&w, "");
	finish(&w);
}

static void test_forwarded_and_handed_back(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);

	(void)state;
	forward(&w, a, 1);
	ends(&w, 1, HANDOFF_FORWARDED, a);
	happens(&w, "");
	hand_back(&w, a, 2);
	ends(&w, 2, HANDOFF_FORWARDED, a);
	happens(&w, "pause");
	finish(&w);
}

/* What was not claimed goes on, and does not end. */
static void test_gone_with_its_provider(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);

	(void)state;
	leave(&w, a);
	ends(&w, 1, HANDOFF_LOST, NULL);
	ends(&w, 2, HANDOFF_LOST, NULL);
	happens(&w, "pause");
	join(&w, "b", 1);
	happens(&w, "3>b");
	finish(&w);
}

static void test_used_before_the_claim(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);

	(void)state;
	dispatch_touched(w.d, a->unclaimed.first);
	happens(&w, "close:3");
	leave(&w, a);
	ends(&w, 1, HANDOFF_LOST, NULL);
	ends(&w, 2, HANDOFF_LOST, NULL);
	ends(&w, 3, HANDOFF_LOST, NULL);
	happens(&w, "pause");
	finish(&w);
}

/* The descriptor is whose it was given to: it is not there a second time. */
static void test_given_up(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);
	struct dispatch_action action;
	struct handoff h;

	(void)state;
	release(&w, a, 1);
	release(&w, a, 2);
	happens(&w, "");
	leave(&w, a);
	assert_true(dispatch_take_waiting(w.d, &h));
	assert_int_equal(h.fd, 3);
	assert_int_equal(h.source, 73);
	assert_true(dispatch_next(w.d, &action));
	assert_int_equal(action.handoff->fd, -EBADF);
	assert_int_equal(action.handoff->end, HANDOFF_GIVEN_UP);
	assert_int_equal(action.handoff->source, 73);
	assert_null(action.handoff->forwarded);
	w.n_ended++;
	happens(&w, "pause");
	finish(&w);
}

/* It goes on: whoever parks it keeps what its record carried. */
static void test_parked_has_not_ended(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);
	uint64_t n_before;

	(void)state;
	release(&w, a, 1);
	release(&w, a, 2);
	leave(&w, a);
	happens(&w, "pause");
	n_before = w.n_ended;
	park(&w, 1);
	happens(&w, "");
	expire(&w);
	happens(&w, "");
	assert_int_equal(w.n_ended, n_before);
	finish(&w);
}

static void test_record_is_not_used_again_before_its_end_was_told(void **state)
{
	struct world w;
	struct dispatch_provider *a = begin_with_three(&w);
	uint64_t slots = 0;

	(void)state;
	release(&w, a, 1);
	for (int i = 4; i <= 9; i++) {
		offer(&w, 1);
		slots |= (w.ids[i] & 63) == (w.ids[1] & 63);
	}
	assert_int_equal(slots, 0);
	happens(&w, "4>a 5>a 6>a 7>a 8>a 9>a");
	release(&w, a, 2);
	happens(&w, "");
	offer(&w, 1);
	assert_true((w.ids[10] & 63) == (w.ids[1] & 63) || (w.ids[10] & 63) == (w.ids[2] & 63));
	happens_whatever(&w);
	finish(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_released),
		check_test(test_forwarded_and_handed_back),
		check_test(test_gone_with_its_provider),
		check_test(test_used_before_the_claim),
		check_test(test_given_up),
		check_test(test_parked_has_not_ended),
		check_test(test_record_is_not_used_again_before_its_end_was_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
