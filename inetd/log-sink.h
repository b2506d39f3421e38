/* SPDX-License-Identifier: MIT */
/*
 * Where the records of the log go: the journal, syslog, stderr or a file.
 *
 * Writing blocks for as long as the other side likes, which is why log.c has a thread for it.
 */
#pragma once

#include "log-record.h"
#include "log-terms.h"

#include <stdbool.h>

/* A plain value. Between log_sink_init() and log_sink_done() it owns `fd`. */
struct log_sink {
	enum log_target target;
	enum log_form form; /* of lines */
	int fd;		    /* LOG_TO_FILE; else -EBADF */
};

/* Stderr, owning nothing: what a sink is before log_sink_init(). */
extern const struct log_sink log_sink_none;

/* Open `target`, as log_open() says. Returns 0 or the negative errno of open(2). */
int log_sink_init(struct log_sink *sink, enum log_target target, const char *path);

/* Write one record, waiting for the reader. Returns false if it was not written. */
bool log_sink_write(const struct log_sink *sink, const struct log_record *record);

/*
 * For the room alone: open a file for appending, as log_open() says, and write one record to
 * syslog, which does not say whether it could. Returns the descriptor, the caller's, or a negative
 * errno of open(2).
 */
int log_sink_open_file(const char *path);
void log_sink_write_to_syslog(int facility, int level, const struct log_record *record);

/* Is stderr the same place? */
bool log_sink_is_stderr(const struct log_sink *sink);

void log_sink_done(struct log_sink *sink);
