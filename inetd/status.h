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
	uint64_t uptime_usec;
	bool is_stopping;
};

/* A new reference, or NULL when out of memory. */
json_t *status_json(const struct status_source *source);
