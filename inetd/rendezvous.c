/* SPDX-License-Identifier: MIT */
/* The socket at which processes register: see rendezvous.h. */
#include "rendezvous.h"

#include "acceptor.h"
#include "closer.h"
#include "fd.h"
#include "unixsocket.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD /* Linux 6.5; Debian 12's headers are older */
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS /* Linux 6.16 */
#define SO_PASSRIGHTS 83
#endif

#define BACKLOG 128
#define BUDGET	8 /* channels accepted in one turn */

struct rendezvous {
	const char *service;
	int fd;
	uint32_t number; /* in the service manager's store */
	char *path;
	bool passes_descriptors;
	struct unixsocket_file file;
	struct acceptor *acceptor;
	rendezvous_on_peer on_peer;
	void *userdata;
};

static mode_t mode_of(const struct rendezvous_access *access)
{
	return access->is_open_to_others ? 0666 : 0600;
}

/*
 * Where the kernel can, let it refuse descriptors to who sends them. Channels inherit this from the
 * listening socket, so that nothing can be sent before they are accepted.
 */
static void set_passes_descriptors(int fd, bool passes)
{
	const int value = passes;

	(void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &value, sizeof(value));
}

static void on_connections(void *userdata)
{
	struct rendezvous *r = userdata;

	for (int i = 0; i < BUDGET; i++) {
		_cleanup_close_ int fd = -EBADF;
		struct sockaddr_storage unused;
		struct rendezvous_peer peer;

		if (acceptor_accept(r->acceptor, &fd, &unused) < 0)
			return;
		if (peer_read(&peer.process, fd) < 0)
			continue; /* nobody known: closed */
		/* It connected before a reload, perhaps. */
		set_passes_descriptors(fd, r->passes_descriptors);
		peer.passes_descriptors = r->passes_descriptors;
		r->on_peer(take_fd(&fd), &peer, r->userdata);
		peer_done(&peer.process);
	}
}

/* Returns 0 with the socket in r->fd, or a negative errno. */
static int open_socket(struct rendezvous *r, const struct rendezvous_access *access,
	const struct inherited *inherited)
{
	int error;

	if (inherited) {
		r->fd = inherited->fd;
		r->number = inherited->number;
	} else {
		error = unixsocket_listen(
			r->path, SOCK_SEQPACKET, mode_of(access), BACKLOG, &r->fd);
		if (error < 0)
			return error;
	}
	r->file = unixsocket_identify(r->path);
	return rendezvous_set_access(r, access);
}

int rendezvous_new(struct rendezvous **ret, sd_event *event, const char *service, const char *path,
	const struct rendezvous_access *access, const struct inherited *inherited,
	rendezvous_on_peer on_peer, void *userdata)
{
	_cleanup_close_ int inherited_fd = inherited ? inherited->fd : -EBADF;
	struct rendezvous *r = calloc(1, sizeof(*r));
	int error = -ENOMEM;

	if (!r)
		return -ENOMEM;
	*r = (struct rendezvous){
		.service = service,
		.fd = -EBADF,
		.path = strdup(path),
		.on_peer = on_peer,
		.userdata = userdata,
	};
	if (r->path) {
		(void)take_fd(&inherited_fd);
		error = open_socket(r, access, inherited);
	}
	if (error >= 0)
		error = acceptor_new(&r->acceptor, event, r->fd, on_connections, r);
	if (error >= 0)
		error = acceptor_set_paused(r->acceptor, false);
	if (error < 0) {
		rendezvous_free(r);
		return error;
	}
	*ret = r;
	return 0;
}

struct rendezvous *rendezvous_free(struct rendezvous *r)
{
	if (!r)
		return NULL;
	acceptor_free(r->acceptor);
	if (!fdstore_remove(FDSTORE_RENDEZVOUS, r->service, r->number) && r->path)
		unixsocket_unlink(r->path, &r->file);
	closer_close(r->fd); /* and with it what processes in its backlog have sent */
	free(r->path);
	free(r);
	return NULL;
}

void rendezvous_store(struct rendezvous *r)
{
	if (r->number == 0)
		r->number = fdstore_add(FDSTORE_RENDEZVOUS, r->service, r->fd);
}

int rendezvous_set_access(struct rendezvous *r, const struct rendezvous_access *access)
{
	r->passes_descriptors = access->passes_descriptors;
	set_passes_descriptors(r->fd, access->passes_descriptors);
	return chmod(r->path, mode_of(access)) < 0 ? -errno : 0;
}

void rendezvous_pass_descriptors(int channel_fd)
{
	set_passes_descriptors(channel_fd, true);
}

int rendezvous_open_process(int channel_fd, pid_t pid)
{
	int fd = -EBADF;
	socklen_t size = sizeof(fd);

	if (getsockopt(channel_fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) < 0)
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : fd;
}

const char *rendezvous_path(const struct rendezvous *r)
{
	return r->path;
}

int rendezvous_fd(const struct rendezvous *r)
{
	return r->fd;
}

uint32_t rendezvous_store_number(const struct rendezvous *r)
{
	return r->number;
}

bool rendezvous_allows(const struct config_providers *providers, const struct rendezvous_peer *peer)
{
	return peer_is_own(&peer->process) || peer_is_among(&peer->process, &providers->accounts);
}
