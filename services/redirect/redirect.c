/* SPDX-License-Identifier: MIT */
/* See redirect.h. */
#include "redirect.h"
#include "header.h"
#include "relay.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct redirect_client {
	struct watch watch; /* of the server's socket while it connects */
	TAILQ_ENTRY(redirect_client) link;
	struct redirect *redirect;
	struct relay relay;
	uint64_t id; /* usherd's; 0: it is not usherd's */
	int client_fd, server_fd;
	size_t begin;	/* the address with which it has begun, */
	size_t n_tried; /* and how many it has tried from there on */
	bool has_asked; /* for the addresses anew */
	bool is_relayed;
	int64_t until_ms, begin_ms;
	char *head; /* what the server gets first */
	size_t head_size;
	struct sockaddr_storage peer;
};

static void say_trouble(struct redirect *d, const char *what, const char *reason)
{
	say_once(&d->said, "%s: %s %s:%s: %s", d->name, what, d->options.host, d->options.port,
		reason);
}

static void schedule(struct redirect *d)
{
	const struct redirect_client *connecting = TAILQ_FIRST(&d->connecting);
	const struct redirect_client *relayed = TAILQ_FIRST(&d->relayed);
	int64_t at_ms = NO_DEADLINE;

	if (connecting)
		at_ms = connecting->until_ms;
	if (relayed && relayed->until_ms < at_ms)
		at_ms = relayed->until_ms;
	d->timer.at_ms = at_ms;
}

static struct redirect_list *list_of(struct redirect_client *c)
{
	return c->is_relayed ? &c->redirect->relayed : &c->redirect->connecting;
}

static void log_client(const struct redirect_client *c)
{
	char host[NI_MAXHOST] = "unix";

	if (!c->redirect->options.is_logged)
		return;
	if (c->peer.ss_family != AF_UNIX)
		(void)getnameinfo((const struct sockaddr *)&c->peer, sizeof(c->peer), host,
			sizeof(host), NULL, 0, NI_NUMERICHOST);
	say("%s: %s: %" PRIu64 " bytes in, %" PRIu64 " bytes out, %" PRId64 " s", c->redirect->name,
		host, c->relay.up.n_bytes, c->relay.down.n_bytes,
		(monotonic_ms() - c->begin_ms) / 1000);
}

static void end_client_socket(struct redirect_client *c)
{
	struct usher_connection ending = {.fd = c->client_fd, .id = c->id};

	if (c->id != 0) {
		(void)usher_close(c->redirect->enrolment.usher, &ending);
		return;
	}
	(void)shutdown(c->client_fd, SHUT_RDWR); /* whoever else has a copy of it */
	(void)close(c->client_fd);
}

static void close_server(struct redirect_client *c)
{
	if (c->server_fd < 0)
		return;
	loop_unwatch(c->redirect->loop, &c->watch, c->server_fd);
	(void)close(c->server_fd);
	c->server_fd = -1;
}

/* `is_broken`: it did not come to its proper end, which both sides have to see. */
static void client_free(struct redirect_client *c, bool is_broken)
{
	struct redirect *d = c->redirect;

	TAILQ_REMOVE(list_of(c), c, link);
	d->n_clients--;
	log_client(c);
	if (c->is_relayed) {
		relay_stop(&c->relay);
		d->n_up += c->relay.up.n_bytes;
		d->n_down += c->relay.down.n_bytes;
	}
	if (is_broken) {
		relay_break(c->client_fd);
		if (c->server_fd >= 0)
			relay_break(c->server_fd);
	}
	close_server(c);
	end_client_socket(c);
	free(c->head);
	free(c);
}

static void fail(struct redirect_client *c)
{
	c->redirect->n_failed++;
	client_free(c, true);
}

static struct redirect_client *client_of(struct relay *r)
{
	return (struct redirect_client *)(void *)((char *)r -
						  offsetof(struct redirect_client, relay));
}

static void touch(struct redirect_client *c)
{
	struct redirect *d = c->redirect;

	if (d->options.idle_ms == NO_DEADLINE)
		return;
	TAILQ_REMOVE(&d->relayed, c, link);
	c->until_ms = monotonic_ms() + d->options.idle_ms;
	TAILQ_INSERT_TAIL(&d->relayed, c, link);
}

