/* SPDX-License-Identifier: MIT */
/*
 * usherd as a whole: the event loop, the services, signals, reload, the control socket,
 * sd_notify(3), upgrades.
 */
#pragma once

#include "config.h"
#include <stdint.h>

struct server_setting {
	const char *config_path; /* read again at a reload */
	uint64_t fd_limit;	 /* what config_load() is to check it against */
	char *const *argv;	 /* with which an upgrade executes the program */
	int notify_fd; /* where to say once that all is open (notify.h), which takes it; or -EBADF
			*/
	const struct config_errors *loaded; /* the warnings of the configuration, to be logged */
};

/*
 * Run usherd with `config`, which it takes, until SIGTERM or SIGINT; or go on where an earlier one
 * was that has executed this program. Logs what goes wrong.
 *
 * Returns 0 after a clean stop, or a negative errno if it could not start.
 */
int server_run(struct config *config, const struct server_setting *setting);
