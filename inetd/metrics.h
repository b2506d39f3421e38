/* SPDX-License-Identifier: MIT */
/*
 * The state of usherd for Prometheus: its text exposition format, version 0.0.4, as "Exposition
 * formats" of its documentation describes it. usher-metrics(8) says what each family means.
 *
 * How many lines there are follows from the configuration alone: labels say services, states and
 * reasons, never clients or providers.
 *
 * Reads everything, changes nothing. No input or output.
 */
#pragma once

#include "status.h"
#include <stddef.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4"

/* Returns the text (from malloc), ASCII without a NUL, and its bytes in *ret_size; NULL: out of
 * memory. */
char *metrics_text(const struct status_source *source, size_t *ret_size);
