/* SPDX-License-Identifier: MIT */
/* Threads that make processes: see spawner.h. Two queues behind one lock: to the threads, and back
 * to the loop, which an eventfd wakes. */
#include "spawner.h"

#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How often children that take longer than this are pushed. */
#define PUSH_MS 100

STAILQ_HEAD(job_queue, spawn_job);

struct worker {
	struct spawner *spawner;
	pthread_t thread;
	struct child_stack *stack;
	int64_t since_ms; /* when it began its job; 0: it has none */
};

struct spawner {
	pthread_mutex_t lock;
	pthread_cond_t is_work; /* there is a job, or it is the end */
	struct job_queue waiting, done;
	bool is_ending;
	int event_fd;
	sd_event_source *io, *timer;
	bool is_timed; /* by the timer */
	struct worker workers[SPAWNER_MAX_THREADS];
	size_t n_workers;
};

/* The next job, or NULL at the end, when all are done. With the lock. */
static struct spawn_job *take_job(struct spawner *spawner)
{
	struct spawn_job *job;

	while (STAILQ_EMPTY(&spawner->waiting) && !spawner->is_ending)
		(void)pthread_cond_wait(&spawner->is_work, &spawner->lock);
	job = STAILQ_FIRST(&spawner->waiting);
	if (job)
		STAILQ_REMOVE_HEAD(&spawner->waiting, link);
	return job;
}

/* With the lock. The loop is woken for the first one that it has not seen. */
static void return_job(struct spawner *spawner, struct spawn_job *job)
{
	bool is_first = STAILQ_EMPTY(&spawner->done);

	STAILQ_INSERT_TAIL(&spawner->done, job, link);
	if (is_first)
		(void)eventfd_write(spawner->event_fd, 1);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct spawner *spawner = worker->spawner;
	struct spawn_job *job;

	(void)pthread_mutex_lock(&spawner->lock);
	while ((job = take_job(spawner))) {
		worker->since_ms = monotonic_ms();
		(void)pthread_mutex_unlock(&spawner->lock);
		job->error =
			child_spawn(worker->stack, &job->plan, &job->pid, &job->pidfd, &job->step);
		(void)pthread_mutex_lock(&spawner->lock);
		worker->since_ms = 0;
		return_job(spawner, job);
	}
	(void)pthread_mutex_unlock(&spawner->lock);
	return NULL;
}

static void finish_jobs(struct spawner *spawner)
{
	struct job_queue done = STAILQ_HEAD_INITIALIZER(done);
	struct spawn_job *job;

	(void)pthread_mutex_lock(&spawner->lock);
	STAILQ_CONCAT(&done, &spawner->done);
	(void)pthread_mutex_unlock(&spawner->lock);
	while ((job = STAILQ_FIRST(&done))) {
		STAILQ_REMOVE_HEAD(&done, link);
		job->on_done(job, job->userdata);
	}
}

static int on_event(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	eventfd_t unused;

	(void)source, (void)events;
	(void)eventfd_read(fd, &unused);
	finish_jobs(userdata);
	return 0;
}

/* Returns whether there is anything that may need it later. */
static bool push_children(struct spawner *spawner)
{
	int64_t now_ms = monotonic_ms();
	bool is_busy;

	(void)pthread_mutex_lock(&spawner->lock);
	is_busy = !STAILQ_EMPTY(&spawner->waiting);
	for (size_t i = 0; i < spawner->n_workers; i++) {
		const struct worker *worker = &spawner->workers[i];
		int64_t ms = now_ms - worker->since_ms;

		is_busy |= worker->since_ms != 0;
		if (worker->since_ms != 0 && ms >= PUSH_MS)
			child_push(worker->stack, ms >= SPAWNER_MAX_MS);
	}
	(void)pthread_mutex_unlock(&spawner->lock);
	return is_busy;
}

