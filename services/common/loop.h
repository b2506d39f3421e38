/* SPDX-License-Identifier: MIT */
/*
 * The event loop of a service: one epoll(7), level-triggered, and a few timers.
 *
 * It knows nothing of connections, registrations or signals, which are watched like anything else.
 *
 * Invariant: nobody hears of an event after loop_unwatch(), also not of one that epoll has returned
 * already; so a handler may end anything, itself and others.
 */
#pragma once

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#define NO_DEADLINE INT64_MAX

/* Most events of one turn. */
#define LOOP_EVENTS 64

/* Somebody who waits for events of a descriptor. The first member of whatever is watched. */
struct watch {
	void (*on_event)(struct watch *watch, uint32_t events);
};

/*
 * Somebody who waits for a moment. `at_ms` may be set at any time, NO_DEADLINE for none, and stays
 * as it is until it is set anew: on_time() is called at the end of every turn in which it is due.
 * All of them are looked at in every turn, so a part of a program has one, whatever it has inside.
 */
struct timer {
	void (*on_time)(struct timer *timer, int64_t now_ms);
	int64_t at_ms;
	TAILQ_ENTRY(timer) link;
};

struct loop {
	int epoll_fd;
	int n_events; /* of the turn that is on, 0 between turns */
	struct epoll_event events[LOOP_EVENTS];
	TAILQ_HEAD(, timer) timers;
};

/* Milliseconds of CLOCK_MONOTONIC, in which all deadlines are. */
int64_t monotonic_ms(void);

/* Returns 0, or the error of epoll_create1(2). */
int loop_init(struct loop *loop);

/* Nothing may be watched any more; what is watched all the same is forgotten. */
void loop_done(struct loop *loop);

/*
 * Call watch->on_event() for these events of `fd`, and for EPOLLERR and EPOLLHUP. Both are the
 * caller's. Returns 0, or the error of epoll_ctl(2): -ENOMEM, -ENOSPC; -EPERM for a regular file.
 */
int loop_watch(struct loop *loop, struct watch *watch, int fd, uint32_t events);

/* The same for other events. It must be watched. Returns 0, or the error of epoll_ctl(2). */
int loop_rewatch(struct loop *loop, struct watch *watch, int fd, uint32_t events);

/*
 * Before `fd` is closed: a copy of it elsewhere would let epoll go on. Nothing happens if it is not
 * watched.
 */
void loop_unwatch(struct loop *loop, struct watch *watch, int fd);

/* The timer must live until loop_remove_timer(). */
void loop_add_timer(struct loop *loop, struct timer *timer);
void loop_remove_timer(struct loop *loop, struct timer *timer);

/*
 * Wait until something happens or a timer is due, and tell whom it concerns. Returns 0, or the
 * error of epoll_wait(2) if it is not EINTR.
 */
int loop_turn(struct loop *loop);
