/* SPDX-License-Identifier: MIT */
/* A build without ncurses: see top-screen.h. */
#include "top-screen.h"

#include <stdio.h>
#include <sysexits.h>

int top_screen_run(struct top_sample *sample)
{
	(void)sample;
	fprintf(stderr, "usherctl: this usherctl was built without ncurses, and has no screen for "
			"top; 'usherctl --json top' prints the same as lines of JSON\n");
	return EX_UNAVAILABLE;
}
