/* SPDX-License-Identifier: MIT */
/*
 * run_dir, the folder of the rendezvous and the control socket: make it, see that nobody else can
 * put sockets into it, and have it alone.
 *
 * The functions act as the user that usherd is going to be (privilege.h), and log what is
 * wrong and what to do; they return 0 or a negative errno.
 */
#pragma once

#include "inheritance.h"

/*
 * Make `path` if there is nothing. What is there is never changed: it is refused unless it is a
 * folder (not a symbolic link) that belongs to us and that nobody else may write to.
 */
int rundir_make(const char *path);

/*
 * Lock `path`, which rundir_make() has seen: without the lock, a second usherd would unlink the
 * sockets of the first. *ret_fd, the caller's, holds the lock while it is open. The lock file
 * stays: removing it would race with the next usherd.
 */
int rundir_lock(const char *path, int *ret_fd);

/*
 * Remove the sockets that a usherd left behind when it was killed: a provider that connects to one
 * would only be told that nobody listens there. Those that are in `inheritance` stay: there,
 * providers wait in the backlog. To be called with the lock.
 */
void rundir_sweep(const char *path, struct inheritance *inheritance);
