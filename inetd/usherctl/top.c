/* SPDX-License-Identifier: MIT */
/* The command, and its lines of JSON: see top.h. */
#include "top.h"

#include "request.h"
#include "top-sample.h"
#include "top-screen.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

/* One line: rates, or why there are none. Returns false if nobody can read it any more. */
static bool print_line(const struct top_sample *sample)
{
	json_t *line = *sample->problem ? json_pack("{s:s}", "error", sample->problem)
					: top_model_json(&sample->model, sample->seconds);
	int r = json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));

	json_decref(line);
	putchar('\n');
	return r == 0 && fflush(stdout) == 0;
}

static int print_lines(struct top_sample *sample)
{
	unsigned int n = 0;

	do {
		(void)poll(NULL, 0, (int)top_sample_interval(sample));
		top_sample_ask(sample);
		if (!print_line(sample))
			return EXIT_FAILURE;
	} while (++n != sample->options->count);
	return 0;
}

int command_top(const struct options *options, char **arguments)
{
	struct top_sample sample = {.options = options};
	json_t *status;
	/* Who asks the wrong usherd, or may not ask, is told so at once. */
	int r = request_ask(options, "status", &status);

	(void)arguments;
	if (r > 0)
		return r;
	top_sample_take(&sample, status);
	r = options->is_json ? print_lines(&sample) : top_screen_run(&sample);
	top_sample_done(&sample);
	return r;
}
