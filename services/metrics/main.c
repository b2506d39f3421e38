/* SPDX-License-Identifier: MIT */
/* usher-metrics: serves the metrics of usherd over HTTP, for Prometheus. */
#include "arguments.h"
#include "exporter.h"
#include "process.h"
#include "program.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DEFAULT_DEADLINE 10
#define MAX_DEADLINE	 60

struct choices {
	const char *service;
	unsigned long deadline; /* seconds */
};

static const char help[] =
	"Usage: usher-metrics [-d RUN_DIR] [-c CREDIT] [-s SERVICE] [-t SECONDS] [-u USER]\n"
	"Serve the metrics of usherd over HTTP, as Prometheus reads them: GET /metrics.\n"
	"\n" ARGUMENTS_HELP_CREDIT ARGUMENTS_HELP_RUN_DIR
	"  -s, --service=SERVICE  the service to register for (metrics)\n"
	"  -t, --deadline=SECONDS how long a client may take for everything (10)\n" ARGUMENTS_HELP_REST
	"\n"
	"See usher-metrics(8).\n";

static bool on_own(void *userdata, int letter, const char *value)
{
	struct choices *choices = userdata;

	if (letter == 's') {
		choices->service = value;
		return true;
	}
	return arguments_bounded(
		"a deadline in seconds", value, 1, MAX_DEADLINE, &choices->deadline);
}

/* libusher(3) has the same rule. */
static const char *find_run_dir(void)
{
	const char *run_dir = getenv("USHER_RUN_DIR");

	return run_dir && *run_dir ? run_dir : USHER_RUN_DIR;
}

/* Returns an exit status. */
static int run(struct program *program, struct exporter *e, int64_t patience_ms, uint32_t credit)
{
	int r = exporter_init(e, find_run_dir(), patience_ms, credit), status;

	if (r < 0) {
		say("%s: %s", find_run_dir(), strerror(-r));
		return EX_USAGE;
	}
	status = program_run(program);
	exporter_done(e);
	return status;
}

static int serve(struct exporter *e, const struct choices *choices, uint32_t wanted_credit)
{
	struct program program;
	uint32_t credit = process_credit(wanted_credit, 1, 1);
	int status = program_begin(&program);

	if (status == 0)
		status = program_enrol(&program, &e->enrolment, choices->service, credit,
			exporter_on_connection, NULL);
	if (status == 0)
		status = run(&program, e, (int64_t)choices->deadline * 1000, credit);
	program_end(&program);
	return status;
}

int main(int argc, char *argv[])
{
	static const struct option own[] = {
		{"service", required_argument, NULL, 's'},
		{"deadline", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0},
	};
	static struct exporter exporter;
	struct choices choices = {.service = "metrics", .deadline = DEFAULT_DEADLINE};
	struct arguments arguments = {
		.program = "usher-metrics",
		.help = help,
		.own = own,
		.on_own = on_own,
		.userdata = &choices,
	};
	int status;

	if (!arguments_begin(&arguments, &status, argc, argv))
		return status;
	if (arguments.words[0]) {
		say("unexpected argument '%s'; see usher-metrics(8)", arguments.words[0]);
		return EX_USAGE;
	}
	status = process_give_up_rights(arguments.user);
	return status != 0 ? status : serve(&exporter, &choices, arguments.credit);
}
