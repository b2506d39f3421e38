/* SPDX-License-Identifier: MIT */
/*
 * The variables that usherd was started with: who starts it by hand has many that mean nothing
 * here, and some that are nobody's business.
 *
 * Invariant: what is kept is in usherd(8), and nothing else reaches a library, the program of an
 * upgrade, or who reads our memory.
 */
#pragma once

/* Remove all variables but the ones above, and write zeros over them, so that /proc/PID/environ has
 * them no more (proc(5)). To be called before anybody else has the environment: setenv(3). */
void environment_clear(void);
