/* SPDX-License-Identifier: MIT */
/*
 * A provider from the inside: for the provider*.c files alone.
 *
 * provider.c reads the channel and knows when it is over, provider-messages.c what each message
 * means, provider-outbox.c sends, provider-restore.c goes on with what an earlier usherd had.
 */
#pragma once

#include "fdpass.h"
#include "provider.h"

/* CLOCK_MONOTONIC of this turn, µs. */
uint64_t provider_now(const struct provider *p);

bool provider_is_quarantined(const struct provider *p);

/* The end of the channel, for whatever reason. Frees `p` by way of its owner. */
void provider_gone(struct provider *p);

/*
 * The provider broke the protocol: it gets nothing more and is told so by the end of our side. It
 * stays until its own end is closed if connections are on their way to it (see provider.h). Returns
 * false if `p` is gone.
 */
bool provider_quarantine(struct provider *p, const char *why);

/*
 * Do what a message says. Descriptors that it needs are taken out of *received. Returns false if
 * there is nothing more to read in this turn: `p` may be gone.
 */
bool provider_handle(
	struct provider *p, const union wire_message *message, struct fdpass_received *received);

/* Watch the channel for what the provider's state asks for. */
void provider_watch(struct provider *p);

/* Read again, if no descriptor was free for a while. */
void provider_resume_reading(struct provider *p);

/* Nothing can be sent now, for `error`: EPOLLOUT ends a full channel, for all else time must do. */
void provider_wait_for_room(struct provider *p, int error);

/* There may be room again: in the channel, and for descriptors. */
void provider_unblock(struct provider *p);

/* provider_unblock() after a while. Returns 0 or a negative errno of sd-event. */
int provider_retry_later(struct provider *p);
