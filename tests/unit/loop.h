/* SPDX-License-Identifier: MIT */
/*
 * A real event loop for tests of usherd's rooms, driven turn by turn: a test never sleeps, it turns
 * the loop until something is so, and a loop that spins or stands still is a failure.
 *
 * Programs that use it wrap log_write() and the timers of sd-event ('loop_wrap' in meson.build):
 * what is logged can be looked at, and time can go faster.
 */
#pragma once

#include "test.h"

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* The loop of the running test. */
extern sd_event *loop;

/*
 * What every delay is divided by; 1 at the beginning of a test. 0: none ends by itself, the test
 * says when.
 */
extern uint64_t loop_hurry;

/* The delay that was asked for last, before the division. */
extern uint64_t loop_last_delay_usec;

/* As check_test(), with a loop, an empty log, and a folder of its own. */
#define check_loop_test(f)		 cmocka_unit_test_setup_teardown(f, loop_test_begin, loop_test_end)
#define check_loop_test_if(condition, f) test_if(condition, f, loop_test_begin, loop_test_end)

int loop_test_begin(void **state);
int loop_test_end(void **state);

/*
 * The path of `name` in the test's folder, which is removed at the end. Good until the fourth call
 * after it.
 */
const char *in_folder(const char *name);

/* Wait for one event and let the loop handle it; fails when none comes for ten seconds. */
void turn(void);

/* Turn the loop until `condition` is true. */
#define turn_until(condition)                                                                      \
	while (!(condition))                                                                       \
	turn()

/* Handle all events that are there or come in a moment. Returns how many turns it took; fails if
 * there is no end. */
unsigned int turn_while_ready(void);

/* How many of the test's log messages contain `text`. */
unsigned int n_logged(const char *text);

/* Turn the loop for so long, divided by loop_hurry as all delays are. For what must not happen. */
void let_pass(uint64_t usec);
