/* SPDX-License-Identifier: MIT */
/*
 * The life of a service program: it begins, serves its enrolments until they are over or a signal
 * comes, lets open connections finish for a while, and ends.
 *
 * Invariant: once a signal has come, every enrolment is drained, and the program ends
 * PROGRAM_STOP_MS later at the latest.
 */
#pragma once

#include "enrolment.h"
#include "loop.h"

#include <stdint.h>

/* How long open connections may go on after the first SIGTERM or SIGINT. */
#define PROGRAM_STOP_MS 5000

struct program {
	struct loop loop;
	struct watch signal_watch;
	struct timer stop_timer; /* due: open connections are closed */
	int signal_fd;
	TAILQ_HEAD(, enrolment) enrolments;
};

/*
 * The loop is there, root was told that it need not be root, SIGPIPE is ignored, and SIGTERM and
 * SIGINT are waited for in the loop. program_end() in any case. Returns 0, or an exit status after
 * telling what is wrong.
 */
int program_begin(struct program *p);

/*
 * Register as by enrolment_init(); enrolment and name are borrowed, until program_end(). Returns 0,
 * or an exit status after telling what is wrong.
 */
int program_enrol(struct program *p, struct enrolment *e, const char *name, uint32_t credit,
	enrolment_on_connection *on_connection, enrolment_on_lent *on_lent);

/*
 * Say that the program is ready (process.h), and serve until all enrolments are finished, or the
 * time after a signal is over, or at once after a second one. Returns 0 or an exit status. What is
 * open still is the caller's to close.
 */
int program_run(struct program *p);

/* Leave. All connections must be closed. */
void program_end(struct program *p);
