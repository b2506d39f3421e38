/* SPDX-License-Identifier: MIT */
/*
 * usherctl top: the running usherd, looked at again and again.
 *
 * Who looks is a user at a screen (top-screen.h), or a program that reads lines of JSON.
 */
#pragma once

#include "options.h"

/* As the commands of commands.h. */
int command_top(const struct options *options, char **arguments);
