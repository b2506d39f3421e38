/* SPDX-License-Identifier: MIT */
/*
 * One message of the log, as the list of "NAME=value" texts that the journal takes, and as one line
 * for the other targets.
 *
 * Pure: writes nothing, knows no target. Control characters and broken UTF-8 are escaped as \xNN
 * when the record is made, so that no form of it can be forged.
 */
#pragma once

#include "log-terms.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum log_field {
	LOG_FIELD_MESSAGE,
	LOG_FIELD_PRIORITY,
	LOG_FIELD_MESSAGE_ID,
	LOG_FIELD_EVENT,
	LOG_FIELD_SERVICE,
	LOG_FIELD_LISTENER,
	LOG_FIELD_PEER,
	LOG_FIELD_CONNECTION,
	LOG_FIELD_PROVIDER,
	LOG_FIELD_PROVIDER_PID,
	LOG_FIELD_PROVIDER_UID,
	LOG_FIELD_REASON,
	LOG_FIELD_DURATION,
	LOG_FIELD_MORE,
	LOG_FIELD_ERRNO,
	LOG_N_FIELDS,
};

#define LOG_MESSAGE_MAX 1024
#define LOG_VALUE_MAX	255

/* Room for the texts of any record: names are shorter than 30 bytes. */
#define LOG_RECORD_TEXT_MAX                                                                        \
	(LOG_MESSAGE_MAX + (LOG_N_FIELDS - 1) * LOG_VALUE_MAX + LOG_N_FIELDS * 32)
/* Room for any line: and a head, quotes, brackets, a newline. */
#define LOG_LINE_MAX (LOG_RECORD_TEXT_MAX + 128)

struct log_record {
	struct timespec when; /* CLOCK_REALTIME */
	int priority;
	uint64_t n_reported;	      /* this record says that so many messages were dropped */
	uint16_t start[LOG_N_FIELDS]; /* of "NAME=value", plus one; zero: there is no such field */
	size_t length;
	char *text; /* while it is made: the caller's buffer; a copy's: behind the struct */
};

/* Make a record in `text`, of LOG_RECORD_TEXT_MAX bytes, which must live as long as the record. */
void log_record_init(struct log_record *record, char *text, int priority,
	const struct log_about *about, const char *format, va_list arguments)
	__attribute__((format(printf, 5, 0)));

/*
 * The same for an event (about->event). Its fields are all that there is to say, in the order of
 * enum log_field: they are the message, too, as they are shown in lines.
 */
void log_record_init_event(
	struct log_record *record, char *text, int priority, const struct log_about *about);

/* A copy to be freed with free(3), or NULL. */
struct log_record *log_record_dup(const struct log_record *record);

/* "NAME=value", which the record owns, or NULL. */
char *log_record_field(const struct log_record *record, enum log_field field);

/* How a line looks. The level is named when it is neither "info" nor "notice". */
enum log_form {
	LOG_FORM_PLAIN, /* usherd: warning: the provider hung up [service=echo provider_pid=42] */
	LOG_FORM_PREFIXED, /* <4>the provider hung up [...] */
	LOG_FORM_DATED, /* 2026-11-21T18:40:12.123456+0100 usherd[7]: warning: the provider ... */
	LOG_FORM_SENTENCE, /* the provider hung up [...] */
};

/*
 * Write the line, without a newline, and a NUL to `line`, of LOG_LINE_MAX bytes. Returns its
 * length. Of an event the line has only the fields, without brackets.
 *
 * Values with anything but harmless characters are quoted. ERRNO is not shown: the sentence says
 * it.
 */
size_t log_record_format(const struct log_record *record, enum log_form form, char *line);
