/* SPDX-License-Identifier: MIT */
/*
 * Where services log their connections, opened for a reload: log_type of usher.conf(5).
 *
 * Services that log to the same file with the same limits share it.
 */
#pragma once

#include "config.h"
#include "log-destination.h"
#include <stddef.h>

/*
 * Open what the `n` services in `configs` log to, anew at each reload, so that files that were
 * rotated are let go. *ret (from malloc) has one reference for each service; NULL: it logs where
 * all messages go.
 *
 * Returns 0, also if a file could not be opened and that was added to *errors: as a warning, if
 * all who want it come from files of inetd or xinetd, which then log where all messages go; or
 * -ENOMEM without *ret.
 */
int reload_open_destinations(const struct config_service *const *configs, size_t n,
	struct log_destination ***ret, struct config_errors *errors);
