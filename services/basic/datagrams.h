/* SPDX-License-Identifier: MIT */
/*
 * The UDP parts: datagram sockets that usherd lends, and answers to what comes in there.
 *
 * Every datagram is answered at once or not at all: nothing is kept, and an answer that the kernel
 * does not take is dropped, as the network drops others. What may be answered is decided in
 * reply.h.
 *
 * Invariant: the descriptors are libusher's, and leave the loop before it closes them.
 */
#pragma once

#include "enrolment.h"
#include "loop.h"
#include "protocol.h"
#include "reply.h"
#include "tally.h"

#include <stdint.h>
#include <sys/queue.h>

/* Datagrams of one socket before everybody else has a turn. */
#define DATAGRAMS_BUDGET 64

TAILQ_HEAD(datagram_sockets, datagram_socket);

/* The sockets of all services, and their ports. */
struct postbox {
	struct datagram_sockets sockets;
	struct reply_ports own;
};

/* Those of one service. */
struct datagrams {
	struct tally tally;
	struct postbox *postbox;
	const struct protocol *protocol;
	uint64_t n_answered, n_ignored, n_dropped;
};

void postbox_init(struct postbox *postbox);

/* After the enrolment. All are borrowed. */
void datagrams_init(struct datagrams *d, struct postbox *postbox, struct enrolment *enrolment,
	const struct protocol *protocol);

/* What is lent to the enrolment has changed: usher_lent() tells. */
void datagrams_on_lent(struct datagrams *d);

/* Before the enrolment is done. */
void datagrams_done(struct datagrams *d);
