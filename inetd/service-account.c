/* SPDX-License-Identifier: MIT */
/*
 * What a service says to the log (account.h), to those who follow it (events.h) and to tracers
 * (probe.h) about its connections.
 *
 * A connection has started when a provider has claimed it: before that it may go to another one.
 */
#include "service-private.h"

#include "probe.h"

static const char *const reasons[] = {
	[HANDOFF_RELEASED] = "released",
	[HANDOFF_FORWARDED] = "forwarded",
	[HANDOFF_LOST] = "provider-gone",
};

/* "tcp:80", in `buffer` (ADDRESS_TEXT_MAX bytes), or NULL: it is not known, or not there any more.
 */
static const char *format_listener(const struct service *s, uint32_t index, char *buffer)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	return index < n ? address_format(listener_bound(listeners[index]), buffer) : NULL;
}

/* What is known of a connection and of who has it, who is not known any more when he is gone. */
static struct account_fact fact_of(const struct handoff *h, enum account_event event)
{
	const struct provider *p = h->provider ? h->provider->userdata : NULL;
	struct account_fact fact = {.event = event, .connection = h->id, .peer = &h->peer};

	if (p) {
		fact.provider = p->name[0] == '\0' ? NULL : p->name;
		fact.provider_pid = p->pid;
		fact.provider_uid = p->uid;
	}
	return fact;
}

void service_account_start(const struct service *s, const struct handoff *h)
{
	char listener[ADDRESS_TEXT_MAX];
	struct account_fact fact;

	probe_claim(s->name, h->id);
	if (!account_wants(s->account, ACCOUNT_START))
		return;
	fact = fact_of(h, ACCOUNT_START);
	fact.listener = format_listener(s, h->listener, listener);
	account_write(s->account, &fact);
}

/* By the clock of accept, which an upgrade keeps; set back, it gives zero. */
static uint64_t duration_usec(const struct handoff *h)
{
	uint64_t now_ns = service_realtime_ns();

	return now_ns > h->accepted_ns ? (now_ns - h->accepted_ns) / 1000 : 0;
}

void service_account_end(const struct service *s, const struct handoff *h)
{
	struct account_fact fact;

	if (h->end == HANDOFF_GIVEN_UP)
		return; /* it never started */
	probe_release(s->name, h->id, reasons[h->end]);
	if (!account_wants(s->account, ACCOUNT_END))
		return;
	fact = fact_of(h, ACCOUNT_END);
	fact.reason = reasons[h->end];
	fact.duration_usec = duration_usec(h);
	account_write(s->account, &fact);
}

void service_account_parked(const struct service *s, const struct handoff *h)
{
	struct account_fact fact;

	if (!account_wants(s->account, ACCOUNT_PARKED))
		return;
	fact = fact_of(h, ACCOUNT_PARKED);
	account_write(s->account, &fact);
}

void service_account_refused(const struct service *s, uint32_t listener,
	const struct wire_address *peer, const char *reason)
{
	char text[ADDRESS_TEXT_MAX];
	struct account_fact fact = {.event = ACCOUNT_REFUSED, .peer = peer, .reason = reason};

	probe_refuse(s->name, listener, reason);
	if (!account_wants(s->account, ACCOUNT_REFUSED))
		return;
	fact.listener = format_listener(s, listener, text);
	account_write(s->account, &fact);
}

void service_on_reset(struct listener *l, const struct wire_address *peer, void *userdata)
{
	service_account_refused(userdata, listener_index(l), peer, "unavailable");
}
