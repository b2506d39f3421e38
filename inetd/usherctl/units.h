/* SPDX-License-Identifier: MIT */
/*
 * The systemd units of providers. usherd knows processes by their numbers alone: its sandbox may
 * hide those of other users (systemd.exec(5), ProtectProc=), and who asks is outside of it.
 */
#pragma once

#include <jansson.h>

/*
 * Add a "unit" to each provider of `status`, the status object of usherd, that has none: the unit
 * that its process belongs to, or null. It is only for people: a pid may be another's by now.
 */
void units_add(json_t *status);
