/* SPDX-License-Identifier: MIT */
/*
 * dispatch: from one usherd to the next. What an upgrade in place carries over, and what is refused
 * because no earlier dispatch can have been like that.
 *
 * dispatch-world.h says how to read a test.
 */
#include "dispatch-copy.h"
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

/* What is carried over */

static void upgrade(struct world *w)
{
	replace_dispatch(&w->d, DISPATCH_LEAST, 100, w->providers, w->n_providers);
}

static void test_connections_are_whose_they_were(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 2);
	join(&w, "b", 2);
	offer(&w, 4);
	happens(&w, "1>a 2>b 3>a 4>b");
	claim(&w, a, 1);
	happens(&w, "close:1");
	take_over(&w);
	happens(&w, "");

	upgrade(&w);
	happens(&w, "");
	a = named(&w, "a");
	b = named(&w, "b");
	claim(&w, a, 2);
	happens(&w, "close:3");
	release(&w, a, 1);
	happens(&w, "5>a");
	release(&w, a, 3);
	leave(&w, b);
	happens(&w, "2>a");
	assert_int_equal(dispatch_n_waiting(w.d), 1);
	assert_int_equal(dispatch_oldest_waiting(w.d)->fd, 4);
	finish(&w);
}

static void test_sequences_go_on(void **state)
{
	struct world w;
	struct dispatch_provider *a;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join(&w, "a", 9);
	offer(&w, 3);
	happens(&w, "1>a 2>a 3>a resume");
	claim(&w, a, 2);
	happens_whatever(&w);

	upgrade(&w);
	happens(&w, "resume");
	a = named(&w, "a");
	assert_int_equal(a->last_sequence, 3);
	assert_refused(&w, a, dispatch_claimed(w.d, a, 2, 0));
	offer(&w, 1);
	assert_int_equal(a->unclaimed.last->sequence, 4);
	happens(&w, "4>a");
	claim(&w, a, 4);
	happens(&w, "close:3 close:4");
	finish(&w);
}

static void test_providers_are_as_they_were(void **state)
{
	struct world w;
	struct dispatch_provider *a, *b, *c;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	a = join_as(&w, "a", 9, 3, 4);
	join_standby(&w, "b", 7);
	c = join(&w, "c", 5);
	w.now_usec = 77;
	offer(&w, 1);
	happens(&w, "1>c resume");
	claim(&w, c, 1);
	happens(&w, "close:1");
	release(&w, c, 1);
	set_state(&w, a, PROVIDER_DRAINING);
	set_state(&w, c, PROVIDER_BLOCKED);
	happens(&w, "");

	upgrade(&w);
	happens(&w, "resume");
	a = named(&w, "a");
	b = named(&w, "b");
	c = named(&w, "c");
	assert_int_equal(a->state, PROVIDER_DRAINING);
	assert_int_equal(a->weight, 3);
	assert_int_equal(a->n_foreign, 4);
	assert_true(b->is_standby);
	assert_int_equal(c->state, PROVIDER_BLOCKED);
	assert_int_equal(c->credit, 5);
	assert_int_equal(c->n_served, 1);
	assert_int_equal(c->unclaimed_since, 77);
	assert_int_equal(dispatch_n_serving(w.d), 2);
	assert_int_equal(dispatch_n_in_service(w.d), 4);
	offer(&w, 1);
	happens(&w, "2>b");
	finish(&w);
}

static void test_totals_and_parked_ones_go_on(void **state)
{
	struct world w;
	struct dispatch_totals before;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	take_over(&w);
	take_over(&w);
	take_over(&w);
	park(&w, 2);
	expire(&w);
	happens(&w, "");
	before = *dispatch_totals(w.d);

	upgrade(&w);
	happens(&w, "");
	assert_memory_equal(&before, dispatch_totals(w.d), sizeof(before));
	assert_int_equal(dispatch_n_parked(w.d), 1);
	join(&w, "a", 9);
	unpark(&w, 1);
	happens(&w, "3>a 2>a resume");
	finish(&w);
}

/* Slots are used again after an upgrade too, and any number of upgrades follow one another. */
static void test_no_id_comes_again(void **state)
{
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	join(&w, "a", 99);
	happens(&w, "resume");
	for (int i = 0; i < 60; i++) {
		struct dispatch_provider *a = named(&w, "a");

		offer(&w, 3);
		happens_whatever(&w);
		claim(&w, a, a->last_sequence);
		happens_whatever(&w);
		release(&w, a, w.n_offered);
		release(&w, a, w.n_offered - 1);
		if (i % 8 != 0) /* one in eight rounds keeps a connection in service */
			release(&w, a, w.n_offered - 2);
		happens_whatever(&w);
		if (i % 3 == 0)
			upgrade(&w);
		happens_whatever(&w);
	}
	for (int i = 1; i <= w.n_offered; i++)
		for (int k = 1; k < i; k++)
			assert_int_not_equal(w.ids[i], w.ids[k]);
	finish(&w);
}

/* What was lost on the way */

