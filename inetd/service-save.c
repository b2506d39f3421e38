/* SPDX-License-Identifier: MIT */
/*
 * A service as a value, for the usherd that comes after this one: see service.h. What it says is
 * read again by service-restore.c.
 *
 * Changes nothing: the descriptors stay where they are, only their numbers are written down.
 */
#include "service-private.h"

#include "forwarded.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int save_listeners(const struct service *s, struct saved_service *ret)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	ret->listeners = calloc(n + 1, sizeof(*ret->listeners));
	if (!ret->listeners)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct saved_listener *saved = &ret->listeners[ret->n_listeners++];

		saved->fd = listener_fd(listeners[i]);
		saved->number = listener_store_number(listeners[i]);
		saved->is_for_lending = intake_lends(s->intake, listeners[i]);
		(void)address_format(listener_bound(listeners[i]), saved->address);
	}
	return 0;
}

static int save_lots(const struct service *s, struct saved_service *ret)
{
	struct saved_lot lot, *lots;

	while (parking_lot(s->parking, ret->n_lots, &lot.fd, &lot.number)) {
		lots = reallocarray(ret->lots, ret->n_lots + 1, sizeof(*lots));
		if (!lots)
			return -ENOMEM;
		ret->lots = lots;
		lots[ret->n_lots++] = lot;
	}
	return 0;
}

static int save_forwarded(const struct forwarded *forwarded, struct saved_handoff *ret)
{
	struct saved_forwarded *saved = calloc(1, sizeof(*saved));

	if (!saved)
		return -ENOMEM;
	ret->forwarded = saved;
	ret->n_forwarded = 1;
	memcpy(saved->from, forwarded->from, sizeof(saved->from));
	saved->mark = forwarded->mark;
	saved->data = malloc(forwarded->size + 1);
	if (!saved->data)
		return -ENOMEM;
	memcpy(saved->data, forwarded->data, forwarded->size);
	saved->size = forwarded->size;
	return 0;
}

int service_save_handoffs(
	const struct handoff *first, uint32_t n, struct saved_handoff **ret, size_t *ret_n)
{
	struct saved_handoff *saved = calloc((size_t)n + 1, sizeof(*saved));
	int r = 0;

	if (!saved)
		return -ENOMEM;
	*ret = saved;
	for (const struct handoff *h = first; h && r >= 0; h = h->next) {
		saved[*ret_n] = (struct saved_handoff){
			.fd = h->fd,
			.id = h->id,
			.sequence = h->sequence,
			.accepted_ns = h->accepted_ns,
			.has_listener = h->listener != WIRE_NO_LISTENER,
			.n_hops = h->n_hops,
			.parked_usec = h->parked_usec,
			.entered_usec = h->entered_usec,
			.given_usec = h->given_usec,
			.peer = h->peer,
		};
		if (h->forwarded)
			r = save_forwarded(h->forwarded, &saved[*ret_n]);
		(*ret_n)++;
	}
	return r;
}

static int save_claims(const struct handoff_list *claimed, struct saved_provider *ret)
{
	ret->claimed = calloc((size_t)claimed->n + 1, sizeof(*ret->claimed));
	if (!ret->claimed)
		return -ENOMEM;
	for (const struct handoff *h = claimed->first; h; h = h->next)
		ret->claimed[ret->n_claimed++] = (struct saved_claim){
			.id = h->id,
			.sequence = h->sequence,
			.accepted_ns = h->accepted_ns,
			.n_hops = h->n_hops,
			.peer = h->peer,
		};
	return 0;
}

