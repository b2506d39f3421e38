/* SPDX-License-Identifier: MIT */
/*
 * Files with limits, and syslog under a name of its own: see log-destination.h.
 *
 * Everything but the references belongs to the log's thread from the first event on.
 */
#include "log-destination.h"

#include "fd.h"
#include "log-sink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Between two messages that the same file can't be written. */
#define TELL_SECONDS 60

struct log_destination {
	atomic_uint n_references;
	int facility, level; /* of syslog, where there is no path */
	char *path;
	uint64_t soft_bytes, hard_bytes;

	int fd;
	bool is_line_open;   /* the disk was full in the middle of one */
	bool is_warned;	     /* of the soft limit */
	time_t failure_told; /* when it was last said that it can't be written */
	uint64_t n_left_out; /* since the hard limit was reached; 0: it is not */
};

/* Returns the descriptor or a negative errno. */
static int open_regular(const char *path)
{
	_cleanup_close_ int fd = log_sink_open_file(path);
	struct stat status;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0)
		return -errno;
	return S_ISREG(status.st_mode) ? take_fd(&fd) : -EINVAL;
}

int log_destination_new_file(
	struct log_destination **ret, const char *path, uint64_t soft_bytes, uint64_t hard_bytes)
{
	struct log_destination *d;
	int fd = open_regular(path);

	if (fd < 0)
		return fd;
	d = calloc(1, sizeof(*d));
	if (!d) {
		close_fd(fd);
		return -ENOMEM;
	}
	*d = (struct log_destination){
		.n_references = 1,
		.path = strdup(path),
		.soft_bytes = soft_bytes,
		.hard_bytes = hard_bytes,
		.fd = fd,
	};
	if (!d->path) {
		log_destination_unref(d);
		return -ENOMEM;
	}
	*ret = d;
	return 0;
}

int log_destination_new_syslog(struct log_destination **ret, int facility, int level)
{
	struct log_destination *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	*d = (struct log_destination){
		.n_references = 1, .facility = facility, .level = level, .fd = -EBADF};
	*ret = d;
	return 0;
}

struct log_destination *log_destination_ref(struct log_destination *d)
{
	if (d)
		atomic_fetch_add(&d->n_references, 1);
	return d;
}

struct log_destination *log_destination_unref(struct log_destination *d)
{
	if (!d || atomic_fetch_sub(&d->n_references, 1) > 1)
		return NULL;
	close_fd(d->fd);
	free(d->path);
	free(d);
	return NULL;
}

/* Is the path another file by now, or none? */
static bool is_moved(const struct log_destination *d, const struct stat *open)
{
	struct stat named;

	return lstat(d->path, &named) < 0
		       ? errno == ENOENT
		       : named.st_dev != open->st_dev || named.st_ino != open->st_ino;
}

/* Go on with the file that has the name now. Returns 0 or a negative errno. */
static int reopen(struct log_destination *d)
{
	int fd = open_regular(d->path);

	if (fd < 0)
		return fd;
	close_fd(d->fd);
	d->fd = fd;
	d->is_line_open = false;
	return 0;
}

static bool is_beyond(uint64_t limit_bytes, uint64_t size)
{
	return limit_bytes > 0 && size > limit_bytes;
}

/*
 * How large the file will be with `length` bytes more. If they are not to go into this one, because
 * it is full or was removed, the one that has its name now is looked at. Returns 0 or a negative
 * errno.
 */
static int find_size(struct log_destination *d, size_t length, uint64_t *ret_size)
{
	struct stat status;
	int r;

	if (fstat(d->fd, &status) < 0)
		return -errno;
	if ((status.st_nlink == 0 || is_beyond(d->hard_bytes, (uint64_t)status.st_size + length)) &&
		is_moved(d, &status)) {
		r = reopen(d);
		if (r < 0)
			return r;
		if (fstat(d->fd, &status) < 0)
			return -errno;
	}
	*ret_size = (uint64_t)status.st_size + length;
	return 0;
}

/* Does the hard limit allow a file of `size`? Whenever that changes it is logged. */
static bool is_within_hard_limit(struct log_destination *d, uint64_t size, log_writer *say)
{
	const struct log_about about = {.reason = "log-hard-limit"};
	bool is_within = !is_beyond(d->hard_bytes, size);

	if (!is_within && d->n_left_out++ == 0)
		say(LOG_ALERT, &about,
			"%s has reached its hard limit of %" PRIu64
			" bytes: connections are not logged there until it is rotated",
			d->path, d->hard_bytes);
	if (is_within && d->n_left_out > 0) {
		say(LOG_NOTICE, &about,
			"%s is below its hard limit again: %" PRIu64 " lines were left out",
			d->path, d->n_left_out);
		d->n_left_out = 0;
	}
	return is_within;
}

static void warn_at_soft_limit(struct log_destination *d, uint64_t size, log_writer *say)
{
	bool was_warned = d->is_warned;

	d->is_warned = is_beyond(d->soft_bytes, size);
	if (d->is_warned && !was_warned)
		say(LOG_ALERT, &(struct log_about){.reason = "log-soft-limit"},
			"%s has reached its soft limit of %" PRIu64 " bytes: rotate it", d->path,
			d->soft_bytes);
}

/* Returns 0 or the negative errno of write(2), when only a part may have been written. */
static int append(struct log_destination *d, const char *line, size_t length)
{
	while (length > 0) {
		ssize_t n = write(d->fd, line, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		line += n;
		length -= (size_t)n;
		d->is_line_open = length > 0;
	}
	return 0;
}

/* Returns 0, also for what the hard limit leaves out, or a negative errno. */
static int write_to_file(
	struct log_destination *d, const struct log_record *record, log_writer *say)
{
	char text[LOG_LINE_MAX + 1], *line = text + 1;
	size_t length = log_record_format(record, LOG_FORM_DATED, line);
	uint64_t size = 0;
	int r;

	line[length++] = '\n';
	r = find_size(d, length, &size);
	if (r < 0 || !is_within_hard_limit(d, size, say))
		return r;
	warn_at_soft_limit(d, size, say);
	if (d->is_line_open) { /* what was cut off stays a line of its own */
		*--line = '\n';
		length++;
	}
	return append(d, line, length);
}

/* Say so now and then: a disk may be full and not full in turn. */
static void note_failure(struct log_destination *d, time_t now, int error, log_writer *say)
{
	if (d->failure_told > 0 && now >= d->failure_told && now - d->failure_told < TELL_SECONDS)
		return;
	d->failure_told = now;
	say(LOG_ERR, &(struct log_about){.reason = "log-failed", .error = error},
		"cannot write to %s: %s; connections are not logged until usherd can", d->path,
		strerror(-error));
}

bool log_destination_write(
	struct log_destination *d, const struct log_record *record, log_writer *say)
{
	int r;

	if (!d->path) {
		log_sink_write_to_syslog(d->facility, d->level, record);
		return true;
	}
	r = write_to_file(d, record, say);
	if (r < 0)
		note_failure(d, record->when.tv_sec, r, say);
	return r >= 0;
}
