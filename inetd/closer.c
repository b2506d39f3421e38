/* SPDX-License-Identifier: MIT */
/*
 * Closing in the background: see closer.h.
 *
 * This is on the way of every connection, so system calls are saved: descriptors are handed over
 * once a turn, under load they are closed together, and neighbours by one close_range(2). The timer
 * that cuts lingering short runs while a batch is closed.
 */
#include "closer.h"

#include "background.h"
#include "fd.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id /* timer_create(2) has the name, glibc 2.36 has not */
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define BATCH_MAX    256
#define CAPACITY_MAX ((size_t)1 << 20)

static struct {
	struct background *sockets, *files;
	bool is_open;
	int batch[BATCH_MAX]; /* given since the last flush */
	size_t n_batch;
} closer;

/* The thread's own. */
static struct {
	bool has_timer;
	timer_t timer; /* its signal is for that thread only */
} ticks;

static void set_ticks(long interval_usec)
{
	const struct timespec interval = {.tv_nsec = interval_usec * 1000};

	if (ticks.has_timer)
		(void)timer_settime(ticks.timer, 0,
			&(struct itimerspec){.it_interval = interval, .it_value = interval}, NULL);
}

/*
 * Coming is what matters: a close that lingers ends when a signal is pending. One that comes late
 * finds the thread waiting for work, which goes on.
 */
static void on_tick(int signal_number)
{
	(void)signal_number;
}

static void unblock_tick(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGRTMIN);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

/* Without a timer (RLIMIT_SIGPENDING) lingering takes its time, but the thread's alone. */
static void make_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};

	event.sigev_notify_thread_id = gettid();
	ticks.has_timer = timer_create(CLOCK_MONOTONIC, &event, &ticks.timer) == 0;
	unblock_tick();
}

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* How many of the first descriptors are neighbours. */
static size_t length_of_run(const int *fds, size_t n)
{
	size_t length = 1;

	while (length < n && fds[length] == fds[0] + (int)length)
		length++;
	return length;
}

static void close_run(const int *fds, size_t n)
{
	/* No close_range(2) before Linux 5.9, nor in some containers. */
	if (n > 1 && close_range((unsigned int)fds[0], (unsigned int)fds[n - 1], 0) == 0)
		return;
	for (size_t i = 0; i < n; i++)
		close_fd(fds[i]);
}

/* By the thread for sockets. */
static void close_sockets(const void *items, size_t n, void *unused)
{
	int fds[BATCH_MAX];

	(void)unused;
	memcpy(fds, items, n * sizeof(*fds));
	qsort(fds, n, sizeof(*fds), compare_fds);
	if (!ticks.has_timer)
		make_timer();
	set_ticks(CLOSER_LINGER_USEC);
	for (size_t i = 0, length; i < n; i += length) {
		length = length_of_run(fds + i, n - i);
		close_run(fds + i, length);
	}
	set_ticks(0);
}

/* By the thread for files. */
static void close_files(const void *items, size_t n, void *unused)
{
	const int *fds = items;

	(void)unused;
	for (size_t i = 0; i < n; i++)
		close_fd(fds[i]);
}

static size_t capacity(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > CAPACITY_MAX)
		return CAPACITY_MAX;
	return limit.rlim_cur;
}

/* While they wait to be closed together, sockets take up few of all descriptors: one in sixteen. */
static size_t batch_max(size_t n)
{
	if (n / 16 > BATCH_MAX)
		return BATCH_MAX;
	return n < 16 ? 1 : n / 16;
}

static int make_threads(size_t n)
{
	const struct background_task for_sockets = {
		.name = "usherd-closer",
		.item_size = sizeof(int),
		.capacity = n,
		.n_at_once = batch_max(n),
		.linger_usec = CLOSER_GATHER_USEC,
		.work = close_sockets,
	};
	const struct background_task for_files = {
		.name = "usherd-files",
		.item_size = sizeof(int),
		.capacity = n,
		.n_at_once = 1,
		.work = close_files,
	};
	int r = background_new(&closer.sockets, &for_sockets, NULL);

	if (r < 0)
		return r;
	r = background_new(&closer.files, &for_files, NULL);
	if (r < 0)
		closer.sockets = background_free(closer.sockets, 0);
	return r;
}

int closer_start(void)
{
	int r;

	assert(!closer.is_open);
	if (!closer_stop(0)) /* old threads are still there */
		return -EBUSY;
	r = make_threads(capacity());
	if (r < 0)
		return r;
	sigaction(
		SIGRTMIN, &(struct sigaction){.sa_handler = on_tick, .sa_flags = SA_RESTART}, NULL);
	closer.is_open = true;
	return 0;
}

int closer_close(int fd)
{
	if (!closer.is_open)
		return close_fd(fd);
	if (fd < 0)
		return -EBADF;
	closer.batch[closer.n_batch++] = fd;
	if (closer.n_batch == BATCH_MAX)
		closer_flush();
	return -EBADF;
}

static bool is_socket(int fd)
{
	int type;
	socklen_t size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

int closer_close_received(int fd)
{
	if (!closer.is_open || fd < 0 || is_socket(fd))
		return closer_close(fd);
	return background_push(closer.files, &fd, 1) ? -EBADF : close_fd(fd);
}

void closer_flush(void)
{
	if (closer.n_batch == 0)
		return;
	if (!background_push(closer.sockets, closer.batch, closer.n_batch))
		for (size_t i = 0; i < closer.n_batch; i++)
			close_fd(closer.batch[i]);
	closer.n_batch = 0;
}

bool closer_wait(uint64_t timeout_usec)
{
	closer_flush();
	return !closer.is_open || (background_wait(closer.files, timeout_usec) &&
					  background_wait(closer.sockets, timeout_usec));
}

bool closer_stop(uint64_t timeout_usec)
{
	closer_flush();
	closer.is_open = false;
	closer.files = background_free(closer.files, timeout_usec);
	closer.sockets = background_free(closer.sockets, timeout_usec);
	if (!closer.sockets && ticks.has_timer) {
		(void)timer_delete(ticks.timer);
		memset(&ticks, 0, sizeof(ticks));
	}
	return !closer.sockets && !closer.files;
}
