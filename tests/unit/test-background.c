/* SPDX-License-Identifier: MIT */
/*
 * The queue and its thread, on numbered items and a gate that holds the thread within its work.
 *
 * Nothing is asserted in the thread: it takes notes, and the test reads them when it is over.
 */
#include "background.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))
#define FOR_EVER_USEC	 (3600 * UINT64_C(1000000)) /* longer than a test may take */
#define N_NOTED		 5000

/* What the thread saw. */
struct notes {
	int items[N_NOTED];
	size_t n;
	size_t n_most_at_once;
	char thread_name[16];
	sigset_t blocked;
	bool has_gate;
	sem_t entered, gate;
	struct background *follow_up; /* push an item there for each that is positive */
};

static atomic_int n_failing_threads; /* the next ones that cannot be made */
static atomic_int n_threads_made;
static atomic_int n_signals;
static sem_t waiting_with_deadline, asleep; /* posted when somebody does */

int __real_pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata);
int __wrap_pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata);
int __wrap_pthread_create(
	pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *), void *userdata)
{
	if (n_failing_threads > 0 && n_failing_threads--)
		return EAGAIN;
	n_threads_made++;
	return __real_pthread_create(ret, attributes, run, userdata);
}

int __real_pthread_cond_signal(pthread_cond_t *condition);
int __wrap_pthread_cond_signal(pthread_cond_t *condition);
int __wrap_pthread_cond_signal(pthread_cond_t *condition)
{
	n_signals++;
	return __real_pthread_cond_signal(condition);
}

int __real_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline)
{
	sem_post(&waiting_with_deadline);
	return __real_pthread_cond_timedwait(condition, lock, deadline);
}

int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
	sem_post(&asleep);
	return __real_pthread_cond_wait(condition, lock);
}

static void note(const void *items, size_t n, void *userdata)
{
	const int *numbers = items;
	struct notes *notes = userdata;

	pthread_getname_np(pthread_self(), notes->thread_name, sizeof(notes->thread_name));
	pthread_sigmask(SIG_SETMASK, NULL, &notes->blocked);
	sem_post(&notes->entered);
	if (notes->has_gate)
		sem_wait(&notes->gate);
	if (n > notes->n_most_at_once)
		notes->n_most_at_once = n;
	for (size_t i = 0; i < n; i++) {
		notes->items[notes->n++] = numbers[i];
		if (notes->follow_up && numbers[i] > 0)
			background_push(notes->follow_up, &(int){-numbers[i]}, 1);
	}
}

static struct background *make_lingering(
	struct notes *notes, size_t capacity, size_t n_at_once, uint64_t linger_usec)
{
	const struct background_task task = {
		.name = "test-background",
		.item_size = sizeof(int),
		.capacity = capacity,
		.n_at_once = n_at_once,
		.linger_usec = linger_usec,
		.work = note,
	};
	struct background *b;

	memset(notes, 0, sizeof(*notes));
	sem_init(&notes->entered, 0, 0);
	sem_init(&notes->gate, 0, 0);
	sem_init(&waiting_with_deadline, 0, 0);
	sem_init(&asleep, 0, 0);
	assert_int_equal(background_new(&b, &task, notes), 0);
	return b;
}

static struct background *make(struct notes *notes, size_t capacity, size_t n_at_once)
{
	return make_lingering(notes, capacity, n_at_once, 0);
}

/* A thread that has worked on item 0, and looks again long after the test, by itself. */
static struct background *make_resting(struct notes *notes, size_t capacity, size_t n_at_once)
{
	struct background *b = make_lingering(notes, capacity, n_at_once, FOR_EVER_USEC);

	assert_true(background_push(b, &(int){0}, 1));
	sem_wait(&notes->entered);
	sem_wait(&waiting_with_deadline);
	return b;
}

/* A thread that is at the gate with item 0. */
static struct background *make_held(struct notes *notes, size_t capacity, size_t n_at_once)
{
	struct background *b = make(notes, capacity, n_at_once);

	notes->has_gate = true;
	assert_true(background_push(b, &(int){0}, 1));
	sem_wait(&notes->entered);
	return b;
}

static void open_gate(struct notes *notes)
{
	for (int i = 0; i < N_NOTED; i++)
		sem_post(&notes->gate);
}

