/* SPDX-License-Identifier: MIT */
/*
 * One connection on its way to a receiver that has never heard of usher: a process that has bound
 * an AF_UNIX socket and takes a message with a descriptor from it.
 *
 * It sends the message, and finds out whether it was read. Which connection, whether there is
 * anybody to try next and what the client meets meanwhile is not its business.
 *
 * A stream or SOCK_SEQPACKET receiver is connected to anew for each connection, and so can be asked
 * what became of it: the kernel says ECONNRESET if it was closed with the message unread (unix(7)).
 * Of a datagram one can only be told that its queue does not have the message any more, and whether
 * it is still bound.
 *
 * Invariant: nothing here waits, whatever the receiver does.
 */
#pragma once

#include "config.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

/* Room for pass_format_attributes(). */
#define PASS_MAX_ATTRIBUTES 256

struct pass;

enum pass_end {
	PASS_TAKEN,  /* the message was read: the connection is the receiver's */
	PASS_UNREAD, /* the receiver is gone, and has not read it (all of it, of a stream) */
};

/* Not called from within a function of this room. The pass is the callee's to free. */
typedef void (*pass_on_end)(struct pass *pass, enum pass_end end, void *userdata);

/* Is this error of pass_connect() or pass_new() one that will be over soon: a receiver that has no
 * room just now, or a lack of descriptors or memory? */
bool pass_is_full(int error);

/*
 * Connect to the receiver, and send nothing. Returns a descriptor, the caller's; or a negative
 * errno: pass_is_full(); -ENOENT, -ECONNREFUSED (nobody has bound the path); -EACCES; -EPROTOTYPE
 * (it is bound with another type) ...
 */
int pass_connect(const struct config_pass *receiver);

/*
 * Send `fd` to the receiver, with one byte, and the attributes if it wants them: over `channel_fd`
 * of pass_connect(), or a new one (-EBADF). `fd` stays the caller's, and is to be kept until
 * on_end. `peer` is the client.
 *
 * Takes `channel_fd`, also on failure. Returns 0 with *ret (free with pass_free()), the errors of
 * pass_connect(), or another negative errno: nothing was sent then.
 */
int pass_new(struct pass **ret, sd_event *event, const struct config_pass *receiver, int channel_fd,
	int fd, const struct wire_address *peer, pass_on_end on_end, void *userdata);

/* Go on with one that an earlier usherd has sent over `channel_fd`, which is taken as above. */
int pass_adopt(
	struct pass **ret, sd_event *event, int channel_fd, pass_on_end on_end, void *userdata);

/* The channel, which stays the pass's. */
int pass_fd(const struct pass *pass);

/* What was sent stays in the receiver's queue. NULL is allowed. Returns NULL. */
struct pass *pass_free(struct pass *pass);

/*
 * What Postfix's "pass" services read behind the descriptor: the addresses of both ends of the
 * connection as an attribute list, each name and value with a NUL at its end, and a NUL at the end
 * of all. Only the last one if an end is not of AF_INET or AF_INET6. Returns how many bytes.
 */
size_t pass_format_attributes(const struct wire_address *peer, const struct wire_address *local,
	char ret[static PASS_MAX_ATTRIBUTES]);
