/* SPDX-License-Identifier: MIT */
/*
 * The sockets that usherd lends to a service: inetd's "wait". When one can be read and no program
 * of that socket runs, one is started with it, and until that has ended the socket is its own.
 *
 * Reads nothing itself. Invariant: of each socket, whoever lends it however often, at most one
 * program runs that was started here.
 */
#pragma once

#include "command.h"
#include "run.h"
#include "say.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>
#include <usher.h>

/* A program that has ended sooner, while there is still something to read, may not read at all. */
#define BORROWED_QUICK_MS 1000

TAILQ_HEAD(borrowed_list, borrowed);

struct borrowing {
	sd_event *event;
	struct spawner *spawner;
	struct usher *usher;	 /* the owner's */
	struct command *command; /* for the next program: the owner's, who may change it */
	struct borrowed_list sockets;
	struct said failed;
	void (*on_idle)(void *userdata);
	void *userdata;
};

/* on_idle is called when a program has ended and no other one runs. */
void borrowing_init(struct borrowing *b, sd_event *event, struct spawner *spawner,
	struct usher *usher, void (*on_idle)(void *userdata), void *userdata);

/* What is lent has changed: USHER_LENT. Programs that run on what was taken back are left alone. */
void borrowing_refresh(struct borrowing *b);

/* Does no program run? */
bool borrowing_is_idle(const struct borrowing *b);

/* Forget all: programs that run are left alone. To be called before usher_free(), and while none is
 * being started. */
void borrowing_done(struct borrowing *b);

/*
 * How long to wait before the next program, when `n_quick` in a row (at least 1) have ended quickly
 * while there was still something to read: 0 for none. One that has failed may never read: 100 ms,
 * 200 ms and so on to 10 s. One that exits with 0 may have served one of many clients: 10 ms, and
 * if that goes on and on 100 ms. Pure.
 */
int64_t borrowed_pause_ms(unsigned int n_quick, bool is_success);
