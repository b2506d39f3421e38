/* SPDX-License-Identifier: MIT */
/* A client whose program does not run yet: see client.h. */
#include "client.h"

#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static const char timed_out[] = "it has not taken the banner in time";

/* Sends what fits. Returns 0, 1: there is more, or a negative errno. */
static int send_banner(struct client *client)
{
	const struct program *program = client->program;
	ssize_t n = 1;

	while (client->n_sent < program->banner_size && n > 0) {
		n = send(client->connection.fd, program->banner + client->n_sent,
			program->banner_size - client->n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		client->n_sent += n > 0 ? (size_t)n : 0;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	return client->n_sent < program->banner_size;
}

/* Send and, when all is sent, be ready. */
static void go_on(struct client *client)
{
	int r = send_banner(client);

	if (r == 1)
		return;
	client->io = sd_event_source_disable_unref(client->io);
	if (r < 0)
		client->on_failed(client, strerror(-r), client->userdata);
	else
		client->on_ready(client, client->userdata);
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

	(void)source, (void)usec;
	if (client->io)
		client->on_failed(client, timed_out, client->userdata);
	else
		client->on_ready(client, client->userdata);
	return 0;
}

int client_new(struct client **ret, sd_event *event, struct program *program,
	const struct usher_connection *connection,
	void (*on_ready)(struct client *client, void *userdata),
	void (*on_failed)(struct client *client, const char *why, void *userdata), void *userdata)
{
	struct client *client = malloc(sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	*client = (struct client){
		.program = program_ref(program),
		.connection = *connection,
		.on_ready = on_ready,
		.on_failed = on_failed,
		.userdata = userdata,
		.began_usec = monotonic_usec(),
	};
	r = sd_event_add_time_relative(event, &client->time, CLOCK_MONOTONIC,
		program->banner ? CLIENT_MAX_USEC : CLIENT_RETRY_USEC, 0, on_time, client);
	if (r >= 0 && program->banner)
		r = sd_event_add_io(
			event, &client->io, connection->fd, EPOLLOUT, on_writable, client);
	if (r < 0) {
		client_free(client);
		return r;
	}
	*ret = client;
	return 0;
}

void client_wait(struct client *client)
{
	if (monotonic_usec() - client->began_usec >= CLIENT_MAX_USEC) {
		client->on_failed(client, "no process could be made", client->userdata);
		return;
	}
	(void)sd_event_source_set_time_relative(client->time, CLIENT_RETRY_USEC);
	(void)sd_event_source_set_enabled(client->time, SD_EVENT_ONESHOT);
}

struct client *client_free(struct client *client)
{
	sd_event_source_disable_unref(client->io);
	sd_event_source_disable_unref(client->time);
	program_unref(client->program);
	free(client);
	return NULL;
}
