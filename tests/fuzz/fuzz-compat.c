/* SPDX-License-Identifier: MIT */
/* Whatever stands in inetd.conf or xinetd.conf: names that usher.conf takes, texts that it can
 * hold, and no leak. The first byte says which it is.
 * libFuzzer calls this. */
#include "compat/inetd-conf.h"
#include "compat/translation-print.h"
#include "compat/xinetd-conf.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every file includes itself, as often as this: the limit of files would make each input slow. */
#define MAX_READ 20

static const char *content;
static unsigned int n_read;

static char *read_file(const char *file, char *why, size_t why_size)
{
	(void)file;
	(void)why;
	(void)why_size;
	return strdup(n_read++ < MAX_READ ? content : "");
}

static int list_folder(const char *folder, char ***ret_names, size_t *ret_n)
{
	char **names = calloc(2, sizeof(*names));

	(void)folder;
	if (!names)
		return -ENOMEM;
	names[0] = strdup("a");
	*ret_names = names;
	*ret_n = 1;
	return 0;
}

static void check_service(
	const struct translation *translation, const struct translation_service *service)
{
	size_t n = 0;

	assert(*service->name && *service->name != '.');
	assert(strlen(service->name) <= TRANSLATION_MAX_NAME);
	for (size_t i = 0; i < translation->n_services; i++)
		n += strcmp(service->name, translation->services[i]->name) == 0;
	assert(n == 1);
	assert(translation_find(service, NULL, "listen"));
	for (size_t i = 0; i < service->n_assignments; i++)
		for (size_t j = 0; j < service->assignments[i].n_texts; j++)
			assert(translation_is_text(service->assignments[i].texts[j]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct translation_facts facts = {.has_ipv6 = true,
		.redirect_program = "/r",
		.read_file = read_file,
		.list_folder = list_folder};
	struct translation translation = {0};
	char *text = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;
	FILE *stream = fopen("/dev/null", "we");

	if (text && stream) {
		content = text;
		n_read = 0;
		if (data[0] % 2 == 0)
			inetd_conf_translate(&translation, "f", text, &facts);
		else
			xinetd_conf_translate(&translation, "f", text, &facts);
		translation_finish(&translation);
		for (size_t i = 0; i < translation.n_services; i++)
			check_service(&translation, translation.services[i]);
		translation_print(&translation, stream);
		translation_done(&translation);
	}
	if (stream)
		(void)fclose(stream);
	free(text);
	return 0;
}
