/* SPDX-License-Identifier: MIT */
/*
 * Work that may block, done by a thread of its own: a bounded queue of equal-sized items.
 *
 * For what the event loop must not wait for: writing the log, closing shared sockets, telling the
 * service manager. Items are worked off in order, by one thread. It is made at the first push, not
 * before: capabilities belong to threads (capabilities(7)), so by then usherd has given up its own.
 * It has all signals blocked and a stack of 128 KiB.
 *
 * Invariant: the lock is never held while work is done, so a push takes bounded time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is done, and with how much room. */
struct background_task {
	const char *name; /* of the thread: at most 15 bytes (pthread_setname_np(3)) */
	size_t item_size; /* bytes */
	size_t capacity;  /* how many items can wait, besides those being worked on */
	size_t n_at_once; /* how many items that wait are given to one call of `work`, at most */
	/*
	 * How long the thread lets items gather after work, before it looks again by itself; or 0.
	 * So what comes first is worked on at once, and under load `work` is called once in that
	 * time. `n_at_once` items (not more than `capacity` then) and background_wait() cut it
	 * short.
	 */
	uint64_t linger_usec;
	/* `n` is 0 when the alarm has come and nothing is queued. */
	void (*work)(const void *items, size_t n, void *userdata);
};

struct background;

/*
 * Make the queue. `task` is copied, its name is not; `userdata` is for `work`. Memory for all of
 * `capacity` is reserved, but touched only as far as the queue ever grows. Returns 0 or -ENOMEM.
 */
int background_new(struct background **ret, const struct background_task *task, void *userdata);

/*
 * Queue copies of `n` items. Never blocks, and costs a system call only if the thread must be
 * woken, not while it works or lets items gather: what belongs together should be pushed together.
 * Any thread may push, `work` too. If no thread can be had now, the items wait for the next push.
 * Returns false if there is not room for all of them; none is queued then.
 */
bool background_push(struct background *b, const void *items, size_t n);

/*
 * For all queues of this process: until they are let, pushes start no thread, and what is pushed
 * waits for the first push after that, or for background_wait() or background_free(). So a thread
 * begins with what the process is by then (privilege.h, sandbox.h).
 */
void background_let_start(bool may_start);

/*
 * Call `work` when CLOCK_MONOTONIC is at `at_usec`, even if nothing is queued then; UINT64_MAX: not
 * at all. There is one alarm, and it comes once. Without a thread, which the first push makes, and
 * once background_free() was called, there is none. Any thread may call it, `work` too.
 */
void background_set_alarm(struct background *b, uint64_t at_usec);

/* How many items wait. Those being worked on are not among them. */
size_t background_n_queued(struct background *b);

/*
 * Wait until everything that was pushed is worked off, at most `timeout_usec`. Returns whether it
 * is. Meanwhile nothing is left to gather.
 */
bool background_wait(struct background *b, uint64_t timeout_usec);

/*
 * Work off what is queued, waiting at most `timeout_usec`, end the thread, free `b`. Returns NULL
 * then, also for NULL.
 *
 * A thread that is stuck cannot be ended. If time runs out, nothing is freed and `b` is returned:
 * the thread will work off the rest if it ever can. Call again, with a timeout of 0 to just look,
 * or never; until then `userdata` must stay. After the first call only `work` may push.
 */
struct background *background_free(struct background *b, uint64_t timeout_usec);
