/* SPDX-License-Identifier: MIT */
/* See loop.h. */
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

int64_t monotonic_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int loop_init(struct loop *loop)
{
	*loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	TAILQ_INIT(&loop->timers);
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_done(struct loop *loop)
{
	if (loop->epoll_fd >= 0)
		(void)close(loop->epoll_fd);
	loop->epoll_fd = -EBADF;
}

static int control(struct loop *loop, int operation, struct watch *watch, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	return epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

int loop_watch(struct loop *loop, struct watch *watch, int fd, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, watch, fd, events);
}

int loop_rewatch(struct loop *loop, struct watch *watch, int fd, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, watch, fd, events);
}

void loop_unwatch(struct loop *loop, struct watch *watch, int fd)
{
	(void)control(loop, EPOLL_CTL_DEL, watch, fd, 0);
	for (int i = 0; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
}

void loop_add_timer(struct loop *loop, struct timer *timer)
{
	TAILQ_INSERT_TAIL(&loop->timers, timer, link);
}

void loop_remove_timer(struct loop *loop, struct timer *timer)
{
	TAILQ_REMOVE(&loop->timers, timer, link);
}

/* For epoll_wait(2): how long until a timer is due, -1 for ever. */
static int next_timeout_ms(const struct loop *loop)
{
	const struct timer *timer;
	int64_t at_ms = NO_DEADLINE;
	int64_t left_ms;

	TAILQ_FOREACH(timer, &loop->timers, link)
	if (timer->at_ms < at_ms)
		at_ms = timer->at_ms;
	if (at_ms == NO_DEADLINE)
		return -1;
	left_ms = at_ms - monotonic_ms();
	if (left_ms <= 0)
		return 0;
	return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

/* One that removes itself is allowed. */
static void tell_timers(struct loop *loop)
{
	struct timer *timer, *next;
	int64_t now_ms = monotonic_ms();

	for (timer = TAILQ_FIRST(&loop->timers); timer; timer = next) {
		next = TAILQ_NEXT(timer, link);
		if (timer->at_ms <= now_ms)
			timer->on_time(timer, now_ms);
	}
}

int loop_turn(struct loop *loop)
{
	int n = epoll_wait(loop->epoll_fd, loop->events, LOOP_EVENTS, next_timeout_ms(loop));

	if (n < 0 && errno != EINTR)
		return -errno;
	loop->n_events = n;
	for (int i = 0; i < n; i++) {
		struct watch *watch = loop->events[i].data.ptr;

		if (watch)
			watch->on_event(watch, loop->events[i].events);
	}
	loop->n_events = 0;
	tell_timers(loop);
	return 0;
}
