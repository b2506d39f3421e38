/* SPDX-License-Identifier: MIT */
/* What happens, for those who follow it: see events.h. */
#include "events.h"

#include "closer.h"
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

/* No line is longer: every text of it is cut at 255 bytes, and JSON writes a byte with six at most.
 */
#define MAX_LINE 12288u

#define MAX_TEXT 255

struct events_follower {
	struct events *events;
	struct events_follower *next, *previous;
	int fd;
	sd_event_source *io;
	bool only_reloads, is_monitor;
	bool is_blocked; /* its socket is full: the event loop says when it is not */
	char *services;	 /* " one two "; NULL: all */
	uint64_t n_lost; /* that it was not told of yet */
	size_t begin, end;
	char bytes[EVENTS_MAX_BYTES]; /* not sent: from `begin` to `end` */
};

static int on_gathered(sd_event_source *source, uint64_t usec, void *userdata);

int events_new(struct events **ret, sd_event *event)
{
	struct events *events = calloc(1, sizeof(*events));
	int r;

	if (!events)
		return -ENOMEM;
	events->event = sd_event_ref(event);
	r = sd_event_add_time(event, &events->timer, CLOCK_MONOTONIC, 0, EVENTS_GATHER_USEC / 10,
		on_gathered, events);
	if (r >= 0)
		r = sd_event_source_set_enabled(events->timer, SD_EVENT_OFF);
	if (r < 0) {
		events_free(events);
		return r;
	}
	*ret = events;
	return 0;
}

static struct events_follower *follower_free(struct events_follower *follower)
{
	struct events *events = follower->events;

	if (follower->previous)
		follower->previous->next = follower->next;
	else
		events->followers = follower->next;
	if (follower->next)
		follower->next->previous = follower->previous;
	events->n_followers--;
	events->n_monitors -= follower->is_monitor;
	events->n_connections -= !follower->only_reloads;
	sd_event_source_disable_unref(follower->io);
	closer_close(follower->fd);
	free(follower->services);
	free(follower);
	return NULL;
}

struct events *events_free(struct events *events)
{
	if (!events)
		return NULL;
	events_flush(events);
	while (events->followers)
		follower_free(events->followers);
	sd_event_source_disable_unref(events->timer);
	sd_event_unref(events->event);
	free(events);
	return NULL;
}

bool events_have_place(const struct events *events, bool is_monitor)
{
	return events->n_followers < EVENTS_MAX_FOLLOWERS &&
	       (!is_monitor || events->n_monitors < EVENTS_MAX_FOLLOWERS / 2);
}

/* Send what there is soon, with what else comes until then. */
static void gather(struct events *events)
{
	if (sd_event_source_get_enabled(events->timer, NULL) != 0)
		return;
	/* These only fail for an event loop that has ended. */
	(void)sd_event_source_set_time_relative(events->timer, EVENTS_GATHER_USEC);
	(void)sd_event_source_set_enabled(events->timer, SD_EVENT_ONESHOT);
}

static bool has_room(const struct events_follower *follower)
{
	return follower->end - follower->begin + MAX_LINE <= EVENTS_MAX_BYTES;
}

/* For which there is room. */
static void append(struct events_follower *follower, const char *line, size_t length)
{
	if (follower->end + length > EVENTS_MAX_BYTES) {
		follower->end -= follower->begin;
		memmove(follower->bytes, follower->bytes + follower->begin, follower->end);
		follower->begin = 0;
	}
	memcpy(follower->bytes + follower->end, line, length);
	follower->end += length;
	if (!follower->is_blocked)
		gather(follower->events);
}

/* It reads again. */
static void tell_lost(struct events_follower *follower)
{
	char line[64];
	int length;

	if (follower->n_lost == 0 || !has_room(follower))
		return;
	length = snprintf(line, sizeof(line), "{\"event\":\"lost\",\"n\":%llu}\n",
		(unsigned long long)follower->n_lost);
	follower->n_lost = 0;
	append(follower, line, (size_t)length);
}

