/* SPDX-License-Identifier: MIT */
/*
 * The arguments that all services share: -c credit, -d run_dir, --notify-fd, -u user, -h, -V; a
 * program may add its own.
 *
 * A wrong argument is told on standard error.
 */
#pragma once

#include "build-config.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

/* The lines of a --help text about the shared options. The columns of a program's own fit to them.
 */
#define ARGUMENTS_HELP_CREDIT "  -c, --credit=CREDIT    most connections of each service at once\n"
#define ARGUMENTS_HELP_RUN_DIR                                                                     \
	"  -d, --run-dir=RUN_DIR  where usherd's sockets are (" USHER_RUN_DIR ")\n"
#define ARGUMENTS_HELP_REST                                                                        \
	"      --notify-fd=FD     write a newline to descriptor FD when ready, and close it\n"     \
	"  -u, --user=USER        become USER, when started by root\n"                             \
	"  -h, --help             show this and exit\n"                                            \
	"  -V, --version          show the version and exit\n"

/* Most options of a program's own. */
#define ARGUMENTS_MAX_OWN 8

struct arguments {
	/* Given by the caller: */
	const char *program;
	const char *help;
	const struct option *own; /* ended by one without a name; their val is a letter; or NULL */
	bool (*on_own)(void *userdata, int letter, const char *value); /* false: it is wrong, and
									  was told */
	void *userdata;

	/* The result: */
	uint32_t credit;  /* 0: not said */
	const char *user; /* NULL: not said */
	char **words;	  /* what is no option, NULL at the end */
};

/*
 * What every program does first: its name for what it says (say.h), standard streams (process.h),
 * and then the arguments.
 *
 * Returns true with the result, and USHER_RUN_DIR in the environment if it was given; or false with
 * the exit status in *ret_status: of --help and --version, or EX_USAGE.
 */
bool arguments_begin(struct arguments *a, int *ret_status, int argc, char *argv[]);

/* Is `text` a decimal number of `least` to `most`? */
bool arguments_number(
	const char *text, unsigned long least, unsigned long most, unsigned long *ret);

/*
 * The same for an option with a unit that is only for the message: "expected a deadline in
 * seconds of 1 to 3600, not 'x'".
 */
bool arguments_bounded(const char *what, const char *text, unsigned long least, unsigned long most,
	unsigned long *ret);
