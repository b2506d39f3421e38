/* SPDX-License-Identifier: MIT */
/*
 * What to do when: connecting and its pauses, the messages of usherd, descriptors that did not
 * arrive. See registration.h for the contract.
 *
 * No descriptor is kept in reserve for receiving: connections that find no free one are declined,
 * and usherd, which still has its own copies, gives them to somebody else.
 */
#include "registration.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#define NS_PER_SECOND  UINT64_C(1000000000)
#define NS_PER_MS      UINT64_C(1000000)
#define TIME_LONG_PAST UINT64_C(1) /* on CLOCK_MONOTONIC; 0 would disarm the timer */

#define BACKOFF_MIN_NS (50 * NS_PER_MS)
#define BACKOFF_MAX_NS (2 * NS_PER_SECOND) /* also after a refusal, which seldom ends soon */
#define RESTORE_NS     (1 * NS_PER_SECOND)

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / NS_PER_SECOND),
		.tv_nsec = (long)(ns % NS_PER_SECOND),
	};
}

void registration_init(struct usher *u)
{
	u->epoll_fd = -EBADF;
	u->timer_fd = -EBADF;
	channel_init(&u->channel);
	u->retry_ns = TIME_LONG_PAST;
	u->backoff_ns = BACKOFF_MIN_NS;
}

int registration_open(struct usher *u)
{
	struct epoll_event event = {.events = EPOLLIN};

	u->message = malloc(sizeof(*u->message));
	if (!u->message)
		return -ENOMEM;
	u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (u->epoll_fd < 0)
		return -errno;
	u->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (u->timer_fd < 0)
		return -errno;
	return epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, u->timer_fd, &event) < 0 ? -errno : 0;
}

/* Keep a sentence for usher_error(). */
static void explain(struct usher *u, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void explain(struct usher *u, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(u->error_text, sizeof(u->error_text), format, arguments);
	va_end(arguments);
}

/* The pause before the next attempt to connect: doubles until a WELCOME ends the series. */
static uint64_t next_backoff(struct usher *u)
{
	uint64_t pause_ns = u->backoff_ns;

	u->backoff_ns = pause_ns < BACKOFF_MAX_NS / 2 ? pause_ns * 2 : BACKOFF_MAX_NS;
	return pause_ns;
}

/* End the channel, if there is one; connect again after `pause_ns`, unless the end was wanted. */
static void leave_channel(struct usher *u, uint64_t pause_ns)
{
	if (u->channel.fd >= 0)
		(void)epoll_ctl(u->epoll_fd, EPOLL_CTL_DEL, u->channel.fd, NULL);
	channel_close(&u->channel);
	held_forget(&u->held, u->held.n_released);
	u->restore_ns = 0;
	u->is_drained = u->is_draining;
	u->retry_ns = u->is_draining ? 0 : now_ns() + pause_ns;
}

/* usherd may be starting, stopping, or busy: no news for the application. */
static bool is_usherd_away(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN || error == -EPIPE ||
	       error == -ECONNRESET;
}

/* How many more to ask for. Releases that were not sent yet will each bring one by themselves. */
static int32_t credit_left(const struct usher *u)
{
	int64_t credit = (int64_t)u->credit - u->held.n_held - u->held.n_released;

	return credit > -WIRE_MAX_CREDIT ? (int32_t)credit : -WIRE_MAX_CREDIT;
}

static int open_channel(struct usher *u)
{
	struct epoll_event event = {.events = EPOLLIN};
	int32_t credit = credit_left(u);
	int r;

	u->hello.credit = credit > 0 ? credit : 0;
	u->hello.holding = u->held.n_held < WIRE_MAX_CREDIT ? u->held.n_held : WIRE_MAX_CREDIT;
	r = channel_open(&u->channel, &u->address, &u->hello);
	if (r < 0)
		return r;
	u->watched_events = event.events;
	return epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, u->channel.fd, &event) < 0 ? -errno : 0;
}

