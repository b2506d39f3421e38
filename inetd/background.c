/* SPDX-License-Identifier: MIT */
/*
 * A queue and the thread that works it off: see background.h.
 *
 * The queue is a ring. It starts over at its beginning whenever it is empty, so that a large ring
 * of which little is used stays in few pages.
 */
#include "background.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STACK_SIZE (128 * 1024)

static atomic_bool may_start_threads = true; /* background_let_start() */

enum thread_state {
	THREAD_NONE,	  /* not made yet, or it could not be */
	THREAD_WORKING,	  /* or told to */
	THREAD_LINGERING, /* looks again soon, by itself */
	THREAD_ASLEEP,	  /* waits until it is woken */
	THREAD_ENDED,	  /* to be joined */
};

struct background {
	struct background_task task;
	void *userdata;
	pthread_mutex_t lock;
	pthread_cond_t has_work, is_done; /* all work is, or the thread has ended */
	pthread_t thread;
	enum thread_state state;
	bool is_closing;     /* the thread ends once the queue is empty */
	uint64_t alarm_usec; /* UINT64_MAX: none */
	size_t n_waiting;    /* calls of background_wait() */
	char *ring;
	size_t first, n_queued; /* in items */
	char *current;		/* the items being worked on: the thread's own */
};

static char *item_at(const struct background *b, size_t position)
{
	return b->ring + (b->first + position) % b->task.capacity * b->task.item_size;
}

/* Under the lock. Returns how many items were taken into `current`. */
static size_t take_items(struct background *b)
{
	size_t n = b->n_queued < b->task.n_at_once ? b->n_queued : b->task.n_at_once;

	for (size_t i = 0; i < n; i++)
		memcpy(b->current + i * b->task.item_size, item_at(b, i), b->task.item_size);
	b->n_queued -= n;
	b->first = b->n_queued ? (b->first + n) % b->task.capacity : 0;
	return n;
}

/* Under the lock. Whether work must not wait until more comes. */
static bool is_urgent(const struct background *b)
{
	return b->is_closing || b->n_waiting > 0 || b->n_queued >= b->task.n_at_once;
}

/* Under the lock. Returns whether the thread must rest no longer: has_work is to be signalled then.
 */
static bool end_rest(struct background *b)
{
	bool is_over = (b->state == THREAD_ASLEEP && (b->n_queued > 0 || b->is_closing)) ||
		       (b->state == THREAD_LINGERING && is_urgent(b));

	if (is_over)
		b->state = THREAD_WORKING;
	return is_over;
}

static struct timespec timespec_of(uint64_t usec)
{
	return (struct timespec){
		.tv_sec = (time_t)(usec / 1000000), .tv_nsec = (long)(usec % 1000000) * 1000};
}

static struct timespec monotonic_after(uint64_t usec)
{
	struct timespec when;

	clock_gettime(CLOCK_MONOTONIC, &when);
	usec += (uint64_t)when.tv_nsec / 1000;
	when.tv_sec += (time_t)(usec / 1000000);
	when.tv_nsec = (long)(usec % 1000000) * 1000;
	return when;
}

/* Under the lock. Let items gather for a while, during which a push need not wake the thread. */
static void linger(struct background *b)
{
	struct timespec end;
	int r = 0;

	if (b->task.linger_usec == 0 || is_urgent(b))
		return;
	end = monotonic_after(b->task.linger_usec);
	b->state = THREAD_LINGERING;
	while (b->state == THREAD_LINGERING && r == 0)
		r = pthread_cond_timedwait(&b->has_work, &b->lock, &end);
	b->state = THREAD_WORKING;
}

/* Under the lock. Wait until there is something to do, or the alarm comes. */
static void sleep_until_woken(struct background *b)
{
	b->state = THREAD_ASLEEP;
	pthread_cond_signal(&b->is_done);
	while (b->state == THREAD_ASLEEP) {
		uint64_t alarm_usec = b->alarm_usec;
		struct timespec end = timespec_of(alarm_usec);

		if (alarm_usec == UINT64_MAX) {
			pthread_cond_wait(&b->has_work, &b->lock);
		} else if (pthread_cond_timedwait(&b->has_work, &b->lock, &end) == ETIMEDOUT &&
			   b->alarm_usec == alarm_usec) {
			b->alarm_usec = UINT64_MAX;
			b->state = THREAD_WORKING;
		}
	}
}

/* Under the lock. Wait for items or the alarm. Returns false when there will be no more. */
static bool next_items(struct background *b, size_t *ret_n)
{
	if (b->n_queued == 0 && !b->is_closing)
		sleep_until_woken(b);
	*ret_n = take_items(b);
	return *ret_n > 0 || !b->is_closing;
}

