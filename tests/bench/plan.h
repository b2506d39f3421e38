/* SPDX-License-Identifier: MIT */
/*
 * plan: what bench-load has been asked to do, as a value. bench-load.c explains its command line.
 */
#ifndef PLAN_H
#define PLAN_H

#include "answer.h"
#include "hold.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan {
	enum work work;
	bool is_burst;
	uint32_t n_clients;	/* connections that are open at once; in a burst all */
	uint64_t n_connections; /* to make; UINT64_MAX: as many as there is time for */
	uint64_t duration_ns;	/* for which to make new ones; UINT64_MAX: as long as it
				   takes */
	int deadline_ms;
	struct sockaddr_in *endpoints; /* where to connect, in turn */
	size_t n_endpoints;
	pid_t held[HOLD_MAX]; /* processes that a burst is queued up before */
	size_t n_held;
};

/* Read the command line. Does not return if there is a mistake in it: says how it is right, and
 * exits with status 2. */
struct plan plan_read(int argc, char *argv[]);

#endif
