/* SPDX-License-Identifier: MIT */
/*
 * One registered process, its channel and its life: see provider.h.
 *
 * A turn reads a bounded number of messages, and has no priority over others: a talkative provider
 * holds up neither them nor the listeners. Whoever waits longest is next.
 */
#include "provider-private.h"

#include "closer.h"
#include "connection.h"
#include "fd.h"
#include "forwarded.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGES_PER_TURN 32
#define LAST_WORDS	  4096 /* more messages than a channel holds */

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

uint64_t provider_now(const struct provider *p)
{
	uint64_t usec = 0;

	(void)sd_event_now(sd_event_source_get_event(p->io), CLOCK_MONOTONIC, &usec);
	return usec;
}

bool provider_is_quarantined(const struct provider *p)
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
		.pid = peer->process.pid,
		.uid = peer->process.uid,
		.may_forward = peer->passes_descriptors,
		.dispatch = dispatch,
		.fd = -EBADF,
		.events = events,
		.userdata = userdata,
	};
	r = sd_event_add_io(event, &p->io, owned_fd, EPOLLIN, on_io, p);
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
	closer_close(p->fd); /* and with it the descriptors in messages that nobody has read */
	free(p);
	return NULL;
}

/* What was used without a claim must not go to anybody else. */
static void set_touched_apart(struct provider *p)
{
	static const struct connection_mark unused;
	struct handoff *next;

	for (struct handoff *h = p->record->unclaimed.first; h; h = next) {
		next = h->next;
		if (!connection_is_untouched(h->fd, h->forwarded ? &h->forwarded->mark : &unused))
			dispatch_touched(p->dispatch, h);
	}
	p->events->on_change(p->userdata);
}

void provider_gone(struct provider *p)
{
	if (p->record) {
		set_touched_apart(p);
		dispatch_gone(p->dispatch, p->record, provider_now(p));
		p->record = NULL;
	}
	p->events->on_gone(p, p->userdata);
}

int provider_register(struct provider *p, const struct wire_hello *hello)
{
	const struct dispatch_hello said = {
		.credit = hello->credit,
		.weight = hello->weight,
		.n_foreign = hello->holding,
		.is_standby = hello->header.flags & WIRE_HELLO_STANDBY,
	};

	p->record = dispatch_register(p->dispatch, &said, p, provider_now(p));
	if (!p->record)
		return -ENOMEM;
	p->timer = sd_event_source_disable_unref(p->timer);
	p->takes_listeners = hello->header.flags & WIRE_HELLO_TAKES_LISTENERS;
	p->owes_listeners = p->takes_listeners;
	return 0;
}

void provider_watch(struct provider *p)
{
	uint32_t events = 0; /* EPOLLHUP is always reported */

	if (!provider_is_quarantined(p))
		events = (p->is_paced ? 0u : EPOLLIN) | (p->is_waiting_for_room ? EPOLLOUT : 0u);
	(void)sd_event_source_set_io_events(p->io, events);
}

/* Nothing more goes to it, and nothing it says counts but claims, until its end is closed. */
static void enter_quarantine(struct provider *p)
{
	dispatch_set_state(p->dispatch, p->record, PROVIDER_QUARANTINED, provider_now(p));
	(void)shutdown(p->fd, SHUT_WR);
	provider_watch(p);
	p->events->on_change(p->userdata);
}