static void assert_counted_up(const struct notes *notes, size_t n)
{
	assert_int_equal(notes->n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(notes->items[i], i);
}

static void test_items_are_worked_off_in_order(void **state)
{
	struct notes notes;
	struct background *b = make(&notes, 7, 3);

	(void)state;
	for (int i = 0; i < N_NOTED; i++)
		while (!background_push(b, &i, 1))
			sched_yield();
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, N_NOTED);
	assert_in_range(notes.n_most_at_once, 1, 3);
}

static void test_full_queue_refuses_and_goes_on(void **state)
{
	struct notes notes;
	struct background *b = make_held(&notes, 4, 1);

	(void)state;
	for (int i = 1; i <= 4; i++)
		assert_true(background_push(b, &i, 1));
	assert_false(background_push(b, &(int){99}, 1));
	assert_int_equal(background_n_queued(b), 4);
	open_gate(&notes);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 5);
}

static void test_push_of_several_queues_all_or_none(void **state)
{
	static const int numbers[] = {1, 2, 3, 4, 5};
	struct notes notes;
	struct background *b = make_held(&notes, 4, 10);

	(void)state;
	assert_false(background_push(b, numbers, 5));
	assert_int_equal(background_n_queued(b), 0);
	assert_true(background_push(b, numbers, 3));
	assert_false(background_push(b, numbers, 2));
	assert_true(background_push(b, &numbers[3], 1));
	open_gate(&notes);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 5);
	assert_int_equal(notes.n_most_at_once, 4);
}

static void test_busy_thread_is_not_woken(void **state)
{
	struct notes notes;
	struct background *b = make_held(&notes, 100, 10);

	(void)state;
	n_signals = 0;
	for (int i = 1; i <= 100; i++)
		assert_true(background_push(b, &i, 1));
	assert_int_equal(n_signals, 0);
	open_gate(&notes);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 101);
}

static void test_thread_is_made_at_the_first_push(void **state)
{
	int n_before = n_threads_made;
	struct notes notes;
	struct background *b = make(&notes, 4, 1);

	(void)state;
	assert_int_equal(n_threads_made, n_before);
	notes.has_gate = true;
	background_push(b, &(int){0}, 1);
	background_push(b, &(int){1}, 1);
	assert_int_equal(n_threads_made, n_before + 1);
	open_gate(&notes);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_string_equal(notes.thread_name, "test-background");
	for (int signal_number = 1; signal_number < 32; signal_number++)
		if (signal_number != SIGKILL && signal_number != SIGSTOP)
			assert_true(sigismember(&notes.blocked, signal_number));
}

static void test_free_without_a_push_and_of_nothing(void **state)
{
	struct notes notes;

	(void)state;
	assert_null(background_free(make(&notes, 4, 1), 0));
	assert_null(background_free(NULL, 0));
}

static void test_stuck_thread_is_left_and_found_again(void **state)
{
	struct notes notes;
	struct background *b = make_held(&notes, 4, 1);
	struct timespec begin, end;

	(void)state;
	background_push(b, &(int){1}, 1);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_ptr_equal(background_free(b, 50000), b);
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_in_range(
		(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000, 49,
		10000);
	assert_ptr_equal(background_free(b, 0), b);
	open_gate(&notes);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);
}

static void test_wait_is_for_what_is_worked_on_too(void **state)
{
	struct notes notes;
	struct background *b = make_held(&notes, 4, 1);

	(void)state;
	assert_false(background_wait(b, 20000));
	background_push(b, &(int){1}, 1);
	assert_false(background_wait(b, 20000));
	open_gate(&notes);
	assert_true(background_wait(b, FOR_EVER_USEC));
	assert_counted_up(&notes, 2);
	assert_true(background_wait(b, 0));
	background_push(b, &(int){2}, 1);
	assert_true(background_wait(b, FOR_EVER_USEC));
	assert_counted_up(&notes, 3);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
}

static void test_wait_for_nothing_makes_no_thread(void **state)
{
	int n_before = n_threads_made;
	struct notes notes;
	struct background *b = make(&notes, 4, 1);

	(void)state;
	assert_true(background_wait(b, FOR_EVER_USEC));
	assert_int_equal(n_threads_made, n_before);
	assert_null(background_free(b, 0));
}

