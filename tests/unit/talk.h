/* SPDX-License-Identifier: MIT */
/*
 * Clients of a service in the test's own thread: the service's ends are in `talk.loop`, which turns
 * while a client waits. Time moves when the test says, if clock_gettime is wrapped.
 *
 * Every wait ends with the test's time limit.
 */
#pragma once

#include "enrolment.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

struct talk {
	struct loop loop;
	int output_fd;	 /* what was said */
	int real_stderr; /* kept for the end */
	struct timespec now;
};
extern struct talk talk;

/* A loop, a stub of libusher, and a pipe as standard error: until talk_end(), or until the test has
 * failed. */
void talk_begin(void);

/* All that was watched must be gone. */
void talk_end(void);

/* One connection of AF_UNIX as usher_accept() returns it, with bytes of an earlier service. Returns
 * the client's end, non-blocking; ids count from 1. */
int talk_connect(struct enrolment *e, enrolment_on_connection *on_connection, const char *data);

/* Serve until nothing happens any more. */
void talk_until_quiet(void);

/*
 * What goes through the network, even to this machine, comes a moment later than it was sent, and a
 * refusal too: "quiet" is no proof that nothing will come. So serve until `fd`, which is not in the
 * loop, is readable or at its end; or until something in the loop has made it so.
 */
void talk_wait(int fd);
void talk_until(bool (*is_so)(void));

/* So many milliseconds later: timers that are due are called. */
void talk_later(int64_t ms);

void talk_send(int fd, const char *text);

/* Serve until quiet; what the client got must be this, and more may follow, or the end. */
void assert_gets(int fd, const char *text);
void assert_gets_end(int fd, const char *text); /* closes it too */

/* All that was said since the last time. */
void assert_said(const char *expected);
