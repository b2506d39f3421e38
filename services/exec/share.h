/* SPDX-License-Identifier: MIT */
/* How many connections a service may hold: its part of what this process may have. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* Descriptors that are no connections: those of the loop, and what each registration needs. */
#define SHARE_OWN_FDS	  32
#define SHARE_SERVICE_FDS 8

/* Processes of the same user that are no programs of ours. */
#define SHARE_OWN_PROCESSES 8

/*
 * The credit of one of `n_services` (at least 1) that shall have `instances` (at least 1) at most,
 * where each connection needs a descriptor and a process of `n_fds` and `n_processes`. Returns 1 to
 * `instances`.
 */
uint32_t share_credit(rlim_t n_fds, rlim_t n_processes, size_t n_services, uint32_t instances);