static void test_what_is_not_there_any_more_is_lost(void **state)
{
	const struct dispatch_totals totals = {.n_accepted = 10, .n_released = 3};
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	find_parked(&w, 2);
	assert_int_equal(dispatch_restore(w.d, &totals, 1 << 30), 0);
	dispatch_restored(w.d, 0);
	happens(&w, "");
	assert_int_equal(dispatch_totals(w.d)->n_lost, 5);
	w.n_offered = 10;
	finish(&w);
}

static void test_what_is_there_and_was_not_known_is_taken_over(void **state)
{
	const struct dispatch_totals totals = {.n_accepted = 3, .n_released = 3};
	struct world w;

	(void)state;
	begin(&w, DISPATCH_LEAST, 100);
	find_parked(&w, 2);
	assert_int_equal(dispatch_restore(w.d, &totals, 1 << 30), 0);
	dispatch_restored(w.d, 0);
	happens(&w, "");
	assert_int_equal(dispatch_totals(w.d)->n_taken_over, 2);
	w.n_offered = 5;
	finish(&w);
}

static void test_what_waits_is_given_when_all_is_there(void **state)
{
	const struct dispatch_totals totals = {.n_accepted = 1};
	const struct dispatch_provider saved = {
		.credit = 1, .weight = 1, .n_turns = 1, .last_sequence = 7};
	struct dispatch_provider *p;
	struct dispatch_action action;
	struct dispatch *d;

	(void)state;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, 10), 0);
	assert_int_equal(dispatch_restore(d, &totals, 1 << 30), 0);
	p = dispatch_restore_provider(d, &saved, NULL);
	assert_non_null(p);
	assert_non_null(dispatch_restore_handoff(d, NULL, 1 << 21, 0, HANDOFF_WAITING));
	assert_int_equal(p->unclaimed.n, 0);
	dispatch_restored(d, 0);
	assert_true(dispatch_next(d, &action));
	assert_int_equal(action.type, DISPATCH_GIVE);
	assert_int_equal(action.handoff->id, 1 << 21);
	assert_int_equal(action.handoff->sequence, 8);
	assert_false(dispatch_next(d, &action));
	dispatch_check(d);
	dispatch_gone(d, p, 0);
	assert_true(dispatch_take_waiting(d, &(struct handoff){0}));
	dispatch_free(d);
}

/* What is refused */

#define ID_LIMIT (UINT64_C(9) << 20)

/* A dispatch with one provider that was given 5, of which it claimed 3. */
static struct dispatch_provider *begin_restoring(struct dispatch **ret)
{
	const struct dispatch_provider saved = {
		.credit = 9, .weight = 1, .n_turns = 1, .last_sequence = 5, .claimed_sequence = 3};
	struct dispatch_provider *p;

	assert_int_equal(dispatch_new(ret, DISPATCH_LEAST, 100), 0);
	assert_int_equal(dispatch_restore(*ret, &(struct dispatch_totals){0}, ID_LIMIT), 0);
	p = dispatch_restore_provider(*ret, &saved, NULL);
	assert_non_null(p);
	return p;
}

/* It can be ended without having been completed. */
static void end_restoring(struct dispatch *d, struct dispatch_provider *p)
{
	struct dispatch_action action;

	dispatch_gone(d, p, 0);
	while (dispatch_next(d, &action))
		;
	while (dispatch_take_waiting(d, &(struct handoff){0}))
		;
	dispatch_free(d);
}

static void test_wrong_ids_are_refused(void **state)
{
	const uint64_t id = (UINT64_C(2) << 20) + 70;
	struct dispatch_provider *p;
	struct dispatch *d;

	(void)state;
	p = begin_restoring(&d);
	assert_null(dispatch_restore_handoff(d, NULL, 0, 0, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, NULL, 70, 0, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, NULL, ID_LIMIT, 0, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, NULL, UINT64_MAX, 0, HANDOFF_WAITING));
	assert_non_null(dispatch_restore_handoff(d, NULL, id, 0, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, NULL, id, 0, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, p, id, 1, HANDOFF_CLAIMED));
	assert_null(dispatch_restore_handoff(d, p, id + (1 << 20), 4, HANDOFF_GIVEN));
	assert_int_equal(dispatch_n_waiting(d), 1);
	end_restoring(d, p);
}