bool provider_quarantine(struct provider *p, const char *why)
{
	provider_log(p, LOG_WARNING, "protocol",
		"broke the protocol: %s; it gets no more connections", why);
	if (!p->record || p->record->unclaimed.n == 0) {
		provider_gone(p);
		return false;
	}
	enter_quarantine(p);
	return true;
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

/*
 * Is a connection about to come that has no place in our table of descriptors? Receiving it now
 * would destroy it (fdpass.h).
 */
static bool lacks_descriptor(const struct provider *p)
{
	struct wire_header header = {0};
	struct fdpass_received peeked;
	_cleanup_close_ int place = -EBADF;

	if (!p->may_forward || fdpass_peek(p->fd, &header, sizeof(header), 0, &peeked) < 0 ||
		header.type != WIRE_FORWARD)
		return false;
	place = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
	return place < 0;
}

static void set_reading_paused(struct provider *p, bool is_paused)
{
	int enabled = is_paused ? SD_EVENT_OFF : SD_EVENT_ON;

	p->is_reading_paused = is_paused;
	(void)sd_event_source_set_enabled(p->io, enabled);
	if (p->death)
		(void)sd_event_source_set_enabled(p->death, enabled);
}

void provider_resume_reading(struct provider *p)
{
	if (p->is_reading_paused)
		set_reading_paused(p, false);
}

/* Until provider_unblock(), which time will call. */
static void pause_reading(struct provider *p)
{
	if (provider_retry_later(p) >= 0)
		set_reading_paused(p, true);
}

/* Descriptors that nobody wanted: of any kind, and closed slowly if the provider likes. */
static void close_received(struct fdpass_received *received)
{
	while (received->n_fds > 0)
		closer_close_received(received->fds[--received->n_fds]);
}

/*
 * What was read together. One for all providers, because only the event loop's thread reads, and
 * handling a message reads no other. Pages of it that no message was long enough for cost nothing.
 */
static struct {
	_Alignas(union wire_message) char bytes[FDPASS_MAX_MESSAGES][WIRE_MAX_FROM_PROVIDER];
	struct fdpass_received received[FDPASS_MAX_MESSAGES];
} batch;

_Static_assert(sizeof(batch.bytes[0]) % _Alignof(union wire_message) == 0, "each is aligned");

/*
 * How many messages may be read together, of at most `max`. What is behind HELLO waits for the
 * answer, and what is behind FORWARD until there is a descriptor for it.
 */
static int batch_max(const struct provider *p, unsigned int max)
{
	if (!p->record || p->may_forward)
		return 1;
	return max < FDPASS_MAX_MESSAGES ? (int)max : FDPASS_MAX_MESSAGES;
}

/* Returns how many were read, or a negative errno as fdpass_receive_many(). */
static int read_batch(const struct provider *p, int n)
{
	int r;

	if (n > 1)
		return fdpass_receive_many(p->fd, batch.bytes, sizeof(batch.bytes[0]),
			FDPASS_MAX_RECEIVED, batch.received, n);
	r = fdpass_receive(
		p->fd, batch.bytes, sizeof(batch.bytes[0]), FDPASS_MAX_RECEIVED, batch.received);
	return r < 0 ? r : 1;
}

/* Returns false if there is nothing more to do for now. */
static bool handle_received(struct provider *p, int i)
{
	const union wire_message *message = (const void *)batch.bytes[i];

	if (batch.received[i].size > 0)
		return provider_handle(p, message, &batch.received[i]);
	if (has_hung_up(p)) {
		provider_gone(p);
		return false;
	}
	return provider_is_quarantined(p) || provider_quarantine(p, "an empty message");
}

/*
 * Returns false if there is nothing more to do for now. Then `p` may be gone: what is left of the
 * batch is not handled, only closed.
 */
static bool handle_batch(struct provider *p, int n)
{
	bool has_more = true;

	for (int i = 0; i < n; i++) {
		if (has_more)
			has_more = handle_received(p, i);
		close_received(&batch.received[i]);
	}
	return has_more;
}

/* Read and handle at most `max` messages. Returns false if there is nothing more to do for now. */
static bool read_messages(struct provider *p, unsigned int max)
{
	while (max > 0) {
		int n, n_max = batch_max(p, max);

		if (lacks_descriptor(p)) {
			pause_reading(p);
			return false;
		}
		n = read_batch(p, n_max);
		if (n == -ECONNRESET)
			continue;
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			provider_gone(p);
			return false;
		}
		if (!handle_batch(p, n))
			return false;
		if (n < n_max)
			break; /* no more for now, or a reset: epoll(7) says so */
		max -= (unsigned int)n;
	}
	return true;
}

void provider_read(struct provider *p)
{
	if (!p->is_reading_paused)
		(void)read_messages(p, MESSAGES_PER_TURN);
}

void provider_set_paced(struct provider *p, bool is_paced)
{
	if (p->is_paced == is_paced)
		return;
	p->is_paced = is_paced;
	provider_watch(p);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct provider *p = userdata;
	bool is_over = revents & (EPOLLHUP | EPOLLERR);

	(void)source, (void)fd;
	/* A dead provider's last claims are read to the end, also behind one ECONNRESET. */
	if (read_messages(p, is_over ? UINT_MAX : MESSAGES_PER_TURN) && revents & EPOLLOUT)
		provider_unblock(p);
	return 0;
}

/*
 * The process has ended. So has its channel by now, unless somebody else holds it open: a child, or
 * a queue in which its descriptor lies.
 */
static int on_death(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct provider *p = userdata;

	(void)source, (void)fd, (void)revents;
	if (!read_messages(p, LAST_WORDS))
		return 0; /* gone; or not, then we are called again */
	p->death = sd_event_source_disable_unref(p->death);
	if (!p->record) {
		provider_gone(p);
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
