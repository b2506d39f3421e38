/* SPDX-License-Identifier: MIT */
/* What usherctl can do: usherctl(8) says what each command means. */
#pragma once

#include "options.h"

#include <stdbool.h>

/* A row of the table in main.c. */
struct command {
	const char *name;
	const char *arguments; /* for the help and for shells: words, each SERVICE, FILE ... */
	const char *help;
	int min_arguments;
	int max_arguments; /* -1: any number */
	int (*run)(const struct options *options, char **arguments);
};

/*
 * Carry a command out: print what there is to say to stdout, what is wrong to stderr. `arguments`
 * ends with NULL. Returns the exit status: one of those that usherctl(8) lists.
 */
int command_status(const struct options *options, char **arguments);
int command_metrics(const struct options *options, char **arguments);
int command_check(const struct options *options, char **arguments);
int command_reload(const struct options *options, char **arguments);
int command_drain(const struct options *options, char **arguments);
int command_pause(const struct options *options, char **arguments);
int command_resume(const struct options *options, char **arguments);
int command_explain(const struct options *options, char **arguments);
int command_events(const struct options *options, char **arguments);
int command_upgrade(const struct options *options, char **arguments);
