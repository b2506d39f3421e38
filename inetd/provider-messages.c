/* SPDX-License-Identifier: MIT */
/*
 * What each message of a provider means: see provider.h.
 *
 * Who broke the protocol is quarantined; of who is in quarantine only the claims count.
 */
#include "provider-private.h"

#include "fd.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void handle_hello(struct provider *p, const struct wire_hello *hello)
{
	char reason[WIRE_REASON_SIZE];

	wire_set_text(p->name, sizeof(p->name), hello->name);
	if (hello->version_lowest > WIRE_VERSION || hello->version_highest < WIRE_VERSION) {
		snprintf(reason, sizeof(reason),
			"this usherd speaks version %d of the protocol, the provider %u to %u",
			WIRE_VERSION, hello->version_lowest, hello->version_highest);
		provider_refuse(p, EPROTONOSUPPORT, reason);
	} else {
		p->events->on_hello(p, hello, p->userdata);
	}
}

static int handle_claim(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	(void)received;
	return dispatch_claimed(p->dispatch, p->record, message->claim.sequence, provider_now(p));
}

static int handle_release(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	return dispatch_released(p->dispatch, p->record, message->release.ids,
		wire_n_records(message, received->size), provider_now(p));
}

static int handle_credit(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	(void)received;
	return dispatch_credited(p->dispatch, p->record, message->credit.sequence,
		message->credit.credit, provider_now(p));
}

static int handle_decline(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	(void)received;
	return dispatch_declined(p->dispatch, p->record, message->decline.first,
		message->decline.last, provider_now(p));
}

static bool is_handed_back(const struct provider *p, const struct wire_forward *forward)
{
	return forward->service[0] == '\0' || strcmp(forward->service, p->service) == 0;
}

static int handle_forward(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	const struct wire_forward *forward = &message->forward;
	struct handoff h;
	int r = is_handed_back(p, forward)
			? dispatch_handed_back(p->dispatch, p->record, forward->id, &h)
			: dispatch_forwarded(
				  p->dispatch, p->record, forward->id, &h, provider_now(p));

	if (r < 0)
		return r;
	h.fd = received->n_fds > 0 ? take_fd(&received->fds[--received->n_fds]) : -EBADF;
	p->events->on_forward(p, forward, wire_n_records(message, received->size), &h, p->userdata);
	return 0;
}

static int handle_status(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	(void)received;
	wire_set_text(p->status, sizeof(p->status), message->status.text);
	return 0;
}

static int handle_drain(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	(void)message, (void)received;
	provider_drain(p, WIRE_DRAINING_ASKED);
	return 0;
}

/* What each message of a registered provider does; 0 or -EPROTO. */
static int (*const handlers[])(
	struct provider *p, const union wire_message *message, struct fdpass_received *received) = {
	[WIRE_CLAIM] = handle_claim,
	[WIRE_RELEASE] = handle_release,
	[WIRE_CREDIT] = handle_credit,
	[WIRE_DECLINE] = handle_decline,
	[WIRE_FORWARD] = handle_forward,
	[WIRE_STATUS] = handle_status,
	[WIRE_DRAIN] = handle_drain,
};

/* Returns false if `p` is gone. */
static bool handle_registered(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	uint16_t type = message->header.type;
	int r = handlers[type](p, message, received);

	p->events->on_change(p->userdata);
	if (r < 0) {
		char why[64];

		snprintf(why, sizeof(why), "%s of what is not its own", wire_type_name(type));
		return provider_quarantine(p, why);
	}
	return true;
}

/* Of a quarantined provider the claims say which connections nobody else may get. */
static void handle_quarantined(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	if (message->header.type == WIRE_CLAIM && handle_claim(p, message, received) >= 0)
		p->events->on_change(p->userdata);
}

/* What is wrong with a message; NULL if nothing is. */
static const char *find_fault(const struct provider *p, const union wire_message *message,
	const struct fdpass_received *received)
{
	uint16_t type = message->header.type;
	/* One that did not arrive counts: it was sent. */
	size_t n_fds = received->n_fds + (received->is_fds_truncated ? 1 : 0);
	const char *why;

	if (received->is_data_truncated)
		return "a message that is too long";
	if (wire_check(message, received->size, n_fds, WIRE_FROM_PROVIDER, &why) < 0)
		return why;
	if (!p->record && type != WIRE_HELLO)
		return "its first message is not HELLO";
	if (p->record && type == WIRE_HELLO)
		return "HELLO was said before";
	if (type == WIRE_FORWARD && !p->may_forward)
		return "FORWARD, which WELCOME did not allow";
	return NULL;
}

bool provider_handle(
	struct provider *p, const union wire_message *message, struct fdpass_received *received)
{
	const char *why = find_fault(p, message, received);

	if (provider_is_quarantined(p)) {
		if (!why)
			handle_quarantined(p, message, received);
		return true;
	}
	if (why)
		return provider_quarantine(p, why);
	if (p->record)
		return handle_registered(p, message, received);
	handle_hello(p, &message->hello);
	return false; /* welcome or not, the next turn knows */
}
