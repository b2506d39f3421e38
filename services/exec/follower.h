/* SPDX-License-Identifier: MIT */
/*
 * Hears of reloads: a connection to the control socket of usherd, with the request "follow"
 * (usherctl(8), "The control socket").
 *
 * Believes nothing of what it hears but that it is time to look again. Invariant: there is a
 * connection, or a timer for the next attempt.
 */
#pragma once

#include <systemd/sd-event.h>

struct follower;

/*
 * Connect to run_dir/control.sock, again and again, with growing pauses. on_news is called when
 * there may be something new: when a connection begins, and after each reload. on_refused is called
 * with a sentence when usherd is there and does not let us follow; it is tried again after a
 * minute. Neither may call follower_free(). Returns 0, -ENAMETOOLONG, -ENOMEM, or the error of
 * timerfd_create(2).
 */
int follower_new(struct follower **ret, sd_event *event, const char *run_dir,
	void (*on_news)(void *userdata), void (*on_refused)(const char *why, void *userdata),
	void *userdata);

/* NULL is allowed. Returns NULL. */
struct follower *follower_free(struct follower *follower);
