/* SPDX-License-Identifier: MIT */
/*
 * Owning a descriptor, visibly.
 *
 * A descriptor has one owner: a local marked _cleanup_close_ or a field of one struct. Ownership
 * moves by take_fd() and nothing else. -EBADF means "none". This header is private to the tree.
 */
#pragma once

#include <errno.h>
#include <unistd.h>

/*
 * Close `fd` if there is one. Returns -EBADF, so that `fd = close_fd(fd)` forgets it. errno is
 * kept.
 */
static inline int close_fd(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
	return -EBADF;
}

/* Give the descriptor in *fd away: returns it and leaves -EBADF behind. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

static inline void close_fd_cleanup(int *fd)
{
	close_fd(*fd);
}

/* The variable owns its descriptor: closed when the scope ends, unless taken. */
#define _cleanup_close_ __attribute__((cleanup(close_fd_cleanup)))
