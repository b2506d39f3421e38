/* SPDX-License-Identifier: MIT */
/* See relay.h. */
#include "relay.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static uint32_t client_events(const struct relay *r)
{
	uint32_t events = 0;

	if (r->head_sent == r->head_size && flow_wants_input(&r->up))
		events |= EPOLLIN;
	if (flow_wants_output(&r->down))
		events |= EPOLLOUT;
	return events;
}

static uint32_t server_events(const struct relay *r)
{
	uint32_t events = 0;

	if (flow_wants_input(&r->down))
		events |= EPOLLIN;
	if (r->head_sent < r->head_size || flow_wants_output(&r->up))
		events |= EPOLLOUT;
	return events;
}

static void unwatch(struct relay *r, struct relay_end *end)
{
	if (end->is_watched)
		loop_unwatch(r->loop, &end->watch, end->fd);
	end->is_watched = false;
}

/* An end that hung up, and of which nothing is wanted, is not watched: see end_on_event(). */
static int watch(struct relay *r, struct relay_end *end, uint32_t events)
{
	int result = 0;

	if (!end->is_watched && events != 0)
		result = loop_watch(r->loop, &end->watch, end->fd, events);
	else if (end->is_watched && events != end->events)
		result = loop_rewatch(r->loop, &end->watch, end->fd, events);
	if (result == 0 && events != 0)
		end->is_watched = true;
	end->events = events;
	return result;
}

static int watch_both(struct relay *r)
{
	int result = watch(r, &r->client, client_events(r));

	return result == 0 ? watch(r, &r->server, server_events(r)) : result;
}

static int send_head(struct relay *r)
{
	ssize_t n = send(r->server.fd, r->head + r->head_sent, r->head_size - r->head_sent,
		MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	r->head_sent += (size_t)n;
	return 0;
}

static int step_up(struct relay *r)
{
	if (r->head_sent < r->head_size)
		return send_head(r);
	return flow_step(&r->up, r->client.fd, r->server.fd);
}

static int step_down(struct relay *r)
{
	return flow_step(&r->down, r->server.fd, r->client.fd);
}

/*
 * EPOLLHUP is told whether one asks for it or not, for as long as it lasts, which is until the slow
 * other side has taken all: then who has nothing more to do with this end does not watch it.
 */
static void end_on_event(struct relay *r, struct relay_end *end, uint32_t events,
	int (*step_in)(struct relay *), int (*step_out)(struct relay *))
{
	int result = 0;

	if (events & EPOLLERR)
		result = -ECONNRESET;
	else if (events & EPOLLHUP && end->events == 0)
		unwatch(r, end);
	if (result == 0 && events & (EPOLLIN | EPOLLHUP) && end->events & EPOLLIN)
		result = step_in(r);
	if (result == 0 && events & (EPOLLOUT | EPOLLHUP) && end->events & EPOLLOUT)
		result = step_out(r);
	if (result == 0)
		result = watch_both(r);
	if (result == 0 && r->up.is_over && r->down.is_over)
		result = RELAY_OVER;
	r->on_change(r, result);
}

static void client_on_event(struct watch *watch_, uint32_t events)
{
	struct relay *r =
		(struct relay *)(void *)((char *)watch_ - offsetof(struct relay, client.watch));

	end_on_event(r, &r->client, events, step_up, step_down);
}

static void server_on_event(struct watch *watch_, uint32_t events)
{
	struct relay *r =
		(struct relay *)(void *)((char *)watch_ - offsetof(struct relay, server.watch));

	end_on_event(r, &r->server, events, step_down, step_up);
}

int relay_start(struct relay *r, struct loop *loop, int client_fd, int server_fd, const char *head,
	size_t head_size, void (*on_change)(struct relay *r, int result))
{
	*r = (struct relay){
		.loop = loop,
		.client = {.watch.on_event = client_on_event, .fd = client_fd},
		.server = {.watch.on_event = server_on_event, .fd = server_fd},
		.head = head,
		.head_size = head_size,
		.on_change = on_change,
	};
	flow_init(&r->up);
	flow_init(&r->down);
	return watch_both(r);
}

void relay_stop(struct relay *r)
{
	unwatch(r, &r->client);
	unwatch(r, &r->server);
	flow_done(&r->up);
	flow_done(&r->down);
}

/* connect(2), AF_UNSPEC: of TCP the connection is dissolved with a reset, also while copies exist.
 */
void relay_break(int fd)
{
	static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	(void)connect(fd, &nobody, sizeof(nobody));
}
