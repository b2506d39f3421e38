/* SPDX-License-Identifier: MIT */
/* A translation as usher.conf: see translation-print.h. */
#include "translation-print.h"

#include <stdlib.h>
#include <string.h>

#define INDENTATION "    "

/* Lists that would be longer go over several lines. */
#define LINE_WIDTH 80

/* Does it need a backslash? usher.conf(5), "SYNTAX"; "${" would begin a variable. */
static bool is_special(const char *at)
{
	return *at == '\\' || *at == '"' || (*at == '$' && at[1] == '{');
}

static size_t quoted_length(const char *text)
{
	size_t length = strlen("\"\"");

	for (; *text; text++)
		length += is_special(text) ? 2 : 1;
	return length;
}

void translation_print_text(const char *text, FILE *stream)
{
	(void)fputc('"', stream);
	for (; *text; text++) {
		if (is_special(text))
			(void)fputc('\\', stream);
		(void)fputc(*text, stream);
	}
	(void)fputc('"', stream);
}

static bool is_bare(const char *text)
{
	return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 ||
	       (*text && text[strspn(text, "0123456789")] == '\0');
}

/* Numbers and booleans need no quotes. */
static void print_value(const char *text, bool is_text, FILE *stream)
{
	if (!is_text && is_bare(text))
		(void)fputs(text, stream);
	else
		translation_print_text(text, stream);
}

/* Does it take any number of texts? */
static bool is_list(const struct translation_assignment *assignment)
{
	static const char *const lists[] = {"listen", "args", "env", "pass_env", "only_from",
		"no_access", "access_times", "users", "forward", "log_on_success",
		"log_on_failure"};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strcmp(assignment->key, lists[i]) == 0)
			return true;
	return false;
}

static void print_list(const struct translation_assignment *assignment, size_t column, FILE *stream)
{
	size_t indentation = column;

	(void)fputc('{', stream);
	for (size_t i = 0; i < assignment->n_texts; i++) {
		const char *text = assignment->texts[i];

		if (i > 0 && column + quoted_length(text) > LINE_WIDTH) {
			(void)fprintf(stream, ",\n%*s", (int)indentation + 1, "");
			column = indentation;
		} else if (i > 0) {
			(void)fputs(", ", stream);
		}
		print_value(text, is_list(assignment), stream);
		column += quoted_length(text) + strlen(", ");
	}
	(void)fputc('}', stream);
}

static void print_assignment(
	const struct translation_assignment *assignment, size_t depth, FILE *stream)
{
	int indentation = (int)(depth * strlen(INDENTATION));
	int n = fprintf(stream, "%*s%s = ", indentation, "", assignment->key);

	if (is_list(assignment) || assignment->n_texts != 1)
		print_list(assignment, n < 0 ? 0 : (size_t)n, stream);
	else
		print_value(assignment->texts[0], false, stream);
	(void)fputc('\n', stream);
}

static bool is_in(const struct translation_assignment *assignment, const char *section)
{
	return assignment->section && strcmp(assignment->section, section) == 0;
}

static bool has_section(const struct translation_service *service, const char *section)
{
	for (size_t i = 0; i < service->n_assignments; i++)
		if (is_in(&service->assignments[i], section))
			return true;
	return false;
}

static void print_section_values(
	const struct translation_service *service, const char *section, size_t depth, FILE *stream)
{
	for (size_t i = 0; i < service->n_assignments; i++)
		if (is_in(&service->assignments[i], section))
			print_assignment(&service->assignments[i], depth, stream);
}

/* A section, and the one in it. */
static void print_section(const struct translation_service *service, const char *section,
	const char *inner, const char *inner_name, FILE *stream)
{
	if (!has_section(service, section))
		return;
	(void)fprintf(stream, INDENTATION "%s {\n", section);
	print_section_values(service, section, 2, stream);
	if (inner && has_section(service, inner)) {
		(void)fprintf(stream, INDENTATION INDENTATION "%s {\n", inner_name);
		print_section_values(service, inner, 3, stream);
		(void)fprintf(stream, INDENTATION INDENTATION "}\n");
	}
	(void)fprintf(stream, INDENTATION "}\n");
}

static void print_service(const struct translation_service *service, FILE *stream)
{
	if (service->comment)
		(void)fputs(service->comment, stream);
	(void)fprintf(stream, "service %s {\n", service->name);
	for (size_t i = 0; i < service->n_assignments; i++)
		if (!service->assignments[i].section)
			print_assignment(&service->assignments[i], 1, stream);
	print_section(service, "providers", NULL, NULL, stream);
	print_section(service, "socket", NULL, NULL, stream);
	print_section(service, "exec", "exec.rlimit", "rlimit", stream);
	(void)fputs("}\n", stream);
}

void translation_print(const struct translation *translation, FILE *stream)
{
	for (size_t i = 0; i < translation->n_services; i++) {
		if (i > 0)
			(void)fputc('\n', stream);
		print_service(translation->services[i], stream);
	}
	if (translation->comment)
		(void)fprintf(stream, "%s%s", translation->n_services > 0 ? "\n" : "",
			translation->comment);
}
