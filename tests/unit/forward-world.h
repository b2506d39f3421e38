/* SPDX-License-Identifier: MIT */
/*
 * A service whose providers give connections on.
 *
 * It forwards to itself, as if it was another one, under the name "other" (see service-world.c); it
 * may forward to "none", which does not run.
 */
#pragma once

#include "service-world.h"

/* As begin(); and that the service is open, on a port of its own. */
void begin_forwarding(struct world *w);
void open_forwarding(struct world *w);

const struct dispatch_totals *totals_of(const struct world *w);

/* A provider that has claimed one connection, which is in p->last_fd. */
void serve_one(struct world *w, struct peer *p, const char *letter);

/* Forward p->last_fd to "other", as of a client with this IPv4 address and the port 4711. */
void forward_as_from(struct peer *p, uint64_t id, const char *address);

/* Hear FORWARDED, of this client; and look at the bytes of the message that was heard. */
void expect_forwarded(struct peer *p, const char *letter);
void check_data(const struct peer *p, const char *bytes);