static void *run(void *userdata)
{
	struct background *b = userdata;
	size_t n;

	(void)pthread_setname_np(pthread_self(), b->task.name);
	pthread_mutex_lock(&b->lock);
	for (; next_items(b, &n); linger(b)) {
		pthread_mutex_unlock(&b->lock);
		b->task.work(b->current, n, b->userdata);
		pthread_mutex_lock(&b->lock);
	}
	b->state = THREAD_ENDED;
	pthread_cond_signal(&b->is_done);
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

/* Under the lock. */
static void start_thread(struct background *b)
{
	pthread_attr_t attributes;
	sigset_t all, old;

	if (b->state != THREAD_NONE || pthread_attr_init(&attributes) != 0)
		return;
	(void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&b->thread, &attributes, run, b) == 0)
		b->state = THREAD_WORKING;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
}

/* Waiting with a deadline goes by the monotonic clock. */
static void init_conditions(struct background *b)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&b->has_work, &attributes);
	pthread_cond_init(&b->is_done, &attributes);
	pthread_condattr_destroy(&attributes);
}

int background_new(struct background **ret, const struct background_task *task, void *userdata)
{
	struct background *b = calloc(1, sizeof(*b));

	assert(task->item_size > 0 && task->capacity > 0 && task->n_at_once > 0);
	assert(task->linger_usec == 0 || task->n_at_once <= task->capacity);
	if (!b)
		return -ENOMEM;
	b->task = *task;
	b->alarm_usec = UINT64_MAX;
	b->userdata = userdata;
	b->ring = calloc(task->capacity, task->item_size);
	b->current = calloc(task->n_at_once, task->item_size);
	if (!b->ring || !b->current) {
		free(b->ring);
		free(b->current);
		free(b);
		return -ENOMEM;
	}
	pthread_mutex_init(&b->lock, NULL);
	init_conditions(b);
	*ret = b;
	return 0;
}

void background_let_start(bool may_start)
{
	atomic_store(&may_start_threads, may_start);
}

bool background_push(struct background *b, const void *items, size_t n)
{
	bool has_room, must_wake;

	pthread_mutex_lock(&b->lock);
	has_room = n <= b->task.capacity - b->n_queued;
	for (size_t i = 0; has_room && i < n; i++)
		memcpy(item_at(b, b->n_queued++), (const char *)items + i * b->task.item_size,
			b->task.item_size);
	if (atomic_load(&may_start_threads))
		start_thread(b);
	must_wake = end_rest(b);
	pthread_mutex_unlock(&b->lock);
	if (must_wake) /* not under the lock, which the thread wants first of all */
		pthread_cond_signal(&b->has_work);
	return has_room;
}

void background_set_alarm(struct background *b, uint64_t at_usec)
{
	pthread_mutex_lock(&b->lock);
	if (b->alarm_usec != at_usec) {
		b->alarm_usec = at_usec;
		if (b->state == THREAD_ASLEEP)
			pthread_cond_signal(&b->has_work);
	}
	pthread_mutex_unlock(&b->lock);
}

size_t background_n_queued(struct background *b)
{
	size_t n;

	pthread_mutex_lock(&b->lock);
	n = b->n_queued;
	pthread_mutex_unlock(&b->lock);
	return n;
}

/* Under the lock. */
static bool is_working(const struct background *b)
{
	return b->n_queued > 0 || b->state == THREAD_WORKING;
}

bool background_wait(struct background *b, uint64_t timeout_usec)
{
	struct timespec deadline = monotonic_after(timeout_usec);
	bool is_done;
	int r = 0;

	pthread_mutex_lock(&b->lock);
	b->n_waiting++;
	if (b->n_queued > 0) {
		start_thread(b);
		if (end_rest(b))
			pthread_cond_signal(&b->has_work);
	}
	while (is_working(b) && r == 0)
		r = pthread_cond_timedwait(&b->is_done, &b->lock, &deadline);
	b->n_waiting--;
	is_done = !is_working(b);
	pthread_mutex_unlock(&b->lock);
	return is_done;
}

static bool is_alive(enum thread_state state)
{
	return state != THREAD_NONE && state != THREAD_ENDED;
}

/* Returns false if the thread is still there when the time is over. */
static bool end_thread(struct background *b, uint64_t timeout_usec)
{
	struct timespec deadline = monotonic_after(timeout_usec);
	enum thread_state state;
	int r = 0;

	pthread_mutex_lock(&b->lock);
	b->is_closing = true;
	if (b->n_queued > 0)
		start_thread(b);
	if (end_rest(b))
		pthread_cond_signal(&b->has_work);
	while (is_alive(b->state) && r == 0)
		r = pthread_cond_timedwait(&b->is_done, &b->lock, &deadline);
	state = b->state;
	pthread_mutex_unlock(&b->lock);
	if (state == THREAD_ENDED)
		pthread_join(b->thread, NULL);
	return !is_alive(state);
}

struct background *background_free(struct background *b, uint64_t timeout_usec)
{
	if (!b)
		return NULL;
	if (!end_thread(b, timeout_usec))
		return b;
	pthread_cond_destroy(&b->is_done);
	pthread_cond_destroy(&b->has_work);
	pthread_mutex_destroy(&b->lock);
	free(b->current);
	free(b->ring);
	free(b);
	return NULL;
}
