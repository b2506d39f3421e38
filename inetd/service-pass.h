/* SPDX-License-Identifier: MIT */
/*
 * A receiver from the inside: for the service-pass*.c files alone. service-pass.c gives connections
 * to it, service-pass-log.c says what becomes of that, service-pass-restore.c writes down what is
 * under way for the next usherd, and for status.
 *
 * Invariant: a place that has a pass has a connection, which dispatch holds for unclaimed.
 */
#pragma once

#include "pass.h"
#include "service-private.h"

/* On their way at once. A receiver that reads nothing holds so many copies, and nothing more. */
#define SERVICE_PASS_MAX 16u

enum receiver_state {
	RECEIVER_READY,
	RECEIVER_FULL,	 /* it takes no more just now */
	RECEIVER_ABSENT, /* there is nobody, or who is there does not take what it is sent */
	RECEIVER_LEFT,	 /* the service does not pass any more */
};

/* Place for one connection on its way. */
struct place {
	struct service_pass *owner;
	struct dispatch_provider *record; /* NULL: it gets nothing */
	struct handoff *handoff;	  /* given to it; NULL: it is free */
	struct pass *pass;		  /* NULL: it could not be sent */
	uint64_t begun_usec;
	uint64_t order; /* of giving */
};

struct service_pass {
	struct service *service;
	struct config_pass receiver; /* `path` is its own */
	enum receiver_state state;
	bool is_reached;      /* since it was last absent: somebody has been there */
	bool is_to_be_opened; /* when the service settles next */
	bool has_failed;      /* somebody's connection could not be sent in this turn */
	int channel_fd;	      /* connected already, for the next one; or -EBADF */
	uint64_t retry_usec;  /* the next pause */
	sd_event_source *timer;
	struct service_pass_log {     /* lines of this episode of failures */
		uint64_t failed_usec; /* the latest one */
		bool failure, recovery, delay;
	} logged;
	uint64_t n_given, n_passed, n_unread;
	struct place places[SERVICE_PASS_MAX];
};

#define service_pass_foreach(p, sp)                                                                \
	for (struct place *p = (sp)->places; p < (sp)->places + SERVICE_PASS_MAX; p++)

/* Without a receiver yet. NULL: out of memory. */
struct service_pass *service_pass_new(struct service *s);

/* The place of that record with dispatch, which must be one of a place; NULL: a free place. */
struct place *service_pass_find(struct service_pass *sp, const struct dispatch_provider *record);

/* For pass_adopt(). */
void service_pass_on_end(struct pass *pass, enum pass_end end, void *userdata);

/* A connection could not be given to it: `error` as of pass.h; 0: it was closed unread. */
void service_pass_log_failure(struct service_pass *sp, int error);

/* It has taken one. */
void service_pass_log_success(struct service_pass *sp);
