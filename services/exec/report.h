/* SPDX-License-Identifier: MIT */
/*
 * What an administrator should know, as lines on standard error.
 *
 * Invariant: a reader that has stalled stops nobody: then the line is lost.
 */
#pragma once

#include <stdint.h>

#define REPORT_SIZE 512

/* The same words again within this time belong to one episode, and are said once. */
#define REPORT_EPISODE_USEC (60 * UINT64_C(1000000))

/* What was said last, and when. Zero-initialise. */
struct episode {
	char said[REPORT_SIZE];
	uint64_t said_at_usec;
};

/* CLOCK_MONOTONIC, µs: all times in this program are. */
uint64_t monotonic_usec(void);

/* Print "usher-exec: SERVICE: words"; `service` NULL: it is about none. */
void report(const char *service, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, unless `episode` has said so last, less than an episode ago. */
void report_once(struct episode *episode, const char *service, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
