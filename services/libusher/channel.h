/* SPDX-License-Identifier: MIT */
/*
 * The channel of a provider: one connection to a rendezvous, from HELLO to the end of the file.
 *
 * Keeps what usherd is still owed, because a channel may be full; decides nothing, waits for
 * nothing, knows no clock. Private to libusher.
 *
 * Invariant: at most one message of each type is owed, and the order in which they are sent is
 * fixed. CREDIT comes first: before DECLINE, so that what is declined is not sent here again, and
 * before RELEASE, so that it need not wait for those. CLAIM comes before the DECLINE of what
 * follows.
 */
#pragma once

#include "fdpass.h"
#include "held.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

/* Bits of channel.owed. */
enum channel_owed {
	CHANNEL_OWES_CREDIT = 1 << 0,
	CHANNEL_OWES_CLAIM = 1 << 1,
	CHANNEL_OWES_DECLINE = 1 << 2,
	CHANNEL_OWES_STATUS = 1 << 3,
	CHANNEL_OWES_DRAIN = 1 << 4,
};

struct channel {
	int fd;		   /* -EBADF: there is none */
	uint32_t number;   /* counts the channels of this registration from 1 */
	bool is_welcome;   /* WELCOME came: only now anything but HELLO may be sent */
	bool is_peer_gone; /* nothing more can be sent; what was sent to us is still to be read */
	bool takes_listeners; /* as HELLO said */
	bool is_blocked;      /* something is to be sent when there is room: channel_flush() then */
	uint64_t sequence;    /* of the last connection received, 0: none yet */
	uint32_t owed;	      /* which of these messages are to be sent, as they are then */

	/* What WELCOME has said. */
	char service[WIRE_NAME_SIZE];
	bool may_forward;

	struct wire_credit credit;
	struct wire_claim claim;
	struct wire_decline decline;
	struct wire_status status; /* kept for the next channel */
	struct wire_drain drain;
};

/* No channel yet, and no status text. */
void channel_init(struct channel *channel);

/*
 * Connect to the rendezvous and say HELLO, when no channel is open. Where usherd has hung up before
 * HELLO the channel is open all the same: REFUSED may be there to be received. Returns 0, or with
 * still none open the negative errno of socket(2), connect(2) or sendmsg(2).
 */
int channel_open(
	struct channel *channel, const struct sockaddr_un *address, const struct wire_hello *hello);

/* Close it and forget what is owed. Closing none is allowed. */
void channel_close(struct channel *channel);

/*
 * Send what is owed, and then the releases in `held`. Nothing is owed any more where there is
 * nobody to send to: what an absent usherd should know is in the next HELLO.
 *
 * Returns 0, or with the rest still owed: -EAGAIN (the channel is full) or another errno of
 * sendmsg(2).
 */
int channel_flush(struct channel *channel, struct held *held);

/*
 * Send FORWARD with `n_bytes` bytes (0 to WIRE_MAX_FORWARDED_BYTES) behind it and the descriptor
 * `fd`, which stays the caller's. What is owed may follow later: connections are claimed before
 * anybody can forward them.
 *
 * Returns 0; -EAGAIN: the channel is full, or too many descriptors of this user are in flight;
 * -ENOTCONN: nobody is there; -EPERM: usherd does not allow it; or another errno of sendmsg(2).
 */
int channel_forward(
	struct channel *channel, const struct wire_forward *message, size_t n_bytes, int fd);

/*
 * Receive one message, checked. Returns 1 with *ret_message and *ret_received filled, whose
 * descriptors are the caller's; 0: usherd has closed the channel and everything was read; -EAGAIN:
 * nothing there; -EPROTO: what came makes no sense (its descriptors are closed) and *ret_why is a
 * static sentence saying why; another negative errno of recvmsg(2).
 */
int channel_receive(struct channel *channel, union wire_message *ret_message,
	struct fdpass_received *ret_received, const char **ret_why);
