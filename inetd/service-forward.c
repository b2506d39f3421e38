/* SPDX-License-Identifier: MIT */
/*
 * Connections that a provider gives on: to another service, or back to its own.
 *
 * For the provider it is over in any case. Where nobody takes it the client is reset, with a line
 * in the log: the provider has closed its copy and can't answer any more.
 */
#include "service-private.h"

#include "connection.h"
#include "fd.h"
#include "forwarded.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* Of one service, in memory and in its parking queue. */
#define MAX_BYTES (16u << 20)

/* Returns as service_take_forwarded(), whatever the rules say. */
static int take(struct service *s, struct handoff *h)
{
	struct handoff *taken;

	if (service_is_passing(s) && h->forwarded->size > 0)
		return -EOPNOTSUPP; /* a receiver gets a descriptor, and nothing that was read */
	if (s->n_forwarded_bytes + parking_n_bytes(s->parking) + h->forwarded->size > MAX_BYTES)
		return -ENOBUFS;
	taken = dispatch_take_over(s->dispatch, service_client(s, h->fd, &h->peer), service_now(s));
	if (!taken)
		return -EUSERS;
	taken->fd = take_fd(&h->fd);
	taken->listener = h->listener;
	taken->source = h->source;
	taken->n_hops = h->n_hops;
	taken->accepted_ns = h->accepted_ns;
	taken->peer = h->peer;
	taken->forwarded = h->forwarded;
	h->forwarded = NULL;
	s->n_forwarded_bytes += taken->forwarded->size;
	service_settle(s);
	return 0;
}

int service_take_forwarded(struct service *s, struct handoff *h)
{
	int r;

	if (s->is_ending)
		return -ESHUTDOWN;
	r = service_admit_forwarded(s, h);
	if (r != 0)
		return r == SERVICE_GIVEN_ON ? 0 : r;
	r = take(s, h);
	if (r < 0)
		service_left(s, h);
	return r;
}

/* It was admitted before, and leaves before it comes again. */
static int take_back(struct service *s, struct handoff *h)
{
	int r;

	service_carry_out(s);
	h->source = admission_count(s->admission, &h->peer, service_now(s));
	r = take(s, h);
	if (r < 0)
		service_left(s, h);
	return r;
}

static bool may_forward_to(const struct service *s, const char *to)
{
	for (size_t i = 0; i < s->config.providers.n_forward; i++)
		if (strcmp(s->config.providers.forward[i], to) == 0)
			return true;
	return false;
}

/* What is wrong with it, for the log; NULL: nothing. */
static const char *find_fault(const struct service *s, const char *to,
	const struct wire_forward *forward, const struct handoff *h)
{
	if (h->fd < 0)
		return "its descriptor did not arrive";
	if (!connection_is_stream(h->fd))
		return "it is no connected stream socket";
	if (s->is_ending)
		return "its own service was removed from the configuration";
	if (!may_forward_to(s, to))
		return "providers { forward } does not name that service";
	if (forward->peer.family != AF_UNSPEC && !s->config.providers.may_set_peer)
		return "providers { set_peer } is not set, and it says who the client is";
	return NULL;
}

static const char *explain(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such service runs";
	case -ESHUTDOWN:
		return "that service is ending";
	case -EACCES:
		return "that service does not let this client in";
	case -ENOBUFS:
		return "that service holds 16 MiB of forwarded bytes already";
	case -EUSERS:
		return "instances of that service is reached";
	default:
		return strerror(-error);
	}
}

static struct wire_address peer_of(int fd)
{
	struct sockaddr_storage peer = {0};
	socklen_t size = sizeof(peer);
	struct wire_address address;

	(void)getpeername(fd, (struct sockaddr *)&peer, &size);
	wire_address_from_sockaddr(&address, (const struct sockaddr *)&peer);
	return address;
}

/*
 * Make a new hand-off of what the provider says. Where dispatch knew nothing of it, because the
 * provider has it from an earlier channel, the socket tells who the client is.
 */
static int prepare(const struct service *s, const struct wire_forward *forward, size_t n_bytes,
	bool is_back, struct handoff *h)
{
	int flags = fcntl(h->fd, F_GETFL);

	/* The provider may have made it blocking. */
	if (flags < 0 || fcntl(h->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	h->forwarded = forwarded_new(s->name, forward->data, n_bytes);
	if (!h->forwarded)
		return -ENOMEM;
	h->forwarded->mark = connection_mark(h->fd);
	h->n_hops++;
	h->listener = is_back ? intake_find_listener(s->intake, h->fd) : WIRE_NO_LISTENER;
	if (forward->peer.family != AF_UNSPEC)
		h->peer = forward->peer;
	else if (h->peer.family == AF_UNSPEC)
		h->peer = peer_of(h->fd);
	if (h->accepted_ns == 0)
		h->accepted_ns = service_realtime_ns();
	return 0;
}

static int pass_on(struct service *s, const char *to, bool is_back, struct handoff *h)
{
	return is_back ? take_back(s, h) : s->events->on_forward(s, to, h, s->userdata);
}

/* Nobody takes it. */
static void refuse(struct service *s, struct provider *p, const char *to, const char *reason,
	const char *why, struct handoff *h)
{
	provider_log(p, LOG_WARNING, reason,
		"forwarded a connection to '%s', but %s: the client is reset", to, why);
	s->n_forwards_refused++;
	service_account_refused(s, WIRE_NO_LISTENER, &h->peer, reason);
	h->forwarded = forwarded_free(h->forwarded);
	if (h->fd >= 0)
		intake_reset(s->intake, h->fd);
}

void service_on_forward(struct provider *p, const struct wire_forward *forward, size_t n_bytes,
	struct handoff *h, void *userdata)
{
	struct service *s = userdata;
	const char *to = forward->service[0] == '\0' ? s->name : forward->service;
	bool is_back = strcmp(to, s->name) == 0;
	const char *why = find_fault(s, to, forward, h);
	int r;

	if (why) {
		refuse(s, p, to, "forward-refused", why, h);
		return;
	}
	if (h->n_hops >= FORWARDED_MAX_HOPS) {
		refuse(s, p, to, "forward-loop",
			"it was forwarded so often that it goes in a circle", h);
		return;
	}
	r = prepare(s, forward, n_bytes, is_back, h);
	if (r >= 0)
		r = pass_on(s, to, is_back, h);
	if (r < 0)
		refuse(s, p, to, "forward-refused", explain(r), h);
}
