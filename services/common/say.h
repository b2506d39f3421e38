/* SPDX-License-Identifier: MIT */
/*
 * What a service tells the administrator: lines "PROGRAM: WORDS" on standard error, or in syslog.
 *
 * Invariant: a reader of standard error that has stalled stops nobody. Then the line is lost.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Longest line; what is beyond it is cut off. */
#define SAY_SIZE 512

/* Said once: a line that was said already, and when. Zero-initialise. */
struct said {
	char words[SAY_SIZE];
	int64_t at_ms;
};

/* The name at the beginning of each line: a string that lives as long as the program. */
void say_as(const char *program);

/* From now on to syslog(3), facility daemon: where standard error is the client's. */
void say_to_syslog(void);

/* One line. Control characters in it become '?'. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * The same, but a line that repeats the last one is not said: as long as it comes at least once in
 * a minute it is one episode.
 */
void say_once(struct said *said, const char *format, ...) __attribute__((format(printf, 2, 3)));
