/* SPDX-License-Identifier: MIT */
/*
 * Threads that make processes: child_spawn() waits until a program is executed, which takes longer
 * than all else here, so it is done on all processors at once and not in the event loop.
 *
 * Invariant: a job that was submitted is done exactly once, in the loop, whatever becomes of it.
 */
#pragma once

#include "child.h"

#include <stddef.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

/* Most threads: beyond it the kernel's locks are what is waited for. */
#define SPAWNER_MAX_THREADS 8

/* After this a child that is not its program yet is killed: its user may have stopped it. */
#define SPAWNER_MAX_MS 5000

struct spawn_job {
	STAILQ_ENTRY(spawn_job) link;

	/* What is to be done: the submitter's, who leaves it alone until it is done. */
	struct child_plan plan;
	void (*on_done)(struct spawn_job *job, void *userdata);
	void *userdata;

	/* What has come of it, see child_spawn(). */
	int error; /* 0 or a negative errno */
	enum child_step step;
	pid_t pid;
	int pidfd;
};

struct spawner;

/*
 * Make `n_threads` (at least 1; no more than SPAWNER_MAX_THREADS are made). Returns 0, or the
 * negative errno of pthread_create(3), mmap(2) or eventfd(2) if there is not a single one.
 */
int spawner_new(struct spawner **ret, sd_event *event, size_t n_threads);

/* Let `job` be done. Never waits; on_done is called from the loop. */
void spawner_submit(struct spawner *spawner, struct spawn_job *job);

/* Waits until all jobs are done, and calls their on_done. NULL is allowed. Returns NULL. */
struct spawner *spawner_free(struct spawner *spawner);
