/* SPDX-License-Identifier: MIT */
/* Making and formatting the records of the log: see log-record.h. */
#include "log-record.h"

#include "log-messages.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UTF8_MAX 4
#define HARMLESS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+._:/@%[]"

static const struct {
	const char *name;
	const char *shown_as; /* in lines; NULL: not among the fields of a line */
} field_names[LOG_N_FIELDS] = {
	[LOG_FIELD_MESSAGE] = {"MESSAGE", NULL},
	[LOG_FIELD_PRIORITY] = {"PRIORITY", NULL},
	[LOG_FIELD_MESSAGE_ID] = {"MESSAGE_ID", NULL},
	[LOG_FIELD_EVENT] = {"USHER_EVENT", "event"},
	[LOG_FIELD_SERVICE] = {"USHER_SERVICE", "service"},
	[LOG_FIELD_LISTENER] = {"USHER_LISTENER", "listener"},
	[LOG_FIELD_PEER] = {"USHER_PEER", "peer"},
	[LOG_FIELD_CONNECTION] = {"USHER_CONNECTION", "connection"},
	[LOG_FIELD_PROVIDER] = {"USHER_PROVIDER", "provider"},
	[LOG_FIELD_PROVIDER_PID] = {"USHER_PROVIDER_PID", "provider_pid"},
	[LOG_FIELD_PROVIDER_UID] = {"USHER_PROVIDER_UID", "provider_uid"},
	[LOG_FIELD_REASON] = {"USHER_REASON", "reason"},
	[LOG_FIELD_DURATION] = {"USHER_DURATION_USEC", "duration_usec"},
	[LOG_FIELD_MORE] = {"USHER_MORE", "more"},
	[LOG_FIELD_ERRNO] = {"ERRNO", NULL},
};

/* Bytes of the UTF-8 character at `text`; 0 if it is not one, or a control character (also U+0080
 * to U+009F, which terminals obey too). */
static size_t printable_length(const char *text)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {
		{0x80, 0x00, 0x20}, {0xe0, 0xc0, 0xa0}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	const unsigned char *bytes = (const unsigned char *)text;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		uint32_t character;

		if ((bytes[0] & forms[i].mask) != forms[i].lead)
			continue;
		character = bytes[0] & ~forms[i].mask & 0xffu;
		for (size_t k = 1; k <= i; k++) {
			if ((bytes[k] & 0xc0) != 0x80)
				return 0;
			character = character << 6 | (bytes[k] & 0x3fu);
		}
		if (character < forms[i].least || character == 0x7f || character > 0x10ffff ||
			(character >= 0xd800 && character <= 0xdfff))
			return 0;
		return i + 1;
	}
	return 0;
}

/* Copy `from` to `to`, at most `max` bytes and a NUL, whole characters, escaping what is not
 * printable. Returns the length. */
static size_t copy_escaped(char *to, const char *from, size_t max)
{
	char escaped[sizeof("\\xNN")];
	size_t length = 0;

	while (*from) {
		size_t n_taken = printable_length(from), n = n_taken;
		const char *piece = from;

		if (n_taken == 0) {
			n_taken = 1;
			n = (size_t)snprintf(
				escaped, sizeof(escaped), "\\x%02x", (unsigned char)*from);
			piece = escaped;
		}
		if (length + n > max)
			break;
		memcpy(to + length, piece, n);
		length += n;
		from += n_taken;
	}
	to[length] = '\0';
	return length;
}

/* A value that is NULL adds nothing. */
static void add(struct log_record *record, enum log_field field, const char *value)
{
	char *to = record->text + record->length;
	size_t max = field == LOG_FIELD_MESSAGE ? LOG_MESSAGE_MAX : LOG_VALUE_MAX;
	size_t name_length;

	if (!value)
		return;
	record->start[field] = (uint16_t)(record->length + 1);
	name_length = (size_t)sprintf(to, "%s=", field_names[field].name);
	record->length += name_length + copy_escaped(to + name_length, value, max) + 1;
}

/* Up to INT64_MAX. */
static void add_number(struct log_record *record, enum log_field field, int64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, number);
	add(record, field, text);
}

static void add_about(struct log_record *record, const struct log_about *about)
{
	add(record, LOG_FIELD_MESSAGE_ID, log_messages_id(about));
	add(record, LOG_FIELD_EVENT, about->event);
	add(record, LOG_FIELD_SERVICE, about->service);
	add(record, LOG_FIELD_LISTENER, about->listener);
	add(record, LOG_FIELD_PEER, about->peer);
	if (about->connection)
		add_number(record, LOG_FIELD_CONNECTION, (int64_t)about->connection);
	add(record, LOG_FIELD_PROVIDER, about->provider);
	if (about->provider_pid) {
		add_number(record, LOG_FIELD_PROVIDER_PID, about->provider_pid);
		add_number(record, LOG_FIELD_PROVIDER_UID, about->provider_uid);
	}
	add(record, LOG_FIELD_REASON, about->reason);
	if (about->has_duration)
		add_number(record, LOG_FIELD_DURATION, (int64_t)about->duration_usec);
	if (about->n_more)
		add_number(record, LOG_FIELD_MORE, (int64_t)about->n_more);
	if (about->error)
		add_number(record, LOG_FIELD_ERRNO, abs(about->error));
}