static void connect_to_usherd(struct usher *u)
{
	int r;

	leave_channel(u, 0);
	r = open_channel(u);
	if (r >= 0) {
		u->retry_ns = 0;
		return;
	}
	explain(u, "%s: %s", u->address.sun_path, strerrordesc_np(-r));
	if (is_usherd_away(r)) {
		leave_channel(u, next_backoff(u));
	} else {
		u->error = r;
		leave_channel(u, BACKOFF_MAX_NS);
	}
}

static void on_welcome(struct usher *u, size_t n_listeners)
{
	size_t size = n_listeners * sizeof(*u->listeners);
	struct wire_listener *listeners = malloc(size ? size : 1);

	if (!listeners) {
		u->error = -ENOMEM;
		leave_channel(u, next_backoff(u));
		return;
	}
	memcpy(listeners, u->message->welcome.listeners, size);
	free(u->listeners);
	u->listeners = listeners;
	u->n_listeners = n_listeners;
	if (u->channel.is_welcome) /* again, because the listeners have changed */
		return;
	u->channel.is_welcome = true;
	u->backoff_ns = BACKOFF_MIN_NS;
	if (credit_left(u) < 0) /* HELLO could not say this */
		u->channel.owed |= CHANNEL_OWES_CREDIT;
	if (u->channel.status.text[0] != '\0')
		u->channel.owed |= CHANNEL_OWES_STATUS;
}

static void on_refused(struct usher *u)
{
	const struct wire_refused *refused = &u->message->refused;

	explain(u, "%s", refused->reason);
	switch (refused->error) {
	case EAGAIN:
	case EINTR:
	case ESHUTDOWN: /* these mean something else to the callers of usher_accept() */
		u->error = -ECONNREFUSED;
		break;
	default:
		u->error = -(int)refused->error;
	}
	leave_channel(u, BACKOFF_MAX_NS);
}

static void enqueue(struct usher *u, const struct wire_connection *record, int fd)
{
	struct usher_connection *connection = &u->queue[u->n_queued++];

	*connection = (struct usher_connection){
		.fd = fd,
		.listener = record->listener,
		.id = held_add(&u->held, record->id, u->channel.number),
		.accepted = to_timespec(record->accepted_ns),
	};
	connection->peer_length = wire_address_to_sockaddr(&record->peer, &connection->peer);
}

/* From the connection `first` on the descriptors did not arrive: none until there is room again. */
static void decline(struct usher *u, uint64_t first, uint64_t last)
{
	u->channel.decline.first = first;
	u->channel.decline.last = last;
	u->channel.owed |= CHANNEL_OWES_DECLINE | CHANNEL_OWES_CREDIT;
	u->restore_ns = now_ns() + RESTORE_NS;
	u->error = -EMFILE;
	explain(u,
		"%llu connections did not arrive and were handed back: this process is at its "
		"descriptor limit, or a security module refused them",
		(unsigned long long)(last - first + 1));
}

static void on_connections(struct usher *u, size_t n, const struct fdpass_received *received)
{
	const struct wire_connection *records = u->message->connections.connections;
	size_t n_arrived = received->n_fds;

	u->first_queued = 0;
	for (size_t i = 0; i < n_arrived; i++)
		enqueue(u, &records[i], received->fds[i]);
	u->channel.sequence = records[n - 1].sequence;
	if (n_arrived > 0) {
		u->channel.claim.sequence = records[n_arrived - 1].sequence;
		u->channel.owed |= CHANNEL_OWES_CLAIM;
	}
	if (n_arrived < n)
		decline(u, records[n_arrived].sequence, records[n - 1].sequence);
	(void)registration_flush(u); /* if it can't be sent now it stays owed */
}

/*
 * Nothing more comes on this channel. If that was not asked for, the service was removed or usherd
 * is about to go, and either may be back: wait for the end of the file, but not for ever.
 */
static void on_draining(struct usher *u)
{
	if (u->is_draining) {
		u->is_drained = true;
	} else if (u->retry_ns == 0) {
		explain(u, "usherd gives no more connections to this registration");
		u->retry_ns = now_ns() + BACKOFF_MAX_NS;
	}
}

