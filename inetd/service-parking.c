/* SPDX-License-Identifier: MIT */
/*
 * What a service does with accepted connections that nobody can take now: they are parked, given to
 * who has credit again, or reset when they have waited for too long.
 *
 * They come out of the queue before they are sent, a few at a time: what usherd has in hand when it
 * is killed is lost, but nothing is served twice.
 */
#include "service-private.h"

#include "closer.h"
#include "forwarded.h"
#include "log.h"
#include "probe.h"
#include <assert.h>
#include <errno.h>
#include <string.h>

/* In hand at once: one message. */
#define BATCH WIRE_MAX_CONNECTIONS

/* Put in or taken out in one turn, so that others have theirs. */
#define PER_TURN 256

/* Until parking, or taking out, is tried again. */
#define RETRY_USEC UINT64_C(200000)

static struct log_about about(const struct service *s, const char *reason, int error)
{
	return (struct log_about){.service = s->name, .reason = reason, .error = error};
}

static void log_failure(struct service *s, int error, const char *what, const char *outcome)
{
	const struct log_about failure = about(s, "park-failed", error);

	if (!s->logged.failure)
		log_write(LOG_WARNING, &failure, "%s: %s: %s; %s", s->name, what, strerror(-error),
			outcome);
	s->logged.failure = true;
}

/* A connection that nobody will serve, for `reason`. */
static void reset(struct service *s, struct handoff *h, const char *reason)
{
	service_account_refused(s, WIRE_NO_LISTENER, &h->peer, reason);
	service_forget_forwarded(s, h);
	intake_reset(s->intake, h->fd);
}

static int park_oldest(struct service *s)
{
	struct handoff h = *dispatch_oldest_waiting(s->dispatch);
	int r = parking_put(s->parking, &h, service_now(s));

	if (r < 0)
		return r;
	service_account_parked(s, &h);
	dispatch_park(s->dispatch);
	probe_park(s->name, h.id, dispatch_n_parked(s->dispatch));
	service_left(s, &h);
	closer_close(h.fd);
	service_forget_forwarded(s, &h);
	return 0;
}

/* Has one that was parked first at that time waited for too long? */
static bool is_too_late(const struct service *s, uint64_t parked_usec)
{
	return parked_usec + s->config.park.timeout_usec <= service_now(s);
}

/* One that dispatch counts as parked has waited for too long. */
static void expire(struct service *s, struct handoff *h)
{
	const struct log_about expired = about(s, "park-timeout", 0);

	if (!s->logged.timeout)
		log_write(LOG_WARNING, &expired,
			"%s: no provider took a connection within %u seconds, see park { timeout "
			"}: it and others are reset",
			s->name, (unsigned int)(s->config.park.timeout_usec / 1000000));
	s->logged.timeout = true;
	dispatch_expire(s->dispatch);
	reset(s, h, "park-timeout");
}

static void reset_oldest_waiting(struct service *s, const char *reason)
{
	struct handoff h;

	(void)dispatch_take_waiting(s->dispatch, &h);
	reset(s, &h, reason);
	service_carry_out(s); /* it has ended */
}

static void give_up(struct service *s)
{
	const struct log_about full = about(s, "park-full", 0);

	if (!s->logged.full)
		log_write(LOG_WARNING, &full,
			"%s: %u accepted connections wait for a provider already, see park { max }: "
			"others are reset",
			s->name, dispatch_n_parked(s->dispatch));
	s->logged.full = true;
	reset_oldest_waiting(s, "park-full");
}

/*
 * A batch for which a channel had no room: that will be soon, and if it was parked again it would
 * lose its place before the others.
 */
static bool is_about_to_be_sent(const struct service *s)
{
	if (dispatch_n_waiting(s->dispatch) > BATCH)
		return false;
	for (const struct provider *p = s->providers; p; p = p->next)
		if (p->record && p->record->state == PROVIDER_BLOCKED)
			return true;
	return false;
}

