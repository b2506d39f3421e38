/* SPDX-License-Identifier: MIT */
/*
 * Asking the running usherd: one request, one JSON object.
 *
 * Knows the control socket (control.h) and nothing of what the answers mean. Prints nothing.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <sys/socket.h>

/* How long usherd may be silent. It answers at once, or at the latest when it is done with
 * reloading. */
#define CLIENT_TIMEOUT_SECONDS 30

/* Largest answer that is read: thousands of services with their providers stay far below. */
#define CLIENT_MAX_ANSWER (256u << 20)

/* Longest request, without its newline. */
#define CLIENT_MAX_REQUEST 1022

/*
 * Ask the usherd that has its control socket in `run_dir`: `request` is one short line without its
 * newline. Blocks until the whole answer is there, or usherd has been silent for `timeout_seconds`.
 *
 * Returns 0 with a new reference in *ret, an object, and in *ret_usherd, unless that is NULL, as
 * whom usherd runs (SO_PEERCRED of unix(7)). Else the negative errno of connect(2), send(2) or
 * recv(2), among them -ENOENT and -ECONNREFUSED (usherd is not running), -EACCES, and -ETIMEDOUT;
 * or -ECONNRESET (the connection ended without an answer), -EINVAL (the request is no short line),
 * -ENAMETOOLONG (the path does not fit sun_path, unix(7)), -EBADMSG (the answer is no JSON object).
 */
int client_ask(const char *run_dir, const char *request, unsigned int timeout_seconds, json_t **ret,
	struct ucred *ret_usherd);

/*
 * The same for an answer of many lines, which are the caller's to read: returns a descriptor, given
 * away, or a negative errno. What is read from it ends with EAGAIN if usherd has been silent for
 * `timeout_seconds`.
 */
int client_open(const char *run_dir, const char *request, unsigned int timeout_seconds);

/* Let usherd be silent for as long from now on, or with 0 for as long as it likes. Returns 0, or
 * the negative errno of setsockopt(2). */
int client_set_timeout(int fd, unsigned int seconds);

/* A sentence for an error of client_ask(), saying what to do. Returns `text`. */
const char *client_explain(int error, const char *run_dir, char *text, size_t size);
