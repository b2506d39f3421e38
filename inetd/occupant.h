/* SPDX-License-Identifier: MIT */
/*
 * Who holds an address that cannot be bound? For one sentence of an error message, nothing more.
 *
 * Reads /proc as far as the kernel lets this process: it asks nobody, opens no socket, logs
 * nothing. The answer may be out of date when it is read.
 */
#pragma once

#include "address.h"

#include <stddef.h>

/* Room for any answer. */
#define OCCUPANT_TEXT_MAX 64

/*
 * Find a socket that keeps others from binding `address` (the same one, or a wildcard on either
 * side), and its process. For TCP and UDP, sockets of the same family are looked at first. The
 * kernel lists none of AF_VSOCK.
 *
 * Always fills `text`: "pid 123 (nginx)"; "a process of uid 33", which cannot be seen; or "another
 * process". Looks at a bounded number of sockets and descriptors: some tenths of a second at worst.
 *
 * Returns 0 if the process was found, else -ENOENT.
 */
int occupant_find(const struct address *address, char *text, size_t size);
