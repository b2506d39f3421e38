/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows of a connection whose other copy a provider had.
 *
 * Asks, changes nothing. usherd itself never reads a byte of it, so whatever was read or written
 * since accept4(2), or since a provider forwarded it, was a provider's doing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * How much of a TCP connection had been used at some moment. All zero: nothing, as after
 * accept4(2).
 */
struct connection_mark {
	uint64_t n_read;    /* bytes taken out of the receive queue */
	uint64_t n_written; /* bytes given to the kernel to send */
};

/*
 * The use of `fd` so far. All zero for what is no TCP connection, or none any more: of that
 * connection_is_untouched() knows.
 */
struct connection_mark connection_mark(int fd);

/*
 * Has nobody read from or written to this TCP connection since `mark`, and is the client still
 * there? Only to be asked when the provider can do nothing more with its copy. For other sockets
 * the kernel can't say; the answer is then yes.
 */
bool connection_is_untouched(int fd, const struct connection_mark *mark);

/*
 * Is it a connected stream socket, TCP, MPTCP, AF_UNIX or AF_VSOCK, as a provider may forward?
 * Others could be a channel to usherd, or a socket that nobody will ever close.
 */
bool connection_is_stream(int fd);
