/* SPDX-License-Identifier: MIT */
/*
 * `usherctl top` on a terminal: keys, and when to ask usherd next. How it looks is top-view.h's.
 *
 * A build without ncurses has top-screen-none.c instead.
 */
#pragma once

#include "top-sample.h"

/* Show `sample` until the user has seen enough. Returns the exit status; errors were reported, and
 * the terminal is as it was. */
int top_screen_run(struct top_sample *sample);
