/* SPDX-License-Identifier: MIT */
/*
 * What happens, for those who follow it while it happens: a line of JSON for each event.
 *
 * It writes what it is told to connections of the control socket, whose requests are not its
 * business; what is kept is the log's. The members of a line are those of usherctl(8), "JSON", and
 * have the names that they have in the log.
 *
 * Invariant: no follower can make usherd wait, nor hold more than its share: there are
 * EVENTS_MAX_FOLLOWERS at most, half of them monitors, each with EVENTS_MAX_BYTES that it has not
 * read. What does not fit is counted, and it is told how many when there is room again.
 */
#pragma once

#include "log-terms.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define EVENTS_MAX_FOLLOWERS 16
#define EVENTS_MAX_BYTES     (256u << 10)

/* Lines wait so long for others that can be sent with them: what followers cost has a limit. */
#define EVENTS_GATHER_USEC UINT64_C(20000)

/* Members are for reading only. */
struct events {
	sd_event *event;
	size_t n_connections; /* followers that want all, and not only to hear of reloads */
	size_t n_followers, n_monitors;
	struct events_follower *followers;
	sd_event_source *timer;
};

/* What a follower wants to hear of. */
struct events_wish {
	bool only_reloads;    /* "reloaded" and nothing else */
	const char *services; /* names, with a blank between two; NULL: all. Copied. What happens to
				 no service in particular is for everybody */
	bool is_monitor;      /* may only look */
};

/* Without followers. Returns 0 with *ret (free with events_free()) or a negative errno: -ENOMEM, or
 * that of sd_event_add_time(3). */
int events_new(struct events **ret, sd_event *event);

/* Ends all followers, after events_flush(). NULL is allowed. Returns NULL. */
struct events *events_free(struct events *events);

/* Is there a place for one more, who is a monitor or not? */
bool events_have_place(const struct events *events, bool is_monitor);

/*
 * Let the connection `fd`, a nonblocking stream socket that is taken, also on failure, follow until
 * it closes or says anything. Its first line is {"event":"following"}. There must be a place.
 * Returns 0 or a negative errno: it was closed.
 */
int events_follow(struct events *events, int fd, const struct events_wish *wish);

/* End the monitors for whose connections `may_look` is false. */
void events_review(struct events *events, bool (*may_look)(int fd, void *userdata), void *userdata);

/* Does anybody hear of what becomes of connections? Else nothing need be found out about it. */
static inline bool events_are_followed(const struct events *events)
{
	return events->n_connections > 0;
}

/*
 * Tell those who want to hear of about->event (about->service NULL: nothing in particular). Never
 * waits. A text that is not UTF-8 is left out.
 */
void events_tell(struct events *events, const struct log_about *about);

/* Send what can be sent without waiting now, for there is no later. */
void events_flush(struct events *events);
