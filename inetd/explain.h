/* SPDX-License-Identifier: MIT */
/*
 * Would this client be admitted to this service now, and what decides: usherctl explain as JSON,
 * see usherctl(8), "JSON".
 *
 * It asks the service, and says what it was told in words. Invariant: nothing is changed by it, and
 * nothing is counted.
 */
#pragma once

#include "service.h"
#include <jansson.h>

/*
 * What `client` is: "192.0.2.1", "2001:db8::1" (IPv4-mapped ones too), or "unix", a client of a
 * unix socket. Returns false: it is none of these.
 */
bool explain_parse(const char *client, struct wire_address *ret);

/* What would become of it. A new reference, or NULL when out of memory. */
json_t *explain_json(const struct service *s, const char *client, const struct wire_address *peer,
	uint64_t now_usec);
