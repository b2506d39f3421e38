/* SPDX-License-Identifier: MIT */
/*
 * Messages with descriptors over an AF_UNIX socket: sendmsg(2), recvmsg(2) and recvmmsg(2) with
 * SCM_RIGHTS, and every trap of it (unix(7), cmsg(3)). Knows nothing of what the messages mean:
 * that is wire.h.
 *
 * Invariant: every descriptor the kernel installs is either returned to the caller or closed here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

/*
 * Most descriptors in one message. The kernel allows 253 (SCM_MAX_FD); usher keeps what is in hand
 * small.
 */
#define FDPASS_MAX 16

/* Most descriptors that somebody else can put into a message: SCM_MAX_FD of the kernel. */
#define FDPASS_MAX_RECEIVED 253

/* Most messages that one call receives. */
#define FDPASS_MAX_MESSAGES 16

/*
 * Send one message of `size` bytes (at least 1: an empty one looks like end-of-file to the peer)
 * with `n_fds` descriptors (0 to FDPASS_MAX). Never blocks, never raises SIGPIPE. The descriptors
 * stay the caller's, also on success.
 *
 * Returns 0, or: -EAGAIN (send buffer full) and -ETOOMANYREFS (too many descriptors of this user in
 * flight; both are back-pressure: nothing was sent, try later); -EPIPE, -ECONNRESET, -ENOTCONN (the
 * peer is gone); -EINVAL (a size or number out of range); another negative errno of sendmsg(2).
 */
int fdpass_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds);

/*
 * Send up to `n` messages without descriptors (1 to FDPASS_MAX_MESSAGES) in one system call, so
 * that the peer is woken once for all of them. Returns how many were sent, at least 1, or as
 * fdpass_send() with nothing sent; why there were not more, the next call says.
 */
int fdpass_send_many(int socket_fd, struct iovec *messages, unsigned int n);

struct fdpass_received {
	/* Bytes of the message. 0: end of file, or an empty message, which looks the same. */
	size_t size;

	/* What arrived: the first ones sent, in order, close-on-exec, the caller's to close. */
	size_t n_fds;
	int fds[FDPASS_MAX_RECEIVED];

	/* The message was longer than the room for it. */
	bool is_data_truncated;

	/* Descriptors were sent that did not arrive: there was no room for them, this process is at
	 * its descriptor limit, or a security module refused them. */
	bool is_fds_truncated;
};

/*
 * Receive one message of at most `size` bytes with at most `max_fds` (0 to
 * FDPASS_MAX_RECEIVED) descriptors. Surplus ones are closed by the kernel and only reported; that
 * may block, if the sender made it so with SO_LINGER, and nothing else here does.
 *
 * Returns 0 with *ret filled, or a negative errno of recvmsg(2) with nothing received: -EAGAIN
 * (nothing there), -ECONNRESET (the peer closed with our data unread: what it sent before is still
 * there, so go on reading until size 0 comes), ... -EINTR is retried here.
 */
int fdpass_receive(
	int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret);

/*
 * As fdpass_receive(), for up to `n` messages (1 to FDPASS_MAX_MESSAGES) in one system call. The
 * i-th one goes to ret[i] and the `size` bytes from data + i * size on.
 *
 * Returns how many came, at least 1, or a negative errno with nothing received. Fewer than `n`: no
 * more are there just now, or receiving the next one failed, which the next call says (recvmmsg(2),
 * BUGS). There are always `n` once the file has ended: those behind the last message are empty.
 */
int fdpass_receive_many(int socket_fd, void *data, size_t size, size_t max_fds,
	struct fdpass_received *ret, unsigned int n);

/*
 * As fdpass_receive(), but the message stays where it is, with its descriptors: those in *ret are
 * further copies. At the descriptor limit nothing is lost by this.
 */
int fdpass_peek(
	int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret);

/* Close the descriptors of `received` from index `first` on, and forget them. */
void fdpass_close(struct fdpass_received *received, size_t first);
