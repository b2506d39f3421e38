/* SPDX-License-Identifier: MIT */
/* Files of inetd and xinetd for tests: see translations.h. */
#include "translations.h"

#include "compat/inetd-conf.h"
#include "compat/translation-print.h"
#include "compat/xinetd-conf.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const *translations_files;

static char *read_file(const char *file, char *why, size_t why_size)
{
	for (size_t i = 0; translations_files && translations_files[i]; i += 2)
		if (strcmp(translations_files[i], file) == 0)
			return strdup(translations_files[i + 1]);
	(void)snprintf(why, why_size, "is not there");
	return NULL;
}

/* In the order that they have there. */
static int list_folder(const char *folder, char ***ret_names, size_t *ret_n)
{
	size_t length = strlen(folder), n = 0;
	char **names = calloc(16, sizeof(*names));

	assert_non_null(names);
	for (size_t i = 0; translations_files && translations_files[i]; i += 2)
		if (strncmp(translations_files[i], folder, length) == 0 &&
			translations_files[i][length] == '/' && n < 16)
			names[n++] = strdup(translations_files[i] + length + 1);
	if (n == 0) {
		free(names);
		return -ENOENT;
	}
	*ret_names = names;
	*ret_n = n;
	return 0;
}

struct translation_facts translations_facts = {
	.has_ipv6 = true,
	.basic_user = "usher-basic",
	.redirect_program = "/usr/sbin/usher-redirect",
	.read_file = read_file,
	.list_folder = list_folder,
};

static void check_warnings(const struct translation *translation, const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	for (size_t i = 0; i < translation->n_warnings; i++)
		fprintf(stream, "%s:%d: %s\n", translation->warnings[i].place.file,
			translation->warnings[i].place.line, translation->warnings[i].sentence);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(text, expected);
	free(text);
}

static void check(struct translation *translation, const char *expected, const char *warnings)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	translation_finish(translation);
	assert_false(translation->is_out_of_memory);
	translation_print(translation, stream);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(text, expected);
	free(text);
	check_warnings(translation, warnings);
	translation_done(translation);
}

void check_inetd(const char *text, const char *expected, const char *warnings)
{
	struct translation translation = {0};

	inetd_conf_translate(&translation, "f", text, &translations_facts);
	check(&translation, expected, warnings);
}

void check_xinetd(const char *text, const char *expected, const char *warnings)
{
	struct translation translation = {0};

	xinetd_conf_translate(&translation, "f", text, &translations_facts);
	check(&translation, expected, warnings);
}

void check_xinetd_folder(const char *folder, const char *expected, const char *warnings)
{
	struct translation translation = {0};

	assert_int_equal(
		xinetd_conf_translate_folder(&translation, folder, &translations_facts), 0);
	check(&translation, expected, warnings);
}

static void check_refused(struct translation *translation, const char *part)
{
	translation_finish(translation);
	assert_int_equal(translation->n_services, 0);
	if (translation->n_warnings != 1 || !strstr(translation->warnings[0].sentence, part))
		fail_msg("%zu warnings, of which the first is: %s; expected: %s",
			translation->n_warnings,
			translation->n_warnings > 0 ? translation->warnings[0].sentence : "", part);
	translation_done(translation);
}

void check_inetd_refuses(const char *text, const char *part)
{
	struct translation translation = {0};

	inetd_conf_translate(&translation, "f", text, &translations_facts);
	check_refused(&translation, part);
}

void check_xinetd_refuses(const char *text, const char *part)
{
	struct translation translation = {0};

	xinetd_conf_translate(&translation, "f", text, &translations_facts);
	check_refused(&translation, part);
}
