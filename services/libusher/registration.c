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
#define STEADY_NS      (5 * NS_PER_SECOND) /* a channel that held for so long was no failure */
#define RESTORE_NS     (1 * NS_PER_SECOND)
#define RESUME_NS      (1 * NS_PER_SECOND)

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
	struct epoll_event unwatched = {0};

	u->message = malloc(sizeof(*u->message));
	if (!u->message)
		return -ENOMEM;
	u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (u->epoll_fd < 0)
		return -errno;
	u->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (u->timer_fd < 0)
		return -errno;
	return epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, u->timer_fd, &unwatched) < 0 ? -errno : 0;
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

/*
 * Let epoll_fd watch the channel for these events, or for nothing, not even its end, if 0. Only the
 * first watching can fail, for lack of memory: then the channel rests, and it is tried again.
 */
static void watch_channel(struct usher *u, uint32_t events)
{
	struct epoll_event event = {.events = events};
	int operation = EPOLL_CTL_MOD;

	if (events == u->channel_events)
		return;
	if (u->channel_events == 0)
		operation = EPOLL_CTL_ADD;
	else if (events == 0)
		operation = EPOLL_CTL_DEL;
	if (epoll_ctl(u->epoll_fd, operation, u->channel.fd, &event) < 0)
		u->resume_ns = now_ns() + RESUME_NS;
	else
		u->channel_events = events;
}

/* End the channel, if there is one. */
static void end_channel(struct usher *u)
{
	if (u->channel.is_welcome && now_ns() - u->welcome_ns >= STEADY_NS)
		u->backoff_ns = BACKOFF_MIN_NS;
	watch_channel(u, 0);
	channel_close(&u->channel);
	held_forget(&u->held, u->held.n_released);
	u->restore_ns = 0;
	u->resume_ns = 0;
}

/* End the channel, and connect again after a pause, unless the end was wanted. */
static void leave_channel_for(struct usher *u, uint64_t pause_ns)
{
	end_channel(u);
	u->is_drained = u->is_draining;
	u->retry_ns = u->is_draining ? 0 : now_ns() + pause_ns;
}

/* The same with a pause that doubles, until a channel holds. */
static void leave_channel(struct usher *u)
{
	uint64_t pause_ns;

	end_channel(u);
	pause_ns = u->backoff_ns;
	u->backoff_ns = pause_ns < BACKOFF_MAX_NS / 2 ? pause_ns * 2 : BACKOFF_MAX_NS;
	leave_channel_for(u, pause_ns);
}

/* usherd may be starting, stopping, or busy: no news for the application. */
static bool is_usherd_away(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN;
}

/* How many more to ask for. Releases that were not sent yet will each bring one by themselves. */
static int32_t credit_left(const struct usher *u)
{
	int64_t credit = (int64_t)u->credit - u->held.n_held - u->held.n_released;

	return credit > -WIRE_MAX_CREDIT ? (int32_t)credit : -WIRE_MAX_CREDIT;
}

static int open_channel(struct usher *u)
{
	int32_t credit = credit_left(u);

	u->hello.credit = credit > 0 ? credit : 0;
	u->hello.holding = u->held.n_held < WIRE_MAX_CREDIT ? u->held.n_held : WIRE_MAX_CREDIT;
	return channel_open(&u->channel, &u->address, &u->hello);
}

static void connect_to_usherd(struct usher *u)
{
	int r;

	end_channel(u);
	r = open_channel(u);
	if (r >= 0)
		return;
	explain(u, "%s: %s%s", u->address.sun_path, strerrordesc_np(-r),
		r == -EACCES ? " (does the service name this user in providers { users }?)" : "");
	if (is_usherd_away(r)) {
		leave_channel(u);
	} else {
		u->error = r;
		leave_channel_for(u, BACKOFF_MAX_NS);
	}
}

