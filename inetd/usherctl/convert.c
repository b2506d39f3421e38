/* SPDX-License-Identifier: MIT */
/*
 * usherctl convert: what inetd_conf(), xinetd_conf() and xinetd_d() of usher.conf(5) make of a
 * file, written out.
 *
 * Nothing is run of what stands in the file, and so it may be anybody's.
 */
#include "convert.h"

#include "compat/facts.h"
#include "compat/inetd-conf.h"
#include "compat/translation-print.h"
#include "compat/xinetd-conf.h"
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES (16u << 20)

/* What is in the stream, to be freed; NULL with a positive errno in *ret_error. */
static char *read_stream(FILE *stream, int *ret_error)
{
	char *text = malloc(MAX_FILE_BYTES + 2);
	size_t n = text ? fread(text, 1, MAX_FILE_BYTES + 1, stream) : 0;

	*ret_error = !text ? ENOMEM : ferror(stream) ? errno : n > MAX_FILE_BYTES ? EFBIG : 0;
	if (*ret_error == 0) {
		text[n] = '\0';
		if (strlen(text) != n)
			*ret_error = EILSEQ;
	}
	if (*ret_error == 0)
		return text;
	free(text);
	return NULL;
}

static char *read_file(const char *file, char *why, size_t why_size)
{
	FILE *stream = fopen(file, "re");
	int error = errno;
	char *text = stream ? read_stream(stream, &error) : NULL;

	if (stream)
		(void)fclose(stream);
	if (!text)
		(void)snprintf(why, why_size, "cannot be read: %s", strerror(error));
	return text;
}

static bool begins_with(const char *line, const char *word)
{
	size_t length = strlen(word);

	return strncmp(line, word, length) == 0 && strchr(" \t\r\n", line[length]);
}

/* The first line that is no comment: does it begin a section or an include? */
static bool is_xinetd_text(const char *text)
{
	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		text += strspn(text, " \t\r\n");
		if (*text != '#' && *text)
			return begins_with(text, "defaults") || begins_with(text, "service") ||
			       begins_with(text, "include") || begins_with(text, "includedir");
	}
	return false;
}

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Returns false when the file cannot be read, which was said. */
static bool translate_file(struct translation *translation, const struct options *options,
	const char *path, const struct translation_facts *facts)
{
	char why[256], *text = read_file(path, why, sizeof(why));
	bool is_xinetd;

	if (!text) {
		fprintf(stderr, "usherctl: %s %s\n", path, why);
		return false;
	}
	is_xinetd = options->type ? strcmp(options->type, "xinetd") == 0 : is_xinetd_text(text);
	if (is_xinetd)
		xinetd_conf_translate(translation, path, text, facts);
	else
		inetd_conf_translate(translation, path, text, facts);
	free(text);
	return true;
}

static bool translate_folder(
	struct translation *translation, const char *path, const struct translation_facts *facts)
{
	int r = xinetd_conf_translate_folder(translation, path, facts);

	if (r < 0)
		fprintf(stderr, "usherctl: %s cannot be read: %s\n", path, strerror(-r));
	return r == 0;
}

static void print_warnings(const struct translation *translation)
{
	for (size_t i = 0; i < translation->n_warnings; i++) {
		const struct translation_warning *warning = &translation->warnings[i];

		fprintf(stderr, "%s:", warning->place.file);
		if (warning->place.line > 0)
			fprintf(stderr, "%d:", warning->place.line);
		fprintf(stderr, " warning: %s\n", warning->sentence);
	}
}

static json_t *warnings_json(const struct translation *translation)
{
	json_t *array = json_array();

	for (size_t i = 0; i < translation->n_warnings; i++) {
		const struct translation_warning *warning = &translation->warnings[i];

		json_array_append_new(array,
			json_pack("{s:o, s:i, s:o}", "file", request_text(warning->place.file),
				"line", (int)warning->place.line, "text",
				request_text(warning->sentence)));
	}
	return array;
}

/* The same as an object. Returns whether there was memory. */
static bool print_translation_json(const struct translation *translation)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	json_t *object;
	bool is_printed;

	if (!stream)
		return false;
	translation_print(translation, stream);
	(void)fclose(stream);
	object = json_pack("{s:o, s:o}", "configuration", request_text(text ? text : ""),
		"warnings", warnings_json(translation));
	is_printed = object && request_print_json(object) == 0;
	json_decref(object);
	free(text);
	return is_printed;
}

static bool print_translation(const struct options *options, const struct translation *translation)
{
	if (options->is_json)
		return print_translation_json(translation);
	print_warnings(translation);
	translation_print(translation, stdout);
	return true;
}

int command_convert(const struct options *options, char **arguments)
{
	struct translation translation = {0};
	struct translation_facts facts;
	bool is_right = true;

	facts_look_up(&facts);
	facts.read_file = read_file;
	for (; *arguments; arguments++)
		is_right &= is_folder(*arguments)
				    ? translate_folder(&translation, *arguments, &facts)
				    : translate_file(&translation, options, *arguments, &facts);
	translation_finish(&translation);
	if (translation.is_out_of_memory || !print_translation(options, &translation)) {
		fprintf(stderr, "usherctl: %s\n", strerror(ENOMEM));
		is_right = false;
	}
	translation_done(&translation);
	return is_right ? EXIT_SUCCESS : EXIT_FAILURE;
}
