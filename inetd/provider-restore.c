/* SPDX-License-Identifier: MIT */
/*
 * A provider of an earlier usherd, which does not notice: see provider_restore().
 *
 * The channel goes on where it was: nothing is sent on it, and what is owed is tried again.
 */
#include "provider-private.h"

#include "fd.h"
#include <errno.h>
#include <string.h>

struct dispatch_provider provider_record_of(const struct saved_provider *saved)
{
	return (struct dispatch_provider){
		.state = (enum provider_state)saved->state,
		.is_standby = saved->is_standby,
		.weight = saved->weight,
		.credit = saved->credit,
		.last_sequence = saved->last_sequence,
		.claimed_sequence = saved->claimed_sequence,
		.unclaimed_since = saved->unclaimed_since,
		.n_foreign = saved->n_foreign,
		.n_turns = saved->n_turns,
		.place = saved->place,
		.n_served = saved->n_served,
	};
}

/* As provider_quarantine() leaves it: only the end of the channel still matters. */
static void ignore(struct provider *p)
{
	provider_watch(p);
	p->death = sd_event_source_disable_unref(p->death);
}

static void restore_debts(struct provider *p, const struct saved_provider *saved)
{
	p->owes_welcome = saved->owes_welcome;
	p->owes_draining = saved->owes_draining;
	p->takes_listeners = saved->takes_listeners;
	p->owes_listeners = saved->owes_listeners;
	p->draining_reason = (enum wire_draining_reason)saved->draining_reason;
	if (saved->state == PROVIDER_QUARANTINED)
		ignore(p);
	else if (p->owes_welcome || p->owes_draining || saved->state == PROVIDER_BLOCKED)
		provider_wait_for_room(p, -EAGAIN);
}

int provider_restore(struct provider **ret, sd_event *event, struct saved_provider *saved,
	const char *service, struct dispatch *dispatch, const struct provider_events *events,
	void *userdata)
{
	const struct rendezvous_peer peer = {
		.process = {.pid = (pid_t)saved->pid, .uid = saved->uid},
		.passes_descriptors = saved->may_forward,
	};
	const struct dispatch_provider record = provider_record_of(saved);
	struct provider *p;
	int r = provider_new(
		&p, event, take_fd(&saved->fd), &peer, service, dispatch, events, userdata);

	if (r < 0)
		return r;
	p->record = dispatch_restore_provider(dispatch, &record, p);
	if (!p->record) {
		provider_free(p);
		return -EINVAL;
	}
	p->timer = sd_event_source_disable_unref(p->timer); /* HELLO was said */
	p->number = saved->number;
	memcpy(p->name, saved->name, sizeof(p->name));
	memcpy(p->status, saved->status, sizeof(p->status));
	restore_debts(p, saved);
	*ret = p;
	return 0;
}
