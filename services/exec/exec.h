/* SPDX-License-Identifier: MIT */
/*
 * usher-exec as a whole: which services there are, what the configuration says of them, signals,
 * the start and the end.
 *
 * Invariant: what runs is what the last configuration says that could be read; one that cannot
 * changes nothing.
 */
#pragma once

#include "child.h"

#include <stddef.h>

/* How long, after SIGTERM, connections that usherd has sent may still come. */
#define EXEC_STOP_USEC (5 * UINT64_C(1000000))

struct exec_setting {
	const char *usherd;	  /* the program that knows the configuration */
	const char *config;	  /* its -c; NULL: its default */
	const char *run_dir;	  /* NULL: the one of the configuration */
	char **services;	  /* only these; NULL at the end; none: all that have a program */
	struct child_limit limit; /* of descriptors, for programs: as it was before it was raised */
	rlim_t n_fds;		  /* how many descriptors there may be now */
	size_t n_threads;	  /* that start programs */
	rlim_t n_processes;	  /* the same of processes */
};

/* Until a signal ends it. Returns an exit status, after saying what is wrong. */
int exec_run(const struct exec_setting *setting);
