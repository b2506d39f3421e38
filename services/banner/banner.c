/* SPDX-License-Identifier: MIT */
/* See banner.h. */
#include "banner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

struct client {
	struct connection connection; /* first */
	struct text *text;
	const char *data; /* what another service had read, mostly nothing */
	size_t size;
};

static struct banner *banner_of(struct client *client)
{
	return (struct banner *)client->connection.enrolment;
}

static int forward(struct connection *c)
{
	struct client *client = (struct client *)c;
	struct banner *b = banner_of(client);
	int r = connection_forward(c, b->target, client->data, client->size);

	if (r < 0)
		enrolment_say_forward(&b->enrolment, b->target, r);
	return r;
}

static int send_text(struct connection *c)
{
	struct client *client = (struct client *)c;
	struct banner *b = banner_of(client);
	ssize_t n = connection_send_some(
		c, client->text->bytes + c->position, client->text->size - c->position);

	if (n < 0)
		return (int)n;
	c->position += (uint32_t)n;
	if (c->position < client->text->size)
		return connection_watch(c, EPOLLOUT);
	b->n_sent++;
	return b->target ? forward(c) : connection_finish(c);
}

static void refresh(struct banner *b)
{
	char what[SAY_SIZE];
	int r = text_file_refresh(&b->file);

	if (r == 0)
		return;
	(void)snprintf(what, sizeof(what), "cannot read %s, and sends what was in it before",
		b->file.path);
	enrolment_say(&b->enrolment, what, strerror(-r));
}

static int on_open(struct connection *c, const char *data, size_t size)
{
	struct client *client = (struct client *)c;
	struct banner *b = banner_of(client);

	refresh(b);
	client->text = text_ref(b->file.text);
	client->data = data;
	client->size = size;
	return send_text(c);
}

static void on_close(struct connection *c)
{
	text_unref(((struct client *)c)->text);
}

static const struct conversation conversation = {
	.on_open = on_open,
	.on_readable = connection_discard,
	.on_writable = send_text,
	.on_leave = forward,
	.on_close = on_close,
	.size = sizeof(struct client),
};

static bool format_tally(struct tally *t, char *text, size_t size)
{
	struct banner *b = (struct banner *)t->enrolment;

	connections_say_crowded(&b->connections, &b->enrolment);
	(void)snprintf(text, size,
		"%zu clients; %" PRIu64 " have the text, %" PRIu64 " too late, %" PRIu64
		" too many",
		b->connections.n, b->n_sent, b->connections.n_late, b->connections.n_crowded);
	return b->connections.n > 0;
}

int banner_init(struct banner *b, const char *path, const char *target, int64_t patience_ms,
	uint32_t credit)
{
	b->target = target;
	connections_init(&b->connections, b->enrolment.loop);
	connections_limit(&b->connections, patience_ms, credit);
	tally_init(&b->tally, &b->enrolment, format_tally);
	text_file_init(&b->file, path);
	return text_file_refresh(&b->file);
}

int banner_on_connection(struct enrolment *e, struct usher_connection *accepted)
{
	struct banner *b = (struct banner *)e;

	tally_touch(&b->tally);
	return connection_open(&b->connections, &conversation, e, accepted);
}

void banner_done(struct banner *b)
{
	connections_close_all(&b->connections);
	connections_done(&b->connections);
	tally_done(&b->tally);
	text_file_done(&b->file);
}
