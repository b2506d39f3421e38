/* SPDX-License-Identifier: MIT */
/*
 * What goes out to a provider: see provider.h.
 *
 * Whatever does not fit into the channel is owed: WELCOME, LISTENERS and DRAINING here, connections
 * by dispatch, which takes them back. WELCOME goes before connections and LISTENERS, because they
 * count in it.
 */
#include "provider-private.h"

#include "forwarded.h"
#include "probe.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#define RETRY_USEC UINT64_C(100000) /* pause where no event will tell its end */

void provider_refuse_channel(int fd, int error, const char *reason)
{
	struct wire_refused refused = {
		.header = {.type = WIRE_REFUSED},
		.error = (uint32_t)error,
	};

	wire_set_text(refused.reason, sizeof(refused.reason), reason);
	/* The channel is new, so there is room; if not, the end of the channel says enough. */
	(void)fdpass_send(fd, &refused, sizeof(refused), NULL, 0);
}

void provider_refuse(struct provider *p, int error, const char *reason)
{
	provider_refuse_channel(p->fd, error, reason);
	provider_gone(p);
}

/* Watch for room in the channel, besides what always is watched. */
static void watch_for_room(struct provider *p, bool is_wanted)
{
	p->is_waiting_for_room = is_wanted;
	provider_watch(p);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	provider_unblock(userdata);
	return 0;
}

int provider_retry_later(struct provider *p)
{
	p->timer = sd_event_source_disable_unref(p->timer);
	return sd_event_add_time_relative(sd_event_source_get_event(p->io), &p->timer,
		CLOCK_MONOTONIC, RETRY_USEC, RETRY_USEC / 10, on_retry, p);
}

void provider_wait_for_room(struct provider *p, int error)
{
	if (error == -EAGAIN || provider_retry_later(p) < 0) /* no memory: try at every turn */
		watch_for_room(p, true);
}

void provider_allow_forward(struct provider *p)
{
	rendezvous_pass_descriptors(p->fd);
	p->may_forward = true;
}

int provider_welcome(struct provider *p, struct wire_welcome *welcome, size_t size)
{
	welcome->header = (struct wire_header){.type = WIRE_WELCOME};
	welcome->version = WIRE_VERSION;
	welcome->flags = p->may_forward ? WIRE_WELCOME_MAY_FORWARD : 0;
	return fdpass_send(p->fd, welcome, size, NULL, 0);
}

void provider_owe_welcome(struct provider *p, int error)
{
	if (provider_is_quarantined(p))
		return;
	p->owes_welcome = true;
	provider_owe_listeners(p);
	if (p->record->state == PROVIDER_READY)
		dispatch_set_state(p->dispatch, p->record, PROVIDER_BLOCKED, provider_now(p));
	provider_wait_for_room(p, error);
}

/* One message of LISTENERS, with `n` of all records from the `first` one on. */
static int send_listeners(const struct provider *p, const struct wire_listener *listeners,
	const int *fds, size_t first, size_t n, size_t n_all)
{
	struct {
		struct wire_header header;
		struct wire_listener listeners[WIRE_MAX_CONNECTIONS];
	} message = {.header = {.type = WIRE_LISTENERS}};

	if (first > 0)
		message.header.flags |= WIRE_LISTENERS_MORE;
	if (first + n < n_all)
		message.header.flags |= WIRE_LISTENERS_FOLLOWED;
	for (size_t i = 0; i < n; i++)
		message.listeners[i] = listeners[first + i];
	return fdpass_send(p->fd, &message, sizeof(message.header) + n * sizeof(*listeners),
		n > 0 ? &fds[first] : NULL, n);
}

void provider_lend(
	struct provider *p, const struct wire_listener *listeners, const int *fds, size_t n)
{
	size_t n_sent = 0;
	int r;

	do {
		size_t n_now =
			n - n_sent < WIRE_MAX_CONNECTIONS ? n - n_sent : WIRE_MAX_CONNECTIONS;

		r = send_listeners(p, listeners, fds, n_sent, n_now, n);
		n_sent += n_now;
	} while (r >= 0 && n_sent < n);
	p->owes_listeners = r < 0 && r != -EPIPE && r != -ECONNRESET;
	if (p->owes_listeners)
		provider_wait_for_room(p, r);
}

void provider_owe_listeners(struct provider *p)
{
	p->owes_listeners = p->takes_listeners && provider_is_serving(p);
}

