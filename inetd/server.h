/* SPDX-License-Identifier: MIT */
/*
 * usherd as a whole: the event loop, the services, signals, reload, the control socket,
 * sd_notify(3).
 */
#pragma once

#include "config.h"
#include <stdint.h>

/*
 * Run usherd with `config`, which it takes, until SIGTERM or SIGINT. `config_path` is read again at
 * a reload, `fd_limit` is what config_load() is to check it against. Logs what goes wrong.
 *
 * Returns 0 after a clean stop, or a negative errno if it could not start.
 */
int server_run(struct config *config, const char *config_path, uint64_t fd_limit);
