/* SPDX-License-Identifier: MIT */
/*
 * A program that runs, from its start to its end.
 *
 * Knows nothing of registrations. Invariant: a run has a child that nobody has waited for yet.
 */
#pragma once

#include "command.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

struct run;
TAILQ_HEAD(run_list, run);

struct run {
	TAILQ_ENTRY(run) link; /* the owner's */
	struct command *command;
	void (*on_ended)(struct run *run, bool is_success, void *userdata);
	void *userdata;
	uint64_t id; /* the owner's: of the connection */
	pid_t pid;
	int pidfd;
	sd_event_source *io;
	int64_t started_ms; /* monotonic_ms() */
};

/*
 * Run `program` on the socket `fd`, which stays the caller's, with the variables of the connection
 * (environment_make(); none: NULL) in its environment. `from` is the client, for the log. When it
 * has ended, on_ended is called, once, with whether it exited with 0; it has to call run_free().
 *
 * Returns 0, or a negative errno with *ret_step where it failed, after which nothing runs.
 */
int run_new(struct run **ret, sd_event *event, struct command *command, int fd,
	char *const *variables, const char *from, enum child_step *ret_step);

/* Who is told of the end. Must be called before the loop turns again. */
void run_set_callback(struct run *run,
	void (*on_ended)(struct run *run, bool is_success, void *userdata), void *userdata);

/* Forget it: a child that still runs is left alone. Returns NULL. */
struct run *run_free(struct run *run);
