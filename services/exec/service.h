/* SPDX-License-Identifier: MIT */
/*
 * One service: its registration with usherd, and what runs for it.
 *
 * It tells standard error what an administrator should know, in one line when it changes; nothing
 * of that ends it, because whatever is wrong may be put right.
 *
 * Invariant: each connection that came and is not released yet is a client or a run. Programs of
 * lent sockets are in `borrowing`, and count nowhere.
 */
#pragma once

#include "borrowed.h"
#include "client.h"
#include "command.h"
#include "loop.h"
#include "run.h"
#include "say.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

struct service;
TAILQ_HEAD(service_list, service);

/* What all services have in common. */
struct service_context {
	sd_event *event;
	struct spawner *spawner;
	/* service_is_over() or service_is_finished() may have become true: may call service_free()
	 */
	void (*on_changed)(struct service *s, void *userdata);
	void *userdata;
};

struct service {
	TAILQ_ENTRY(service) link; /* the owner's */
	const struct service_context *context;
	struct command *command; /* for the next connection */
	struct usher *usher;
	sd_event_source *io;
	struct run_list runs;
	struct client_list clients;
	struct borrowing borrowing; /* of its lent sockets */
	uint32_t credit;	    /* the share of this service */
	bool is_short;		    /* no process could be made the last time */
	bool is_registered;	    /* as it was last seen */
	bool is_draining;	    /* service_drain() was called */
	bool is_over;		    /* no more connections will come */
	struct said said, failed;
};

/*
 * Register for the service of `command`, to hold `credit` connections at most, and run it for each.
 * `context` is borrowed. Neither waits nor needs usherd.
 *
 * Returns 0, or the error of usher_new() or epoll_ctl(2).
 */
int service_new(struct service **ret, const struct service_context *context,
	struct command *command, uint32_t credit);

/* Whose it is. */
const char *service_name(const struct service *s);

/* Can this registration serve for it too, or is another one needed? */
bool service_can_run(const struct service *s, const struct command *command);

/* Run this one from the next connection on. */
void service_set_command(struct service *s, struct command *command);

/* Hold at most so many connections from now on; 1 to USHER_MAX_CREDIT. */
void service_set_credit(struct service *s, uint32_t credit);

/* Ask for no more connections, for good. */
void service_drain(struct service *s);

/* Nothing more will come: it was drained, here or by usherd for good. */
bool service_is_over(const struct service *s);

/* And nothing of it runs any more. */
bool service_is_finished(const struct service *s);

/* Leave: programs that run are left alone, clients without one are ended. No program may be being
 * started: spawner_free(), or service_is_finished(). NULL is allowed. Returns NULL. */
struct service *service_free(struct service *s);