static void on_welcome(struct usher *u, size_t n_listeners)
{
	size_t size = n_listeners * sizeof(*u->listeners);
	struct wire_listener *listeners = malloc(size ? size : 1);

	if (!listeners) {
		u->error = -ENOMEM;
		leave_channel(u);
		return;
	}
	memcpy(listeners, u->message->welcome.listeners, size);
	free(u->listeners);
	u->listeners = listeners;
	u->n_listeners = n_listeners;
	if (u->channel.is_welcome) /* again, because the listeners have changed */
		return;
	u->channel.is_welcome = true;
	u->welcome_ns = now_ns();
	/* Whatever was in the way is so no more. */
	u->error_text[0] = '\0';
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
	case EINVAL:
	case EMFILE:
	case EPROTO:
	case ESHUTDOWN: /* these mean something else to the callers of usher_accept() */
		u->error = -ECONNREFUSED;
		break;
	default:
		u->error = -(int)refused->error;
	}
	leave_channel_for(u, BACKOFF_MAX_NS);
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
	if (r > 0) {
		on_message(u, &received);
		return 1;
	}
	if (r == 0)
		explain(u, "usherd has closed the channel");
	leave_channel(u);
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

/* Send and receive. Returns as registration_step(). */
static int use_channel(struct usher *u)
{
	int r = registration_flush(u);

	if (r < 0 && r != -EAGAIN)
		return r;
	if (is_claim_owed(u) || u->n_queued > 0)
		return !is_claim_owed(u);
	return receive(u);
}

/* Is there no channel, or not now? */
static bool is_channel_resting(const struct usher *u)
{
	return u->channel.fd < 0 || u->resume_ns != 0;
}

/* Is this due? Then it is not due again. */
static bool take_time(uint64_t *time_ns, uint64_t now)
{
	if (*time_ns == 0 || now < *time_ns)
		return false;
	*time_ns = 0;
	return true;
}

int registration_step(struct usher *u)
{
	uint64_t now = now_ns();
	int r;

	if (take_time(&u->retry_ns, now)) {
		connect_to_usherd(u);
		return 1;
	}
	if (take_time(&u->restore_ns, now))
		u->channel.owed |= CHANNEL_OWES_CREDIT;
	(void)take_time(&u->resume_ns, now);
	if (is_channel_resting(u))
		return 0;
	r = use_channel(u);
	if (r < 0) {
		explain(u, "the channel to usherd cannot be used: %s", strerrordesc_np(-r));
		u->resume_ns = now + RESUME_NS;
	}
	return r;
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

static uint32_t wanted_channel_events(const struct usher *u)
{
	uint32_t events = u->channel.is_blocked ? EPOLLOUT : 0;

	if (is_channel_resting(u))
		return 0;
	if (!is_claim_owed(u)) /* else nothing more is received */
		events |= EPOLLIN;
	return events;
}

/* When usher_accept() has something to do besides what the channel tells, 0: never. */
static uint64_t wanted_wake_ns(const struct usher *u)
{
	const uint64_t times_ns[] = {u->retry_ns, u->restore_ns, u->resume_ns};
	uint64_t nearest_ns = 0;

	if (registration_has_news(u))
		return TIME_LONG_PAST;
	for (size_t i = 0; i < sizeof(times_ns) / sizeof(times_ns[0]); i++)
		if (times_ns[i] != 0 && (nearest_ns == 0 || times_ns[i] < nearest_ns))
			nearest_ns = times_ns[i];
	return nearest_ns;
}

/* Neither call can fail on descriptors of the right kind. */
static void watch_timer(struct usher *u, uint64_t wake_ns)
{
	struct epoll_event event = {.events = wake_ns != 0 ? EPOLLIN : 0};

	if (wake_ns != 0 && wake_ns != u->armed_ns) {
		struct itimerspec timer = {.it_value = to_timespec(wake_ns)};

		u->armed_ns = wake_ns;
		(void)timerfd_settime(u->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
	}
	if (event.events != u->timer_events) {
		u->timer_events = event.events;
		(void)epoll_ctl(u->epoll_fd, EPOLL_CTL_MOD, u->timer_fd, &event);
	}
}

void registration_watch(struct usher *u)
{
	watch_channel(u, wanted_channel_events(u));
	watch_timer(u, wanted_wake_ns(u));
}
