/* SPDX-License-Identifier: MIT */
/*
 * What a service counts, as the text that `usherctl status` shows: told to usherd when it has
 * changed, once in TALLY_MS at most, and not at all while nothing happens.
 */
#pragma once

#include "enrolment.h"
#include "loop.h"

#include <stdbool.h>
#include <stddef.h>

#define TALLY_MS   1000
#define TALLY_SIZE 256

struct tally;

/* Write the counters as a text. Returns true while they may change without tally_touch(). */
typedef bool tally_format(struct tally *t, char *text, size_t size);

struct tally {
	struct timer timer;
	struct enrolment *enrolment;
	tally_format *format;
	char told[TALLY_SIZE];
};

/* The enrolment is borrowed. tally_done() in the end. */
void tally_init(struct tally *t, struct enrolment *enrolment, tally_format *format);

/* Something is to be counted. */
void tally_touch(struct tally *t);

void tally_done(struct tally *t);
