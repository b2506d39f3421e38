/* SPDX-License-Identifier: MIT */
/*
 * What is under way to a receiver, for the usherd that comes next and for status: see
 * service-pass.h.
 *
 * The channel goes on where it was: what was sent stays sent, and its end is noticed as before.
 */
#include "service-pass.h"

#include "fd.h"
#include <errno.h>

static const char *const state_names[] = {
	[RECEIVER_READY] = "ready",
	[RECEIVER_FULL] = "full",
	[RECEIVER_ABSENT] = "absent",
};

/* Nothing is wrong, as far as is known, and nothing else is known. */
static bool is_unreached(const struct service_pass *sp)
{
	return sp->state == RECEIVER_READY && !sp->is_reached;
}

bool service_pass_report(const struct service *s, struct service_receiver *ret)
{
	struct service_pass *sp = s->pass;

	if (!service_is_passing(s))
		return false;
	*ret = (struct service_receiver){
		.path = sp->receiver.path,
		.state = is_unreached(sp) ? "unreached" : state_names[sp->state],
		.is_unreached = is_unreached(sp),
		.n_passed = sp->n_passed,
		.n_unread = sp->n_unread,
	};
	service_pass_foreach (p, sp)
		ret->n_in_flight += p->pass != NULL;
	return true;
}

size_t service_pass_n(const struct service *s)
{
	size_t n = 0;

	if (s->pass)
		service_pass_foreach (p, s->pass)
			n += p->pass != NULL;
	return n;
}

static int save_place(const struct place *place, struct saved_provider *ret)
{
	const struct dispatch_provider *record = place->record;

	*ret = (struct saved_provider){
		.fd = pass_fd(place->pass),
		.is_pass = true,
		.state = record->state,
		.weight = record->weight,
		.n_turns = record->n_turns,
		.credit = record->credit,
		.last_sequence = record->last_sequence,
		.claimed_sequence = record->claimed_sequence,
		.unclaimed_since = record->unclaimed_since,
		.n_served = record->n_served,
	};
	return service_save_handoffs(
		record->unclaimed.first, record->unclaimed.n, &ret->unclaimed, &ret->n_unclaimed);
}

int service_pass_save(const struct service *s, struct saved_provider *ret, size_t *ret_n)
{
	int r = 0;

	if (s->pass)
		service_pass_foreach (p, s->pass)
			if (p->pass && r >= 0)
				r = save_place(p, &ret[(*ret_n)++]);
	return r;
}

int service_pass_restore(
	struct service *s, struct saved_provider *saved, struct dispatch_provider **ret)
{
	const struct dispatch_provider record = provider_record_of(saved);
	struct place *place;
	int r;

	if (!s->pass && !(s->pass = service_pass_new(s))) /* it was passing, and is not any more */
		return -ENOMEM;
	place = service_pass_find(s->pass, NULL);
	if (!place) /* the earlier one had more of them under way than we would */
		return -EINVAL;
	r = pass_adopt(&place->pass, s->event, take_fd(&saved->fd), service_pass_on_end, place);
	if (r < 0)
		return r;
	place->record = dispatch_restore_provider(s->dispatch, &record, NULL);
	if (!place->record) {
		place->pass = pass_free(place->pass);
		return -EINVAL;
	}
	place->begun_usec = saved->unclaimed_since;
	s->pass->is_reached = true;
	*ret = place->record;
	return 0;
}

void service_pass_restored(struct service *s, struct dispatch_provider *record)
{
	service_pass_find(s->pass, record)->handoff = record->unclaimed.first;
}