bool provider_wants_listeners(const struct provider *p)
{
	return p->owes_listeners && !p->owes_welcome && !p->is_waiting_for_room && !p->timer &&
	       provider_is_serving(p);
}

bool provider_is_serving(const struct provider *p)
{
	return p->record && p->record->state != PROVIDER_DRAINING && !provider_is_quarantined(p);
}

static void send_draining(struct provider *p)
{
	struct wire_draining message = {
		.header = {.type = WIRE_DRAINING},
		.reason = p->draining_reason,
	};
	int r = fdpass_send(p->fd, &message, sizeof(message), NULL, 0);

	p->owes_draining = r < 0 && r != -EPIPE && r != -ECONNRESET;
	if (p->owes_draining)
		provider_wait_for_room(p, r);
}

void provider_drain(struct provider *p, enum wire_draining_reason reason)
{
	if (provider_is_serving(p)) {
		p->draining_reason = reason;
		p->events->on_draining(p, p->userdata);
	}
	dispatch_set_state(p->dispatch, p->record, PROVIDER_DRAINING, provider_now(p));
	send_draining(p);
}

void provider_unblock(struct provider *p)
{
	provider_resume_reading(p);
	if (provider_is_quarantined(p))
		return;
	watch_for_room(p, false);
	p->timer = sd_event_source_disable_unref(p->timer);
	if (p->owes_welcome) {
		p->owes_welcome = false;
		p->events->on_welcome_owed(p, p->userdata);
	}
	if (p->owes_draining)
		send_draining(p);
	if (!p->owes_welcome && p->record && p->record->state == PROVIDER_BLOCKED)
		dispatch_set_state(p->dispatch, p->record, PROVIDER_READY, provider_now(p));
	p->events->on_change(p->userdata);
}

static struct wire_connection connection_of(const struct handoff *h)
{
	return (struct wire_connection){
		.sequence = h->sequence,
		.id = h->id,
		.accepted_ns = h->accepted_ns,
		.listener = h->listener,
		.peer = h->peer,
	};
}

static size_t fill_connections(const struct provider *p, struct wire_connections *ret)
{
	ret->header = (struct wire_header){.type = WIRE_CONNECTIONS};
	for (uint32_t i = 0; i < p->n_outbox; i++)
		ret->connections[i] = connection_of(p->outbox[i]);
	return sizeof(*ret) + p->n_outbox * sizeof(*ret->connections);
}

static size_t fill_forwarded(const struct handoff *h, struct wire_forwarded *ret)
{
	*ret = (struct wire_forwarded){
		.header = {.type = WIRE_FORWARDED},
		.connection = connection_of(h),
		.n_hops = h->n_hops,
	};
	wire_set_text(ret->from, sizeof(ret->from), h->forwarded->from);
	memcpy(ret->data, h->forwarded->data, h->forwarded->size);
	return sizeof(*ret) + h->forwarded->size;
}

static int send_outbox(const struct provider *p)
{
	const struct handoff *first = p->outbox[0];
	union wire_message message;
	int fds[WIRE_MAX_CONNECTIONS];
	size_t size = first->forwarded ? fill_forwarded(first, &message.forwarded)
				       : fill_connections(p, &message.connections);

	for (uint32_t i = 0; i < p->n_outbox; i++) {
		fds[i] = p->outbox[i]->fd;
		probe_handoff(p->service, p->outbox[i]->id, p->pid);
	}
	return fdpass_send(p->fd, &message, size, fds, p->n_outbox);
}

void provider_flush(struct provider *p)
{
	int r;

	if (p->n_outbox == 0)
		return;
	/* Who was stuck may be ready by a claim while WELCOME is still owed: that comes first. */
	r = p->owes_welcome ? -EAGAIN : send_outbox(p);
	if (r < 0) {
		p->n_unsent += p->n_outbox;
		provider_wait_for_room(p, r);
	}
	p->n_outbox = 0;
}

void provider_give(struct provider *p, struct handoff *h)
{
	if (h->forwarded) /* it travels alone */
		provider_flush(p);
	if (p->n_unsent > 0) { /* behind something that did not fit */
		p->n_unsent++;
		return;
	}
	p->outbox[p->n_outbox++] = h;
	if (h->forwarded || p->n_outbox == WIRE_MAX_CONNECTIONS)
		provider_flush(p);
}

uint32_t provider_take_unsent(struct provider *p)
{
	uint32_t n = p->n_unsent;

	p->n_unsent = 0;
	return n;
}
