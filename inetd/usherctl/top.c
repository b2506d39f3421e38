/* SPDX-License-Identifier: MIT */
/* Asking again and again, and the answers as lines of JSON: see top.h. */
#include "top.h"

#include "client.h"
#include "request.h"
#include "table.h"
#include "top-screen.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMEOUT_SECONDS 2 /* of a question: keys are not looked at meanwhile */

uint64_t top_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

unsigned int top_interval(const struct top *top)
{
	unsigned int msec = top->options->interval_msec;

	return msec > 0 ? msec : TOP_DEFAULT_INTERVAL_MSEC;
}

/* `status`, which is taken, is the new one. */
static void take_status(struct top *top, json_t *status)
{
	uint64_t now_usec = top_now();
	double seconds = top->status ? (double)(now_usec - top->status_usec) / 1e6 : 0;
	struct top_model model;

	if (top_model_make(&model, status, top->status, seconds) < 0) {
		(void)snprintf(top->problem, sizeof(top->problem), "%s", strerror(ENOMEM));
		json_decref(status);
		return;
	}
	top_model_done(&top->model);
	json_decref(top->status);
	top->model = model;
	top->status = status;
	top->status_usec = now_usec;
	top->seconds = seconds;
}

void top_ask(struct top *top)
{
	const char *run_dir = top->options->run_dir, *error;
	json_t *answer;
	int r = client_ask(run_dir, "status", TIMEOUT_SECONDS, &answer, NULL);

	top->problem[0] = '\0';
	if (r < 0) {
		client_explain(r, run_dir, top->problem, sizeof(top->problem));
		return;
	}
	error = json_string_value(json_object_get(answer, "error"));
	if (!error) {
		take_status(top, answer);
		return;
	}
	text_copy(top->problem, sizeof(top->problem), error);
	json_decref(answer);
}

/* One line: rates, or why there are none. Returns false if nobody can read it any more. */
static bool print_line(const struct top *top)
{
	json_t *line = *top->problem ? json_pack("{s:s}", "error", top->problem)
				     : top_model_json(&top->model, top->seconds);
	int r = json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));

	json_decref(line);
	putchar('\n');
	return r == 0 && fflush(stdout) == 0;
}

static int print_lines(struct top *top)
{
	unsigned int n = 0;

	do {
		(void)poll(NULL, 0, (int)top_interval(top));
		top_ask(top);
		if (!print_line(top))
			return EXIT_FAILURE;
	} while (++n != top->options->count);
	return 0;
}

int command_top(const struct options *options, char **arguments)
{
	struct top top = {.options = options};
	json_t *status;
	/* Who asks the wrong usherd, or may not ask, is told so at once. */
	int r = request_ask(options, "status", &status);

	(void)arguments;
	if (r > 0)
		return r;
	take_status(&top, status);
	r = options->is_json ? print_lines(&top) : top_screen_run(&top);
	top_model_done(&top.model);
	json_decref(top.status);
	return r;
}