static void begin(struct log_record *record, char *text, int priority)
{
	*record = (struct log_record){.priority = priority, .text = text};
	clock_gettime(CLOCK_REALTIME, &record->when);
	add_number(record, LOG_FIELD_PRIORITY, priority);
}

void log_record_init(struct log_record *record, char *text, int priority,
	const struct log_about *about, const char *format, va_list arguments)
{
	/*
	 * Room for the rest of a character that begins within LOG_MESSAGE_MAX: it is not taken for
	 * broken.
	 */
	char message[LOG_MESSAGE_MAX + UTF8_MAX];

	begin(record, text, priority);
	vsnprintf(message, sizeof(message), format, arguments);
	add(record, LOG_FIELD_MESSAGE, message);
	if (about)
		add_about(record, about);
}

struct log_record *log_record_dup(const struct log_record *record)
{
	struct log_record *copy = malloc(sizeof(*copy) + record->length);

	if (!copy)
		return NULL;
	*copy = *record;
	copy->text = (char *)(copy + 1);
	memcpy(copy->text, record->text, record->length);
	return copy;
}

char *log_record_field(const struct log_record *record, enum log_field field)
{
	return record->start[field] ? record->text + record->start[field] - 1 : NULL;
}

/* A quotation mark in a quoted value becomes an apostrophe: no value can end its own quotes. */
static char *append_value(char *to, const char *value)
{
	if (*value && value[strspn(value, HARMLESS)] == '\0')
		return stpcpy(to, value);
	*to++ = '"';
	for (; *value; value++)
		*to++ = *value == '"' ? '\'' : *value;
	*to++ = '"';
	return to;
}

/* Append "service=echo ..." with a NUL. Returns the new end. */
static char *append_fields(char *to, const struct log_record *record)
{
	const char *begin = to;

	for (enum log_field field = 0; field < LOG_N_FIELDS; field++) {
		const char *value = log_record_field(record, field);

		if (!value || !field_names[field].shown_as)
			continue;
		to = stpcpy(to, to == begin ? "" : " ");
		to = stpcpy(stpcpy(to, field_names[field].shown_as), "=");
		to = append_value(to, strchr(value, '=') + 1);
	}
	*to = '\0';
	return to;
}

void log_record_init_event(
	struct log_record *record, char *text, int priority, const struct log_about *about)
{
	char message[LOG_RECORD_TEXT_MAX];

	begin(record, text, priority);
	add_about(record, about);
	append_fields(message, record);
	add(record, LOG_FIELD_MESSAGE, message);
}

/* Append "the sentence [service=echo ...]", or an event's fields. Returns the new end. */
static char *append_sentence(char *to, const struct log_record *record)
{
	char *bracket = stpcpy(to, strchr(log_record_field(record, LOG_FIELD_MESSAGE), '=') + 1);

	if (log_record_field(record, LOG_FIELD_EVENT))
		return bracket;
	to = append_fields(stpcpy(bracket, " ["), record);
	if (to > bracket + 2)
		return stpcpy(to, "]");
	*bracket = '\0';
	return bracket;
}

static char *append_level(char *to, int priority)
{
	static const char *const levels[] = {
		[LOG_EMERG] = "emergency: ",
		[LOG_ALERT] = "alert: ",
		[LOG_CRIT] = "critical: ",
		[LOG_ERR] = "error: ",
		[LOG_WARNING] = "warning: ",
		[LOG_NOTICE] = "",
		[LOG_INFO] = "",
		[LOG_DEBUG] = "debug: ",
	};

	return stpcpy(to, levels[priority]);
}

/* Append "2026-11-21T18:40:12.123456+0100 ". */
static char *append_time(char *to, const struct timespec *when)
{
	struct tm local;

	localtime_r(&when->tv_sec, &local);
	to += strftime(to, sizeof("2026-11-21T18:40:12"), "%Y-%m-%dT%H:%M:%S", &local);
	to += sprintf(to, ".%06ld", when->tv_nsec / 1000);
	return to + strftime(to, sizeof("+0100 "), "%z ", &local);
}

size_t log_record_format(const struct log_record *record, enum log_form form, char *line)
{
	char *to = line;

	switch (form) {
	case LOG_FORM_PLAIN:
		to = append_level(stpcpy(to, "usherd: "), record->priority);
		break;
	case LOG_FORM_PREFIXED:
		to += sprintf(to, "<%d>", record->priority);
		break;
	case LOG_FORM_DATED:
		to = append_time(to, &record->when);
		to += sprintf(to, "usherd[%d]: ", getpid());
		to = append_level(to, record->priority);
		break;
	case LOG_FORM_SENTENCE:
		break;
	}
	return (size_t)(append_sentence(to, record) - line);
}
