/* SPDX-License-Identifier: MIT */
/*
 * usherctl top: the running usherd, looked at again and again.
 *
 * This is what is known at a moment: the last answer of usherd, what follows from it and the one
 * before (top-model.h), and what went wrong since. Who looks at it is a screen (top-screen.h), or a
 * program that reads lines of JSON.
 */
#pragma once

#include "options.h"
#include "top-model.h"

#include <stdint.h>

#define TOP_MIN_INTERVAL_MSEC	  100
#define TOP_MAX_INTERVAL_MSEC	  3600000
#define TOP_DEFAULT_INTERVAL_MSEC 1000

struct top {
	const struct options *options;
	json_t *status; /* the last that there was */
	struct top_model model;
	uint64_t status_usec; /* when it came: CLOCK_MONOTONIC */
	double seconds;	      /* that the rates are over; 0: there are none yet */
	char problem[512];    /* why the last question has no answer; "" if it has one */
};

/* As the commands of commands.h. */
int command_top(const struct options *options, char **arguments);

/*
 * Ask once more. If that fails, `problem` says why and the rest stays. Blocks until there is an
 * answer, for two seconds at most while usherd says nothing.
 */
void top_ask(struct top *top);

/* Milliseconds from one question to the next. */
unsigned int top_interval(const struct top *top);

/* CLOCK_MONOTONIC. */
uint64_t top_now(void);
