/* SPDX-License-Identifier: MIT */
/*
 * One direction of a relay: from one socket to another through a pipe, without a byte passing
 * through this process (splice(2)).
 *
 * A flow has a pipe only while something is in it, so who is silent costs two descriptors. More is
 * read only when the pipe is empty, so a slow reader holds what a pipe holds, 64 KiB.
 *
 * Invariant: what was taken from the one socket is given to the other, in order, or the flow fails.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pipes kept for the next. */
#define FLOW_SPARE_PIPES 32

struct flow {
	int pipe_fds[2]; /* -1: none */
	size_t n_in_pipe;
	uint64_t n_bytes; /* given to the receiver */
	bool is_ended;	  /* the sender has said its last */
	bool is_over;	  /* and the receiver was told */
};

void flow_init(struct flow *f);
void flow_done(struct flow *f);

/* Is there to be read from the sender, or written to the receiver? One of them, or none: over. */
bool flow_wants_input(const struct flow *f);
bool flow_wants_output(const struct flow *f);

/*
 * Move once what one of them has and the other one takes, without waiting; after the last byte of
 * the sender, end the receiver's half. Both must be non-blocking. Returns 0, or the error of
 * splice(2), shutdown(2) or pipe2(2).
 */
int flow_step(struct flow *f, int from_fd, int to_fd);

/* Close the spare pipes, in the end. */
void flow_close_spare(void);