/* It was parked before, and its provider has died: it gets no more time by that. */
static bool has_oldest_waiting_expired(const struct service *s)
{
	uint64_t parked_usec = dispatch_oldest_waiting(s->dispatch)->parked_usec;

	return parked_usec > 0 && is_too_late(s, parked_usec);
}

static void expire_oldest_waiting(struct service *s)
{
	struct handoff h = *dispatch_oldest_waiting(s->dispatch);

	dispatch_park(s->dispatch);
	service_left(s, &h);
	expire(s, &h);
}

/* What is to be tried again is tried when the timer says so, whatever happens meanwhile. */
static void retry_later(struct service *s)
{
	if (s->retry_usec == 0)
		s->retry_usec = service_now(s) + RETRY_USEC;
}

void service_park(struct service *s)
{
	int r = 0;

	if (is_about_to_be_sent(s))
		return;
	for (unsigned int n = 0; n < PER_TURN && dispatch_n_waiting(s->dispatch) > 0 && r >= 0;
		n++) {
		if (has_oldest_waiting_expired(s))
			expire_oldest_waiting(s);
		else if (dispatch_n_parked(s->dispatch) < s->config.park.max)
			r = park_oldest(s);
		else
			give_up(s);
	}
	s->is_parking_refused = r < 0;
	if (r >= 0)
		return;
	retry_later(s);
	log_failure(s, r, "cannot park connections for which there is no provider",
		"usherd keeps them open, and tries again");
}

/* As parking_take(); what was damaged is passed over. */
static int take_parked(struct service *s, struct handoff *ret)
{
	int r;

	while ((r = parking_take(s->parking, ret)) == -EIO) {
		dispatch_lose(s->dispatch);
		log_failure(s, r, "a parked connection was damaged", "it is lost");
	}
	s->is_short_of_descriptors = r < 0;
	if (r < 0)
		retry_later(s);
	else if (ret->forwarded)
		s->n_forwarded_bytes += ret->forwarded->size;
	return r;
}

/* Offer one that was parked. Returns whether there was one, and somebody to take it. */
static bool unpark(struct service *s)
{
	struct handoff parked, *h;

	if (!dispatch_can_unpark(s->dispatch) || take_parked(s, &parked) < 0)
		return false;
	h = dispatch_unpark(
		s->dispatch, service_client(s, parked.fd, &parked.peer), service_now(s));
	assert(h);
	h->fd = parked.fd;
	h->listener = parked.listener == WIRE_NO_LISTENER
			      ? WIRE_NO_LISTENER
			      : intake_find_listener(s->intake, parked.fd);
	h->n_hops = parked.n_hops;
	h->accepted_ns = parked.accepted_ns;
	h->peer = parked.peer;
	h->forwarded = parked.forwarded;
	h->parked_usec = h->entered_usec = parked.parked_usec;
	h->source = admission_count(s->admission, &h->peer, service_now(s));
	return true;
}

static unsigned int unpark_batch(struct service *s)
{
	unsigned int n = 0;

	while (n < BATCH && unpark(s))
		n++;
	return n;
}

/* Somebody can take what is parked. */
static int on_unparking(sd_event_source *source, void *userdata)
{
	struct service *s = userdata;
	unsigned int n = 0, n_batch;

	(void)source;
	do {
		n_batch = unpark_batch(s);
		service_settle(s); /* they are sent before more are taken out */
		n += n_batch;
	} while (n_batch == BATCH && n < PER_TURN);
	return 0;
}

static bool has_oldest_parked_expired(const struct service *s)
{
	uint64_t parked_usec;

	return parking_oldest(s->parking, &parked_usec) && is_too_late(s, parked_usec);
}

static void expire_parked(struct service *s)
{
	struct handoff h;

	for (unsigned int n = 0;
		n < PER_TURN && has_oldest_parked_expired(s) && take_parked(s, &h) >= 0; n++)
		expire(s, &h);
}

