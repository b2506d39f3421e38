/* SPDX-License-Identifier: MIT */
/*
 * When a service accepts, and when it listens to its providers.
 *
 * While little happens, everything is done at once. Under load, being woken for one message costs
 * more than what is to be done about it:
 *
 * Connections that find every provider with something unclaimed are deferred: they stay in the
 * backlog until somebody has claimed, and then go out together. That costs them no time, because
 * they would only wait in the channel instead (Nagle's algorithm, RFC 896).
 *
 * A single provider that claims faster than connections come is paced: it gets each connection at
 * once, and what it says is read after the next one was sent. (Where there are several, balance has
 * to know at once who is done with what.)
 *
 * Invariant: what is deferred, and what a paced provider has said, waits for a moment at most.
 */
#include "service-private.h"

#include "probe.h"

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

static void fill(const struct service *s, struct handoff *h, int fd, const struct listener *l,
	const struct wire_address *peer, uint32_t source)
{
	h->source = source;
	h->fd = fd;
	h->listener = listener_index(l);
	h->accepted_ns = service_realtime_ns();
	h->peer = *peer;
	probe_accept(s->name, h->id, h->listener, fd);
}

static void offer(struct service *s, int fd, const struct listener *l,
	const struct wire_address *peer, uint32_t source)
{
	struct handoff *h =
		dispatch_offer(s->dispatch, service_client(s, fd, peer), service_now(s));

	assert(h);
	fill(s, h, fd, l, peer, source);
}

/* Without credit for it, it will be parked. Returns whether there is a place for it. */
static bool take_over(struct service *s, int fd, const struct listener *l,
	const struct wire_address *peer, uint32_t source)
{
	struct handoff *h =
		dispatch_take_over(s->dispatch, service_client(s, fd, peer), service_now(s));

	if (h)
		fill(s, h, fd, l, peer, source);
	return h;
}

/* Was there something a moment ago, too? */
static bool is_busy(const struct service *s)
{
	return service_now(s) < s->pace.accepted_usec + MOMENT_USEC;
}

/*
 * Accept one who is there, and offer it if it is admitted: dispatch must have room. Returns false
 * if nobody is, or nobody may be accepted now.
 */
static bool accept_from(struct service *s, struct listener *l)
{
	struct wire_address peer;
	uint32_t source;
	int fd;

	if (!service_may_accept(s) || intake_accept(s->intake, l, &fd, &peer) < 0)
		return false;
	if (service_admit(s, l, fd, &peer, &source))
		offer(s, fd, l, &peer, source);
	return true;
}

static uint32_t accept_waiting(struct service *s, struct listener *l, uint32_t max)
{
	uint32_t n_waiting = listener_n_waiting(l), n = 0;

	if (n_waiting > max)
		n_waiting = max;
	while (n < n_waiting && accept_from(s, l))
		n++;
	return n;
}

/*
 * One message's worth. Returns whether there is something to settle. If there was nobody, or if
 * somebody could take more at once, listening goes on as before.
 */
static bool accept_deferred(struct service *s)
{
	uint32_t room = dispatch_room(s->dispatch, AT_ONCE), n = 0;

	for (size_t i = intake_n_deferred(s->intake); i > 0 && n < room; i--)
		n += accept_waiting(s, intake_next_deferred(s->intake), room - n);
	if (n == 0 || dispatch_least_unclaimed(s->dispatch) == 0)
		intake_poll_deferred(s->intake);
	if (n > 0)
		s->pace.accepted_usec = service_now(s);
	return n > 0 || s->limit.reason != ADMISSION_ADMITTED;
}

bool service_accept_deferred(struct service *s)
{
	return intake_n_deferred(s->intake) > 0 && dispatch_least_unclaimed(s->dispatch) == 0 &&
	       accept_deferred(s);
}

void service_end_pacing(struct service *s)
{
	if (!s->pace.provider)
		return;
	provider_set_paced(s->pace.provider, false);
	s->pace.provider = NULL;
}

/* Is there nobody else, and has it claimed all but the one that was only just sent? */
static bool can_pace(const struct service *s, const struct provider *p)
{
	return s->n_providers == 1 && p->record && p->record->unclaimed.n <= 1;
}

static void read_paced(struct service *s)
{
	provider_read(s->pace.provider);
	if (s->pace.provider && !can_pace(s, s->pace.provider))
		service_end_pacing(s);
}

static bool start_moment(struct service *s);

static int on_moment(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;

	(void)source, (void)usec;
	if (s->pace.provider)
		read_paced(s);
	if (!is_busy(s))
		service_end_pacing(s);
	s->pace.has_deferred = intake_n_deferred(s->intake) > 0;
	if (s->pace.has_deferred && accept_deferred(s))
		service_settle(s);
	if (s->pace.has_deferred || s->pace.provider)
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

/* Leave it in the backlog if everybody has something to claim first. Returns whether it is so. */
static bool defer(struct service *s, struct listener *l)
{
	if (dispatch_least_unclaimed(s->dispatch) == 0 || listener_is_deferred(l) ||
		!start_moment(s))
		return false;
	intake_defer(s->intake, l);
	s->pace.has_deferred = true;
	return true;
}

static void accept_one(struct service *s, struct listener *l)
{
	if (dispatch_room(s->dispatch, 1) == 0)
		intake_lacks_memory(s->intake, l);
	else
		(void)accept_from(s, l);
	s->pace.accepted_usec = service_now(s);
	service_settle(s);
}

/* Not in a moment in which any had to be deferred: their claims are waited for. */
static void begin_pacing(struct service *s)
{
	struct provider *p = s->providers;

	if (s->pace.has_deferred || s->is_full || !p || !can_pace(s, p) || !start_moment(s))
		return;
	s->pace.provider = p;
	provider_set_paced(p, true);
}

uint32_t service_accept_all(struct service *s, struct listener *l)
{
	uint32_t max = listener_n_waiting(l), n = 0, source;
	struct wire_address peer;

	if (max == UINT32_MAX)
		max = (uint32_t)s->config.socket.backlog + 1;
	listener_forbid_blocking(l); /* it is not open */
	for (int fd; n < max && intake_accept(s->intake, l, &fd, &peer) >= 0; n++) {
		if (!service_admit(s, l, fd, &peer, &source) || take_over(s, fd, l, &peer, source))
			continue;
		admission_left(s->admission, source, service_now(s));
		service_account_refused(s, listener_index(l), &peer, "instances");
		intake_reset(s->intake, fd);
	}
	return n;
}

/* A sensor serves nobody, and needs no provider to find out who comes. */
static void sense(struct service *s, struct listener *l)
{
	struct wire_address peer;
	uint32_t source;

	for (int i = 0, fd; i < AT_ONCE && intake_accept(s->intake, l, &fd, &peer) >= 0; i++)
		if (service_admit(s, l, fd, &peer, &source))
			intake_reset(s->intake, fd);
}

void service_on_connections(struct listener *l, void *userdata)
{
	struct service *s = userdata;
	bool was_busy = is_busy(s);

	if (s->config.admission.is_sensor) {
		sense(s, l);
		return;
	}
	if (was_busy && !s->pace.provider && defer(s, l))
		return;
	accept_one(s, l);
	if (s->pace.provider)
		read_paced(s);
	else if (was_busy)
		begin_pacing(s);
}
