/* SPDX-License-Identifier: MIT */
/*
 * The programs of a configuration as JSON, for usher-exec: the format is documented in usherd(8),
 * "Programs".
 *
 * Why they are not asked of a running usherd: usher-exec may be root, and what it runs, as whom,
 * must then come from files that only root can write, read with its own rights, and not from a
 * process that talks with the network. So usher-exec runs `usherd --programs` itself.
 *
 * Pure. Invariant: a service that is disabled or has no program is not shown.
 */
#pragma once

#include "config.h"
#include <jansson.h>

/* A new reference, or NULL when out of memory. */
json_t *programs_json(const struct config *config);
