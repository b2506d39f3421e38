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
#include "inheritance.h"
#include "peer.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct rendezvous;

/* The process at the other end of a new channel. */
struct rendezvous_peer {
	struct peer_process process; /* its groups are valid during the callback */
	bool passes_descriptors;     /* its messages may carry them */
};

/* What the configuration decides about the socket. */
struct rendezvous_access {
	/* The socket file can be connected to by everybody, and rendezvous_allows() decides;
	 * otherwise by root and usherd's own user only. */
	bool is_open_to_others;
	/* Processes that connect may send descriptors. Otherwise the kernel refuses them, where it
	 * can (SO_PASSRIGHTS, Linux 6.16). */
	bool passes_descriptors;
};

/* A process has connected; `fd` is given away. */
typedef void (*rendezvous_on_peer)(int fd, const struct rendezvous_peer *peer, void *userdata);

/*
 * Listen at `path` for `service`, or go on with a socket that an earlier usherd has left there
 * (`inherited`, NULL: none; its descriptor is taken, also on failure). `service` must live as long.
 *
 * Returns 0 with *ret (free with rendezvous_free()) or the errors of unixsocket_listen().
 */
int rendezvous_new(struct rendezvous **ret, sd_event *event, const char *service, const char *path,
	const struct rendezvous_access *access, const struct inherited *inherited,
	rendezvous_on_peer on_peer, void *userdata);

/*
 * Closes, and unlinks the path if that is still its own, unless the socket goes on living in the
 * service manager's store. NULL is allowed. Returns NULL.
 */
struct rendezvous *rendezvous_free(struct rendezvous *r);

/* Have the service manager keep the socket (fdstore.h); not again if it does already. */
void rendezvous_store(struct rendezvous *r);

/*
 * After a reload: for those who connect from now on. Returns 0 or the negative errno of chmod(2).
 */
int rendezvous_set_access(struct rendezvous *r, const struct rendezvous_access *access);

/* Let descriptors through a channel that was accepted when its messages could not carry them. */
void rendezvous_pass_descriptors(int channel_fd);

/*
 * A descriptor for the process `pid` at the other end of a channel, which is readable when it has
 * ended: by SO_PEERPIDFD, which can't mean another process (Linux 6.5), else by pidfd_open(2).
 * Returns the descriptor, the caller's, or a negative errno where the kernel has neither.
 */
int rendezvous_open_process(int channel_fd, pid_t pid);

const char *rendezvous_path(const struct rendezvous *r);

/* The socket, which stays the rendezvous'; and its number in the service manager's store, 0: it is
 * not there. */
int rendezvous_fd(const struct rendezvous *r);
uint32_t rendezvous_store_number(const struct rendezvous *r);

/* May this process register? Root and usherd's own user always. */
bool rendezvous_allows(
	const struct config_providers *providers, const struct rendezvous_peer *peer);
