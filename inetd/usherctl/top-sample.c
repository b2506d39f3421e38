/* SPDX-License-Identifier: MIT */
/* One look after the other: see top-sample.h. */
#include "top-sample.h"

#include "client.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_SECONDS 2 /* of a question: keys are not looked at meanwhile */

uint64_t top_sample_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

unsigned int top_sample_interval(const struct top_sample *sample)
{
	unsigned int msec = sample->options->interval_msec;

	return msec > 0 ? msec : TOP_DEFAULT_INTERVAL_MSEC;
}

void top_sample_take(struct top_sample *sample, json_t *status)
{
	uint64_t now_usec = top_sample_now();
	double seconds = sample->status ? (double)(now_usec - sample->status_usec) / 1e6 : 0;
	struct top_model model;

	if (top_model_make(&model, status, sample->status, seconds) < 0) {
		(void)snprintf(sample->problem, sizeof(sample->problem), "%s", strerror(ENOMEM));
		json_decref(status);
		return;
	}
	top_model_done(&sample->model);
	json_decref(sample->status);
	sample->model = model;
	sample->status = status;
	sample->status_usec = now_usec;
	sample->seconds = seconds;
}

void top_sample_ask(struct top_sample *sample)
{
	const char *run_dir = sample->options->run_dir, *error;
	json_t *answer;
	int r = client_ask(run_dir, "status", TIMEOUT_SECONDS, &answer, NULL);

	sample->problem[0] = '\0';
	if (r < 0) {
		client_explain(r, run_dir, sample->problem, sizeof(sample->problem));
		return;
	}
	error = json_string_value(json_object_get(answer, "error"));
	if (!error) {
		top_sample_take(sample, answer);
		return;
	}
	text_copy(sample->problem, sizeof(sample->problem), error);
	json_decref(answer);
}

void top_sample_done(struct top_sample *sample)
{
	top_model_done(&sample->model);
	json_decref(sample->status);
}
