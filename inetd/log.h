/* SPDX-License-Identifier: MIT */
/*
 * What usherd tells the administrator, as sentences with named fields.
 *
 * The only caller of sd_journal_*. A message is queued and written by a thread of its own, because
 * the journal, syslog and stderr block when their reader stalls: the event loop never does. When
 * the queue is full messages are dropped, counted, and the count is logged when there is room
 * again, once in 10 seconds. The thread starts with the first message after log_open(), all signals
 * blocked; capabilities belong to threads (capabilities(7)), so give them up before.
 *
 * Control characters and broken UTF-8 are escaped as \xNN: what a peer calls itself cannot forge a
 * line.
 *
 * Invariant: between log_open() and log_close(), log_write() takes bounded time, whatever the other
 * side does.
 */
#pragma once

#include "log-terms.h"

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

struct log_destination;

/*
 * Start logging to `target`. `path` is for LOG_TO_FILE alone: opened for appending, made with mode
 * 0640 if it is not there, refused if it is a symbolic link. Until then, and after log_close(),
 * log_write() writes to stderr directly. One thread opens and closes.
 *
 * May be called again, to change the target or to open a file anew that was rotated: what is queued
 * then goes to the new one. Returns 0, or a negative errno (the old target then stays): that of
 * open(2), -ENOMEM, or -EBUSY while a log_close() that ran out of time is not over.
 */
int log_open(enum log_target target, const char *path);

/* Wait until what is queued, and what was left out until now, is written, at most `timeout_usec`.
 */
void log_wait(uint64_t timeout_usec);

/*
 * Write what is queued, waiting at most `timeout_usec`, then stop. If time runs out, messages are
 * dropped from now on, and log_open() can tell when that is over.
 */
void log_close(uint64_t timeout_usec);

/*
 * Write messages to stderr as well, directly, unless that is where the log goes anyway: for as long
 * as somebody may be watching there whether usherd starts. Default false.
 */
void log_set_echo(bool is_echoing);

/*
 * Queue one message: `priority` as in syslog(3), `about` may be NULL, one sentence without a final
 * newline. Longer than 1 KiB is cut, never within a character. Keeps errno. Any thread may call it.
 *
 * What others can cause (log-messages.h) is limited for each service and reason, see log-limit.h:
 * what is beyond that is counted, and told as a number. about->reason must be a constant.
 */
void log_write(int priority, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Queue one event: about->event and what else there is to say, without a sentence. `to` is where it
 * goes (log-destination.h), held until it is written; NULL: where messages go. Keeps errno. Any
 * thread may call it.
 *
 * Strangers cause events: so that there is room for messages these are dropped first, when the
 * queue is filled to three quarters; and those of refusals are limited like messages. about->event
 * and reason must be constants.
 */
void log_write_event(struct log_destination *to, int priority, const struct log_about *about);

/* How many messages were lost since the start: the queue was full, or writing failed. */
uint64_t log_n_dropped(void);