/* Changing the events of a source that epoll already has needs no memory: it cannot fail. */
static void set_blocked(struct events_follower *follower, bool is_blocked)
{
	if (follower->is_blocked == is_blocked)
		return;
	follower->is_blocked = is_blocked;
	(void)sd_event_source_set_io_events(
		follower->io, is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Returns false if the follower is done with. */
static bool follower_send(struct events_follower *follower)
{
	ssize_t n = send(follower->fd, follower->bytes + follower->begin,
		follower->end - follower->begin, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	follower->begin += n > 0 ? (size_t)n : 0;
	set_blocked(follower, follower->begin < follower->end);
	tell_lost(follower);
	return true;
}

void events_flush(struct events *events)
{
	struct events_follower *follower, *next;

	for (follower = events->followers; follower; follower = next) {
		next = follower->next;
		if (follower->begin < follower->end && !follower->is_blocked &&
			!follower_send(follower))
			follower_free(follower);
	}
}

void events_review(struct events *events, bool (*may_look)(int fd, void *userdata), void *userdata)
{
	struct events_follower *follower, *next;

	for (follower = events->followers; follower; follower = next) {
		next = follower->next;
		if (follower->is_monitor && !may_look(follower->fd, userdata))
			follower_free(follower);
	}
}

static int on_gathered(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	events_flush(userdata);
	return 0;
}

/* A follower has nothing to say. */
static int on_follower(sd_event_source *source, int fd, uint32_t happened, void *userdata)
{
	struct events_follower *follower = userdata;

	(void)source, (void)fd;
	if (happened & ~(uint32_t)EPOLLOUT || !follower_send(follower))
		follower_free(follower);
	return 0;
}

static struct events_follower *follower_new(
	struct events *events, int fd, const struct events_wish *wish)
{
	struct events_follower *follower = malloc(sizeof(*follower));

	if (!follower) {
		closer_close(fd);
		return NULL;
	}
	/* The bytes are left alone: most of them are never touched. */
	follower->events = events;
	follower->previous = NULL;
	follower->next = events->followers;
	follower->fd = fd;
	follower->io = NULL;
	follower->only_reloads = wish->only_reloads;
	follower->is_monitor = wish->is_monitor;
	follower->is_blocked = false;
	follower->services = NULL;
	follower->n_lost = 0;
	follower->begin = follower->end = 0;
	if (follower->next)
		follower->next->previous = follower;
	events->followers = follower;
	events->n_followers++;
	events->n_monitors += follower->is_monitor;
	events->n_connections += !follower->only_reloads;
	return follower;
}

int events_follow(struct events *events, int fd, const struct events_wish *wish)
{
	static const char first[] = "{\"event\":\"following\"}\n";
	struct events_follower *follower;
	int r;

	assert(events_have_place(events, wish->is_monitor));
	follower = follower_new(events, fd, wish);
	if (!follower)
		return -ENOMEM;
	r = sd_event_add_io(events->event, &follower->io, fd, EPOLLIN, on_follower, follower);
	if (r >= 0 && wish->services && asprintf(&follower->services, " %s ", wish->services) < 0) {
		follower->services = NULL;
		r = -ENOMEM;
	}
	if (r >= 0) {
		append(follower, first, strlen(first));
		r = follower_send(follower) ? 0 : -EPIPE;
	}
	if (r < 0)
		follower_free(follower);
	return r;
}

/* Is the name one of those in the list, which has a blank before and after each? */
static bool is_listed(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = list; (at = strstr(at, name)); at++)
		if (at[-1] == ' ' && at[length] == ' ')
			return true;
	return false;
}

static bool is_wanted(const struct events_follower *follower, const struct log_about *about)
{
	if (follower->only_reloads)
		return strcmp(about->event, "reloaded") == 0;
	return !follower->services || !about->service ||
	       is_listed(follower->services, about->service);
}

static void set_text(json_t *line, const char *name, const char *text)
{
	char cut[MAX_TEXT + 1];

	if (!text)
		return;
	(void)snprintf(cut, sizeof(cut), "%s", text);
	json_object_set_new(line, name, json_string(cut));
}

static void set_number(json_t *line, const char *name, uint64_t number)
{
	json_object_set_new(line, name, json_integer((json_int_t)number));
}

static uint64_t realtime_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* With a newline in the place of the NUL, to be freed; NULL: out of memory. */
static char *make_line(const struct log_about *about, size_t *ret_length)
{
	json_t *line = json_object();
	char *text;

	set_text(line, "event", about->event);
	set_number(line, "time_usec", realtime_usec());
	set_text(line, "service", about->service);
	set_text(line, "listener", about->listener);
	set_text(line, "peer", about->peer);
	if (about->connection)
		set_number(line, "connection", about->connection);
	set_text(line, "provider", about->provider);
	if (about->provider_pid) {
		set_number(line, "provider_pid", (uint64_t)about->provider_pid);
		set_number(line, "provider_uid", about->provider_uid);
	}
	set_text(line, "reason", about->reason);
	if (about->has_duration)
		set_number(line, "duration_usec", about->duration_usec);
	text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	json_decref(line);
	if (!text)
		return NULL;
	*ret_length = strlen(text) + 1;
	assert(*ret_length <= MAX_LINE);
	text[*ret_length - 1] = '\n';
	return text;
}

/* The line is made for the first one that has room for it. */
void events_tell(struct events *events, const struct log_about *about)
{
	struct events_follower *follower;
	size_t length = 0;
	char *line = NULL;

	for (follower = events->followers; follower; follower = follower->next) {
		if (!is_wanted(follower, about))
			continue;
		if (!line && has_room(follower))
			line = make_line(about, &length);
		if (line && has_room(follower))
			append(follower, line, length);
		else
			follower->n_lost++;
	}
	free(line);
}
