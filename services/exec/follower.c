/* SPDX-License-Identifier: MIT */
/* Hearing of reloads: see follower.h. */
#include "follower.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Between attempts: this, twice this and so on, up to the longest. */
#define FIRST_PAUSE_USEC   UINT64_C(100000)
#define LONGEST_PAUSE_USEC UINT64_C(2000000)

/* After a refusal, which somebody has to do something about. */
#define REFUSED_PAUSE_USEC UINT64_C(60000000)

/* Most bytes of a line. */
#define MAX_LINE 1024

struct follower {
	sd_event *event;
	struct sockaddr_un address;
	int fd;
	sd_event_source *io, *timer;
	uint64_t pause_usec;
	char line[MAX_LINE];
	size_t size;
	void (*on_news)(void *userdata);
	void (*on_refused)(const char *why, void *userdata);
	void *userdata;
};

static void disconnect(struct follower *follower)
{
	follower->io = sd_event_source_disable_unref(follower->io);
	if (follower->fd >= 0)
		(void)close(follower->fd);
	follower->fd = -1;
	follower->size = 0;
}

static void try_later(struct follower *follower, uint64_t pause_usec)
{
	disconnect(follower);
	(void)sd_event_source_set_time_relative(follower->timer, pause_usec);
	(void)sd_event_source_set_enabled(follower->timer, SD_EVENT_ONESHOT);
}

static void on_failure(struct follower *follower)
{
	uint64_t pause_usec = follower->pause_usec;

	follower->pause_usec =
		2 * pause_usec < LONGEST_PAUSE_USEC ? 2 * pause_usec : LONGEST_PAUSE_USEC;
	try_later(follower, pause_usec);
}

static void on_refusal(struct follower *follower, const char *why)
{
	try_later(follower, REFUSED_PAUSE_USEC);
	follower->on_refused(why, follower->userdata);
}

/* {"event": ...} or {"error": ...}. Returns false when the connection is done with. */
static bool on_line(struct follower *follower, size_t length)
{
	json_t *json = json_loadb(follower->line, length, 0, NULL);
	const char *why = json_string_value(json_object_get(json, "error"));
	bool is_event = json_is_string(json_object_get(json, "event"));

	if (is_event) {
		follower->pause_usec = FIRST_PAUSE_USEC;
		follower->on_news(follower->userdata);
	} else if (why) {
		on_refusal(follower, why);
	} else {
		on_failure(follower);
	}
	json_decref(json);
	return is_event;
}

static void take_lines(struct follower *follower)
{
	char *end;

	while ((end = memchr(follower->line, '\n', follower->size))) {
		size_t length = end + 1 - follower->line;

		if (!on_line(follower, length))
			return;
		follower->size -= length;
		memmove(follower->line, follower->line + length, follower->size);
	}
	if (follower->size == MAX_LINE)
		on_failure(follower);
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct follower *follower = userdata;
	ssize_t n = recv(fd, follower->line + follower->size, MAX_LINE - follower->size, 0);

	(void)source, (void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		on_failure(follower);
		return 0;
	}
	follower->size += (size_t)n;
	take_lines(follower);
	return 0;
}

/* Connecting to a unix socket does not wait with SOCK_NONBLOCK: it fails if the backlog is full. */
static int open_connection(struct follower *follower)
{
	static const char request[] = "follow\n";

	follower->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (follower->fd < 0)
		return -errno;
	if (connect(follower->fd, (const struct sockaddr *)&follower->address,
		    sizeof(follower->address)) < 0 ||
		send(follower->fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return -errno;
	return sd_event_add_io(
		follower->event, &follower->io, follower->fd, EPOLLIN, on_readable, follower);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct follower *follower = userdata;

	(void)source, (void)usec;
	if (open_connection(follower) < 0)
		on_failure(follower);
	return 0;
}

int follower_new(struct follower **ret, sd_event *event, const char *run_dir,
	void (*on_news)(void *userdata), void (*on_refused)(const char *why, void *userdata),
	void *userdata)
{
	struct follower *follower = malloc(sizeof(*follower));
	size_t room = sizeof(follower->address.sun_path);
	int r;

	if (!follower)
		return -ENOMEM;
	*follower = (struct follower){
		.event = event,
		.address = {.sun_family = AF_UNIX},
		.fd = -1,
		.pause_usec = FIRST_PAUSE_USEC,
		.on_news = on_news,
		.on_refused = on_refused,
		.userdata = userdata,
	};
	r = snprintf(follower->address.sun_path, room, "%s/control.sock", run_dir) < (int)room
		    ? sd_event_add_time_relative(
			      event, &follower->timer, CLOCK_MONOTONIC, 0, 0, on_timer, follower)
		    : -ENAMETOOLONG;
	if (r < 0) {
		follower_free(follower);
		return r;
	}
	*ret = follower;
	return 0;
}

struct follower *follower_free(struct follower *follower)
{
	if (!follower)
		return NULL;
	disconnect(follower);
	sd_event_source_disable_unref(follower->timer);
	free(follower);
	return NULL;
}
