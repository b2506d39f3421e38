/* SPDX-License-Identifier: MIT */
/* The messages to the service manager: see notify.h. */
#include "notify.h"

#include "background.h"
#include "fd.h"
#include "fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

struct message {
	char *text; /* from malloc */
	int fd;	    /* a copy, or -EBADF */
};

static struct background *thread;
static bool is_stopped; /* without an end of the thread in time */
static atomic_uint_fast64_t n_dropped;
static atomic_uint_fast64_t n_fds; /* the copies that there are now */

static void message_done(struct message *message)
{
	if (message->fd >= 0)
		n_fds--;
	close_fd(message->fd);
	free(message->text);
}

/* By the thread. */
static void send_all(const void *items, size_t n, void *unused)
{
	const struct message *messages = items;

	(void)unused;
	for (size_t i = 0; i < n; i++) {
		struct message message = messages[i];

		if (sd_pid_notify_with_fds(0, false, message.text, &message.fd, message.fd >= 0) <
			0)
			n_dropped++;
		message_done(&message);
	}
}

static const struct background_task task = {
	.name = "usherd-notify",
	.item_size = sizeof(struct message),
	.capacity = NOTIFY_MAX_QUEUED,
	.n_at_once = 1,
	.work = send_all,
};

bool notify_has_manager(void)
{
	return getenv("NOTIFY_SOCKET") != NULL;
}

/* The manager's socket as sd_notify(3) has it: a path, or '@' and an abstract name. */
static int connect_to_manager(int socket_fd)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || length >= sizeof(address.sun_path))
		return -EAFNOSUPPORT;
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	length += offsetof(struct sockaddr_un, sun_path);
	return connect(socket_fd, (struct sockaddr *)&address, (socklen_t)length) < 0 ? -errno : 0;
}

/*
 * Tell the manager without waiting, when nothing else waits: what is in its socket outlives this
 * process, what is in our queue does not.
 */
static bool send_now(const char *text, int fd)
{
	_cleanup_close_ int socket_fd = -EBADF;

	if (thread && !background_wait(thread, 0))
		return false;
	socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return socket_fd >= 0 && connect_to_manager(socket_fd) >= 0 &&
	       fdpass_send(socket_fd, text, strlen(text), &fd, fd >= 0) >= 0;
}

static bool may_copy_fd(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && n_fds < limit.rlim_cur / 4;
}

/* The copy in *ret, or -EBADF if `fd` is none. */
static bool copy_fd(int fd, int *ret)
{
	*ret = -EBADF;
	if (fd < 0)
		return true;
	if (!may_copy_fd())
		return false;
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (*ret < 0)
		return false;
	n_fds++;
	return true;
}

__attribute__((format(printf, 1, 0))) static char *format_text(
	const char *format, va_list arguments)
{
	char text[NOTIFY_MAX_BYTES + 1];
	int length = vsnprintf(text, sizeof(text), format, arguments);

	return length < 0 || (size_t)length >= sizeof(text) ? NULL : strdup(text);
}

static bool push(const struct message *message)
{
	return !is_stopped && (thread || background_new(&thread, &task, NULL) == 0) &&
	       background_push(thread, message, 1);
}

__attribute__((format(printf, 2, 0))) static bool send_or_drop(
	int fd, const char *format, va_list arguments)
{
	struct message message = {.fd = -EBADF};

	if (!notify_has_manager())
		return true;
	message.text = format_text(format, arguments);
	if (message.text && send_now(message.text, fd)) {
		message_done(&message);
		return true;
	}
	if (message.text && copy_fd(fd, &message.fd) && push(&message))
		return true;
	message_done(&message);
	n_dropped++;
	return false;
}

bool notify_send(const char *format, ...)
{
	va_list arguments;
	bool is_queued;

	va_start(arguments, format);
	is_queued = send_or_drop(-EBADF, format, arguments);
	va_end(arguments);
	return is_queued;
}

bool notify_send_fd(int fd, const char *format, ...)
{
	va_list arguments;
	bool is_queued;

	va_start(arguments, format);
	is_queued = send_or_drop(fd, format, arguments);
	va_end(arguments);
	return is_queued;
}

void notify_alive(void)
{
	if (!thread || background_n_queued(thread) == 0)
		(void)notify_send("WATCHDOG=1");
}

int notify_newline(int fd)
{
	int r = write(fd, "\n", 1) < 0 ? -errno : 0;

	close_fd(fd);
	return r;
}

uint64_t notify_n_dropped(void)
{
	return n_dropped;
}

bool notify_wait(uint64_t timeout_usec)
{
	return !thread || background_wait(thread, timeout_usec);
}

bool notify_stop(uint64_t timeout_usec)
{
	thread = background_free(thread, timeout_usec);
	is_stopped = thread != NULL;
	return !is_stopped;
}
