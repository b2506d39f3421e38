/* SPDX-License-Identifier: MIT */
/*
 * A service that goes on where an earlier usherd's was: see service.h and service-save.c.
 *
 * The listeners, the rendezvous and what is parked came with the sockets (inheritance.h); here come
 * the providers, the connections and the counters.
 */
#include "service-private.h"

#include "fd.h"
#include "forwarded.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void service_hold(struct service *s)
{
	s->is_settling = true; /* settling within settling does nothing */
}

void service_go_on(struct service *s)
{
	s->is_settling = false;
	service_settle(s);
}

int service_new_ending(struct service **ret, sd_event *event, const struct saved_service *saved,
	struct inheritance *inherited, const struct service_events *events, void *userdata)
{
	char name[WIRE_NAME_SIZE];
	const struct config_service config = {
		.name = strcpy(name, saved->name),
		.instances = saved->instances,
		.providers = {.max = saved->max_providers},
		.claim_timeout_usec = saved->claim_timeout_usec,
		.park = {.max = saved->max_parked, .timeout_usec = saved->park_timeout_usec},
	};
	int r = service_make(ret, event, &config, inherited, events, userdata);

	if (r < 0)
		return r;
	(*ret)->config.name = (*ret)->name;
	(*ret)->is_ending = true;
	service_hold(*ret);
	return 0;
}

/* Are the listeners what providers were told last? What an older usherd left was not for lending.
 */
static bool has_same_listeners(const struct service *s, const struct saved_service *saved)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);
	char text[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < n && n == saved->n_listeners; i++)
		if (strcmp(address_format(listener_bound(listeners[i]), text),
			    saved->listeners[i].address) != 0 ||
			intake_lends(s->intake, listeners[i]) != saved->listeners[i].is_for_lending)
			return false;
	return n == saved->n_listeners;
}

static int restore_forwarded(
	struct service *s, const struct saved_handoff *saved, struct handoff *h)
{
	const struct saved_forwarded *forwarded = saved->forwarded;

	if (saved->n_forwarded == 0)
		return 0;
	h->forwarded = forwarded_new(forwarded->from, forwarded->data, forwarded->size);
	if (!h->forwarded)
		return -ENOMEM;
	h->forwarded->mark = forwarded->mark;
	s->n_forwarded_bytes += forwarded->size;
	return 0;
}

/* Since when it waits, and has been sent: an older usherd has not written that down. */
static void restore_times(
	const struct service *s, const struct saved_handoff *saved, struct handoff *h)
{
	h->entered_usec = saved->entered_usec > 0 ? saved->entered_usec : service_now(s);
	h->given_usec = saved->given_usec > 0 ? saved->given_usec : service_now(s);
	h->parked_usec = saved->parked_usec;
}

/* Those of `p`, or those that wait (NULL). */
static int restore_handoffs(
	struct service *s, struct dispatch_provider *p, struct saved_handoff *saved, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		struct handoff *h = dispatch_restore_handoff(s->dispatch, p, saved[i].id,
			saved[i].sequence, p ? HANDOFF_GIVEN : HANDOFF_WAITING);

		if (!h)
			return -EINVAL;
		h->fd = take_fd(&saved[i].fd);
		h->accepted_ns = saved[i].accepted_ns;
		h->n_hops = saved[i].n_hops;
		restore_times(s, &saved[i], h);
		h->peer = saved[i].peer;
		h->client = service_client(s, h->fd, &h->peer);
		h->listener = saved[i].has_listener ? intake_find_listener(s->intake, h->fd)
						    : WIRE_NO_LISTENER;
		r = restore_forwarded(s, &saved[i], h);
	}
	return r;
}

static int restore_claims(
	struct service *s, struct dispatch_provider *p, const struct saved_claim *saved, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct handoff *h = dispatch_restore_handoff(
			s->dispatch, p, saved[i].id, saved[i].sequence, HANDOFF_CLAIMED);

		if (!h)
			return -EINVAL;
		h->accepted_ns = saved[i].accepted_ns;
		h->n_hops = saved[i].n_hops;
		h->peer = saved[i].peer;
	}
	return 0;
}

static void add_provider(struct service *s, struct provider *p)
{
	p->next = s->providers;
	s->providers = p;
	s->n_providers++;
}

/* A receiver's place has exactly the connection that was sent to it. */
static int restore_pass(struct service *s, struct saved_provider *saved)
{
	struct dispatch_provider *record;
	int r;

	r = service_pass_restore(s, saved, &record);
	if (r < 0)
		return r;
	r = restore_handoffs(s, record, saved->unclaimed, saved->n_unclaimed);
	service_pass_restored(s, record);
	return r;
}

