/* SPDX-License-Identifier: MIT */
/*
 * What usherd tells the service manager: at once if it takes it at once, else by
 * sd_pid_notify_with_fds(3), which blocks while the manager stalls, in a thread of its own.
 *
 * Messages are sent in the order given, with or without a descriptor. Without NOTIFY_SOCKET in the
 * environment nothing happens, and there is no thread. All functions are for the event loop's
 * thread.
 *
 * Invariant: none of these functions but notify_wait() and notify_stop() waits for the manager, and
 * these only for as long as they are told.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Longer messages are not sent, but counted as dropped: half an assignment is none. */
#define NOTIFY_MAX_BYTES 1023

/*
 * How many messages can wait: all that a start with 16384 services has to say, with some to spare.
 * What they use up is memory for their texts, and only while they wait.
 */
#define NOTIFY_MAX_QUEUED (1 << 17)

/* Is there a service manager that wants to be told? */
bool notify_has_manager(void);

/*
 * Send or queue "NAME=value" lines, separated by newlines. Returns false if they were dropped: too
 * many wait already, or there is no memory. Without a manager there is nothing to drop: true.
 */
bool notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * As notify_send(), with a copy of `fd`, which stays the caller's and may be closed at once. Also
 * dropped if no descriptor is free for the copy, or if a quarter of all that this process may have
 * are such copies already: a manager that stalls must not take them from clients.
 */
bool notify_send_fd(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Queue WATCHDOG=1, unless something else still waits. So a stalled manager's queue keeps its room
 * for what must not be lost, and when the manager goes on it hears of us all the same.
 */
void notify_alive(void);

/*
 * For supervisors without that socket: take `fd`, write a newline to it and close it, as s6 wants
 * it (s6-supervise). Returns 0 or a negative errno.
 */
int notify_newline(int fd);

/* How many messages were dropped since the start, or could not be sent. */
uint64_t notify_n_dropped(void);

/* Wait until what is queued is sent, at most `timeout_usec`. Returns whether it is. */
bool notify_wait(uint64_t timeout_usec);

/*
 * Send what is queued, waiting at most `timeout_usec`, and end the thread; the next message starts
 * another. Returns false if time ran out: the thread is stuck in the manager's socket, and all
 * messages are dropped until another call returns true.
 */
bool notify_stop(uint64_t timeout_usec);
