/* SPDX-License-Identifier: MIT */
/*
 * The state of usherd for Prometheus: its text exposition format, version 0.0.4, as "Exposition
 * formats" of its documentation describes it. usher-metrics(8) says what each family means.
 *
 * How many lines there are follows from the configuration alone: labels say services, states and
 * reasons, never clients or providers. A service that is ending is in the configuration no more,
 * and another one may have its name already: it has no lines.
 *
 * Reads everything, changes nothing. No input or output.
 */
#pragma once

#include "status.h"
#include "text.h"
#include <stdbool.h>
#include <stddef.h>

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4"

/*
 * After so many bytes there is an end, and others have their turn. It is measured in milliseconds
 * what that takes, and the text of some hundred services.
 */
#define METRICS_PART (512u << 10)

/* Where the text goes on. Zero-initialise. */
struct metrics_cursor {
	size_t family, service;
};

/*
 * Add about METRICS_PART bytes of the text to `text`, ASCII without a NUL. Returns false if that
 * was the end. Between the calls no service may come, or begin to end: a line would be missing, or
 * be there twice.
 */
bool metrics_write(
	struct text *text, struct metrics_cursor *cursor, const struct status_source *source);
