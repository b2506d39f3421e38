/* SPDX-License-Identifier: MIT */
/*
 * The messages on their way from log_write() to the sink.
 *
 * Callers make records (log-record.h) and queue copies; the writer, a thread (background.h), owns
 * the sink (log-sink.h) and takes over a new one between two records.
 *
 * Invariant: the lock is never held across a system call that can block.
 */
#include "log.h"

#include "background.h"
#include "log-destination.h"
#include "log-limit.h"
#include "log-messages.h"
#include "log-record.h"
#include "log-sink.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define QUEUE_MAX 1024

/* Beyond so many events wait no more, and messages still do. */
#define EVENTS_MAX (QUEUE_MAX / 4 * 3)

/* Between two messages that messages were dropped: whatever loses each event is no flood itself. */
#define REPORT_USEC (10 * UINT64_C(1000000))

struct queued {
	struct log_record *record;
	struct log_destination *to; /* a reference; NULL: the sink */
};

static struct {
	pthread_mutex_t lock;
	struct background *writer; /* NULL: the log is not open */
	bool is_closing;	   /* only the writer has messages still, and may be stuck */
	struct log_sink sink;	   /* the writer's own, while there is one */
	bool has_new_sink;	   /* the writer shall take over `new_sink` */
	struct log_sink new_sink;
	bool is_echoing;
	bool is_stderr; /* the last sink */
	uint64_t n_dropped;
	uint64_t n_unreported; /* of those: nobody was told yet */
	uint64_t report_usec;  /* nobody is told before, unless it is the last chance */
	bool is_last_chance;
	struct log_limit limit;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local bool is_writer;

static uint64_t monotonic_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Under the lock. */
static void count_dropped(uint64_t n_messages)
{
	state.n_dropped += n_messages;
	state.n_unreported += n_messages;
}

/* Under the lock. Takes a copy. Returns false if there is no room. */
static bool queue_push(const struct log_record *record, struct log_destination *to)
{
	const struct queued item = {log_record_dup(record), log_destination_ref(to)};

	if (item.record && background_push(state.writer, &item, 1))
		return true;
	free(item.record);
	log_destination_unref(item.to);
	return false;
}

__attribute__((format(printf, 5, 6))) static void make_record(struct log_record *record, char *text,
	int priority, const struct log_about *about, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_record_init(record, text, priority, about, format, arguments);
	va_end(arguments);
}

/* Under the lock. Is anybody to be told now that messages were dropped? */
static bool is_report_due(void)
{
	return state.writer && state.n_unreported > 0 &&
	       (state.is_last_chance || monotonic_usec() >= state.report_usec);
}

/* Under the lock, when there is room. */
static void queue_push_report(void)
{
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record report;

	if (!is_report_due())
		return;
	state.report_usec = monotonic_usec() + REPORT_USEC;
	make_record(&report, text, LOG_WARNING, &(struct log_about){.reason = "messages-dropped"},
		"messages dropped: %" PRIu64
		" (the log was not being read, or could not be written)",
		state.n_unreported);
	report.n_reported = state.n_unreported;
	if (queue_push(&report, NULL))
		state.n_unreported = 0;
}

/* By the writer. */
static void take_new_sink(void)
{
	struct log_sink old = log_sink_none;

	pthread_mutex_lock(&state.lock);
	if (state.has_new_sink) {
		old = state.sink;
		state.sink = state.new_sink;
		state.has_new_sink = false;
	}
	pthread_mutex_unlock(&state.lock);
	log_sink_done(&old);
}

/* Under the lock. Have the writer look when the next count is due. */
static void watch_counts(void)
{
	uint64_t next_usec = log_limit_next(&state.limit);

	if (state.n_unreported > 0 && state.report_usec < next_usec)
		next_usec = state.report_usec;
	if (state.writer)
		background_set_alarm(state.writer, next_usec);
}

/* A report that is lost itself is not followed by the next one at once. */
static void note_result(const struct log_record *record, bool is_written)
{
	bool is_lost_report = !is_written && record->n_reported;

	pthread_mutex_lock(&state.lock);
	if (is_lost_report)
		state.n_unreported += record->n_reported;
	else if (!is_written)
		count_dropped(1);
	if (!is_lost_report && background_n_queued(state.writer) == 0)
		queue_push_report();
	if (state.n_unreported > 0)
		watch_counts();
	pthread_mutex_unlock(&state.lock);
}

static void tell_left_out(uint64_t now_usec);

static void write_queued(const void *items, size_t n, void *unused)
{
	const struct queued *queued = items;

	(void)unused;
	is_writer = true;
	if (n == 0)
		tell_left_out(monotonic_usec());
	for (size_t i = 0; i < n; i++) {
		take_new_sink();
		note_result(queued[i].record,
			queued[i].to
				? log_destination_write(queued[i].to, queued[i].record, log_write)
				: log_sink_write(&state.sink, queued[i].record));
		free(queued[i].record);
		log_destination_unref(queued[i].to);
	}
}

/* Under the lock. */
static int make_writer(void)
{
	static const struct background_task task = {
		.name = "usherd-log",
		.item_size = sizeof(struct queued),
		.capacity = QUEUE_MAX,
		.n_at_once = 1, /* so that what can be written is, before more is dropped */
		.work = write_queued,
	};

	state.sink = log_sink_none;
	return background_new(&state.writer, &task, NULL);
}

int log_open(enum log_target target, const char *path)
{
	struct log_sink sink, unused;
	int r = log_sink_init(&sink, target, path);

	if (r < 0)
		return r;
	if (state.is_closing)
		log_close(0);
	pthread_mutex_lock(&state.lock);
	if (state.is_closing)
		r = -EBUSY;
	else if (!state.writer)
		r = make_writer();
	unused = sink;
	if (r == 0) {
		unused = state.has_new_sink ? state.new_sink : log_sink_none;
		state.new_sink = sink;
		state.has_new_sink = true;
		state.is_stderr = log_sink_is_stderr(&sink);
		watch_counts();
	}
	pthread_mutex_unlock(&state.lock);
	log_sink_done(&unused);
	return r;
}

static void set_last_chance(bool is_last_chance)
{
	pthread_mutex_lock(&state.lock);
	state.is_last_chance = is_last_chance;
	pthread_mutex_unlock(&state.lock);
}

/* What was left out and lost until now; and what is lost from now on as soon as it is. */
static void tell_all(void)
{
	set_last_chance(true);
	tell_left_out(UINT64_MAX);
}

void log_wait(uint64_t timeout_usec)
{
	if (!state.writer) /* by the one thread that opens and closes */
		return;
	tell_all();
	(void)background_wait(state.writer, timeout_usec);
	set_last_chance(false);
}

/* A writer that does not end in time is left: log_open() looks after it. */
void log_close(uint64_t timeout_usec)
{
	struct background *writer;

	if (!state.writer)
		return;
	if (!state.is_closing)
		tell_all();
	pthread_mutex_lock(&state.lock);
	writer = state.writer;
	state.is_closing = true;
	pthread_mutex_unlock(&state.lock);
	if (background_free(writer, timeout_usec))
		return;
	take_new_sink(); /* if nothing was written since */
	log_sink_done(&state.sink);
	pthread_mutex_lock(&state.lock);
	state.writer = NULL;
	state.is_closing = state.is_last_chance = false;
	pthread_mutex_unlock(&state.lock);
}

void log_set_echo(bool is_echoing)
{
	pthread_mutex_lock(&state.lock);
	state.is_echoing = is_echoing;
	pthread_mutex_unlock(&state.lock);
}

static void write_to_stderr(const struct log_record *record)
{
	struct log_sink sink;

	if (log_sink_init(&sink, LOG_TO_STDERR, NULL) == 0)
		(void)log_sink_write(&sink, record);
}

/* A stranger causes it. How many were left out is said seldom, and not again. */
static bool is_single_event(const struct log_record *record)
{
	return log_record_field(record, LOG_FIELD_EVENT) &&
	       !log_record_field(record, LOG_FIELD_MORE);
}

/* Under the lock. */
static void queue_or_drop(const struct log_record *record, struct log_destination *to)
{
	size_t n_queued = background_n_queued(state.writer);

	if ((state.is_closing && !is_writer) ||
		(is_single_event(record) && n_queued >= EVENTS_MAX)) {
		count_dropped(1);
		return;
	}
	if (n_queued <= QUEUE_MAX / 2)
		queue_push_report();
	if (!queue_push(record, to))
		count_dropped(1);
}

static void write_record(const struct log_record *record, struct log_destination *to)
{
	bool is_for_stderr;

	pthread_mutex_lock(&state.lock);
	is_for_stderr = !state.writer || (state.is_echoing && !state.is_stderr);
	if (state.writer)
		queue_or_drop(record, to);
	pthread_mutex_unlock(&state.lock);
	if (is_for_stderr)
		write_to_stderr(record);
}

/* Returns false when there is none, and all else that is due is told. */
static bool take_count(uint64_t now_usec, struct log_limit_cause *ret)
{
	bool is_due;

	pthread_mutex_lock(&state.lock);
	is_due = log_limit_take(&state.limit, now_usec, ret);
	if (!is_due) {
		queue_push_report();
		watch_counts();
	}
	pthread_mutex_unlock(&state.lock);
	return is_due;
}

static void write_count(const struct log_limit_cause *cause)
{
	const char *service = cause->service[0] == '\0' ? NULL : cause->service;
	const struct log_about about = {.service = service,
		.event = cause->event,
		.reason = cause->reason,
		.n_more = cause->n_left_out};
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;

	if (about.event)
		log_record_init_event(&record, text, cause->priority, &about);
	else
		make_record(&record, text, cause->priority, &about,
			"%s%s%" PRIu64 " more messages with the reason %s were left out",
			service ? service : "", service ? ": " : "", about.n_more, about.reason);
	write_record(&record, cause->to);
}

/* What is due at `now_usec`; UINT64_MAX: all. */
static void tell_left_out(uint64_t now_usec)
{
	struct log_limit_cause cause;

	while (take_count(now_usec, &cause)) {
		write_count(&cause);
		log_destination_unref(cause.to);
	}
}

/* Under the lock. Returns false if it is only counted. */
static bool is_within_limit(
	const struct log_about *about, int priority, struct log_destination *to, uint64_t now_usec)
{
	struct log_limit_cause *cause;

	if (log_limit_allows(&state.limit, about, now_usec, &cause))
		return true;
	cause->priority = priority;
	if (!cause->to)
		cause->to = log_destination_ref(to);
	watch_counts();
	return false;
}

/* What others can cause is limited. */
static bool is_allowed(const struct log_about *about, int priority, struct log_destination *to)
{
	uint64_t now_usec;
	bool is_allowed;

	if (!about || !log_messages_is_limited(about))
		return true;
	now_usec = monotonic_usec();
	pthread_mutex_lock(&state.lock);
	is_allowed = is_within_limit(about, priority, to, now_usec);
	pthread_mutex_unlock(&state.lock);
	return is_allowed;
}

void log_write(int priority, const struct log_about *about, const char *format, ...)
{
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;
	int saved_errno = errno;
	va_list arguments;

	assert(priority >= LOG_EMERG && priority <= LOG_DEBUG);
	if (is_allowed(about, priority, NULL)) {
		va_start(arguments, format);
		log_record_init(&record, text, priority, about, format, arguments);
		va_end(arguments);
		write_record(&record, NULL);
	}
	errno = saved_errno;
}

void log_write_event(struct log_destination *to, int priority, const struct log_about *about)
{
	char text[LOG_RECORD_TEXT_MAX];
	struct log_record record;
	int saved_errno = errno;

	assert(about->event);
	if (is_allowed(about, priority, to)) {
		log_record_init_event(&record, text, priority, about);
		write_record(&record, to);
	}
	errno = saved_errno;
}

uint64_t log_n_dropped(void)
{
	uint64_t n;

	pthread_mutex_lock(&state.lock);
	n = state.n_dropped;
	pthread_mutex_unlock(&state.lock);
	return n;
}
