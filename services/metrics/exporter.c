/* SPDX-License-Identifier: MIT */
/* Clients that ask for the metrics: see exporter.h. */
#include "exporter.h"

#include "http.h"
#include "page.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define PATH "/metrics"

/* Most bytes sent to one client before the others have their turn. */
#define SHARE (256u << 10)

struct client {
	struct connection connection; /* first */
	TAILQ_ENTRY(client) link;
	bool is_waiting;   /* for a page of the source */
	struct page *page; /* what is being sent, or NULL */
	struct http_request request;
};

static struct exporter *exporter_of(struct connection *c)
{
	return (struct exporter *)c->enrolment;
}

static void end_waiting(struct client *client)
{
	if (client->is_waiting)
		TAILQ_REMOVE(&exporter_of(&client->connection)->waiting, client, link);
	client->is_waiting = false;
}

/* A slow reader keeps its page alive for as long as it may take. */
static int send_more(struct connection *c)
{
	struct client *client = (struct client *)c;
	size_t size = client->request.is_head ? client->page->head_size : client->page->size;
	size_t left = size - c->position;
	ssize_t n = connection_send_some(
		c, client->page->bytes + c->position, left < SHARE ? left : SHARE);

	if (n < 0)
		return (int)n;
	c->position += (uint32_t)n;
	if (c->position < size)
		return connection_watch(c, EPOLLOUT);
	client->page = page_leave(client->page);
	return connection_finish(c);
}

/* Without a page there was no memory for it. */
static int on_writable(struct connection *c)
{
	return ((struct client *)c)->page ? send_more(c) : -ENOMEM;
}

static int refuse(struct client *client, enum http_status status, const char *sentence)
{
	exporter_of(&client->connection)->n_refused++;
	client->page = page_say(status, sentence);
	return on_writable(&client->connection);
}

/* When there is a page, now or later, the client is sent it: on_page(). */
static int wait_for_page(struct client *client)
{
	struct exporter *e = exporter_of(&client->connection);
	int r = connection_watch(&client->connection, 0);

	client->is_waiting = true;
	TAILQ_INSERT_TAIL(&e->waiting, client, link);
	source_want(&e->source);
	return r;
}

static bool is_known(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static int go_on(struct client *client, enum http_status status)
{
	if (status == HTTP_MORE)
		return 0;
	if (status != HTTP_OK)
		return refuse(client, status, http_reason(status));
	if (strcmp(client->request.path, PATH) != 0)
		return refuse(client, HTTP_NOT_FOUND, "The metrics are at " PATH ".");
	if (!is_known(client->request.method))
		return refuse(client, HTTP_NOT_ALLOWED, "The metrics can only be read.");
	return wait_for_page(client);
}

static int on_open(struct connection *c, const char *data, size_t size)
{
	struct client *client = (struct client *)c;

	return go_on(client, http_feed(&client->request, data, size));
}

static int on_readable(struct connection *c)
{
	struct client *client = (struct client *)c;
	const char *data;
	size_t size;
	int r = connection_read(c, &data, &size);

	return r == 0 ? go_on(client, http_feed(&client->request, data, size)) : r;
}

static void on_close(struct connection *c)
{
	struct client *client = (struct client *)c;

	end_waiting(client);
	client->page = page_leave(client->page);
}

static const struct conversation conversation = {
	.on_open = on_open,
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_close = on_close,
	.size = sizeof(struct client),
};

/* Each of those who wait is sent it in a turn of his own. */
static void on_page(struct source *source, struct page *page)
{
	struct exporter *e =
		(struct exporter *)(void *)((char *)source - offsetof(struct exporter, source));
	struct client *client;

	tally_touch(&e->tally);
	while ((client = TAILQ_FIRST(&e->waiting))) {
		end_waiting(client);
		client->page = page ? page_share(page) : NULL;
		if (page && page->status == HTTP_OK)
			e->n_served++;
		else
			e->n_failed++;
		(void)connection_watch(&client->connection, EPOLLOUT);
	}
}

static bool format_tally(struct tally *t, char *text, size_t size)
{
	struct exporter *e = (struct exporter *)t->enrolment;

	connections_say_crowded(&e->connections, &e->enrolment);
	(void)snprintf(text, size,
		"%zu here; %" PRIu64 " served, %" PRIu64 " refused, %" PRIu64 " failed, %" PRIu64
		" too late, %" PRIu64 " too many; usherd asked %" PRIu64 " times",
		e->connections.n, e->n_served, e->n_refused, e->n_failed, e->connections.n_late,
		e->connections.n_crowded, e->source.n_asked);
	return e->connections.n > 0;
}

int exporter_init(struct exporter *e, const char *run_dir, int64_t patience_ms, uint32_t credit)
{
	int r = source_init(&e->source, e->enrolment.loop, run_dir, on_page);

	if (r < 0)
		return r;
	TAILQ_INIT(&e->waiting);
	connections_init(&e->connections, e->enrolment.loop);
	connections_limit(&e->connections, patience_ms, credit);
	tally_init(&e->tally, &e->enrolment, format_tally);
	return 0;
}

int exporter_on_connection(struct enrolment *enrolment, struct usher_connection *accepted)
{
	struct exporter *e = (struct exporter *)enrolment;

	tally_touch(&e->tally);
	return connection_open(&e->connections, &conversation, enrolment, accepted);
}

void exporter_done(struct exporter *e)
{
	connections_close_all(&e->connections);
	connections_done(&e->connections);
	source_done(&e->source);
	tally_done(&e->tally);
}
