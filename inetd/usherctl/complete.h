/* SPDX-License-Identifier: MIT */
/*
 * usherctl --complete: what the last word of a command line may become, for the completions of
 * shells (packaging/completions).
 *
 * It follows from the same tables as the help, so that no shell's file has a list of its own. The
 * words have been neither expanded nor checked: who types them is not done yet.
 */
#pragma once

#include "commands.h"

#include <getopt.h>
#include <stddef.h>

/*
 * Print a line for each word that begins as the last of `words` does, with a tab and a description;
 * or a single line that asks the shell for names of its own, ":files" or ":folders". `words` are
 * those behind the program's name; they end with NULL. `options` are those of getopt_long(3).
 *
 * Services are those of the usherd that has its control socket in `run_dir`, unless the words say
 * another one; if it cannot be asked there are none. Returns the exit status, 0.
 */
int complete(const struct command *commands, size_t n_commands, const struct option *options,
	const char *run_dir, char **words);
