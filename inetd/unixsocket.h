/* SPDX-License-Identifier: MIT */
/*
 * Binding an AF_UNIX socket to a path: with the exact mode, without taking over one that lives, and
 * without removing another's at the end.
 *
 * Used for every path that usherd owns: rendezvous, the control socket, and unix: listeners.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Which file a path was bound to. Zero: none. */
struct unixsocket_file {
	dev_t device;
	ino_t inode;
};

/*
 * Bind to `path` and listen (type SOCK_STREAM or SOCK_SEQPACKET), or only bind (SOCK_DGRAM),
 * non-blocking, close-on-exec, with `mode`, whatever the umask, from the first moment: not for use
 * beside threads that make files.
 * What an earlier process left there is removed, but only a socket that nobody has.
 *
 * Returns 0 with the descriptor in *ret_fd, the caller's; -EADDRINUSE (somebody listens there),
 * -EEXIST (what is there is not a socket), -ENAMETOOLONG (does not fit sun_path), or the error of
 * socket(2), bind(2), listen(2).
 */
int unixsocket_listen(const char *path, int type, mode_t mode, int backlog, int *ret_fd);

/* The file at `path`: to be asked for right after unixsocket_listen(). */
struct unixsocket_file unixsocket_identify(const char *path);

/* Is `path` still `file`, and not what somebody has put in its place? False for a zero `file`. */
bool unixsocket_is_there(const char *path, const struct unixsocket_file *file);

/*
 * Give the socket another mode, if `path` still is `file`. Returns 0, also if it is not or has that
 * mode already; or the negative errno of chmod(2).
 */
int unixsocket_set_mode(const char *path, const struct unixsocket_file *file, mode_t mode);

/*
 * Unlink `path` if it still is `file`, and not what somebody has put in its place. To be called
 * while the socket is open: until then no other file can have its inode.
 */
void unixsocket_unlink(const char *path, const struct unixsocket_file *file);
