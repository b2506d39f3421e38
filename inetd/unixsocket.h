/* SPDX-License-Identifier: MIT */
/*
 * Binding an AF_UNIX socket to a path: with the exact mode, and without taking over one that lives.
 *
 * Used for every path that usherd owns: rendezvous, the control socket, and unix: listeners.
 */
#pragma once

#include <sys/types.h>

/*
 * Bind and listen on `path` (type SOCK_STREAM or SOCK_SEQPACKET, non-blocking, close-on-exec) with
 * `mode`, whatever the umask, from the first moment: not for use beside threads that make files.
 * What an earlier process left there is removed, but only a socket on which nobody listens.
 *
 * Returns 0 with the descriptor in *ret_fd, the caller's; -EADDRINUSE (somebody listens there, or
 * it is not a socket), -ENAMETOOLONG (does not fit sun_path), or the error of socket(2), bind(2),
 * listen(2).
 */
int unixsocket_listen(const char *path, int type, mode_t mode, int backlog, int *ret_fd);
