/* SPDX-License-Identifier: MIT */
/* A client whose program does not run yet: see client.h. */
#include "client.h"

#include "loop.h"
#include "say.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Sends what fits. Returns 0, 1: there is more, or a negative errno. */
static int send_banner(struct client *client)
{
	const struct command *command = client->command;
	ssize_t n = 1;

	while (client->n_sent < command->banner_size && n > 0) {
		n = send(client->connection.fd, command->banner + client->n_sent,
			command->banner_size - client->n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		client->n_sent += n > 0 ? (size_t)n : 0;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return client->n_sent < command->banner_size;
}

/* Send and, when all is sent, be ready. */
static void go_on(struct client *client)
{
	int r = send_banner(client);

	if (r == 1)
		return;
	client->io = sd_event_source_disable_unref(client->io);
	if (r < 0)
		client->events->on_failed(client, strerror(-r), client->userdata);
	else
		client->events->on_ready(client, client->userdata);
}

static int on_writable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source, (void)fd, (void)events;
	go_on(userdata);
	return 0;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct client *client = userdata;
	bool is_too_late = monotonic_ms() - client->since_ms >= CLIENT_MAX_MS;

	(void)source, (void)usec;
	if (client->io)
		client->events->on_failed(
			client, "it has not taken the banner in time", client->userdata);
	else if (is_too_late)
		client->events->on_failed(client, "no process could be made", client->userdata);
	else
		client->events->on_ready(client, client->userdata);
	return 0;
}

static int watch(struct client *client, sd_event *event, bool is_new)
{
	int r = sd_event_add_time_relative(event, &client->time, CLOCK_MONOTONIC,
		UINT64_C(1000) * (is_new ? CLIENT_MAX_MS : CLIENT_RETRY_MS), 0, on_time, client);

	if (r >= 0 && is_new)
		r = sd_event_add_io(
			event, &client->io, client->connection.fd, EPOLLOUT, on_writable, client);
	return r;
}

int client_new(struct client **ret, sd_event *event, struct command *command,
	const struct usher_connection *connection, int64_t since_ms,
	const struct client_events *events, void *userdata)
{
	bool is_new = since_ms == CLIENT_IS_NEW;
	struct client *client = malloc(sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	*client = (struct client){
		.command = command_ref(command),
		.connection = *connection,
		.events = events,
		.userdata = userdata,
		.since_ms = is_new ? monotonic_ms() : since_ms,
	};
	r = watch(client, event, is_new);
	if (r < 0) {
		client_free(client);
		return r;
	}
	*ret = client;
	return 0;
}

struct client *client_free(struct client *client)
{
	sd_event_source_disable_unref(client->io);
	sd_event_source_disable_unref(client->time);
	command_unref(client->command);
	free(client);
	return NULL;
}
