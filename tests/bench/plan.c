/* SPDX-License-Identifier: MIT */
/* See plan.h. Every word is checked: a benchmark of something else would also print figures. */
#include "plan.h"
#include "endpoint.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_SECONDS	    86400
#define MAX_CLIENTS	    1000000
#define DEFAULT_DEADLINE_MS 10000

static _Noreturn void fail_usage(void)
{
	(void)fputs(
		"usage: bench-load [-w echo|daytime] [-c CLIENTS] (-s SECONDS | -n CONNECTIONS)\n"
		"                  [-d DEADLINE] ADDRESS:PORT...\n"
		"       bench-load [-w echo|daytime] -b -n CONNECTIONS [-p PID]...\n"
		"                  [-d DEADLINE] ADDRESS:PORT...\n",
		stderr);
	exit(2);
}

static double parse(const char *text, double max)
{
	char *rest;
	double value = strtod(text, &rest);

	if (*rest != '\0' || !(value > 0 && value <= max)) /* nor is it "nan" */
		fail_usage();
	return value;
}

static uint32_t parse_count(const char *text, uint32_t max)
{
	double value = parse(text, max);

	if (value != (double)(uint32_t)value)
		fail_usage();
	return (uint32_t)value;
}

static void read_option(struct plan *plan, int option)
{
	switch (option) {
	case 'w':
		if (work_parse(optarg, &plan->work) < 0)
			fail_usage();
		break;
	case 'c':
		plan->n_clients = parse_count(optarg, MAX_CLIENTS);
		break;
	case 's':
		plan->duration_ns = (uint64_t)(parse(optarg, MAX_SECONDS) * 1e9);
		break;
	case 'n':
		plan->n_connections = parse_count(optarg, UINT32_MAX);
		break;
	case 'd':
		plan->deadline_ms = (int)(parse(optarg, MAX_SECONDS) * 1e3);
		break;
	case 'b':
		plan->is_burst = true;
		break;
	case 'p':
		if (plan->n_held == HOLD_MAX)
			errx(EXIT_FAILURE, "no more than %d processes", HOLD_MAX);
		plan->held[plan->n_held++] = (pid_t)parse_count(optarg, INT32_MAX);
		break;
	default:
		fail_usage();
	}
}

static void read_endpoints(struct plan *plan, char *words[], int n)
{
	if (n == 0)
		fail_usage();
	plan->n_endpoints = (size_t)n;
	plan->endpoints = calloc(plan->n_endpoints, sizeof(*plan->endpoints));
	if (!plan->endpoints)
		err(EXIT_FAILURE, "endpoints");
	for (int i = 0; i < n; i++)
		if (endpoint_parse(words[i], &plan->endpoints[i]) < 0)
			fail_usage();
}

/* No option without a meaning. */
static bool is_sound(const struct plan *plan)
{
	bool has_count = plan->n_connections != UINT64_MAX;
	bool has_duration = plan->duration_ns != UINT64_MAX;

	if (plan->is_burst)
		return has_count && plan->n_connections <= MAX_CLIENTS && !has_duration &&
		       plan->n_clients == 0;
	return has_count != has_duration && plan->n_held == 0;
}

struct plan plan_read(int argc, char *argv[])
{
	struct plan plan = {
		.n_connections = UINT64_MAX,
		.duration_ns = UINT64_MAX,
		.deadline_ms = DEFAULT_DEADLINE_MS,
	};
	int option;

	while ((option = getopt(argc, argv, "w:c:s:n:d:bp:")) != -1)
		read_option(&plan, option);
	read_endpoints(&plan, argv + optind, argc - optind);
	if (!is_sound(&plan))
		fail_usage();
	if (plan.is_burst)
		plan.n_clients = (uint32_t)plan.n_connections;
	else if (plan.n_clients == 0)
		plan.n_clients = 1;
	return plan;
}