static void test_work_may_push_also_at_the_end(void **state)
{
	static const int expected[] = {0, 1, 2, -1, -2};
	struct notes notes;
	struct background *b = make_held(&notes, 4, 2);

	(void)state;
	notes.follow_up = b;
	background_push(b, &(int){1}, 1);
	background_push(b, &(int){2}, 1);
	assert_ptr_equal(background_free(b, 0), b);
	open_gate(&notes);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_int_equal(notes.n, 5);
	assert_memory_equal(notes.items, expected, sizeof(expected));
}

static void test_items_wait_until_threads_may_start(void **state)
{
	int n_before = n_threads_made;
	struct notes notes;
	struct background *b = make(&notes, 4, 4);

	(void)state;
	background_let_start(false);
	assert_true(background_push(b, &(int){0}, 1));
	background_let_start(true);
	assert_int_equal(n_threads_made, n_before);
	assert_true(background_push(b, &(int){1}, 1));
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);
	assert_int_equal(n_threads_made, n_before + 1);
}

static void test_items_wait_until_a_thread_can_be_had(void **state)
{
	struct notes notes;
	struct background *b = make(&notes, 4, 4);

	(void)state;
	n_failing_threads = 1;
	assert_true(background_push(b, &(int){0}, 1));
	assert_int_equal(background_n_queued(b), 1);
	assert_true(background_push(b, &(int){1}, 1));
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);

	b = make(&notes, 4, 4);
	n_failing_threads = 2;
	assert_true(background_push(b, &(int){0}, 1));
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 0);
}

static void test_pushes_while_lingering_wake_nobody_and_are_worked_on_together(void **state)
{
	struct notes notes;
	struct background *b = make_resting(&notes, 8, 4);

	(void)state;
	n_signals = 0;
	for (int i = 1; i <= 3; i++)
		assert_true(background_push(b, &i, 1));
	assert_int_equal(n_signals, 0);
	assert_int_equal(background_n_queued(b), 3);
	assert_true(background_wait(b, FOR_EVER_USEC));
	assert_counted_up(&notes, 4);
	assert_int_equal(notes.n_most_at_once, 3);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
}

static void test_full_batch_ends_lingering(void **state)
{
	struct notes notes;
	struct background *b = make_resting(&notes, 4, 4);

	(void)state;
	for (int i = 1; i <= 4; i++)
		assert_true(background_push(b, &i, 1));
	sem_wait(&notes.entered);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 5);
	assert_int_equal(notes.n_most_at_once, 4);
}

static void test_free_ends_lingering(void **state)
{
	struct notes notes;
	struct background *b = make_resting(&notes, 8, 4);

	(void)state;
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	b = make_resting(&notes, 8, 4);
	assert_true(background_push(b, &(int){1}, 1));
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);
}

static void test_wait_is_for_nothing_while_lingering(void **state)
{
	struct notes notes;
	struct background *b = make_resting(&notes, 8, 4);

	(void)state;
	assert_true(background_wait(b, 0));
	assert_null(background_free(b, LONG_ENOUGH_USEC));
}

static void *open_gate_when_somebody_waits(void *userdata)
{
	sem_wait(&waiting_with_deadline);
	open_gate(userdata);
	return NULL;
}

static void test_wait_that_began_during_work_prevents_lingering(void **state)
{
	pthread_t thread;
	struct notes notes;
	struct background *b = make_lingering(&notes, 8, 4, FOR_EVER_USEC);

	(void)state;
	notes.has_gate = true;
	assert_true(background_push(b, &(int){0}, 1));
	sem_wait(&notes.entered);
	assert_true(background_push(b, &(int){1}, 1));
	assert_int_equal(pthread_create(&thread, NULL, open_gate_when_somebody_waits, &notes), 0);
	assert_true(background_wait(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);
	pthread_join(thread, NULL);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
}

static void test_thread_that_lingered_in_vain_sleeps_and_is_woken_at_once(void **state)
{
	struct notes notes;
	struct background *b = make_lingering(&notes, 8, 4, 1);

	(void)state;
	for (int i = 0; i < 2; i++) {
		n_signals = 0;
		assert_true(background_push(b, &i, 1));
		assert_true(i == 0 || n_signals > 0);
		sem_wait(&notes.entered);
		sem_wait(&waiting_with_deadline);
		sem_wait(&asleep);
	}
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);
}