static void on_message(struct usher *u, const struct fdpass_received *received)
{
	size_t n_records = wire_n_records(u->message, received->size);

	switch (u->message->header.type) {
	case WIRE_WELCOME:
		on_welcome(u, n_records);
		break;
	case WIRE_REFUSED:
		on_refused(u);
		break;
	case WIRE_CONNECTIONS:
		on_connections(u, n_records, received);
		break;
	case WIRE_DRAINING:
		on_draining(u);
		break;
	}
}

static int receive(struct usher *u)
{
	struct fdpass_received received;
	const char *why;
	int r = held_reserve(&u->held, WIRE_MAX_CONNECTIONS);

	if (r < 0)
		return r;
	r = channel_receive(&u->channel, u->message, &received, &why);
	if (r == -EAGAIN)
		return 0;
	if (r == -EPROTO) {
		explain(u, "usherd sent a message that makes no sense: %s", why);
		u->error = r;
	} else if (r < 0) {
		return r;
	}
	if (r > 0)
		on_message(u, &received);
	else
		leave_channel(u, next_backoff(u));
	return 1;
}

static bool is_claim_owed(const struct usher *u)
{
	return u->channel.owed & (CHANNEL_OWES_CLAIM | CHANNEL_OWES_DECLINE);
}

bool registration_has_news(const struct usher *u)
{
	if (u->n_queued > 0)
		return !is_claim_owed(u);
	return u->error != 0 || u->is_drained;
}

int registration_flush(struct usher *u)
{
	u->channel.credit.sequence = u->channel.sequence;
	u->channel.credit.credit = credit_left(u);
	if (u->restore_ns != 0 && u->channel.credit.credit > 0)
		u->channel.credit.credit = 0; /* each release brings one, meanwhile */
	return channel_flush(&u->channel, &u->held);
}

int registration_step(struct usher *u)
{
	uint64_t now = now_ns();
	int r;

	if (u->retry_ns != 0 && now >= u->retry_ns) {
		connect_to_usherd(u);
		return 1;
	}
	if (u->channel.fd < 0)
		return 0;
	if (u->restore_ns != 0 && now >= u->restore_ns) {
		u->restore_ns = 0;
		u->channel.owed |= CHANNEL_OWES_CREDIT;
	}
	r = registration_flush(u);
	if (r < 0 && r != -EAGAIN)
		return r;
	if (is_claim_owed(u) || u->n_queued > 0)
		return !is_claim_owed(u);
	return receive(u);
}

void registration_drain(struct usher *u)
{
	bool is_leaving = u->retry_ns != 0; /* usherd has said already that no more comes */

	if (u->is_draining)
		return;
	u->is_draining = true;
	u->retry_ns = 0;
	if (u->channel.fd < 0 || is_leaving)
		u->is_drained = true;
	else
		u->channel.owed |= CHANNEL_OWES_DRAIN;
}

static uint32_t wanted_events(const struct usher *u)
{
	uint32_t events = u->channel.is_blocked ? EPOLLOUT : 0;

	if (!is_claim_owed(u)) /* else nothing more is received */
		events |= EPOLLIN;
	return events;
}

static uint64_t wanted_wake_ns(const struct usher *u)
{
	if (registration_has_news(u))
		return TIME_LONG_PAST;
	if (u->retry_ns == 0 || u->restore_ns == 0)
		return u->retry_ns + u->restore_ns;
	return u->retry_ns < u->restore_ns ? u->retry_ns : u->restore_ns;
}

/* Neither call below can fail on a descriptor of the right kind; epoll_ctl(2) allocates only to
 * add. */
void registration_watch(struct usher *u)
{
	struct epoll_event event = {.events = wanted_events(u)};
	uint64_t wake_ns = wanted_wake_ns(u);

	if (u->channel.fd >= 0 && event.events != u->watched_events) {
		u->watched_events = event.events;
		(void)epoll_ctl(u->epoll_fd, EPOLL_CTL_MOD, u->channel.fd, &event);
	}
	if (wake_ns != u->armed_ns) {
		struct itimerspec timer = {.it_value = to_timespec(wake_ns)};

		u->armed_ns = wake_ns;
		(void)timerfd_settime(u->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
	}
}
