/* SPDX-License-Identifier: MIT */
/*
 * The process at the other end of a unix socket, and whether a list names its user or its groups.
 *
 * What it may do is decided elsewhere. Invariant: it is known as it was at connect(2), and by uid
 * and gid alone; a pid is for people.
 */
#pragma once

#include "config.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct peer_process {
	pid_t pid; /* may be another process's by now */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary; NULL if there are none */
	size_t n_groups;
};

/*
 * Who is at the other end of the connected socket `fd`: SO_PEERCRED and SO_PEERGROUPS of unix(7).
 * Returns 0 with *ret (peer_done()); the negative errno of getsockopt(2), -ENOMEM, or -E2BIG: more
 * groups than a process can have.
 */
int peer_read(struct peer_process *ret, int fd);

void peer_done(struct peer_process *peer);

/* Is it root, or usherd's own user? */
bool peer_is_own(const struct peer_process *peer);

/* Is its user, its group, or one of its supplementary groups among these? */
bool peer_is_among(const struct peer_process *peer, const struct config_accounts *accounts);
