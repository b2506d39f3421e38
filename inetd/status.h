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
	const char *program;	      /* what an upgrade would execute; NULL: not known */
	unsigned int n_upgrades;      /* of this process */
	struct status_reload {	      /* of the configuration */
		bool has_failed;      /* the last one */
		uint64_t loaded_usec; /* when what is in force was loaded: CLOCK_REALTIME */
	} reload;
};

/*
 * A text that comes from outside, such as a path: in one that is not UTF-8, which JSON can't hold,
 * all but ASCII becomes '?'. A new reference, or NULL when out of memory.
 */
json_t *status_text(const char *text);

/*
 * What the states of services are called, by what status_service_state() says: what clients meet
 * (enum intake_state), or one of these.
 */
enum {
	STATUS_UNREACHED = INTAKE_LENT + 1, /* the next client tells: see struct service_receiver */
	STATUS_DRAINING,		    /* service_is_ending() */
	STATUS_N_SERVICE_STATES,
};
extern const char *const status_service_words[STATUS_N_SERVICE_STATES];
unsigned int status_service_state(const struct service *s);

/* What the states of listeners are called, by enum listener_state. */
#define STATUS_N_LISTENER_STATES (LISTENER_REFUSING + 1)
extern const char *const status_listener_words[STATUS_N_LISTENER_STATES];

/*
 * What those of providers are called, by what status_provider_state() says: enum provider_state, or
 * PROVIDER_FULL, if it is ready but without credit.
 */
#define PROVIDER_FULL		 (PROVIDER_QUARANTINED + 1)
#define STATUS_N_PROVIDER_STATES (PROVIDER_FULL + 1)
extern const char *const status_provider_words[STATUS_N_PROVIDER_STATES];
unsigned int status_provider_state(const struct dispatch_provider *record);

/* A new reference, or NULL when out of memory. */
json_t *status_json(const struct status_source *source);
