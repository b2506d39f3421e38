/* SPDX-License-Identifier: MIT */
/*
 * When a service accepts, and when it listens to its providers.
 *
 * While little happens, everything is done at once. Under load, being woken for one message costs
 * more than what is to be done about it:
 *
 *  - Connections that find every provider with something unclaimed are deferred: they stay in the
 *    backlog until somebody has claimed, and then go out together. That costs them no time, because
 *    they would only wait in the channel instead (Nagle's algorithm, RFC 896).
 *  - Providers that claim faster than connections come are paced: what they say is read when the
 *    next connections come. An idle one gets its connection at once.
 *
 * Invariant: what is deferred, and what a paced provider has said, waits for a moment at most.
 */
#include "service-private.h"

#include <assert.h>
#include <time.h>

#define MOMENT_USEC UINT64_C(2000)

/* Most in one turn: one message. What usherd has in hand when it is killed is lost. */
#define AT_ONCE WIRE_MAX_CONNECTIONS

uint64_t service_realtime_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void offer(
	struct service *s, int fd, const struct listener *l, const struct wire_address *peer)
{
	struct handoff *h = dispatch_offer(s->dispatch, service_now(s));

	assert(h);
	h->fd = fd;
	h->listener = listener_index(l);
	h->accepted_ns = service_realtime_ns();
	h->peer = *peer;
}

/* Was there something a moment ago, too? */
static bool is_busy(const struct service *s)
{
	return service_now(s) < s->pace.accepted_usec + MOMENT_USEC;
}

static void set_paced(struct service *s, bool is_paced)
{
	if (s->pace.is_paced == is_paced)
		return;
	s->pace.is_paced = is_paced;
	for (struct provider *p = s->providers; p; p = p->next)
		if (p->record)
			provider_set_paced(p, is_paced);
}

/* Read what those have said who have something unclaimed, until somebody has nothing any more. */
static bool is_anybody_idle(struct service *s)
{
	struct provider *next;

	for (struct provider *p = s->providers; p; p = next) {
		if (dispatch_is_anybody_idle(s->dispatch))
			return true;
		next = p->next;
		if (p->record && p->record->unclaimed.n > 0)
			provider_read(p);
	}
	return dispatch_is_anybody_idle(s->dispatch);
}

static void read_providers(struct service *s)
{
	struct provider *next;

	for (struct provider *p = s->providers; p; p = next) {
		next = p->next;
		if (p->record)
			provider_read(p);
	}
}

static uint32_t accept_waiting(struct service *s, struct listener *l, uint32_t max)
{
	uint32_t n_waiting = listener_n_waiting(l), n = 0;
	struct wire_address peer;
	int fd;

	if (n_waiting > max)
		n_waiting = max;
	for (; n < n_waiting && intake_accept(s->intake, l, &fd, &peer) >= 0; n++)
		offer(s, fd, l, &peer);
	return n;
}

/* Returns whether there were any. If not, listening goes on as before. */
static bool accept_deferred(struct service *s)
{
	uint32_t room = dispatch_room(s->dispatch, AT_ONCE), n = 0;

	for (unsigned int i = intake_n_deferred(s->intake); i > 0 && n < room; i--)
		n += accept_waiting(s, intake_next_deferred(s->intake), room - n);
	if (n == 0)
		intake_poll_deferred(s->intake);
	else
		s->pace.accepted_usec = service_now(s);
	return n > 0;
}

static bool start_moment(struct service *s);

static int on_moment(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;

	(void)source, (void)usec;
	if (s->pace.is_paced)
		read_providers(s);
	if (!is_busy(s))
		set_paced(s, false);
	s->pace.has_deferred = intake_n_deferred(s->intake) > 0;
	if (s->pace.has_deferred && accept_deferred(s))
		service_settle(s);
	if (s->pace.has_deferred || s->pace.is_paced)
		(void)start_moment(s);
	return 0;
}

/* Returns false if there is no memory for a timer: then nothing may wait for it. */
static bool start_moment(struct service *s)
{
	sd_event_source **timer = &s->pace.timer;

	if (!*timer)
		return sd_event_add_time_relative(s->event, timer, CLOCK_MONOTONIC, MOMENT_USEC,
			       MOMENT_USEC / 10, on_moment, s) >= 0;
	if (sd_event_source_get_enabled(*timer, NULL) == 0) {
		/* These only fail for an event loop that has ended. */
		(void)sd_event_source_set_time_relative(*timer, MOMENT_USEC);
		(void)sd_event_source_set_enabled(*timer, SD_EVENT_ONESHOT);
	}
	return true;
}

/* Everybody has something to claim first: leave them in the backlog. Returns false if not. */
static bool defer(struct service *s, struct listener *l)
{
	if (!is_busy(s) || is_anybody_idle(s))
		return false;
	if (intake_state(s->intake) != INTAKE_SERVING)
		return true; /* that is what the providers' words have made of it */
	if (!start_moment(s) || !intake_defer(s->intake, l))
		return false;
	set_paced(s, false);
	s->pace.has_deferred = true;
	return true;
}

static void accept_one(struct service *s, struct listener *l)
{
	struct wire_address peer;
	int fd;

	if (dispatch_room(s->dispatch, 1) == 0)
		intake_lacks_memory(s->intake, l);
	else if (intake_accept(s->intake, l, &fd, &peer) >= 0)
		offer(s, fd, l, &peer);
	service_settle(s);
}

void service_on_connections(struct listener *l, void *userdata)
{
	struct service *s = userdata;
	bool was_busy = is_busy(s);

	if (defer(s, l))
		return;
	accept_one(s, l);
	s->pace.accepted_usec = service_now(s);
	if (was_busy && !s->pace.has_deferred && !s->is_full && start_moment(s))
		set_paced(s, true);
}

bool service_accept_deferred(struct service *s)
{
	if (s->is_full)
		set_paced(s, false); /* what is released is wanted at once */
	return intake_n_deferred(s->intake) > 0 && dispatch_is_anybody_idle(s->dispatch) &&
	       accept_deferred(s);
}
