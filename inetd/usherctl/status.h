/* SPDX-License-Identifier: MIT */
/*
 * What `usherctl status` prints: the status object of usherd (usherctl(8), JSON) as a table.
 *
 * A pure reader of that object: members that are missing show as "-" or 0.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* Print `status` to stdout. */
void status_print(const json_t *status, bool has_colours);
