/* SPDX-License-Identifier: MIT */
/*
 * An usherd that does what a test says, step by step in the test's own thread, and a clock that
 * moves when the test says. For the tests of libusher.
 *
 * Every wait has a deadline; what comes from the library is checked with wire_check(). Programs
 * that use this are linked with the wrapped functions clock_gettime and timerfd_settime.
 */
#pragma once

#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <usher.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS	  UINT64_C(1000000)

struct fake {
	char dir[64];  /* the run_dir, also in $USHER_RUN_DIR */
	char path[96]; /* of the rendezvous of the service "test" */
	int listen_fd;
	int channel_fd;
	uint64_t sequence;	     /* of the last connection given on this channel */
	uint64_t id;		     /* of the last connection given; a test may begin again */
	union wire_message *message; /* the last one received, ... */
	size_t size;		     /* ... its length ... */
	int received_fd;	     /* ... and its descriptor; -EBADF: none */
	uint16_t welcome_flags;	     /* for the next WELCOME */
};

/* The only one. */
extern struct fake fake;

/* Tests with a leak check, an usherd that listens, and the clock stopped or running. */
int fake_begin(void **state);
int fake_begin_running(void **state);
int fake_end(void **state);
#define check_fake(f)	      cmocka_unit_test_setup_teardown(f, fake_begin, fake_end)
#define check_fake_running(f) cmocka_unit_test_setup_teardown(f, fake_begin_running, fake_end)

/* usherd goes away, with its channel and rendezvous; it comes back. */
void fake_stop(void);
void fake_start(void);

/* End only the channel. */
void fake_hang_up(void);

/* After fake_hang_up(): accept a provider and leave its HELLO unread. */
void fake_accept_silently(void);

/* Accept a provider and read its HELLO into fake.message. */
void fake_accept(void);

/* Send a WELCOME with one listener, 127.0.0.1:7. */
void fake_welcome(void);

/* Wait for the next message, whatever it is, and leave it in fake.message. */
void fake_receive(void);

/* The next message must be of this type; it is left in fake.message. */
void fake_expect(enum wire_type type);
void fake_expect_claim(uint64_t sequence);
void fake_expect_credit(uint64_t sequence, int32_t credit);
void fake_expect_release(const uint64_t *ids, size_t n);
void fake_expect_nothing(void);

/* Send bytes, with descriptors. */
void fake_send(const void *data, size_t size, const int *fds, size_t n_fds);
void fake_send_refused(int error, const char *reason);
void fake_send_draining(enum wire_draining_reason reason);

/*
 * Give `n` connections of AF_UNIX in one message, from 192.0.2.1 and up. The clients' ends are the
 * caller's, and our copies too if `ret_copies` is not NULL.
 */
void fake_give(size_t n, int *ret_clients, int *ret_copies);

/* As fake_give() for one connection. Returns the client's end. */
int fake_give_one(void);

/*
 * Give a connection of AF_UNIX that a provider of the service "front" has forwarded with these
 * bytes. Returns the client's end, and our copy if `ret_copy` is not NULL.
 */
int fake_give_forwarded(const void *data, size_t size, int *ret_copy);

/* A registration with USHER_NONBLOCK and this credit for the service "test". */
struct usher *new_usher(uint32_t credit);

/* The same, registered with the fake. */
struct usher *new_registered(uint32_t credit);

/* Let the pause end that the library makes now, which must be this long, and let it act. */
void end_pause(struct usher *u, uint64_t pause_ns);

/* The channel ends after it has held for long; the library registers again. */
void reconnect(struct usher *u);

/* After the end of the channel: the next one, up to its HELLO; its WELCOME. */
void meet_again(struct usher *u);
void welcome_again(struct usher *u);

/* Let the library send more than the channel takes, while usherd does not read: STATUS messages, of
 * which the last one stays owed. */
void fill_channel(struct usher *u);

/* Receive until a message comes that is no STATUS; it is left in fake.message. */
void fake_skip_filling(void);

/* usher_accept() must return -ESHUTDOWN, and so for ever. */
void assert_shut_down(struct usher *u);

/* usher_accept() must return -EAGAIN. */
void assert_nothing_to_accept(struct usher *u);

/* usher_accept() must return a connection, which is ended and released. */
void accept_and_close(struct usher *u);

/* Wait until `fd` is readable; fails after a deadline. */
void wait_readable(int fd);
bool is_readable(int fd);

/* The other side has ended the connection `fd`. Closes it. */
void assert_eof(int fd);

/* The clock of the library stands still until it is moved, or runs as the real one. */
void clock_stop(void);
void clock_run(void);
void clock_advance(uint64_t ns);

/* How long from now the library wants to be woken; 0: not at all. */
uint64_t clock_pause_ns(void);

/* How often the library has set its timer since clock_stop(). */
unsigned int clock_n_set(void);
