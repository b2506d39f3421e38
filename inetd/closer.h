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
 * A descriptor that a provider has sent may be of any kind, and where its file system does not
 * answer (FUSE, NFS) no signal cuts its close short. Those that are no sockets go to a second
 * thread: if it is held up for ever, then only what else strangers have sent waits behind it, each
 * at the price of a descriptor. (Letting the kernel discard it, unreceived, does not flush a file,
 * but lingers on a socket, in our own thread.)
 *
 * One for the process, like the log: so is the table of descriptors. All functions are for the
 * event loop's thread. The signal is SIGRTMIN.
 *
 * Invariant: every descriptor given is closed, and none of these functions waits for a client.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The longest that one lingering socket holds up the ones behind it. */
#define CLOSER_LINGER_USEC 1000

/*
 * Under load, sockets are closed together: the longest that one waits for others. What is given
 * after a pause of that length is closed at once. A client meets its end that much later if its
 * provider only calls close(2); usher_close() shuts the connection down.
 */
#define CLOSER_GATHER_USEC 2000

/*
 * Start. There is room for as many descriptors as RLIMIT_NOFILE allows now (at most a million), so
 * raise it before: then the queue cannot be full, and what a flood of lingering sockets uses up is
 * descriptors, for which accepting has an answer. Returns 0, -ENOMEM, or -EBUSY while a
 * closer_stop() that ran out of time is not over.
 */
int closer_start(void);

/*
 * Close `fd`, which is taken, if there is one (not negative). Returns -EBADF, so that `fd =
 * closer_close(fd)` forgets it. It is closed soon after the next closer_flush(),
 * see CLOSER_GATHER_USEC; directly, by the caller, only before closer_start(), after closer_stop(),
 * and if there is no room, which takes a limit that was raised later, or more than a million.
 */
int closer_close(int fd);

/*
 * As closer_close(), for a descriptor that somebody else has sent, whatever it is. It does not
 * touch the file: fstat(2) might wait for its file system, too.
 */
int closer_close_received(int fd);

/*
 * Hand what was given to the thread, with one system call or none. Call it before the loop waits:
 * clients see no end of a connection before all copies are closed.
 */
void closer_flush(void);

/*
 * Wait until everything that was given is closed, at most `timeout_usec` for each of the two
 * threads. Returns whether it is.
 */
bool closer_wait(uint64_t timeout_usec);

/*
 * Close what was given, waiting at most `timeout_usec` for each of the two threads, and end them.
 * Returns false if time ran out. What is not closed by then is when the process ends: a socket
 * without lingering; but a file whose file system does not answer keeps the process from ending,
 * and execve(2) from returning.
 */
bool closer_stop(uint64_t timeout_usec);
