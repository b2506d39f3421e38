/* SPDX-License-Identifier: MIT */
/* usherctl explain: would this client be admitted, and what decides. */
#include "commands.h"
#include "request.h"
#include "table.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* What usherctl(8) says of these exit statuses. */
#define EXIT_REFUSED 2
#define EXIT_WAITING 3

#define MAX_REQUEST  512

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "-";
}

static void print_check(const json_t *check)
{
	static const struct {
		const char *outcome, *mark;
	} marks[] = {{"refused", "refuses"}, {"waiting", "waits"}};
	const char *outcome = text_of(check, "outcome"), *mark = "";
	char text[TABLE_CELL_SIZE];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (strcmp(outcome, marks[i].outcome) == 0)
			mark = marks[i].mark;
	text_copy(text, sizeof(text), text_of(check, "check"));
	printf("  %-15s  %-7s  ", text, mark);
	request_print(stdout, "", text_of(check, "text"));
}

/* "web: 192.0.2.1 would be refused: only_from", and what was looked at. */
static void print(const json_t *answer)
{
	const char *outcome = text_of(answer, "outcome");
	const char *reason = json_string_value(json_object_get(answer, "reason"));
	const char *refused_to = json_string_value(json_object_get(answer, "refused_to"));
	bool is_waiting = strcmp(outcome, "waiting") == 0;
	char line[TABLE_CELL_SIZE];
	const json_t *check;
	size_t i;

	(void)snprintf(line, sizeof(line), "%s: %s would %s%s%s%s", text_of(answer, "service"),
		text_of(answer, "client"), is_waiting ? "have to wait" : "be ",
		is_waiting ? "" : outcome, reason ? ": " : "", reason ? reason : "");
	request_print(stdout, "", line);
	if (refused_to)
		request_print(stdout, "  and be given to the service ", refused_to);
	json_array_foreach(json_object_get(answer, "checks"), i, check) print_check(check);
}

static int exit_status_of(const json_t *answer)
{
	const char *outcome = text_of(answer, "outcome");

	if (strcmp(outcome, "refused") == 0)
		return EXIT_REFUSED;
	return strcmp(outcome, "waiting") == 0 ? EXIT_WAITING : 0;
}

int command_explain(const struct options *options, char **arguments)
{
	char request[MAX_REQUEST];
	json_t *answer = NULL;
	int r;

	if (strchr(arguments[0], ' ') ||
		snprintf(request, sizeof(request), "explain %s %s", arguments[0], arguments[1]) >=
			(int)sizeof(request))
		return request_conclude(options, -EINVAL, NULL, NULL);
	r = request_ask(options, request, &answer);
	if (r > 0)
		return r;
	r = options->is_json ? request_print_json(answer) : 0;
	if (!options->is_json)
		print(answer);
	r = r > 0 ? r : exit_status_of(answer);
	json_decref(answer);
	return r;
}
