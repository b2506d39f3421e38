/* SPDX-License-Identifier: MIT */
/* usher-tcpmux: gives clients that say a name on to the service of that name (RFC 1078). */
#include "arguments.h"
#include "mux.h"
#include "process.h"
#include "program.h"
#include "say.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

#define DEFAULT_DEADLINE 10
#define MAX_DEADLINE	 3600

struct choices {
	const char *service;
	unsigned long deadline; /* seconds */
};

static const char help[] =
	"Usage: usher-tcpmux [-d RUN_DIR] [-c CREDIT] [-s SERVICE] [-t SECONDS] [-u USER]\n"
	"                    [+]NAME[=SERVICE] ...\n"
	"Give clients that say a name on to the service of that name (TCPMUX, RFC 1078).\n"
	"\n" ARGUMENTS_HELP_CREDIT ARGUMENTS_HELP_RUN_DIR
	"  -s, --service=SERVICE  the service to register for (tcpmux)\n"
	"  -t, --deadline=SECONDS how long a client may take to say the name (10)\n" ARGUMENTS_HELP_REST
	"\n"
	"With + the client is answered \"+Go\" here, else by the service. See usher-tcpmux(8).\n";

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

/* Returns 0 or an exit status. */
static int add_name(struct directory *d, const char *text)
{
	int r = directory_add(d, text);

	if (r == 0)
		return 0;
	if (r == -EINVAL)
		say("expected NAME, NAME=SERVICE, +NAME or +NAME=SERVICE, and not HELP, instead "
		    "of '%s'",
			text);
	else if (r == -EEXIST)
		say("'%s' names what was named already; upper and lower case are the same", text);
	else
		say("cannot take '%s': %s", text, strerror(-r));
	return r == -ENOMEM ? EX_OSERR : EX_USAGE;
}

/* Returns 0 or an exit status. */
static int add_names(struct directory *d, char *names[])
{
	int status = 0;

	if (!names[0]) {
		say("expected the names that clients may ask for; see usher-tcpmux(8)");
		return EX_USAGE;
	}
	while (*names && status == 0)
		status = add_name(d, *names++);
	return status;
}

static int serve(struct mux *m, const struct choices *choices, uint32_t wanted_credit)
{
	struct program program;
	uint32_t credit = process_credit(wanted_credit, 1, 1);
	int status = program_begin(&program);

	if (status == 0)
		status = program_enrol(
			&program, &m->enrolment, choices->service, credit, mux_on_connection, NULL);
	if (status == 0) {
		mux_init(m, (int64_t)choices->deadline * 1000, credit);
		status = program_run(&program);
		mux_done(m);
	}
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
	static struct mux mux;
	struct choices choices = {.service = "tcpmux", .deadline = DEFAULT_DEADLINE};
	struct arguments arguments = {
		.program = "usher-tcpmux",
		.help = help,
		.own = own,
		.on_own = on_own,
		.userdata = &choices,
	};
	int status;

	if (!arguments_begin(&arguments, &status, argc, argv))
		return status;
	status = process_give_up_rights(arguments.user);
	if (status == 0)
		status = add_names(&mux.directory, arguments.words);
	if (status == 0)
		status = serve(&mux, &choices, arguments.credit);
	directory_done(&mux.directory);
	return status;
}
