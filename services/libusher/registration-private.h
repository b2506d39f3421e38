/* SPDX-License-Identifier: MIT */
/*
 * Between registration.c, which knows when to do what, and registration-messages.c, which knows
 * what usherd says.
 */
#pragma once

#include "registration.h"
#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC. */
uint64_t registration_now_ns(void);

struct timespec registration_timespec(uint64_t ns);

/* Keep a sentence for usher_error(). */
void registration_explain(struct usher *u, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * End the channel, and connect again after a pause, unless the end was wanted. The pause doubles
 * until a channel holds; it is the longest at once after registration_leave_for_long().
 * registration_leave_soon() waits so long for usherd to end the channel first.
 */
void registration_leave(struct usher *u);
void registration_leave_for_long(struct usher *u);
void registration_leave_soon(struct usher *u);

/* Ask for no more connections for a while: none of those in hand fits just now. */
void registration_restore_later(struct usher *u);

/* Receive and handle one message. Returns as registration_step(). */
int registration_receive(struct usher *u);
