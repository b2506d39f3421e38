/* SPDX-License-Identifier: MIT */
/*
 * One registered process: see provider.h.
 *
 * What it says is read before new connections are accepted (the sources' priorities), because
 * claims and releases make room. A turn reads a bounded number of messages, so that a talkative
 * provider can't hold up the others.
 */
#include "provider.h"

#include "closer.h"
#include "connection.h"
#include "fd.h"
#include "fdpass.h"
#include "log.h"
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_PER_TURN 32
#define LAST_WORDS	  4096 /* more messages than a channel holds */
#define PRIORITY	  (SD_EVENT_PRIORITY_NORMAL - 10)
#define RETRY_USEC                                                                                 \
	UINT64_C(100000) /* pause when sending fails and no EPOLLOUT will tell its end             \
			  */

void provider_log(
	const struct provider *p, int priority, const char *reason, const char *format, ...)
{
	char what[512], who[128];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	if (p->number > 0)
		(void)snprintf(who, sizeof(who), "provider %u (%s, pid %d, uid %u)", p->number,
			p->name, p->pid, p->uid);
	else
		(void)snprintf(who, sizeof(who), "process %d of uid %u", p->pid, p->uid);
	log_write(priority,
		&(struct log_about){.service = p->service,
			.provider = p->name,
			.provider_pid = p->pid,
			.provider_uid = p->uid,
			.reason = reason},
		"%s: %s %s", p->service, who, what);
}

static uint64_t now_of(const struct provider *p)
{
	uint64_t usec = 0;

	(void)sd_event_now(sd_event_source_get_event(p->io), CLOCK_MONOTONIC, &usec);
	return usec;
}

static bool is_quarantined(const struct provider *p)
{
	return p->record && p->record->state == PROVIDER_QUARANTINED;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata);
static void watch_process(struct provider *p, sd_event *event);

static int on_hello_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct provider *p = userdata;

	(void)source, (void)usec;
	provider_log(p, LOG_NOTICE, "no-hello",
		"connected but said no HELLO within %u seconds: disconnected",
		(unsigned int)(PROVIDER_HELLO_USEC / 1000000));
	provider_refuse(p, ETIMEDOUT, "no HELLO came in time");
	return 0;
}

int provider_new(struct provider **ret, sd_event *event, int fd, const struct rendezvous_peer *peer,
	const char *service, struct dispatch *dispatch, const struct provider_events *events,
	void *userdata)
{
	_cleanup_close_ int owned_fd = fd;
	struct provider *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct provider){
		.service = service,
		.pid = peer->pid,
		.uid = peer->uid,
		.dispatch = dispatch,
		.fd = -EBADF,
		.events = events,
		.userdata = userdata,
	};
	r = sd_event_add_io(event, &p->io, owned_fd, EPOLLIN, on_io, p);
	if (r >= 0)
		r = sd_event_source_set_priority(p->io, PRIORITY);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &p->timer, CLOCK_MONOTONIC,
			PROVIDER_HELLO_USEC, 0, on_hello_deadline, p);
	if (r < 0) {
		provider_free(p);
		return r;
	}
	p->fd = take_fd(&owned_fd);
	watch_process(p, event);
	*ret = p;
	return 0;
}

struct provider *provider_free(struct provider *p)
{
	if (!p)
		return NULL;
	sd_event_source_disable_unref(p->io);
	sd_event_source_disable_unref(p->death);
	sd_event_source_disable_unref(p->timer);
	close_fd(p->fd);
	free(p);
	return NULL;
}

/* What was used without a claim must not go to anybody else. */
static void set_touched_apart(struct provider *p)
{
	struct handoff *next;

	for (struct handoff *h = p->record->unclaimed.first; h; h = next) {
		next = h->next;
		if (!connection_is_untouched(h->fd))
			dispatch_touched(p->dispatch, h);
	}
	p->events->on_change(p->userdata);
}

/* The end of the channel, for whatever reason. Frees `p` by way of its owner. */
static void gone(struct provider *p)
{
	if (p->record) {
		set_touched_apart(p);
		dispatch_gone(p->dispatch, p->record, now_of(p));
		p->record = NULL;
	}
	p->events->on_gone(p, p->userdata);
}

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
	gone(p);
}

