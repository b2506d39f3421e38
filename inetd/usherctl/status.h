/* SPDX-License-Identifier: MIT */
/*
 * What `usherctl status` prints: the status object of usherd (usherctl(8), JSON) as a table.
 *
 * A pure reader of that object: members that are missing show as "-" or 0.
 */
#pragma once

#include "table.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Print `status` to stdout. */
void status_print(const json_t *status, bool has_colours);

/* The colour of a state of a service or a provider; COLOUR_NONE for words that are none. */
enum colour status_state_colour(const char *state);

/* "up 3 h 12 min": the two largest units. Returns `text`. */
char *status_uptime(json_int_t seconds, char *text, size_t size);
