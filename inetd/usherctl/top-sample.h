/* SPDX-License-Identifier: MIT */
/*
 * What `usherctl top` knows at a moment: the last answer of usherd, what follows from it and the
 * one before (top-model.h), and what went wrong since. Prints nothing.
 */
#pragma once

#include "options.h"
#include "top-model.h"

#include <stdint.h>

#define TOP_MIN_INTERVAL_MSEC	  100
#define TOP_MAX_INTERVAL_MSEC	  3600000
#define TOP_DEFAULT_INTERVAL_MSEC 1000

struct top_sample {
	const struct options *options;
	json_t *status; /* the last that there was */
	struct top_model model;
	uint64_t status_usec; /* when it came: CLOCK_MONOTONIC */
	double seconds;	      /* that the rates are over; 0: there are none yet */
	char problem[512];    /* why the last question has no answer; "" if it has one */
};

/* `status`, which is taken, is what usherd has answered now. */
void top_sample_take(struct top_sample *sample, json_t *status);

/*
 * Ask once more. If that fails, `problem` says why, fit for a terminal, and the rest stays. Blocks
 * until there is an answer, for two seconds at most while usherd says nothing.
 */
void top_sample_ask(struct top_sample *sample);

void top_sample_done(struct top_sample *sample);

/* Milliseconds from one question to the next. */
unsigned int top_sample_interval(const struct top_sample *sample);

/* CLOCK_MONOTONIC. */
uint64_t top_sample_now(void);