/* Watch for room in the channel, besides what always is watched. */
static void watch_for_room(struct provider *p, bool is_wanted)
{
	(void)sd_event_source_set_io_events(p->io, EPOLLIN | (is_wanted ? EPOLLOUT : 0u));
}

int provider_welcome(struct provider *p, struct wire_welcome *welcome, size_t size)
{
	welcome->header = (struct wire_header){.type = WIRE_WELCOME};
	welcome->version = WIRE_VERSION;
	return fdpass_send(p->fd, welcome, size, NULL, 0);
}

int provider_register(struct provider *p, const struct wire_hello *hello)
{
	p->record = dispatch_register(
		p->dispatch, hello->credit, hello->weight, hello->holding, p, now_of(p));
	if (!p->record)
		return -ENOMEM;
	p->timer = sd_event_source_disable_unref(p->timer);
	return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

/* Nothing can be sent now: EPOLLOUT ends a full channel, for all else time must do. */
static void wait_for_room(struct provider *p, int error)
{
	if (error == -EAGAIN) {
		watch_for_room(p, true);
		return;
	}
	p->timer = sd_event_source_disable_unref(p->timer);
	if (sd_event_add_time_relative(sd_event_source_get_event(p->io), &p->timer, CLOCK_MONOTONIC,
		    RETRY_USEC, RETRY_USEC / 10, on_retry, p) < 0)
		watch_for_room(p, true); /* no memory for a timer: try at every turn */
}

static void send_draining(struct provider *p)
{
	struct wire_drain message = {.header = {.type = WIRE_DRAINING}};
	int r = fdpass_send(p->fd, &message, sizeof(message), NULL, 0);

	p->owes_draining = r < 0 && r != -EPIPE && r != -ECONNRESET;
	if (p->owes_draining)
		wait_for_room(p, r);
}

void provider_drain(struct provider *p)
{
	dispatch_set_state(p->dispatch, p->record, PROVIDER_DRAINING, now_of(p));
	send_draining(p);
}

/* There may be room in the channel again. */
static void unblock(struct provider *p)
{
	if (is_quarantined(p))
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
		dispatch_set_state(p->dispatch, p->record, PROVIDER_READY, now_of(p));
	p->events->on_change(p->userdata);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	unblock(userdata);
	return 0;
}

void provider_owe_welcome(struct provider *p, int error)
{
	if (is_quarantined(p))
		return;
	p->owes_welcome = true;
	if (p->record->state == PROVIDER_READY)
		dispatch_set_state(p->dispatch, p->record, PROVIDER_BLOCKED, now_of(p));
	wait_for_room(p, error);
}

static size_t fill_connections(const struct provider *p, union wire_message *ret, int *ret_fds)
{
	ret->connections.header = (struct wire_header){.type = WIRE_CONNECTIONS};
	for (uint32_t i = 0; i < p->n_outbox; i++) {
		const struct handoff *h = p->outbox[i];

		ret->connections.connections[i] = (struct wire_connection){
			.sequence = h->sequence,
			.id = h->id,
			.accepted_ns = h->accepted_ns,
			.listener = h->listener,
			.peer = h->peer,
		};
		ret_fds[i] = h->fd;
	}
	return sizeof(ret->connections) + p->n_outbox * sizeof(*ret->connections.connections);
}

void provider_flush(struct provider *p)
{
	union wire_message message;
	int fds[WIRE_MAX_CONNECTIONS], r;

	if (p->n_outbox == 0)
		return;
	/* Who was stuck may be ready by a claim while WELCOME is still owed: that comes first. */
	r = p->owes_welcome ? -EAGAIN
			    : fdpass_send(p->fd, &message, fill_connections(p, &message, fds), fds,
				      p->n_outbox);
	if (r < 0) {
		p->n_unsent += p->n_outbox;
		wait_for_room(p, r);
	}
	p->n_outbox = 0;
}

void provider_give(struct provider *p, struct handoff *h)
{
	if (p->n_unsent > 0) { /* behind something that did not fit */
		p->n_unsent++;
		return;
	}
	p->outbox[p->n_outbox++] = h;
	if (p->n_outbox == WIRE_MAX_CONNECTIONS)
		provider_flush(p);
}

uint32_t provider_take_unsent(struct provider *p)
{
	uint32_t n = p->n_unsent;

	p->n_unsent = 0;
	return n;
}

/* Nothing more goes to it, and nothing it says counts but claims, until its end is closed. */
static void enter_quarantine(struct provider *p)
{
	dispatch_set_state(p->dispatch, p->record, PROVIDER_QUARANTINED, now_of(p));
	(void)shutdown(p->fd, SHUT_WR);
	(void)sd_event_source_set_io_events(p->io, 0); /* EPOLLHUP is always reported */
	p->events->on_change(p->userdata);
}

/*
 * The provider broke the protocol: it gets nothing more and is told so by the end of our side. It
 * stays until its own end is closed if connections are on their way to it (see provider.h). Returns
 * false if `p` is gone.
 */
static bool quarantine(struct provider *p, const char *why)
{

	provider_log(p, LOG_WARNING, "protocol",
		"broke the protocol: %s; it gets no more connections", why);
	if (!p->record || p->record->unclaimed.n == 0) {
		gone(p);
		return false;
	}
	enter_quarantine(p);
	return true;
}

static int handle_hello(struct provider *p, const union wire_message *message, size_t size)
{
	const struct wire_hello *hello = &message->hello;
	char reason[WIRE_REASON_SIZE];

	(void)size;
	wire_set_text(p->name, sizeof(p->name), hello->name);
	if (hello->version_lowest > WIRE_VERSION || hello->version_highest < WIRE_VERSION) {
		snprintf(reason, sizeof(reason),
			"this usherd speaks version %d of the protocol, the provider %u to %u",
			WIRE_VERSION, hello->version_lowest, hello->version_highest);
		provider_refuse(p, EPROTONOSUPPORT, reason);
	} else {
		p->events->on_hello(p, hello, p->userdata);
	}
	return 0;
}

static int handle_claim(struct provider *p, const union wire_message *message, size_t size)
{
	(void)size;
	return dispatch_claimed(p->dispatch, p->record, message->claim.sequence, now_of(p));
}

static int handle_release(struct provider *p, const union wire_message *message, size_t size)
{
	return dispatch_released(p->dispatch, p->record, message->release.ids,
		wire_n_records(message, size), now_of(p));
}

static int handle_credit(struct provider *p, const union wire_message *message, size_t size)
{
	(void)size;
	return dispatch_credited(p->dispatch, p->record, message->credit.sequence,
		message->credit.credit, now_of(p));
}

static int handle_decline(struct provider *p, const union wire_message *message, size_t size)
{
	(void)size;
	return dispatch_declined(
		p->dispatch, p->record, message->decline.first, message->decline.last, now_of(p));
}

static int handle_status(struct provider *p, const union wire_message *message, size_t size)
{
	(void)size;
	wire_set_text(p->status, sizeof(p->status), message->status.text);
	return 0;
}

static int handle_drain(struct provider *p, const union wire_message *message, size_t size)
{
	(void)message, (void)size;
	provider_drain(p);
	return 0;
}

/* What each message does; 0 or -EPROTO. */
static int (*const handlers[])(
	struct provider *p, const union wire_message *message, size_t size) = {
	[WIRE_CLAIM] = handle_claim,
	[WIRE_RELEASE] = handle_release,
	[WIRE_CREDIT] = handle_credit,
	[WIRE_DECLINE] = handle_decline,
	[WIRE_STATUS] = handle_status,
	[WIRE_DRAIN] = handle_drain,
};

/* Of a quarantined provider only the claims count: they say which connections nobody else may get.
 */
static void handle_quarantined(struct provider *p, const union wire_message *message, size_t size)
{
	if (message->header.type == WIRE_CLAIM && handle_claim(p, message, size) >= 0)
		p->events->on_change(p->userdata);
}

/* Returns false if `p` is gone. */
static bool handle_registered(struct provider *p, const union wire_message *message, size_t size)
{
	uint16_t type = message->header.type;
	int r;

	if (type == WIRE_HELLO)
		return quarantine(p, "HELLO was said before");
	r = handlers[type](p, message, size);
	p->events->on_change(p->userdata);
	if (r < 0) {
		char why[64];

		snprintf(why, sizeof(why), "%s of what is not its own", wire_type_name(type));
		return quarantine(p, why);
	}
	return true;
}

/* Returns false if `p` is gone. */
static bool handle(struct provider *p, const union wire_message *message,
	const struct fdpass_received *received)
{
	const char *why;

	if (received->is_data_truncated)
		why = "a message that is too long";
	else if (received->is_fds_truncated)
		why = "descriptors where none belong";
	else if (wire_check(message, received->size, 0, WIRE_FROM_PROVIDER, &why) >= 0)
		why = p->record || message->header.type == WIRE_HELLO
			      ? NULL
			      : "its first message is not HELLO";

	if (is_quarantined(p)) {
		if (!why)
			handle_quarantined(p, message, received->size);
		return true;
	}
	if (why)
		return quarantine(p, why);
	if (p->record)
		return handle_registered(p, message, received->size);
	handle_hello(p, message, received->size);
	return false; /* welcome or not, the next turn knows */
}

/*
 * Is the other end closed, or was it an empty message? A provider that only shuts down its sending
 * half can claim nothing any more: it has left as well (usher-protocol(7)).
 */
static bool has_hung_up(const struct provider *p)
{
	struct pollfd poll_fd = {.fd = p->fd, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0 && poll_fd.revents != 0;
}

/* As fdpass_receive(). Descriptors belong to no message: they are only noted, as not arrived. */
static int receive(
	const struct provider *p, union wire_message *ret, struct fdpass_received *ret_received)
{
	int r = fdpass_receive(
		p->fd, ret, WIRE_MAX_FROM_PROVIDER, FDPASS_MAX_RECEIVED, ret_received);

	if (r >= 0 && ret_received->n_fds > 0) {
		ret_received->is_fds_truncated = true;
		while (ret_received->n_fds > 0) /* slowly, if the provider likes */
			closer_close(ret_received->fds[--ret_received->n_fds]);
	}
	return r;
}

/* Read and handle at most `max` messages. Returns false if there is nothing more to do for now. */
static bool read_messages(struct provider *p, unsigned int max)
{
	for (unsigned int n = 0; n < max; n++) {
		struct fdpass_received received;
		union wire_message message;
		int r = receive(p, &message, &received);

		if (r == -ECONNRESET)
			continue;
		if (r == -EAGAIN)
			break;
		if (r < 0 || (received.size == 0 && has_hung_up(p))) {
			gone(p);
			return false;
		}
		if (received.size == 0 && !is_quarantined(p))
			return quarantine(p, "an empty message");
		if (received.size > 0 && !handle(p, &message, &received))
			return false;
	}
	return true;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct provider *p = userdata;
	bool is_over = revents & (EPOLLHUP | EPOLLERR);

	(void)source, (void)fd;
	/* A dead provider's last claims are read to the end, also behind one ECONNRESET. */
	if (read_messages(p, is_over ? UINT_MAX : MESSAGES_PER_TURN) && revents & EPOLLOUT)
		unblock(p);
	return 0;
}

/*
 * The process has ended. Its channel says so too, and first, unless somebody else holds it open: a
 * child, or a queue in which its descriptor lies.
 */
static int on_death(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct provider *p = userdata;

	(void)source, (void)fd, (void)revents;
	if (!read_messages(p, LAST_WORDS))
		return 0; /* gone; or not, then we are called again */
	p->death = sd_event_source_disable_unref(p->death);
	if (!p->record) {
		gone(p);
		return 0;
	}
	provider_log(p, LOG_WARNING, "orphaned-channel",
		"has ended, but another process holds its channel open: it gets no more "
		"connections");
	enter_quarantine(p);
	return 0;
}

/* Where the kernel can't, the end of the channel must do. */
static void watch_process(struct provider *p, sd_event *event)
{
	_cleanup_close_ int fd = rendezvous_open_process(p->fd, p->pid);

	if (fd < 0 || sd_event_add_io(event, &p->death, fd, EPOLLIN, on_death, p) < 0)
		return;
	(void)sd_event_source_set_io_fd_own(p->death, true);
	(void)take_fd(&fd);
}
