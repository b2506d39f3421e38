/* SPDX-License-Identifier: MIT */
/*
 * What `usherctl top` shows, reckoned from two status objects of usherd (usherctl(8), JSON) and the
 * time between them.
 *
 * A pure reader: no clock, no terminal. What an object lacks, as that of an older usherd may, is
 * not known (NAN) or 0; nothing in it is relied on.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_MAX_BOUNDS 64 /* of a histogram; one with more is not read */

/* How many values were at most bounds[i], and above the bound before it; the last of the
 * n_bounds + 1 counts is of those above all bounds. */
struct top_histogram {
	size_t n_bounds;
	double bounds[TOP_MAX_BOUNDS]; /* in seconds, ascending */
	uint64_t counts[TOP_MAX_BOUNDS + 1];
};

/* A service, or one of its providers. Texts are the status object's, and not fit for a terminal
 * (text_copy()). What is counted "a second" is NAN while there is nothing to compare with. */
struct top_row {
	const char *name, *state; /* "" if there is none */
	json_int_t number, pid;	  /* of a provider; 0: this is a service */
	uint64_t in_service, unclaimed;
	uint64_t instances, waiting;	    /* of a service */
	uint64_t credit;		    /* how many more connections would be taken now */
	uint64_t capacity;		    /* `credit`, and those that are had already */
	double accepted, refused;	    /* a second, of a service */
	double released;		    /* a second */
	double median_seconds, p99_seconds; /* of handing over, of a service; NAN: none was */
	struct top_row *providers;
	size_t n_providers;
};

struct top_model {
	struct top_row *services;
	size_t n_services;
	struct top_row all; /* services together: what can be added up */
};

/*
 * `status` has to stay as long as the model; `before`, which may be NULL, need not; `seconds` lie
 * between them. A counter that went back was begun anew: it counts from 0. If another process has
 * answered, nothing is compared. Returns 0 with *ret, for top_model_done(), or -ENOMEM.
 */
int top_model_make(
	struct top_model *ret, const json_t *status, const json_t *before, double seconds);

void top_model_done(struct top_model *model);

/* The model as an object: usherctl(8), "JSON of top". A new reference, or NULL when out of memory.
 */
json_t *top_model_json(const struct top_model *model, double seconds);

/*
 * The value that `share` (above 0, at most 1) of all values do not exceed, taking those of a bucket
 * for evenly spread. The last bound if it is above all of them; NAN if there are no values, or no
 * bounds.
 */
double top_histogram_quantile(const struct top_histogram *histogram, double share);
