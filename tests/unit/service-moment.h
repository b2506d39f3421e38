/* SPDX-License-Identifier: MIT */
/*
 * A service of service-world.h where time stands still: sd_event_now() says what the test says, and
 * a moment is over when the test ends it. So what happens before end_moment() has not waited for a
 * timer, however slow the machine.
 *
 * Programs that use it wrap sd_event_now() and accept4() ('moment_wrap' in meson.build). Calls of
 * accept4(2) for clients are counted, and can fail.
 */
#pragma once

#include "service-private.h"
#include "service-world.h"

#define MOMENT_USEC 2000 /* as in service-accept.c */

/* Since begin_with(): clients accepted, and calls that found none. */
extern unsigned int n_accepted, n_accepts_in_vain;

/* So many of the next calls fail with EMFILE. */
extern unsigned int n_accept_errors;

/* Make the service on a path, as begin() and open_service(), and let `n` providers join. */
void begin_with(struct world *w, struct peer peers[], size_t n, int32_t how_many);

/* Everybody leaves, and nothing is left to happen. */
void end_with(struct world *w, struct peer peers[], size_t n);

/* A client of the `i`th listener, as client(). */
void client_at(struct world *w, size_t i, char letter);

/* Does something wait for the end of a moment? */
bool is_moment_running(const struct world *w);

/* Time goes on, but no timer notices. */
void advance(uint64_t usec);

/* The moment that runs ends now, whatever happened since it began. */
void ring(struct world *w);

/* The same, a moment after whatever happened last. */
void end_moment(struct world *w);

/* Moments end until nothing waits for one, which must be soon. */
void become_quiet(struct world *w);

/* Hear exactly these, in one message. */
void expect_together(struct peer *p, const char *letters);

/* All clients but `n` were accepted, those are deferred, and it stays so. */
void expect_deferred(const struct world *w, struct peer *p, unsigned int n);