static void relay_on_change(struct relay *r, int result)
{
	struct redirect_client *c = client_of(r);

	if (result == 0) {
		touch(c);
		return;
	}
	if (result == RELAY_OVER)
		c->redirect->n_done++;
	else
		c->redirect->n_failed++;
	if (result == -EMFILE || result == -ENFILE || result == -ENOMEM)
		say_trouble(c->redirect, "cannot go on with a client of", strerror(-result));
	client_free(c, result != RELAY_OVER);
}

/* The one that was tried last. Meanwhile the names may have been answered anew, with less. */
static size_t address_of(const struct redirect_client *c)
{
	return (c->begin + c->n_tried - 1) % c->redirect->resolver.n;
}

static void begin_relay(struct redirect_client *c)
{
	struct redirect *d = c->redirect;

	loop_unwatch(d->loop, &c->watch, c->server_fd);
	d->first = address_of(c);
	TAILQ_REMOVE(&d->connecting, c, link);
	c->is_relayed = true;
	c->until_ms = NO_DEADLINE;
	TAILQ_INSERT_TAIL(&d->relayed, c, link);
	touch(c);
	schedule(d);
	if (relay_start(&c->relay, d->loop, c->client_fd, c->server_fd, c->head, c->head_size,
		    relay_on_change) < 0)
		fail(c);
}

static void try_on(struct redirect_client *c);

/* Returns 0: it has begun; or the error of socket(2), connect(2) or epoll_ctl(2). */
static int try_address(struct redirect_client *c, const struct resolver_address *a)
{
	int r;

	c->server_fd = socket(a->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->server_fd < 0)
		return -errno;
	r = loop_watch(c->redirect->loop, &c->watch, c->server_fd, EPOLLOUT);
	if (r == 0 && connect(c->server_fd, (const struct sockaddr *)&a->address, a->length) < 0 &&
		errno != EINPROGRESS)
		r = -errno;
	if (r < 0)
		close_server(c);
	return r;
}

/* The addresses did not do: perhaps there are new ones. */
static void ask_again(struct redirect_client *c)
{
	struct redirect *d = c->redirect;
	bool is_first = !c->has_asked;

	c->has_asked = true;
	c->n_tried = 0;
	if (!is_first || !resolver_ask(&d->resolver))
		fail(c);
}

/* Beginning with the next address. While the first answer is awaited there is none. */
static void try_on(struct redirect_client *c)
{
	struct redirect *d = c->redirect;
	int r;

	if (c->n_tried == 0)
		c->begin = d->first;
	while (c->n_tried < d->resolver.n) {
		c->n_tried++;
		r = try_address(c, &d->resolver.addresses[address_of(c)]);
		if (r == 0)
			return;
		say_trouble(d, "cannot connect to", strerror(-r));
	}
	ask_again(c);
}

static void server_on_event(struct watch *watch, uint32_t events)
{
	struct redirect_client *c = (struct redirect_client *)watch;
	socklen_t length = sizeof(int);
	int error = 0;

	(void)events;
	(void)getsockopt(c->server_fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error == 0) {
		begin_relay(c);
		return;
	}
	say_trouble(c->redirect, "cannot connect to", strerror(error));
	close_server(c);
	try_on(c);
}

/* Those who wait for it have no socket of a server yet. */
static void resolver_on_answer(struct resolver *resolver)
{
	struct redirect *d =
		(struct redirect *)(void *)((char *)resolver - offsetof(struct redirect, resolver));
	struct redirect_client *c, *next;

	if (resolver->error[0] != '\0')
		say_trouble(d, "cannot find the address of", resolver->error);
	if (d->first >= resolver->n)
		d->first = 0;
	for (c = TAILQ_FIRST(&d->connecting); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->server_fd >= 0)
			continue;
		c->n_tried = 0;
		try_on(c);
	}
}

/*
 * The next client begins with another address than the one that does not answer, unless others have
 * found that already.
 */
static void pass_over(struct redirect *d, const struct redirect_client *c)
{
	if (c->server_fd >= 0 && address_of(c) == d->first)
		d->first = (d->first + 1) % d->resolver.n;
}

