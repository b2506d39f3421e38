/* SPDX-License-Identifier: MIT */
/*
 * The control socket: run_dir/control.sock, the other end of usherctl(8).
 *
 * One request a connection: the client sends one line ("status\n"), gets one JSON object and the
 * end of the file, unless the connection is given away, to somebody who has more to say. Only root,
 * usherd's own user, and monitors, whom the configuration names, are answered (peer.h); others get
 * an error object. Knows nothing of what requests mean, but tells who may only look.
 *
 * Invariant: no client can make usherd wait, nor hold more than its share: at most
 * CONTROL_MAX_CLIENTS, each gone after CONTROL_TIMEOUT_USEC; the next ones wait in the socket's
 * backlog. Half of the places are for those who may do everything: monitors cannot take them.
 */
#pragma once

#include "config.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define CONTROL_MAX_CLIENTS  32
#define CONTROL_MAX_REQUEST  1024
#define CONTROL_TIMEOUT_USEC (10 * UINT64_C(1000000))

struct control;

/*
 * Answer `request` (one line, without its newline, not empty). Returns a new reference, given away;
 * NULL means out of memory, which is logged here. Errors are objects too: { "error": "sentence" },
 * with "exit_status", one of sysexits(3), where usherctl shall not exit with 1. Must not free the
 * control. `client_fd` stays the control's: it is for a process that this one becomes by execve(2)
 * before it answers, see control_answer().
 */
typedef json_t *(*control_on_request)(const char *request, int client_fd, void *userdata);

/*
 * Listen on `path`, mode 0666 whatever the umask: everyone may connect, so that everyone is told
 * why he is not answered. Or, if `inherited_fd` is not -EBADF, go on with this socket, which was
 * the control_fd() of an earlier usherd and is bound to `path`: taken, also on failure, and made
 * close-on-exec. Returns 0, -ENOMEM, or the errors of unixsocket_listen().
 */
int control_new(struct control **ret, sd_event *event, const char *path, int inherited_fd,
	control_on_request on_request, void *userdata);

/* The listening socket, which stays the control's. */
int control_fd(const struct control *control);

/*
 * Answer a client who has asked an earlier usherd: its `client_fd` and `answer` are taken, also on
 * failure. `answer` NULL: there was no memory for one. Returns 0, or a negative errno when the
 * client gets no answer, only the end of the file.
 */
int control_answer(struct control *control, int client_fd, json_t *answer);

/*
 * For control_on_request: the client that asks is answered later, or in another way. `client_fd` is
 * the caller's from here on, perhaps for control_answer(), and what on_request returns is dropped.
 * How many there are, and how long they wait, is the caller's to limit.
 */
void control_give_away(struct control *control, int client_fd);

/* An answer that is so long that it is made part by part, as the client takes it. */
struct control_parts {
	/*
	 * Returns the next part (from malloc(3), given away) and its bytes in *ret_size; NULL ends
	 * the answer, and the connection: it is complete, or there is no memory for the rest.
	 */
	char *(*next)(void *userdata, size_t *ret_size);
	void (*done)(void *userdata); /* no more will be asked for: free it */
};

/*
 * For control_on_request: the client that asks gets `parts`, which are static, and what on_request
 * returns is dropped. Between parts others have their turn.
 */
void control_answer_in_parts(
	struct control *control, int client_fd, const struct control_parts *parts, void *userdata);

/*
 * Monitors, from now on: they are answered, and control_may_change() is false for them. They must
 * live until the next call. Until the first there are none.
 */
void control_set_monitors(struct control *control, const struct config_accounts *monitors);

/* For control_on_request: may the client that asks change anything, or only look? */
bool control_may_change(const struct control *control, int client_fd);

/* May who is at the other end of `fd`, a connection that was given away, look (still)? */
bool control_may_look(const struct control *control, int fd);

/* How long clients that connect from now on may take. Default CONTROL_TIMEOUT_USEC. */
void control_set_timeout(struct control *control, uint64_t timeout_usec);

/* Closes, and unlinks the path if that is still its own. NULL is allowed. Returns NULL. */
struct control *control_free(struct control *control);