static void set_timer(struct spawner *spawner)
{
	(void)sd_event_source_set_time_relative(spawner->timer, UINT64_C(1000) * PUSH_MS);
	(void)sd_event_source_set_enabled(spawner->timer, SD_EVENT_ONESHOT);
	spawner->is_timed = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct spawner *spawner = userdata;

	(void)source, (void)usec;
	spawner->is_timed = false;
	if (push_children(spawner))
		set_timer(spawner);
	return 0;
}

/* Signals are for the thread of the loop. */
static int start_worker(struct spawner *spawner)
{
	struct worker *worker = &spawner->workers[spawner->n_workers];
	sigset_t all, before;
	int r;

	*worker = (struct worker){.spawner = spawner};
	r = child_stack_new(&worker->stack);
	if (r < 0)
		return r;
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&worker->thread, NULL, work, worker);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		child_stack_free(worker->stack);
	else
		spawner->n_workers++;
	return r;
}

static int start_workers(struct spawner *spawner, size_t n_threads)
{
	int r = 0;

	for (size_t i = 0; i < n_threads && i < SPAWNER_MAX_THREADS && r >= 0; i++)
		r = start_worker(spawner);
	return spawner->n_workers > 0 ? 0 : r;
}

int spawner_new(struct spawner **ret, sd_event *event, size_t n_threads)
{
	struct spawner *spawner = calloc(1, sizeof(*spawner));
	int r = 0;

	if (!spawner)
		return -ENOMEM;
	(void)pthread_mutex_init(&spawner->lock, NULL);
	(void)pthread_cond_init(&spawner->is_work, NULL);
	STAILQ_INIT(&spawner->waiting);
	STAILQ_INIT(&spawner->done);
	spawner->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (spawner->event_fd < 0)
		r = -errno;
	if (r >= 0)
		r = sd_event_add_io(
			event, &spawner->io, spawner->event_fd, EPOLLIN, on_event, spawner);
	if (r >= 0)
		r = sd_event_add_time_relative(
			event, &spawner->timer, CLOCK_MONOTONIC, 0, 0, on_timer, spawner);
	if (r >= 0)
		r = sd_event_source_set_enabled(spawner->timer, SD_EVENT_OFF);
	if (r >= 0)
		r = start_workers(spawner, n_threads);
	if (r < 0) {
		spawner_free(spawner);
		return r;
	}
	*ret = spawner;
	return 0;
}

void spawner_submit(struct spawner *spawner, struct spawn_job *job)
{
	(void)pthread_mutex_lock(&spawner->lock);
	STAILQ_INSERT_TAIL(&spawner->waiting, job, link);
	(void)pthread_cond_signal(&spawner->is_work);
	(void)pthread_mutex_unlock(&spawner->lock);
	if (!spawner->is_timed)
		set_timer(spawner);
}

/* The loop does not run any more. */
static void join_worker(struct spawner *spawner, struct worker *worker)
{
	struct timespec until;

	do {
		(void)push_children(spawner);
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
	} while (pthread_timedjoin_np(worker->thread, NULL, &until) == ETIMEDOUT);
}

struct spawner *spawner_free(struct spawner *spawner)
{
	if (!spawner)
		return NULL;
	(void)pthread_mutex_lock(&spawner->lock);
	spawner->is_ending = true;
	(void)pthread_cond_broadcast(&spawner->is_work);
	(void)pthread_mutex_unlock(&spawner->lock);
	for (size_t i = 0; i < spawner->n_workers; i++)
		join_worker(spawner, &spawner->workers[i]);
	for (size_t i = 0; i < spawner->n_workers; i++)
		child_stack_free(spawner->workers[i].stack);
	finish_jobs(spawner);
	sd_event_source_disable_unref(spawner->io);
	sd_event_source_disable_unref(spawner->timer);
	if (spawner->event_fd >= 0)
		(void)close(spawner->event_fd);
	(void)pthread_cond_destroy(&spawner->is_work);
	(void)pthread_mutex_destroy(&spawner->lock);
	free(spawner);
	return NULL;
}
