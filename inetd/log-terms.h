/* SPDX-License-Identifier: MIT */
/*
 * The terms of the log: where it goes, what a message can be about, and its priorities. Types only,
 * so that what is below log.h knows them too; everybody else includes log.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

enum log_target {
	LOG_TO_JOURNAL, /* the journal's native protocol; stderr where there is no journal */
	LOG_TO_SYSLOG,
	LOG_TO_STDERR, /* with <N> in front if JOURNAL_STREAM says that stderr is a journal */
	LOG_TO_FILE,
};

/* Whom a message is about. Members left zero are not written. Texts are cut at 255 bytes. */
struct log_about {
	const char *service;  /* USHER_SERVICE= */
	const char *listener; /* USHER_LISTENER= */
	const char *provider; /* USHER_PROVIDER= the name it gave */
	const char *reason;   /* USHER_REASON= a short stable word, for filters and counters */
	pid_t provider_pid;   /* USHER_PROVIDER_PID= */
	uid_t provider_uid;   /* USHER_PROVIDER_UID=, only with provider_pid */
	int error;	      /* ERRNO= of either sign; the sentence should say it too */

	/* Of events, see log_write_event(). */
	const char *event;	/* USHER_EVENT= one word */
	const char *peer;	/* USHER_PEER= the client */
	uint64_t connection;	/* USHER_CONNECTION= below 2^63; the same in all its events */
	uint64_t duration_usec; /* USHER_DURATION_USEC= below 2^63, only with has_duration */
	bool has_duration;
	uint64_t n_more; /* USHER_MORE= below 2^63: so many like it were left out */
};

/* log_write(), for what it is made of. */
typedef void log_writer(int priority, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
