/* SPDX-License-Identifier: MIT */
/* The process at the other end: see peer.h. */
#include "peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_GROUPS 65536u /* NGROUPS_MAX of the kernel */

static int read_groups(int fd, gid_t **ret, size_t *ret_n)
{
	gid_t *groups = NULL;
	socklen_t size = 0;

	/* With no room the kernel says how much is needed; the answer cannot change, it is frozen.
	 */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 && errno != ERANGE)
		return -errno;
	if (size > MAX_GROUPS * sizeof(*groups))
		return -E2BIG;
	if (size > 0) {
		groups = malloc(size);
		if (!groups)
			return -ENOMEM;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
			free(groups);
			return -errno;
		}
	}
	*ret = groups;
	*ret_n = size / sizeof(*groups);
	return 0;
}

int peer_read(struct peer_process *ret, int fd)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return -errno;
	*ret = (struct peer_process){
		.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
	return read_groups(fd, &ret->groups, &ret->n_groups);
}

void peer_done(struct peer_process *peer)
{
	free(peer->groups);
}

bool peer_is_own(const struct peer_process *peer)
{
	return peer->uid == 0 || peer->uid == geteuid();
}

static bool has_group(const struct peer_process *peer, gid_t group)
{
	if (peer->gid == group)
		return true;
	for (size_t i = 0; i < peer->n_groups; i++)
		if (peer->groups[i] == group)
			return true;
	return false;
}

bool peer_is_among(const struct peer_process *peer, const struct config_accounts *accounts)
{
	for (size_t i = 0; i < accounts->n_users; i++)
		if (accounts->users[i] == peer->uid)
			return true;
	for (size_t i = 0; i < accounts->n_groups; i++)
		if (has_group(peer, accounts->groups[i]))
			return true;
	return false;
}
