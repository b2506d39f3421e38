/* SPDX-License-Identifier: MIT */
/*
 * See service.h. Who wants to write a provider around an event loop may begin here: service_init()
 * and service_on_event() are the whole conversation with usherd.
 */
#include "service.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* New connections of one service before everybody else has a turn. */
#define ACCEPT_BUDGET 64

/* The same words again within this time belong to one episode, and are said once. */
#define EPISODE_MS 60000

/* A reader of standard error that has stalled must not stop us: then the line is lost. */
static void print_line(const char *service, const char *words)
{
	struct pollfd standard_error = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&standard_error, 1, 0) == 1)
		dprintf(STDERR_FILENO, "usher-basic: %s: %s\n", service, words);
}

static void service_say(struct service *s, const char *what, const char *reason)
{
	char words[SERVICE_WORDS_SIZE];
	int64_t now_ms = monotonic_ms();
	bool is_same_episode;

	(void)snprintf(words, sizeof(words), "%s%s%s", what, reason[0] ? ": " : "", reason);
	is_same_episode = strcmp(words, s->said) == 0 && now_ms - s->said_at_ms < EPISODE_MS;
	s->said_at_ms = now_ms;
	if (is_same_episode)
		return;
	memcpy(s->said, words, sizeof(s->said));
	print_line(s->name, words);
}

/* usherd's absence is no error, but somebody who mistyped a name wants to know. */
static void service_say_registration(struct service *s)
{
	bool was_registered = s->is_registered;
	char reason[256];

	s->is_registered = usher_is_registered(s->usher);
	if (s->is_registered) {
		if (!was_registered)
			service_say(s, "registered", "");
		return;
	}
	(void)usher_error(s->usher, reason, sizeof(reason));
	if (reason[0] != '\0')
		service_say(s, "not registered", reason);
}

static void service_on_error(struct service *s, int error)
{
	if (error == -EMFILE)
		service_say(s,
			"out of descriptors, so that usherd serves clients elsewhere or "
			"lets them wait",
			"raise the limit (LimitNOFILE=) or lower the credit (-c)");
	else if (error == -EAGAIN || !usher_is_registered(s->usher))
		service_say_registration(s);
	else
		service_say(s, "cannot take connections", strerror(-error));
}

static void service_serve(struct service *s, struct usher_connection *accepted)
{
	int r = connection_open(s->connections, s->protocol, s->usher, accepted);

	if (r < 0)
		service_say(s, "cannot serve a connection", strerror(-r));
}

/* From now on usher_fd() is always readable. */
static void service_end(struct service *s)
{
	char reason[256];

	if (!s->is_stopping) {
		(void)usher_error(s->usher, reason, sizeof(reason));
		service_say(s, "takes no more connections", reason);
	}
	s->is_over = true;
	(void)epoll_ctl(s->connections->epoll_fd, EPOLL_CTL_DEL, usher_fd(s->usher), NULL);
}

/* Level-triggered: what is beyond the budget is reported again. */
static void service_on_event(struct watch *watch, uint32_t events)
{
	struct service *s = (struct service *)watch;
	struct usher_connection accepted;
	int r = 0;

	(void)events;
	for (int i = 0; i < ACCEPT_BUDGET && r != -EAGAIN && !s->is_over; i++) {
		r = usher_accept(s->usher, &accepted, SOCK_NONBLOCK);
		if (r == 0)
			service_serve(s, &accepted);
		else if (r == -ESHUTDOWN)
			service_end(s);
		else
			service_on_error(s, r);
	}
}

int service_init(struct service *s, struct connections *connections,
	const struct protocol *protocol, const char *name, uint32_t credit)
{
	struct usher_options options = {
		.size = sizeof(options), .flags = USHER_NONBLOCK, .credit = credit};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
	int r;

	*s = (struct service){
		.watch.on_event = service_on_event,
		.connections = connections,
		.protocol = protocol,
		.name = name,
	};
	r = usher_new(&s->usher, name, &options);
	if (r < 0)
		return r;
	if (epoll_ctl(connections->epoll_fd, EPOLL_CTL_ADD, usher_fd(s->usher), &event) < 0)
		return -errno;
	return 0;
}

void service_drain(struct service *s)
{
	s->is_stopping = true;
	(void)usher_drain(s->usher);
}

bool service_is_finished(const struct service *s)
{
	return s->is_over && usher_holding(s->usher) == 0;
}

void service_done(struct service *s)
{
	s->usher = usher_free(s->usher);
}