static int on_parking_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;

	(void)source, (void)usec;
	s->is_short_of_descriptors = false;
	s->retry_usec = 0;
	expire_parked(s);
	service_settle(s);
	return 0;
}

/* When something is to be done about those that wait; UINT64_MAX: never. */
static uint64_t next_usec(const struct service *s)
{
	uint64_t next = s->retry_usec > 0 ? s->retry_usec : UINT64_MAX, parked_usec;

	if (dispatch_n_waiting(s->dispatch) > 0 && !s->is_parking_refused &&
		!is_about_to_be_sent(s))
		return 0; /* there was more than a turn's work */
	if (!s->is_short_of_descriptors && parking_oldest(s->parking, &parked_usec) &&
		parked_usec + s->config.park.timeout_usec < next)
		next = parked_usec + s->config.park.timeout_usec;
	return next;
}

static bool is_nobody_waiting(const struct service *s)
{
	return dispatch_n_waiting(s->dispatch) == 0 && dispatch_n_parked(s->dispatch) == 0 &&
	       !s->is_full;
}

/* A timer that is set anew loses its turn, so that many events would hold it up: only if it must.
 */
static void set_timer(sd_event_source *timer, uint64_t usec)
{
	uint64_t set_usec;

	if (sd_event_source_get_time(timer, &set_usec) < 0 || set_usec != usec)
		(void)sd_event_source_set_time(timer, usec);
	(void)sd_event_source_set_enabled(
		timer, usec == UINT64_MAX ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

void service_watch_parking(struct service *s)
{
	set_timer(s->parking_timer, next_usec(s));
	if (!s->is_short_of_descriptors && dispatch_can_unpark(s->dispatch))
		(void)sd_event_source_set_enabled(s->unparking, SD_EVENT_ONESHOT);
	if (is_nobody_waiting(s))
		s->logged = (struct service_parking_log){0};
}

/* What an earlier usherd has parked. */
static int adopt(struct service *s, struct inheritance *inherited)
{
	struct inherited lot;
	int r = 0;

	while (inheritance_take_parking(inherited, s->name, &lot)) {
		r = parking_adopt(s->parking, lot.fd, lot.number);
		if (r == -ENOMEM)
			return r;
		if (r < 0)
			log_failure(s, r, "cannot go on with connections that were parked",
				"they are lost");
	}
	dispatch_set_parked(s->dispatch, parking_n(s->parking));
	return 0;
}

int service_parking_init(struct service *s, struct inheritance *inherited)
{
	int r = parking_new(&s->parking, s->name);

	if (r >= 0)
		r = sd_event_add_time(s->event, &s->parking_timer, CLOCK_MONOTONIC, 0,
			RETRY_USEC / 10, on_parking_timer, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->parking_timer, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(s->event, &s->unparking, on_unparking, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->unparking, SD_EVENT_OFF);
	return r < 0 ? r : adopt(s, inherited);
}

/* Does the service manager keep what is parked? All or nothing, but for lots it was not told of. */
static bool is_stored(const struct service *s)
{
	uint32_t number;
	int fd;

	return parking_lot(s->parking, 0, &fd, &number) && number > 0;
}

static void reset_parked(struct service *s)
{
	struct handoff h;

	while (dispatch_n_parked(s->dispatch) > 0 && take_parked(s, &h) >= 0) {
		dispatch_expire(s->dispatch);
		reset(s, &h, "stopping");
	}
}

void service_parking_done(struct service *s)
{
	while (!s->is_ending && dispatch_n_waiting(s->dispatch) > 0 && park_oldest(s) >= 0)
		;
	while (dispatch_n_waiting(s->dispatch) > 0)
		reset_oldest_waiting(s, "stopping");
	if (s->is_ending || !is_stored(s))
		reset_parked(s);
	s->parking_timer = sd_event_source_disable_unref(s->parking_timer);
	s->unparking = sd_event_source_disable_unref(s->unparking);
	s->parking = parking_free(s->parking);
}