static void test_wrong_sequences_are_refused(void **state)
{
	const uint64_t id = UINT64_C(2) << 20;
	struct dispatch_provider *p;
	struct dispatch *d;

	(void)state;
	p = begin_restoring(&d);
	assert_null(dispatch_restore_handoff(d, p, id, 0, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, NULL, id, 1, HANDOFF_WAITING));
	assert_null(dispatch_restore_handoff(d, NULL, id, 1, HANDOFF_CLAIMED));
	assert_null(dispatch_restore_handoff(d, NULL, id, 4, HANDOFF_GIVEN));
	assert_null(dispatch_restore_handoff(d, p, id, 4, HANDOFF_FREE));
	assert_null(dispatch_restore_handoff(d, p, id, 3, HANDOFF_GIVEN));
	assert_null(dispatch_restore_handoff(d, p, id, 6, HANDOFF_GIVEN));
	assert_null(dispatch_restore_handoff(d, p, id, 4, HANDOFF_CLAIMED));
	assert_null(dispatch_restore_handoff(d, p, id, 0, HANDOFF_CLAIMED));
	assert_non_null(dispatch_restore_handoff(d, p, id, 5, HANDOFF_GIVEN));
	assert_null(dispatch_restore_handoff(d, p, id + 1, 5, HANDOFF_GIVEN));
	assert_null(dispatch_restore_handoff(d, p, id + 1, 4, HANDOFF_GIVEN));
	assert_non_null(dispatch_restore_handoff(d, p, id + 1, 3, HANDOFF_CLAIMED));
	dispatch_restored(d, 0);
	dispatch_check(d);
	assert_int_equal(dispatch_n_unclaimed(d), 1);
	assert_int_equal(dispatch_n_in_service(d), 1);
	end_restoring(d, p);
}

static void test_impossible_providers_are_refused(void **state)
{
	const struct dispatch_provider good = {.weight = 1, .n_turns = 1, .last_sequence = 1};
	struct dispatch_provider bad[6];
	struct dispatch *d;

	(void)state;
	for (size_t i = 0; i < 6; i++)
		bad[i] = good;
	bad[0].weight = 0;
	bad[1].n_turns = 0;
	bad[2].claimed_sequence = 2;
	bad[3].state = PROVIDER_QUARANTINED + 1;
	bad[4].credit = INT64_MIN;
	bad[5].credit = INT64_MAX;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, 100), 0);
	assert_int_equal(dispatch_restore(d, &(struct dispatch_totals){0}, ID_LIMIT), 0);
	for (size_t i = 0; i < 6; i++)
		assert_null(dispatch_restore_provider(d, &bad[i], NULL));
	dispatch_restored(d, 0);
	dispatch_check(d);
	dispatch_free(d);
}

static void test_exhausted_ids_are_refused(void **state)
{
	struct dispatch *d;

	(void)state;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, 100), 0);
	assert_int_equal(dispatch_restore(d, &(struct dispatch_totals){0}, UINT64_MAX), -EINVAL);
	dispatch_check(d);
	dispatch_free(d);
}

/* Each allocation fails once: nothing has happened then, and the next time it works. */
static void test_out_of_memory_refuses_one_handoff(void **state)
{
	const uint64_t id = UINT64_C(2) << 20;

	(void)state;
	for (int n = 0; n < 3; n++) {
		struct dispatch *d;
		struct dispatch_provider *p = begin_restoring(&d);

		n_allocations_left = n;
		assert_null(dispatch_restore_handoff(d, p, id, 4, HANDOFF_GIVEN));
		assert_int_equal(p->unclaimed.n, 0);
		assert_non_null(dispatch_restore_handoff(d, p, id, 4, HANDOFF_GIVEN));
		n_allocations_left = 0;
		assert_null(dispatch_restore_provider(d, p, NULL));
		n_allocations_left = -1;
		dispatch_restored(d, 0);
		dispatch_check(d);
		end_restoring(d, p);
	}
}

/* Also the last one, and those before it are there to be used. */
static void test_any_slot_can_be_restored(void **state)
{
	const struct dispatch_hello hello = {.credit = 3, .weight = 1};
	const uint64_t last = (UINT64_C(3) << 20) - 1;
	struct dispatch_provider *p;
	struct dispatch_action action;
	struct dispatch *d;

	(void)state;
	assert_int_equal(dispatch_new(&d, DISPATCH_LEAST, DISPATCH_MAX_INSTANCES), 0);
	assert_int_equal(
		dispatch_restore(d, &(struct dispatch_totals){.n_accepted = 1}, ID_LIMIT), 0);
	assert_non_null(dispatch_restore_handoff(d, NULL, last, 0, HANDOFF_WAITING));
	dispatch_restored(d, 0);
	p = dispatch_register(d, &hello, NULL, 0);
	assert_int_equal(p->unclaimed.first->id, last);
	while (dispatch_next(d, &action))
		;
	assert_int_equal(dispatch_room(d, 16), 2);
	assert_true(dispatch_offer(d, 0, 0)->id >= ID_LIMIT);
	while (dispatch_next(d, &action))
		;
	dispatch_check(d);
	end_restoring(d, p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_connections_are_whose_they_were),
		check_test(test_sequences_go_on),
		check_test(test_providers_are_as_they_were),
		check_test(test_totals_and_parked_ones_go_on),
		check_test(test_no_id_comes_again),
		check_test(test_what_is_not_there_any_more_is_lost),
		check_test(test_what_is_there_and_was_not_known_is_taken_over),
		check_test(test_what_waits_is_given_when_all_is_there),
		check_test(test_wrong_ids_are_refused),
		check_test(test_wrong_sequences_are_refused),
		check_test(test_impossible_providers_are_refused),
		check_test(test_exhausted_ids_are_refused),
		check_test(test_out_of_memory_refuses_one_handoff),
		check_test(test_any_slot_can_be_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
