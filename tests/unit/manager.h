/* SPDX-License-Identifier: MIT */
/*
 * A service manager for tests: it has the socket that NOTIFY_SOCKET names, and reads it when the
 * test says. It keeps nothing.
 */
#pragma once

#include <stddef.h>
#include <sys/un.h>

struct manager {
	char folder[64];
	struct sockaddr_un address;
	int fd;
};

void manager_start(struct manager *m);
void manager_end(struct manager *m);

/* Wait for the next message, which has no descriptor. Returns its text, good until the next call.
 */
const char *manager_next(struct manager *m);

/* The same for one that has a descriptor: *ret_fd is the caller's. */
const char *manager_next_with_fd(struct manager *m, int *ret_fd);

/* Nothing more can be sent to it. Returns how many messages it has to read first. */
size_t manager_stall(struct manager *m);

/* Read those `n`. */
void manager_recover(struct manager *m, size_t n);
