/* SPDX-License-Identifier: MIT */
/*
 * As whom a program runs: from the names of the configuration to ids and a list of groups.
 *
 * Asks the databases of users and groups, which may take its time: so it is done when programs are
 * read, never for a connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct identity {
	bool is_changed; /* false: programs run as this process does; the rest says nothing then */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary ones */
	size_t n_groups;
};

/*
 * Who is meant by `user` and `group`, names or numbers, or NULL: as this process, and the user's
 * own group; `has_groups`: with the user's supplementary groups, too. The identity is to be freed
 * by identity_done().
 *
 * Returns 0, or -EINVAL with a sentence in `why`: there is nobody of that name, or this process may
 * not become somebody else, because it is not root; or -ENOMEM.
 */
int identity_find(struct identity *ret, const char *user, const char *group, bool has_groups,
	char *why, size_t why_size);

/* One that is all zero is allowed. */
void identity_done(struct identity *identity);
