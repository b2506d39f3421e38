/* SPDX-License-Identifier: MIT */
/*
 * hold: processes that are stopped while connections queue up before them, and continued together.
 * However this process ends, but by SIGKILL, none of them stays stopped.
 */
#ifndef HOLD_H
#define HOLD_H

#include <sys/types.h>

#define HOLD_MAX 256

/* Stop `pid` until hold_continue(), at most HOLD_MAX at once, and wait until all of its threads
 * stand still. Returns 0, -ETIMEDOUT (some still run after 10 seconds), or the error of kill(2). */
int hold_stop(pid_t pid);

/* Continue all that were stopped. */
void hold_continue(void);

#endif
