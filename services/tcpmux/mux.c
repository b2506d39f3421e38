/* SPDX-License-Identifier: MIT */
/* See mux.h. */
#include "mux.h"
#include "request.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static const char go[] = "+Go\r\n";
static const char not_available[] = "-Service not available\r\n";
static const char not_understood[] = "-Expected the name of a service, ended by CR LF\r\n";

struct client {
	struct connection connection; /* first */
	const struct directory_entry *entry;
	const char *data; /* what another service had read beyond the line, mostly nothing */
	size_t size;
	struct request request;
};

static_assert(sizeof(struct client) <= 192, "thousands of silent clients are cheap");

static struct mux *mux_of(struct client *client)
{
	return (struct mux *)client->connection.enrolment;
}

static int refuse(struct client *client, const char *answer)
{
	mux_of(client)->n_refused++;
	return connection_answer(&client->connection, answer, strlen(answer));
}

/* Text that all clients share, so that a slow reader costs nothing. */
static int send_help(struct connection *c)
{
	const struct directory *d = &mux_of((struct client *)c)->directory;
	ssize_t n = connection_send_some(c, d->help + c->position, d->help_size - c->position);

	if (n < 0)
		return (int)n;
	c->position += (uint32_t)n;
	return c->position < d->help_size ? connection_watch(c, EPOLLOUT) : connection_finish(c);
}

/* The answer of a service that is announced was given already: then a failure only closes. */
static int forward(struct connection *c)
{
	struct client *client = (struct client *)c;
	struct mux *m = mux_of(client);
	int r = connection_forward(c, client->entry->service, client->data, client->size);

	if (r == CONNECTION_OVER)
		m->n_forwarded++;
	if (r >= 0)
		return r;
	enrolment_say_forward(&m->enrolment, client->entry->service, r);
	return client->entry->is_announced ? r : refuse(client, not_available);
}

static int announce(struct client *client)
{
	ssize_t n = connection_send_some(&client->connection, go, strlen(go));

	if (n < 0)
		return (int)n;
	return (size_t)n < strlen(go) ? -EIO : 0; /* it fits any socket's empty buffer */
}

static int direct(struct client *client)
{
	struct mux *m = mux_of(client);
	int r = 0;

	if (directory_is_help(client->request.name)) {
		m->n_helped++;
		return send_help(&client->connection);
	}
	client->entry = directory_find(&m->directory, client->request.name);
	if (!client->entry)
		return refuse(client, not_available);
	if (client->entry->is_announced)
		r = announce(client);
	return r == 0 ? forward(&client->connection) : r;
}

static int go_on(struct client *client, enum request_state state)
{
	switch (state) {
	case REQUEST_COMPLETE:
		return direct(client);
	case REQUEST_BAD:
		return refuse(client, not_understood);
	default:
		return 0;
	}
}

static int on_open(struct connection *c, const char *data, size_t size)
{
	struct client *client = (struct client *)c;
	enum request_state state;
	size_t n_taken;

	state = request_feed(&client->request, data, size, &n_taken);
	if (n_taken < size) {
		client->data = data + n_taken;
		client->size = size - n_taken;
	}
	return go_on(client, state);
}

static int on_readable(struct connection *c)
{
	struct client *client = (struct client *)c;
	char line[REQUEST_LINE_MAX];
	enum request_state state;
	size_t n_taken;
	ssize_t n = recv(c->fd, line, sizeof(line), MSG_PEEK);

	if (n == 0)
		return CONNECTION_OVER;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	state = request_feed(&client->request, line, (size_t)n, &n_taken);
	if (recv(c->fd, line, n_taken, 0) != (ssize_t)n_taken)
		return -EIO; /* it was there */
	return go_on(client, state);
}

static const struct conversation conversation = {
	.on_open = on_open,
	.on_readable = on_readable,
	.on_writable = send_help,
	.on_leave = forward,
	.size = sizeof(struct client),
};

static bool format_tally(struct tally *t, char *text, size_t size)
{
	struct mux *m = (struct mux *)t->enrolment;

	connections_say_crowded(&m->connections, &m->enrolment);
	(void)snprintf(text, size,
		"%zu waiting; %" PRIu64 " forwarded, %" PRIu64 " helped, %" PRIu64
		" refused, %" PRIu64 " too late, %" PRIu64 " too many",
		m->connections.n, m->n_forwarded, m->n_helped, m->n_refused, m->connections.n_late,
		m->connections.n_crowded);
	return m->connections.n > 0;
}

void mux_init(struct mux *m, int64_t patience_ms, uint32_t credit)
{
	connections_init(&m->connections, m->enrolment.loop);
	connections_limit(&m->connections, patience_ms, credit);
	tally_init(&m->tally, &m->enrolment, format_tally);
}

int mux_on_connection(struct enrolment *e, struct usher_connection *accepted)
{
	struct mux *m = (struct mux *)e;

	tally_touch(&m->tally);
	return connection_open(&m->connections, &conversation, e, accepted);
}

void mux_done(struct mux *m)
{
	connections_close_all(&m->connections);
	connections_done(&m->connections);
	tally_done(&m->tally);
}
