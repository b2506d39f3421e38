/* SPDX-License-Identifier: MIT */
/*
 * Closing sockets that somebody else may have made slow to close.
 *
 * Who shares a socket with us, a provider, can set SO_LINGER; the close(2) of the last copy then
 * waits until the client has taken all data, even with O_NONBLOCK, and that may be for ever
 * (socket(7), measured). So a thread closes them. Each of its closes is cut short by a signal
 * within CLOSER_LINGER_USEC. Nothing is lost by that: the kernel goes on delivering, as it does
 * without SO_LINGER, and an abortive close (a linger time of zero) still is one.
 *
 * Switching SO_LINGER off instead would change the socket under a provider that goes on using it,
 * and the provider could switch it on again before the close.
 *
 * Files of other kinds are closed as well, but no signal helps where their file system does not
 * answer (FUSE, NFS): that would hold up all the rest.
 *
 * One for the process, like the log: so is the table of descriptors. All functions are for the
 * event loop's thread. The signal is SIGRTMIN.
 *
 * Invariant: every descriptor given is closed, and none of these functions waits for a client.
 */
#pragma once

#include <stdint.h>

/* The longest that one lingering socket holds up the ones behind it. */
#define CLOSER_LINGER_USEC 1000

/*
 * Start. There is room for as many descriptors as RLIMIT_NOFILE allows now (at most a million), so
 * raise it before: then the queue cannot be full, and what a flood of lingering sockets uses up is
 * descriptors, for which accepting has an answer. Returns 0, -ENOMEM, or -EBUSY while a
 * closer_stop() that ran out of time is not over.
 */
int closer_start(void);

/*
 * Close `fd`, which is taken, if there is one (not negative). Returns -EBADF, so that `fd =
 * closer_close(fd)` forgets it. It is closed soon after the next closer_flush(); directly, by the
 * caller, only before closer_start(), after closer_stop(), and if there is no room, which takes a
 * limit that was raised later, or more than a million.
 */
int closer_close(int fd);

/*
 * Hand what was given to the thread, with one system call or none. Call it before the loop waits:
 * clients see no end of a connection before all copies are closed.
 */
void closer_flush(void);

/*
 * Close what was given, waiting at most `timeout_usec`, and end the thread. What is not closed by
 * then is when the process ends, which never lingers.
 */
void closer_stop(uint64_t timeout_usec);
