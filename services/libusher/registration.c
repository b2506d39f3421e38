/* SPDX-License-Identifier: MIT */
/*
 * What to do when: connecting and its pauses, sending and receiving, what epoll watches. See
 * registration.h for the contract, registration-messages.c for what usherd says.
 */
#include "registration-private.h"

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

uint64_t registration_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

struct timespec registration_timespec(uint64_t ns)
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

int registration_make_room(struct usher *u)
{
	if (!u->message)
		u->message = malloc(sizeof(*u->message));
	return u->message ? 0 : -ENOMEM;
}

int registration_open(struct usher *u)
{
	struct epoll_event unwatched = {0};

	int r = registration_make_room(u);

	if (r < 0)
		return r;
	u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (u->epoll_fd < 0)
		return -errno;
	u->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (u->timer_fd < 0)
		return -errno;
	return epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, u->timer_fd, &unwatched) < 0 ? -errno : 0;
}

void registration_explain(struct usher *u, const char *format, ...)
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
		u->resume_ns = registration_now_ns() + RESUME_NS;
	else
		u->channel_events = events;
}

/*
 * Did the channel serve its purpose? Then its end says that usherd died, not that it does not want
 * us: it may be back already, and clients wait.
 */
static bool was_useful(const struct usher *u)
{
	return u->channel.is_welcome &&
	       (u->channel.sequence > 0 || registration_now_ns() - u->welcome_ns >= STEADY_NS);
}

/* End the channel, if there is one. */
static void end_channel(struct usher *u)
{
	if (was_useful(u))
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
	u->retry_ns = u->is_draining ? 0 : registration_now_ns() + pause_ns;
}

void registration_leave(struct usher *u)
{
	uint64_t pause_ns;

	end_channel(u);
	pause_ns = u->backoff_ns;
	u->backoff_ns = pause_ns < BACKOFF_MAX_NS / 2 ? pause_ns * 2 : BACKOFF_MAX_NS;
	leave_channel_for(u, pause_ns);
}

void registration_leave_for_long(struct usher *u)
{
	leave_channel_for(u, BACKOFF_MAX_NS);
}

void registration_restore_later(struct usher *u)
{
	u->restore_ns = registration_now_ns() + RESTORE_NS;
}

void registration_leave_soon(struct usher *u)
{
	if (u->retry_ns == 0)
		u->retry_ns = registration_now_ns() + BACKOFF_MAX_NS;
}

/* usherd may be starting, stopping, or busy: no news for the application. */
static bool is_usherd_away(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -EAGAIN;
}

int32_t registration_credit_left(const struct usher *u)
{
	int64_t credit = (int64_t)u->credit - u->held.n_held - u->held.n_released;

	return credit > -WIRE_MAX_CREDIT ? (int32_t)credit : -WIRE_MAX_CREDIT;
}

static int open_channel(struct usher *u)
{
	int32_t credit = registration_credit_left(u);

	u->hello.credit = credit > 0 ? credit : 0;
	u->hello.holding = u->held.n_held < WIRE_MAX_CREDIT ? u->held.n_held : WIRE_MAX_CREDIT;
	return channel_open(&u->channel, &u->address, &u->hello);
}

/* For who reads that there is no connection to usherd. */
static const char *connect_hint(int error)
{
	if (error == -EACCES)
		return " (does the service name this user in providers { users }?)";
	if (error == -ENOENT)
		return " (usherd is not running, or has no such service that is enabled)";
	return "";
}

static void connect_to_usherd(struct usher *u)
{
	int r;

	end_channel(u);
	r = open_channel(u);
	if (r >= 0)
		return;
	registration_explain(
		u, "%s: %s%s", u->address.sun_path, strerrordesc_np(-r), connect_hint(r));
	if (is_usherd_away(r)) {
		registration_leave(u);
	} else {
		u->error = r;
		registration_leave_for_long(u);
	}
}

static bool is_claim_owed(const struct usher *u)
{
	return u->channel.owed & (CHANNEL_OWES_CLAIM | CHANNEL_OWES_DECLINE);
}

bool registration_has_news(const struct usher *u)
{
	if (u->lent.is_changed)
		return true;
	if (u->n_queued > 0)
		return !is_claim_owed(u);
	return u->error != 0 || u->is_drained;
}

int registration_flush(struct usher *u)
{
	u->channel.credit.sequence = u->channel.sequence;
	u->channel.credit.credit = registration_credit_left(u);
	if (u->restore_ns != 0 && u->channel.credit.credit > 0)
		u->channel.credit.credit = 0; /* each release brings one, meanwhile */
	return channel_flush(&u->channel, &u->held);
}

int registration_forward(struct usher *u, uint64_t id, int fd, const char *service,
	const void *data, size_t size, const struct sockaddr *peer)
{
	const struct held_slot *slot = held_find(&u->held, id);
	int r = slot ? registration_make_room(u) : -EINVAL;
	struct wire_forward *message;

	if (r < 0)
		return r;
	message = &u->message->forward;
	*message = (struct wire_forward){
		.header.type = WIRE_FORWARD,
		.id = held_wire_id(slot, u->channel.number),
	};
	wire_set_text(message->service, sizeof(message->service), service);
	if (peer)
		wire_address_from_sockaddr(&message->peer, peer);
	if (size > 0)
		memcpy(message->data, data, size);
	r = channel_forward(&u->channel, message, size, fd);
	if (r < 0)
		return r;
	held_give_on(&u->held, id);
	/* Handed back: usherd has withdrawn the credit, so that it finds somebody else. */
	if (service[0] == '\0' || strcmp(service, u->channel.service) == 0)
		registration_restore_later(u);
	return 0;
}

/* Send and receive. Returns as registration_step(). */
static int use_channel(struct usher *u)
{
	int r = u->channel.owed != 0 ? registration_flush(u) : 0;

	if (r < 0 && r != -EAGAIN)
		return r;
	if (is_claim_owed(u) || u->n_queued > 0)
		return !is_claim_owed(u);
	r = registration_receive(u);
	if (r != 0)
		return r;
	/* What was released goes out with the next claim, which wakes usherd anyway; or now. */
	r = registration_flush(u);
	return r == -EAGAIN ? 0 : r;
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
	uint64_t now = registration_now_ns();
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
		registration_explain(
			u, "the channel to usherd cannot be used: %s", strerrordesc_np(-r));
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
	lent_clear(&u->lent);
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

	if (u->had_news)
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
		struct itimerspec timer = {.it_value = registration_timespec(wake_ns)};

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
	u->had_news = u->had_news || registration_has_news(u);
	watch_channel(u, wanted_channel_events(u));
	watch_timer(u, wanted_wake_ns(u));
}
