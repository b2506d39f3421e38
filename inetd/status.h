/* SPDX-License-Identifier: MIT */
/*
 * The state of usherd as JSON, for usherctl: the format is documented in usherctl(8), "JSON".
 *
 * Reads everything, changes nothing.
 */
#pragma once

#include "config.h"
#include "reload.h"
#include <jansson.h>

struct status_source {
	const struct config *config;
	const struct service_list *services;
	uint32_t n_denied;  /* networks that have touched a sensor */
	size_t n_followers; /* of events */
	uint64_t now_usec;  /* CLOCK_MONOTONIC */
	uint64_t uptime_usec;
	const char *program;	 /* what an upgrade would execute; NULL: not known */
	unsigned int n_upgrades; /* of this process */
};

/*
 * A text that comes from outside, such as a path: in one that is not UTF-8, which JSON can't hold,
 * all but ASCII becomes '?'. A new reference, or NULL when out of memory.
 */
json_t *status_text(const char *text);

/* A new reference, or NULL when out of memory. */
json_t *status_json(const struct status_source *source);
