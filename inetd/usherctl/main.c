/* SPDX-License-Identifier: MIT */
/*
 * usherctl: the administrator's command. Options, and a table of commands; the rest is commands.c.
 */
#include "build-config.h"
#include "commands.h"
#include "convert.h"

#include <getopt.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct command {
	const char *name;
	const char *arguments; /* for the help */
	const char *help;
	int min_arguments;
	int max_arguments; /* -1: any number */
	int (*run)(const struct options *options, char **arguments);
} commands[] = {
	{"status", "[SERVICE...]", "show what the running usherd is doing", 0, -1, command_status},
	{"events", "[SERVICE...]", "show what happens, until it is interrupted", 0, -1,
		command_events},
	{"explain", "ADDRESS SERVICE", "say whether this client would be admitted, and why", 2, 2,
		command_explain},
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
};

static const struct option long_options[] = {
	{"run-dir", required_argument, NULL, 'r'},
	{"json", no_argument, NULL, OPTION_JSON},
	{"type", required_argument, NULL, OPTION_TYPE},
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
	       "      --type TYPE         what to convert: inetd or xinetd\n"
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
	if (n_arguments - 1 < command->min_arguments)
		return fail_usage(command->run == command_convert ? "no file was given for "
				  : command->run == command_explain
					  ? "an address and a service are needed for "
					  : "no service was given for ",
			arguments[0]);
	return command->run(options, arguments + 1);
}

int main(int argc, char **argv)
{
	struct options options = {.run_dir = default_run_dir()};
	int option, r;

	setlocale(LC_CTYPE, "");
	while ((option = getopt_long(argc, argv, "r:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 'r':
			options.run_dir = optarg;
			break;
		case OPTION_JSON:
			options.is_json = true;
			break;
		case OPTION_TYPE:
			if (strcmp(optarg, "inetd") != 0 && strcmp(optarg, "xinetd") != 0)
				return fail_usage("expected --type inetd or xinetd, not ", optarg);
			options.type = optarg;
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
	r = run_command(&options, argv + optind, argc - optind);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("usherctl: standard output");
		return EXIT_FAILURE;
	}
	return r;
}