static int restore_provider(struct service *s, struct saved_provider *saved)
{
	struct provider *p;
	int r = provider_restore(
		&p, s->event, saved, s->name, s->dispatch, &service_provider_events, s);

	if (r < 0)
		return r;
	add_provider(s, p);
	s->n_registered++;
	if (saved->is_borrower)
		s->borrower = p;
	r = restore_handoffs(s, p->record, saved->unclaimed, saved->n_unclaimed);
	return r < 0 ? r : restore_claims(s, p->record, saved->claimed, saved->n_claimed);
}

/* It has the whole time for HELLO once more. */
static int restore_stranger(struct service *s, struct saved_stranger *saved)
{
	const struct rendezvous_peer peer = {
		.process = {.pid = (pid_t)saved->pid, .uid = saved->uid},
		.passes_descriptors = saved->may_forward,
	};
	struct provider *p;
	int r = provider_new(&p, s->event, take_fd(&saved->fd), &peer, s->name, s->dispatch,
		&service_provider_events, s);

	if (r >= 0)
		add_provider(s, p);
	return r;
}

static int restore_dispatch(struct service *s, struct saved_service *saved)
{
	int r = dispatch_restore(s->dispatch, &saved->totals, saved->id_limit);

	for (size_t i = 0; i < saved->n_providers && r >= 0; i++)
		r = saved->providers[i].is_pass ? restore_pass(s, &saved->providers[i])
						: restore_provider(s, &saved->providers[i]);
	if (r >= 0)
		r = restore_handoffs(s, NULL, saved->waiting, saved->n_waiting);
	if (r >= 0)
		dispatch_restored(s->dispatch, service_now(s));
	return r;
}

int service_restore(struct service *s, struct saved_service *saved)
{
	int r = restore_dispatch(s, saved);

	for (size_t i = 0; i < saved->n_strangers && r >= 0; i++)
		r = restore_stranger(s, &saved->strangers[i]);
	if (r < 0)
		return r;
	s->is_paused = saved->is_paused;
	s->is_lending_new = true;
	s->last_number = saved->n_registered;
	s->n_forwards_refused = saved->n_forwards_refused;
	memcpy(s->n_turned, saved->n_turned, sizeof(s->n_turned));
	service_count_sources(s);
	service_admission_restore(s, saved);
	intake_restore_n_reset(s->intake, saved->n_reset);
	if (!has_same_listeners(s, saved))
		service_welcome_again(s);
	return 0;
}

/* Without descriptors. */

static int check_handoffs(struct dispatch *d, struct dispatch_provider *p,
	const struct saved_handoff *saved, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!dispatch_restore_handoff(d, p, saved[i].id, saved[i].sequence,
			    p ? HANDOFF_GIVEN : HANDOFF_WAITING))
			return -EINVAL;
	return 0;
}

static int check_claims(
	struct dispatch *d, struct dispatch_provider *p, const struct saved_claim *saved, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!dispatch_restore_handoff(
			    d, p, saved[i].id, saved[i].sequence, HANDOFF_CLAIMED))
			return -EINVAL;
	return 0;
}

static int check_provider(
	struct dispatch *d, const struct saved_provider *saved, struct dispatch_provider **ret)
{
	const struct dispatch_provider record = provider_record_of(saved);
	int r;

	if (saved->is_pass && (saved->n_unclaimed != 1 || saved->n_claimed != 0))
		return -EINVAL;
	*ret = dispatch_restore_provider(d, &record, NULL);
	if (!*ret)
		return -EINVAL;
	r = check_handoffs(d, *ret, saved->unclaimed, saved->n_unclaimed);
	return r < 0 ? r : check_claims(d, *ret, saved->claimed, saved->n_claimed);
}

/* `records` has room for all providers and an end, NULL, which it has everywhere. */
static int check_dispatch(
	struct dispatch *d, const struct saved_service *saved, struct dispatch_provider **records)
{
	int r = dispatch_restore(d, &saved->totals, saved->id_limit);

	for (size_t i = 0; i < saved->n_providers && r >= 0; i++)
		r = check_provider(d, &saved->providers[i], &records[i]);
	return r < 0 ? r : check_handoffs(d, NULL, saved->waiting, saved->n_waiting);
}

static void discard(struct dispatch *d, struct dispatch_provider *const *records)
{
	struct dispatch_action action;
	struct handoff waiting;

	for (; *records; records++) {
		dispatch_gone(d, *records, 0);
		while (dispatch_next(d, &action))
			;
	}
	while (dispatch_take_waiting(d, &waiting))
		;
	dispatch_free(d);
}

int service_check(const struct saved_service *saved)
{
	struct dispatch_provider **records = calloc(saved->n_providers + 1, sizeof(*records));
	struct dispatch *d;
	int r = records ? dispatch_new(&d, DISPATCH_LEAST, DISPATCH_MAX_INSTANCES) : -ENOMEM;

	if (r >= 0) {
		r = check_dispatch(d, saved, records);
		discard(d, records);
	}
	free(records);
	return r;
}