static int save_provider(
	const struct service *s, const struct provider *p, struct saved_provider *ret)
{
	const struct dispatch_provider *record = p->record;
	int r;

	*ret = (struct saved_provider){
		.fd = p->fd,
		.pid = (uint32_t)p->pid,
		.uid = p->uid,
		.number = p->number,
		.may_forward = p->may_forward,
		.owes_welcome = p->owes_welcome,
		.owes_draining = p->owes_draining,
		.takes_listeners = p->takes_listeners,
		.owes_listeners = p->owes_listeners,
		.is_borrower = p == s->borrower,
		.draining_reason = p->draining_reason,
		.is_standby = record->is_standby,
		.state = record->state,
		.weight = record->weight,
		.n_foreign = record->n_foreign,
		.n_turns = record->n_turns,
		.place = record->place,
		.credit = record->credit,
		.last_sequence = record->last_sequence,
		.claimed_sequence = record->claimed_sequence,
		.unclaimed_since = record->unclaimed_since,
		.n_served = record->n_served,
	};
	memcpy(ret->name, p->name, sizeof(ret->name));
	memcpy(ret->status, p->status, sizeof(ret->status));
	r = service_save_handoffs(
		record->unclaimed.first, record->unclaimed.n, &ret->unclaimed, &ret->n_unclaimed);
	return r < 0 ? r : save_claims(&record->claimed, ret);
}

static struct saved_stranger stranger_of(const struct provider *p)
{
	return (struct saved_stranger){
		.fd = p->fd,
		.pid = (uint32_t)p->pid,
		.uid = p->uid,
		.may_forward = p->may_forward,
	};
}

static int compare_numbers(const void *a, const void *b)
{
	const struct saved_provider *one = a, *other = b;

	return one->number < other->number ? -1 : one->number > other->number;
}

static int save_providers(const struct service *s, struct saved_service *ret)
{
	int r = 0;

	ret->providers = calloc(s->n_providers + service_pass_n(s) + 1, sizeof(*ret->providers));
	ret->strangers = calloc(s->n_providers + 1, sizeof(*ret->strangers));
	if (!ret->providers || !ret->strangers)
		return -ENOMEM;
	for (const struct provider *p = s->providers; p && r >= 0; p = p->next) {
		if (p->record)
			r = save_provider(s, p, &ret->providers[ret->n_providers++]);
		else
			ret->strangers[ret->n_strangers++] = stranger_of(p);
	}
	if (r >= 0)
		r = service_pass_save(s, ret->providers, &ret->n_providers);
	/* The list is in the order in which they connected. */
	qsort(ret->providers, ret->n_providers, sizeof(*ret->providers), compare_numbers);
	return r;
}

static int save_admission(const struct service *s, struct saved_service *ret)
{
	uint32_t n = admission_n_sources(s->admission), i = 0;
	struct saved_source *saved = calloc((size_t)n + 1, sizeof(*saved));

	if (!saved)
		return -ENOMEM;
	admission_save(s->admission, &ret->admission);
	ret->sources = saved;
	for (; (i = admission_next_source(
			s->admission, i, service_now(s), &saved->network, &saved->bucket)) > 0;
		saved++)
		ret->n_sources++;
	return 0;
}

int service_save(const struct service *s, struct saved_service *ret)
{
	int r;

	*ret = (struct saved_service){
		.is_ending = s->is_ending,
		.is_paused = s->is_paused,
		.instances = s->config.instances,
		.max_providers = s->config.providers.max,
		.max_parked = s->config.park.max,
		.claim_timeout_usec = s->config.claim_timeout_usec,
		.park_timeout_usec = s->config.park.timeout_usec,
		.rendezvous_fd = s->rendezvous ? rendezvous_fd(s->rendezvous) : -EBADF,
		.rendezvous_number = s->rendezvous ? rendezvous_store_number(s->rendezvous) : 0,
		.n_registered = s->last_number,
		.n_reset = intake_n_reset(s->intake),
		.n_forwards_refused = s->n_forwards_refused,
		.id_limit = dispatch_id_limit(s->dispatch),
		.totals = *dispatch_totals(s->dispatch),
	};
	wire_set_text(ret->name, sizeof(ret->name), s->name);
	memcpy(ret->n_turned, s->n_turned, sizeof(ret->n_turned));
	r = save_listeners(s, ret);
	if (r >= 0)
		r = save_lots(s, ret);
	if (r >= 0)
		r = save_admission(s, ret);
	if (r >= 0)
		r = save_providers(s, ret);
	if (r >= 0)
		r = service_save_handoffs(dispatch_oldest_waiting(s->dispatch),
			dispatch_n_waiting(s->dispatch), &ret->waiting, &ret->n_waiting);
	return r;
}