static void *push_some(void *userdata)
{
	struct background *b = userdata;

	for (int i = 0; i < 1000; i++)
		while (!background_push(b, &i, 1))
			sched_yield();
	return NULL;
}

static void check_many_threads_push(uint64_t linger_usec)
{
	enum { N_THREADS = 5 };
	pthread_t threads[N_THREADS];
	struct notes notes;
	struct background *b = make_lingering(&notes, 16, 4, linger_usec);
	int64_t sum = 0;

	for (size_t i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, push_some, b), 0);
	for (size_t i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	for (size_t i = 0; i < notes.n; i++)
		sum += notes.items[i];
	assert_int_equal(notes.n, N_THREADS * 1000);
	assert_int_equal(sum, N_THREADS * 999 * 1000 / 2);
}

static void test_many_threads_push(void **state)
{
	(void)state;
	check_many_threads_push(0);
	check_many_threads_push(20); /* now lingers, now sleeps */
}

/* A thread that has worked on item 0 and sleeps until its alarm. */
static struct background *make_sleeping(struct notes *notes, uint64_t alarm_usec)
{
	struct background *b = make(notes, 4, 4);

	assert_true(background_push(b, &(int){0}, 1));
	sem_wait(&notes->entered);
	sem_wait(&asleep);
	background_set_alarm(b, alarm_usec);
	return b;
}

/* Its time has come long ago: CLOCK_MONOTONIC begins at zero. */
static void test_alarm_comes_once_without_items(void **state)
{
	struct notes notes;
	struct background *b = make_sleeping(&notes, 1);

	(void)state;
	sem_wait(&notes.entered);
	sem_wait(&asleep); /* without a deadline */
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_int_equal(notes.n, 1);
	assert_int_equal(sem_trywait(&notes.entered), -1);
}

static void test_alarm_can_be_changed_while_the_thread_sleeps(void **state)
{
	struct notes notes;
	struct background *b = make_sleeping(&notes, UINT64_MAX - 1);

	(void)state;
	sem_wait(&waiting_with_deadline);
	background_set_alarm(b, UINT64_MAX);
	sem_wait(&asleep);
	background_set_alarm(b, 1);
	sem_wait(&notes.entered);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_int_equal(notes.n, 1);
}

static void test_items_come_before_the_alarm(void **state)
{
	struct notes notes;
	struct background *b = make_sleeping(&notes, UINT64_MAX - 1);

	(void)state;
	sem_wait(&waiting_with_deadline);
	assert_true(background_push(b, &(int){1}, 1));
	assert_true(background_wait(b, LONG_ENOUGH_USEC));
	assert_int_equal(notes.n, 2);
	assert_null(background_free(b, LONG_ENOUGH_USEC));
	assert_counted_up(&notes, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_items_are_worked_off_in_order),
		check_test(test_alarm_comes_once_without_items),
		check_test(test_alarm_can_be_changed_while_the_thread_sleeps),
		check_test(test_items_come_before_the_alarm),
		check_test(test_full_queue_refuses_and_goes_on),
		check_test(test_push_of_several_queues_all_or_none),
		check_test(test_busy_thread_is_not_woken),
		check_test(test_thread_is_made_at_the_first_push),
		check_test(test_free_without_a_push_and_of_nothing),
		check_test(test_stuck_thread_is_left_and_found_again),
		check_test(test_wait_is_for_what_is_worked_on_too),
		check_test(test_wait_for_nothing_makes_no_thread),
		check_test(test_work_may_push_also_at_the_end),
		check_test(test_items_wait_until_threads_may_start),
		check_test(test_items_wait_until_a_thread_can_be_had),
		check_test(test_pushes_while_lingering_wake_nobody_and_are_worked_on_together),
		check_test(test_full_batch_ends_lingering),
		check_test(test_free_ends_lingering),
		check_test(test_wait_is_for_nothing_while_lingering),
		check_test(test_wait_that_began_during_work_prevents_lingering),
		check_test(test_thread_that_lingered_in_vain_sleeps_and_is_woken_at_once),
		check_test(test_many_threads_push),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
