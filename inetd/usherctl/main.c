/* SPDX-License-Identifier: MIT */
/*
 * usherctl: the administrator's command. Options, and a table of commands; the rest is commands.c.
 */
#include "build-config.h"
#include "commands.h"
#include "complete.h"
#include "convert.h"
#include "top-sample.h"
#include "top.h"

#include <getopt.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct command commands[] = {
	{"status", "[SERVICE...]", "show what the running usherd is doing", 0, -1, command_status},
	{"events", "[SERVICE...]", "show what happens, until it is interrupted", 0, -1,
		command_events},
	{"explain", "ADDRESS SERVICE", "say whether this client would be admitted, and why", 2, 2,
		command_explain},
	{"metrics", "", "print counters and histograms in Prometheus' text format", 0, 0,
		command_metrics},
	{"top", "", "show it live: rates, credit, time of handing over", 0, 0, command_top},
	{"check", "[FILE]", "check a configuration; its disabled services are listed", 0, 1,
		command_check},
	{"convert", "FILE...", "print inetd.conf or xinetd.conf as usher.conf", 1, -1,
		command_convert},
	{"reload", "", "check the configuration, then let usherd read it again", 0, 0,
		command_reload},
	{"drain", "SERVICE[/PROVIDER]...", "let providers finish what they have, and end", 1, -1,
		command_drain},
	{"pause", "SERVICE...", "let clients of a service wait in the backlog", 1, -1,
		command_pause},
	{"resume", "SERVICE...", "serve them again", 1, -1, command_resume},
	{"upgrade", "", "let usherd become the program that is installed now", 0, 0,
		command_upgrade},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum {
	OPTION_JSON = 256,
	OPTION_TYPE,
	OPTION_COMPLETE,
};

static const struct option long_options[] = {
	{"run-dir", required_argument, NULL, 'r'},
	{"json", no_argument, NULL, OPTION_JSON},
	{"interval", required_argument, NULL, 'd'},
	{"count", required_argument, NULL, 'n'},
	{"type", required_argument, NULL, OPTION_TYPE},
	{"complete", no_argument, NULL, OPTION_COMPLETE},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

static int print_help(void)
{
	printf("usherctl [-r RUN_DIR] [--json] COMMAND [ARGUMENT...]\n\nCommands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-7s %-21s %s\n", commands[i].name, commands[i].arguments,
			commands[i].help);
	printf("\nOptions:\n"
	       "  -r, --run-dir RUN_DIR   where usherd's control socket is\n"
	       "                          (default: $USHER_RUN_DIR, then %s)\n"
	       "      --json              what is printed, as JSON\n"
	       "  -d, --interval SECONDS  how often top looks (default: 1)\n"
	       "  -n, --count N           how often top looks before it ends\n"
	       "      --type TYPE         what to convert: inetd or xinetd\n"
	       "      --complete -- WORD...   what the last word may become; for shells\n"
	       "  -h, --help              this text\n"
	       "  -V, --version           the version\n\n"
	       "See usherctl(8).\n",
		USHER_RUN_DIR);
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int fail_usage(const char *what, const char *which)
{
	fprintf(stderr, "usherctl: %s%s; try 'usherctl --help'\n", what, which);
	return EX_USAGE;
}

/* libusher(3) has the same rule. */
static const char *default_run_dir(void)
{
	const char *run_dir = getenv("USHER_RUN_DIR");

	return run_dir && *run_dir ? run_dir : USHER_RUN_DIR;
}

/* `arguments` begins with the command's name and ends with NULL. */
static int run_command(const struct options *options, char **arguments, int n_arguments)
{
	const struct command *command;

	if (n_arguments == 0)
		return fail_usage("no command was given", "");
	command = find_command(arguments[0]);
	if (!command)
		return fail_usage("unknown command: ", arguments[0]);
	if (command->max_arguments >= 0 && n_arguments - 1 > command->max_arguments)
		return fail_usage("too many arguments for ", arguments[0]);
	if (options->type && command->run != command_convert)
		return fail_usage("--type does not go with ", arguments[0]);
	if ((options->interval_msec > 0 || options->count > 0) && command->run != command_top)
		return fail_usage("--interval and --count do not go with ", arguments[0]);
	if (n_arguments - 1 < command->min_arguments)
		return fail_usage(command->run == command_convert ? "no file was given for "
				  : command->run == command_explain
					  ? "an address and a service are needed for "
					  : "no service was given for ",
			arguments[0]);
	return command->run(options, arguments + 1);
}

static bool read_interval(const char *text, unsigned int *ret_msec)
{
	char *end;
	double msec = strtod(text, &end) * 1000;

	if (end == text || *end ||
		!(msec >= TOP_MIN_INTERVAL_MSEC && msec <= TOP_MAX_INTERVAL_MSEC))
		return false;
	*ret_msec = (unsigned int)msec;
	return true;
}

static bool read_count(const char *text, unsigned int *ret)
{
	char *end;
	long count = strtol(text, &end, 10);

	if (end == text || *end || count < 1 || count > 1000000000)
		return false;
	*ret = (unsigned int)count;
	return true;
}

int main(int argc, char **argv)
{
	struct options options = {.run_dir = default_run_dir()};
	bool is_to_complete = false;
	int option, r;

	setlocale(LC_CTYPE, "");
	while ((option = getopt_long(argc, argv, "r:d:n:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'r':
			options.run_dir = optarg;
			break;
		case OPTION_JSON:
			options.is_json = true;
			break;
		case 'd':
			if (!read_interval(optarg, &options.interval_msec))
				return fail_usage(
					"expected --interval of 0.1 to 3600 seconds, not ", optarg);
			break;
		case 'n':
			if (!read_count(optarg, &options.count))
				return fail_usage(
					"expected --count of 1 to 1000000000, not ", optarg);
			break;
		case OPTION_TYPE:
			if (strcmp(optarg, "inetd") != 0 && strcmp(optarg, "xinetd") != 0)
				return fail_usage("expected --type inetd or xinetd, not ", optarg);
			options.type = optarg;
			break;
		case OPTION_COMPLETE:
			is_to_complete = true;
			break;
		case 'h':
			return print_help();
		case 'V':
			printf("usherctl %s\n", USHER_VERSION);
			return 0;
		default:
			return EX_USAGE;
		}
	}
	if (is_to_complete)
		r = complete(commands, N_COMMANDS, long_options, options.run_dir, argv + optind);
	else
		r = run_command(&options, argv + optind, argc - optind);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("usherctl: standard output");
		return EXIT_FAILURE;
	}
	return r;
}
