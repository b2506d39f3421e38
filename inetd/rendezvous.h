/* SPDX-License-Identifier: MIT */
/*
 * The AF_UNIX socket of a service at which processes register: create, accept, who is there,
 * unlink.
 *
 * Who may register is decided by uid and gid as they were at connect(2) (unix(7), SO_PEERCRED and
 * SO_PEERGROUPS), never by pid, path or /proc. The connected channel is then a capability.
 */
#pragma once

#include "config.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct rendezvous;

/* The process at the other end of a new channel. */
struct rendezvous_peer {
	pid_t pid; /* for people: may be another process's by now */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary, valid during the callback */
	size_t n_groups;
};

/* A process has connected; `fd` is given away. */
typedef void (*rendezvous_on_peer)(int fd, const struct rendezvous_peer *peer, void *userdata);

/*
 * Listen at `path`. `is_open_to_others`: the socket file can be connected to by everybody, and
 * rendezvous_allows() decides; otherwise by root and usherd's own user only.
 *
 * Returns 0 with *ret (free with rendezvous_free()) or the errors of unixsocket_listen().
 */
int rendezvous_new(struct rendezvous **ret, sd_event *event, const char *path,
	bool is_open_to_others, rendezvous_on_peer on_peer, void *userdata);

/* Closes, and unlinks the path if that is still its own. NULL is allowed. Returns NULL. */
struct rendezvous *rendezvous_free(struct rendezvous *r);

/* After a reload: who can connect. Returns 0 or the negative errno of chmod(2). */
int rendezvous_set_open_to_others(struct rendezvous *r, bool is_open_to_others);

/*
 * A descriptor for the process `pid` at the other end of a channel, which is readable when it has
 * ended: by SO_PEERPIDFD, which can't mean another process (Linux 6.5), else by pidfd_open(2).
 * Returns the descriptor, the caller's, or a negative errno where the kernel has neither.
 */
int rendezvous_open_process(int channel_fd, pid_t pid);

const char *rendezvous_path(const struct rendezvous *r);

/* May this process register? Root and usherd's own user always. */
bool rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer);
