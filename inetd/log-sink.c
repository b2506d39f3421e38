/* SPDX-License-Identifier: MIT */
/* Writing to the targets of the log: see log-sink.h. */
#include "log-sink.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always be this file */
#include <systemd/sd-journal.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

const struct log_sink log_sink_none = {
	.target = LOG_TO_STDERR, .form = LOG_FORM_PLAIN, .fd = -EBADF};

static bool write_all(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		bytes += n;
		length -= (size_t)n;
	}
	return true;
}

static bool write_line(int fd, const struct log_sink *sink, const struct log_record *record)
{
	char line[LOG_LINE_MAX];
	size_t length = log_record_format(record, sink->form, line);

	line[length++] = '\n';
	return write_all(fd, line, length);
}

static bool write_to_journal(const struct log_record *record)
{
	struct iovec fields[LOG_N_FIELDS];
	int n = 0;

	for (enum log_field field = 0; field < LOG_N_FIELDS; field++) {
		char *text = log_record_field(record, field);

		if (text)
			fields[n++] = (struct iovec){.iov_base = text, .iov_len = strlen(text)};
	}
	return sd_journal_sendv(fields, n) >= 0;
}

/* syslog(3) keeps its state in libc, under a lock that it holds while it blocks: so only here, in
 * one piece. It does not say whether it could. */
void log_sink_write_to_syslog(int facility, int level, const struct log_record *record)
{
	char line[LOG_LINE_MAX];

	log_record_format(record, LOG_FORM_SENTENCE, line);
	openlog("usherd", LOG_PID, facility);
	syslog(level, "%s", line);
	closelog();
}

bool log_sink_write(const struct log_sink *sink, const struct log_record *record)
{
	switch (sink->target) {
	case LOG_TO_JOURNAL:
		return write_to_journal(record);
	case LOG_TO_SYSLOG:
		log_sink_write_to_syslog(LOG_DAEMON, record->priority, record);
		return true;
	case LOG_TO_STDERR:
		return write_line(STDERR_FILENO, sink, record);
	case LOG_TO_FILE:
		return write_line(sink->fd, sink, record);
	}
	return false;
}

static bool is_journal_there(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

/* Is stderr the stream that systemd made for us? It then says which one it is: systemd.exec(5). */
static bool is_stderr_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char expected[64];
	struct stat status;

	if (!stream || fstat(STDERR_FILENO, &status) < 0)
		return false;
	snprintf(expected, sizeof(expected), "%ju:%ju", (uintmax_t)status.st_dev,
		(uintmax_t)status.st_ino);
	return strcmp(stream, expected) == 0;
}

/* O_NONBLOCK is for the opening alone: a FIFO without a reader is an error, not a wait. */
int log_sink_open_file(const char *path)
{
	_cleanup_close_ int fd = open(path,
		O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK,
		0640);

	if (fd < 0 || fcntl(fd, F_SETFL, O_APPEND) < 0)
		return -errno;
	return take_fd(&fd);
}

int log_sink_init(struct log_sink *sink, enum log_target target, const char *path)
{
	int fd = -EBADF;

	if (target == LOG_TO_FILE && (fd = log_sink_open_file(path)) < 0)
		return fd;
	if (target == LOG_TO_JOURNAL && !is_journal_there())
		target = LOG_TO_STDERR;
	*sink = (struct log_sink){.target = target, .form = LOG_FORM_DATED, .fd = fd};
	if (target == LOG_TO_STDERR)
		sink->form = is_stderr_journal() ? LOG_FORM_PREFIXED : LOG_FORM_PLAIN;
	return 0;
}

bool log_sink_is_stderr(const struct log_sink *sink)
{
	return sink->target == LOG_TO_STDERR ||
	       (sink->target == LOG_TO_JOURNAL && is_stderr_journal());
}

void log_sink_done(struct log_sink *sink)
{
	sink->fd = close_fd(sink->fd);
}
