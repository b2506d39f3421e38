/* SPDX-License-Identifier: MIT */
/* The part of one service: see share.h. */
#include "share.h"

#include <usher.h>

static rlim_t share(rlim_t n, rlim_t n_reserved, size_t n_services)
{
	if (n == RLIM_INFINITY)
		return n;
	return n > n_reserved ? (n - n_reserved) / n_services : 0;
}

uint32_t share_credit(rlim_t n_fds, rlim_t n_processes, size_t n_services, uint32_t instances)
{
	rlim_t fds = share(n_fds, SHARE_OWN_FDS + SHARE_SERVICE_FDS * n_services, n_services);
	rlim_t processes = share(n_processes, SHARE_OWN_PROCESSES, n_services);
	rlim_t credit = instances < USHER_MAX_CREDIT ? instances : USHER_MAX_CREDIT;

	if (fds < credit)
		credit = fds;
	if (processes < credit)
		credit = processes;
	return credit > 0 ? (uint32_t)credit : 1;
}
