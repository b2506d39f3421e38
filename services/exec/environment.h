/* SPDX-License-Identifier: MIT */
/*
 * What a program learns of its connection by its environment: the variables of tcpserver (UCSPI),
 * xinetd and systemd.
 *
 * Pure. Invariant: only addresses come from outside, as numbers; nothing is looked up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* Most variables of a connection. */
#define ENVIRONMENT_MAX	      8

#define ENVIRONMENT_TEXT_SIZE 80

struct environment {
	char texts[ENVIRONMENT_MAX][ENVIRONMENT_TEXT_SIZE];
};

/* One end of a connection, as accept(2) and getsockname(2) say it. */
struct endpoint {
	const struct sockaddr_storage *address;
	socklen_t length;
};

/*
 * Fill `ret_variables`, of ENVIRONMENT_MAX + 1, with "NAME=value" and a NULL at the end; they are
 * borrowed from *environment. An IPv4-mapped address is IPv4. Of connections that are neither IPv4
 * nor IPv6 only PROTO is said, if there is a word for it. Returns how many they are.
 */
size_t environment_make(struct environment *environment, char **ret_variables,
	struct endpoint remote, struct endpoint local);

/* Is "NAME" or "NAME=value" one that environment_make() may set? */
bool environment_is_own(const char *assignment);

/* The client's host for a log, as usherd(8) writes it: "192.0.2.1", "2001:db8::1", "unix", "vsock".
 * Returns `buffer` (of ENVIRONMENT_TEXT_SIZE bytes). */
const char *endpoint_format(struct endpoint endpoint, char *buffer);
