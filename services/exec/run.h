/* SPDX-License-Identifier: MIT */
/*
 * A program that runs, from its start to its end.
 *
 * Knows nothing of registrations. Invariant: a run that is started has a child that nobody has
 * waited for yet.
 */
#pragma once

#include "command.h"
#include "environment.h"
#include "spawner.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>
#include <usher.h>

struct run;
TAILQ_HEAD(run_list, run);

struct run_events {
	/* It runs (`error` 0), or a negative errno: `step` has failed, nothing runs, and run_free()
	 * has to be called. */
	void (*on_started)(struct run *run, int error, enum child_step step, void *userdata);
	/* It has ended, and run_free() has to be called. */
	void (*on_ended)(struct run *run, bool is_success, void *userdata);
};

struct run {
	TAILQ_ENTRY(run) link; /* the owner's */
	struct command *command;
	sd_event *event;
	const struct run_events *events;
	void *userdata;
	struct launch *launch; /* until it is started */
	pid_t pid;
	int pidfd;
	sd_event_source *io;
	int64_t started_usec; /* CLOCK_MONOTONIC */

	/* The owner's: */
	struct usher_connection connection;
	int64_t since_ms;
};

/* What a connection says about itself, see environment.h. */
struct run_ends {
	struct endpoint remote, local;
};

/*
 * Run `command` on the socket `fd`, which stays the caller's and has to stay open until on_started;
 * with the variables of the connection between these two, if it is one (else NULL), in its
 * environment. All handlers are called from the loop. Returns 0 or -ENOMEM.
 */
int run_new(struct run **ret, sd_event *event, struct spawner *spawner, struct command *command,
	int fd, const struct run_ends *ends, const struct run_events *events, void *userdata);

/* Forget it: a child that still runs is left alone. It must have been started, or have failed to.
 * Returns NULL. */
struct run *run_free(struct run *run);