static void redirect_on_time(struct timer *timer, int64_t now_ms)
{
	struct redirect *d =
		(struct redirect *)(void *)((char *)timer - offsetof(struct redirect, timer));
	struct redirect_client *c;

	while ((c = TAILQ_FIRST(&d->connecting)) && c->until_ms <= now_ms) {
		say_trouble(d, "cannot connect to", strerror(ETIMEDOUT));
		pass_over(d, c);
		(void)resolver_ask(&d->resolver);
		fail(c);
	}
	while ((c = TAILQ_FIRST(&d->relayed)) && c->until_ms <= now_ms) {
		d->n_idle++;
		client_free(c, true);
	}
	schedule(d);
}

static int make_head(struct redirect_client *c, const void *data, size_t size)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof(local);

	c->head = malloc(HEADER_MAX + size);
	if (!c->head)
		return -ENOMEM;
	if (c->redirect->options.has_header) {
		(void)getsockname(c->client_fd, (struct sockaddr *)&local, &length);
		c->head_size = header_write(c->head, &c->peer, &local);
	}
	if (size > 0)
		memcpy(c->head + c->head_size, data, size);
	c->head_size += size;
	return 0;
}

static int add_client(struct redirect *d, const struct usher_connection *accepted)
{
	struct redirect_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct redirect_client){
		.watch.on_event = server_on_event,
		.redirect = d,
		.id = accepted->id,
		.client_fd = accepted->fd,
		.server_fd = -1,
		.begin_ms = monotonic_ms(),
		.until_ms = monotonic_ms() + d->options.connect_ms,
		.peer = accepted->peer,
	};
	if (make_head(c, accepted->data, accepted->data_size) < 0) {
		free(c);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&d->connecting, c, link);
	d->n_clients++;
	schedule(d);
	try_on(c);
	return 0;
}

static bool format_tally(struct tally *t, char *text, size_t size)
{
	struct redirect *d = (struct redirect *)t->enrolment;

	(void)snprintf(text, size,
		"%zu clients; %" PRIu64 " served, %" PRIu64 " failed, %" PRIu64 " idle; %" PRIu64
		" bytes in, %" PRIu64 " bytes out",
		d->n_clients, d->n_done, d->n_failed, d->n_idle, d->n_up, d->n_down);
	return d->n_clients > 0;
}

int redirect_init(struct redirect *d, struct loop *loop, const char *name,
	const struct redirect_options *options)
{
	int r;

	d->loop = loop;
	d->name = name;
	d->options = *options;
	d->timer = (struct timer){.on_time = redirect_on_time, .at_ms = NO_DEADLINE};
	TAILQ_INIT(&d->connecting);
	TAILQ_INIT(&d->relayed);
	loop_add_timer(loop, &d->timer);
	d->is_enrolled = d->enrolment.usher != NULL;
	if (d->is_enrolled)
		tally_init(&d->tally, &d->enrolment, format_tally);
	r = resolver_init(&d->resolver, loop, options->host, options->port, resolver_on_answer);
	if (r == 0)
		(void)resolver_ask(&d->resolver);
	return r;
}

int redirect_on_connection(struct enrolment *e, struct usher_connection *accepted)
{
	struct redirect *d = (struct redirect *)e;
	int r;

	tally_touch(&d->tally);
	r = add_client(d, accepted);
	if (r < 0)
		(void)usher_close(e->usher, accepted);
	return r;
}

int redirect_add(struct redirect *d, int client_fd)
{
	struct usher_connection connection = {.fd = client_fd};
	socklen_t length = sizeof(connection.peer);
	int r;

	(void)getpeername(client_fd, (struct sockaddr *)&connection.peer, &length);
	r = add_client(d, &connection);
	if (r < 0)
		(void)close(client_fd);
	return r;
}

void redirect_done(struct redirect *d)
{
	struct redirect_client *c;

	while ((c = TAILQ_FIRST(&d->connecting)) || (c = TAILQ_FIRST(&d->relayed)))
		client_free(c, true);
	resolver_done(&d->resolver);
	if (d->is_enrolled)
		tally_done(&d->tally);
	loop_remove_timer(d->loop, &d->timer);
	flow_close_spare();
}
