/* SPDX-License-Identifier: MIT */
/*
 * A libusher that does what a test says, for the tests of services: one registration, whose
 * connections are the test's, and which writes down what becomes of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <usher.h>

/* What a test lets it do, and what was done. */
struct usher {
	int fd;			/* usher_fd(): an eventfd(2), readable when the test writes to it */
	unsigned int n_pending; /* connections to return first, to which nobody speaks */
	int error;		/* of usher_accept() then, once */
	bool is_over;		/* usher_accept() returns -ESHUTDOWN then */
	bool is_registered;
	char error_text[128];

	struct usher_lent lent[8]; /* what usher_lent() tells */
	size_t n_lent;
	unsigned int n_changes; /* how often usher_accept() says that they have changed */

	int forward_error; /* of usher_forward(), until it is 0 */
	int forwarded_fd;  /* a copy of the socket that was forwarded last; the test's */
	char forwarded_to[64];
	char forwarded_data[USHER_MAX_FORWARD];
	size_t forwarded_size;

	char status[256]; /* of usher_set_status() */
	unsigned int n_held, n_closed, n_forwarded, n_forward_tries;
	uint64_t last_closed_id;
	bool is_draining;
};

/* The only one. */
extern struct usher stub;

/* As new; what was forwarded is closed. stub_end() at the end of a test. */
void stub_begin(void);
void stub_end(void);
