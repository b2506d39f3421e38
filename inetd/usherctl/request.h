/* SPDX-License-Identifier: MIT */
/*
 * Asking usherd on the user's behalf: whatever goes wrong is said on standard error, and becomes an
 * exit status, one of those that usherctl(8) lists.
 */
#pragma once

#include "options.h"

#include <jansson.h>
#include <stdio.h>

/* Print an object as --json promises: all but ASCII escaped, which keeps C1 control characters from
 * a terminal, too. Returns the exit status. */
int request_print_json(const json_t *object);

/* A text that may have any bytes: in one that is not UTF-8, which JSON can't hold, all but ASCII
 * becomes '?'. A new reference, or NULL when out of memory. */
json_t *request_text(const char *text);

/* Print a line whose text came from somewhere else: it cannot disturb the terminal. */
void request_print(FILE *file, const char *before, const char *text);

/*
 * Ask `request`, one short line. Returns 0 with a new reference in *ret, which is no error object;
 * else the exit status, and the error was reported.
 */
int request_ask(const struct options *options, const char *request, json_t **ret);

/* Ask for something to be done, and print the message that is the answer, after the warnings that
 * come with it. Returns the exit status. */
int request_tell(const struct options *options, const char *request);

/*
 * What request_ask() does with the result of client_ask(): `error`, or if that is 0 `answer`, which
 * is taken.
 */
int request_conclude(const struct options *options, int error, json_t *answer, json_t **ret);

/* The end of request_tell(): print the message of `answer`, or all of it as JSON. It is taken. */
void request_print_message(const struct options *options, json_t *answer);
