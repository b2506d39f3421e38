/* SPDX-License-Identifier: MIT */
/*
 * What every event of a service ends in: see service-private.h.
 *
 * Carry out what dispatch wants, send the outboxes, give what could not be sent to somebody else,
 * park what nobody takes, and make the listeners agree with the outcome.
 */
#include "service-private.h"

#include "closer.h"
#include "forwarded.h"
#include "log.h"

/* The claim time-out is looked at so many times in its length. */
#define CLAIM_CHECKS 4

uint64_t service_now(const struct service *s)
{
	uint64_t usec = 0;

	(void)sd_event_now(s->event, CLOCK_MONOTONIC, &usec);
	return usec;
}

static enum intake_state wanted_intake(const struct service *s)
{
	static const enum intake_state when_unavailable[] = {
		[CONFIG_UNAVAILABLE_WAIT] = INTAKE_WAITING,
		[CONFIG_UNAVAILABLE_REFUSE] = INTAKE_REFUSING,
		[CONFIG_UNAVAILABLE_RESET] = INTAKE_RESETTING,
	};

	if (s->is_paused)
		return INTAKE_PAUSED;
	if (!s->config.admission.is_sensor && dispatch_n_serving(s->dispatch) == 0)
		return when_unavailable[s->config.unavailable];
	if (!s->config.admission.is_sensor && s->is_full)
		return INTAKE_FULL;
	return s->limit.reason == ADMISSION_ADMITTED ? INTAKE_SERVING : INTAKE_LIMITED;
}

void service_forget_forwarded(struct service *s, struct handoff *h)
{
	if (!h->forwarded)
		return;
	s->n_forwarded_bytes -= h->forwarded->size;
	h->forwarded = forwarded_free(h->forwarded);
}

static void give(struct service *s, struct handoff *h)
{
	struct provider *p = h->provider->userdata;

	if (!p) {
		service_pass_give(s, h);
		return;
	}
	if (!p->is_dirty) {
		p->is_dirty = true;
		p->dirty_next = s->dirty;
		s->dirty = p;
	}
	provider_give(p, h);
}

void service_carry_out(struct service *s)
{
	for (struct dispatch_action action; dispatch_next(s->dispatch, &action);) {
		switch (action.type) {
		case DISPATCH_GIVE:
			give(s, action.handoff);
			break;
		case DISPATCH_CLOSE:
			service_account_start(s, action.handoff);
			action.handoff->fd = closer_close(action.handoff->fd);
			service_forget_forwarded(s, action.handoff);
			break;
		case DISPATCH_ENDED:
			service_account_end(s, action.handoff);
			service_left(s, action.handoff);
			break;
		case DISPATCH_PAUSE:
			s->is_full = true;
			break;
		case DISPATCH_RESUME:
			s->is_full = false;
			break;
		}
	}
}

/* Send one outbox. Returns whether that gave dispatch something new to decide. */
static bool flush_one(struct service *s)
{
	struct provider *p = s->dirty;
	uint32_t n_unsent;

	s->dirty = p->dirty_next;
	p->is_dirty = false;
	provider_flush(p);
	n_unsent = provider_take_unsent(p);
	if (n_unsent > 0)
		dispatch_unsent(s->dispatch, p->record, n_unsent, service_now(s));
	return n_unsent > 0;
}

/* Send what was given. Returns whether there is more to do. */
static bool send_given(struct service *s)
{
	if (s->dirty && (flush_one(s) || s->dirty))
		return true;
	return service_pass_flush(s);
}

static int on_claim_timer(sd_event_source *source, uint64_t usec, void *userdata);

/* One timer for the service, running while anything is unclaimed: cheaper than one for each. */
static void watch_claims(struct service *s)
{
	if (!s->claim_timer && dispatch_n_unclaimed(s->dispatch) > 0)
		(void)sd_event_add_time_relative(s->event, &s->claim_timer, CLOCK_MONOTONIC,
			s->config.claim_timeout_usec / CLAIM_CHECKS, 0, on_claim_timer, s);
}

static int on_ended(sd_event_source *source, void *userdata)
{
	struct service *s = userdata;

	(void)source;
	s->events->on_ended(s, s->userdata);
	return 0;
}

/* Nothing of an ending service is in our hands any more: leave the providers. */
static void finish_ending(struct service *s)
{
	for (struct provider *p = s->providers; p; p = p->next)
		if (provider_is_serving(p))
			provider_drain(p, WIRE_DRAINING_ENDING);
	(void)sd_event_add_defer(s->event, &s->ended, on_ended, s); /* or after the next event */
}

static bool has_ended(const struct service *s)
{
	uint32_t n_waiting = dispatch_n_waiting(s->dispatch) + dispatch_n_parked(s->dispatch);

	return s->is_ending && !s->ended && dispatch_n_unclaimed(s->dispatch) == 0 &&
	       (n_waiting == 0 || dispatch_n_serving(s->dispatch) == 0);
}

static void settle_once(struct service *s)
{
	service_lend(s);
	do
		service_carry_out(s);
	while (send_given(s));
	service_park(s);
	service_watch_parking(s);
	intake_set_state(s->intake, wanted_intake(s));
	if (s->is_full)
		service_end_pacing(s); /* what is released is wanted at once */
}

void service_settle(struct service *s)
{
	if (s->is_settling)
		return;
	s->is_settling = true;
	service_pass_open(s);
	settle_once(s);
	if (service_accept_deferred(s))
		settle_once(s); /* and no more: others wait for their turn, too */
	watch_claims(s);
	s->is_settling = false;
	if (has_ended(s))
		finish_ending(s);
}

static int on_claim_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct service *s = userdata;
	uint64_t timeout_usec = s->config.claim_timeout_usec;

	(void)source;
	s->claim_timer = sd_event_source_disable_unref(s->claim_timer);
	service_pass_check(s, usec);
	for (struct provider *p = s->providers; p; p = p->next) {
		const struct dispatch_provider *record = p->record;

		if (!record || record->unclaimed.n == 0 || record->state == PROVIDER_STUCK ||
			usec < record->unclaimed_since + timeout_usec)
			continue;
		if (record->state == PROVIDER_READY || record->state == PROVIDER_BLOCKED)
			provider_log(p, LOG_WARNING, "claim-timeout",
				"has not claimed %u connections for %u ms: it gets no more "
				"until it does. If it hangs, restart it; if it is slow, raise claim_timeout",
				record->unclaimed.n, (unsigned int)(timeout_usec / 1000));
		dispatch_set_state(s->dispatch, p->record, PROVIDER_STUCK, service_now(s));
	}
	service_settle(s);
	return 0;
}
