/* SPDX-License-Identifier: MIT */
/* Asking usherd on the user's behalf: see request.h. */
#include "request.h"

#include "client.h"
#include "table.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void request_print(FILE *file, const char *before, const char *text)
{
	char printable[1024];

	text_copy(printable, sizeof(printable), text);
	fprintf(file, "%s%s\n", before, printable);
}

int request_print_json(const json_t *object)
{
	if (json_dumpf(object, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0)
		return EXIT_FAILURE;
	putchar('\n');
	return 0;
}

json_t *request_text(const char *text)
{
	json_t *json = json_string(text);
	char *copy = json ? NULL : strdup(text);

	for (char *c = copy; c && *c; c++)
		if (!isascii(*c))
			*c = '?';
	json = copy ? json_string(copy) : json;
	free(copy);
	return json;
}

/* Report an error object, { "error": "sentence" }, after the "lines" that explain it, if there are
 * any. Returns the exit status: its "exit_status", or what follows from the lines, which are about
 * a file. */
static int report_error_object(const json_t *answer)
{
	const json_t *exit_status = json_object_get(answer, "exit_status");
	const json_t *lines = json_object_get(answer, "lines");

	for (size_t i = 0; i < json_array_size(lines); i++) {
		const char *line = json_string_value(json_array_get(lines, i));

		request_print(stderr, "", line ? line : "-");
	}
	request_print(stderr, "usherctl: ", json_string_value(json_object_get(answer, "error")));
	if (json_is_integer(exit_status))
		return (int)json_integer_value(exit_status);
	return json_array_size(lines) > 0 ? EX_CONFIG : EXIT_FAILURE;
}

static int exit_status_of(int error)
{
	switch (-error) {
	case EACCES:
	case EPERM:
		return EX_NOPERM;
	case EINVAL:
		return EX_USAGE;
	default:
		return EXIT_FAILURE;
	}
}

int request_conclude(const struct options *options, int error, json_t *answer, json_t **ret)
{
	char why[512];

	if (error < 0) {
		fprintf(stderr, "usherctl: %s\n",
			client_explain(error, options->run_dir, why, sizeof(why)));
		return exit_status_of(error);
	}
	if (json_is_string(json_object_get(answer, "error"))) {
		int status = report_error_object(answer);

		json_decref(answer);
		return status;
	}
	*ret = answer;
	return 0;
}

int request_ask(const struct options *options, const char *request, json_t **ret)
{
	json_t *answer = NULL;
	int r = client_ask(options->run_dir, request, CLIENT_TIMEOUT_SECONDS, &answer, NULL);

	return request_conclude(options, r, answer, ret);
}

static void print_message(const json_t *answer)
{
	const char *message = json_string_value(json_object_get(answer, "message"));
	const json_t *warning;
	size_t i;

	json_array_foreach(
		json_object_get(answer, "warnings"), i, warning) if (json_is_string(warning))
		request_print(stderr, "", json_string_value(warning));
	request_print(stdout, "", message ? message : "done");
}

void request_print_message(const struct options *options, json_t *answer)
{
	if (options->is_json)
		(void)request_print_json(answer); /* main() finds out what went wrong with it */
	else
		print_message(answer);
	json_decref(answer);
}

int request_tell(const struct options *options, const char *request)
{
	json_t *answer = NULL;
	int r = request_ask(options, request, &answer);

	if (r == 0)
		request_print_message(options, answer);
	return r;
}
