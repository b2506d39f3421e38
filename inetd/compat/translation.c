/* SPDX-License-Identifier: MIT */
/* Building a translation: see translation.h. Bringing it together is translation-finish.c
 * and what translation-private.h lists. */
#include "translation.h"

#include "array.h"
#include "wire.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* array_add(); without memory the translation has the flag. */
static void *add_element(void *array, size_t *n, size_t size, struct translation *translation)
{
	void *added = array_add(array, n, size);

	translation->is_out_of_memory |= !added;
	return added;
}

static char *copy_text(struct translation *translation, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		translation->is_out_of_memory = true;
	return copy;
}

void translation_free_service(struct translation_service *service)
{
	for (size_t i = 0; i < service->n_assignments; i++) {
		for (size_t j = 0; j < service->assignments[i].n_texts; j++)
			free(service->assignments[i].texts[j]);
		free(service->assignments[i].texts);
	}
	free(service->assignments);
	free(service->comment);
	free(service->refusal);
	free(service->base);
	free(service->name);
	free(service);
}

void translation_done(struct translation *translation)
{
	for (size_t i = 0; i < translation->n_services; i++)
		translation_free_service(translation->services[i]);
	for (size_t i = 0; i < translation->n_warnings; i++)
		free(translation->warnings[i].sentence);
	for (size_t i = 0; i < translation->n_files; i++)
		free(translation->files[i]);
	free(translation->services);
	free(translation->warnings);
	free(translation->files);
	free(translation->comment);
	*translation = (struct translation){0};
}

const char *translation_add_file(struct translation *translation, const char *file)
{
	char *copy = copy_text(translation, file);
	char **slot = copy ? add_element(&translation->files, &translation->n_files, sizeof(*slot),
				     translation)
			   : NULL;

	if (!slot) {
		free(copy);
		return "";
	}
	*slot = copy;
	return copy;
}

struct translation_service *translation_add_service(
	struct translation *translation, const char *name, struct translation_place place)
{
	struct translation_service **slot, *service;

	if (translation->n_services >= TRANSLATION_MAX_SERVICES) {
		translation_warn(translation, place,
			"'%s' is left out, because there are more than %d services", name,
			TRANSLATION_MAX_SERVICES);
		return NULL;
	}
	service = calloc(1, sizeof(*service));
	slot = service ? add_element(&translation->services, &translation->n_services,
				 sizeof(*slot), translation)
		       : NULL;
	if (!slot) {
		translation->is_out_of_memory = true;
		free(service);
		return NULL;
	}
	*slot = service;
	service->place = place;
	service->suffix = "";
	service->name = copy_text(translation, name);
	if (!service->name) {
		translation_drop_service(translation);
		return NULL;
	}
	return service;
}

void translation_drop_service(struct translation *translation)
{
	translation_free_service(translation->services[--translation->n_services]);
}

struct translation_assignment *translation_assign(struct translation *translation,
	struct translation_service *service, const char *section, const char *key,
	struct translation_place place)
{
	struct translation_assignment *assignment = add_element(
		&service->assignments, &service->n_assignments, sizeof(*assignment), translation);

	if (assignment)
		*assignment = (struct translation_assignment){
			.section = section, .key = key, .place = place};
	return assignment;
}

void translation_add_text(struct translation *translation,
	struct translation_assignment *assignment, const char *format, ...)
{
	char *text, **slot;
	va_list args;
	int r;

	if (!assignment)
		return;
	va_start(args, format);
	r = vasprintf(&text, format, args);
	va_end(args);
	slot = r < 0 ? NULL
		     : add_element(&assignment->texts, &assignment->n_texts, sizeof(*slot),
			       translation);
	if (slot) {
		*slot = text;
		return;
	}
	translation->is_out_of_memory = true;
	if (r >= 0)
		free(text);
}

void translation_assign_text(struct translation *translation, struct translation_service *service,
	const char *section, const char *key, struct translation_place place, const char *text)
{
	translation_add_text(translation,
		translation_assign(translation, service, section, key, place), "%s", text);
}

static bool is_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

struct translation_assignment *translation_find(
	const struct translation_service *service, const char *section, const char *key)
{
	for (size_t i = 0; i < service->n_assignments; i++)
		if (is_same(service->assignments[i].section, section) &&
			strcmp(service->assignments[i].key, key) == 0)
			return &service->assignments[i];
	return NULL;
}

void translation_warn(
	struct translation *translation, struct translation_place place, const char *format, ...)
{
	struct translation_warning *warning;
	char *sentence;
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&sentence, format, args);
	va_end(args);
	if (r < 0) {
		translation->is_out_of_memory = true;
		return;
	}
	warning = add_element(
		&translation->warnings, &translation->n_warnings, sizeof(*warning), translation);
	if (warning)
		*warning = (struct translation_warning){.place = place, .sentence = sentence};
	else
		free(sentence);
}

/* Comments are shown on terminals. */
static void replace_unprintable(char *text)
{
	for (size_t length; *text; text += length) {
		length = wire_character_length(text);
		if (length > 0)
			continue;
		length = 1;
		if (*text != '\t' && *text != '\n')
			*text = '?';
	}
}

/* Room for so many bytes more, and a NUL. There may be a hundred thousand lines. */
static bool grow_comment(struct translation *translation, size_t n_bytes)
{
	size_t needed = translation->comment_length + n_bytes + 1;
	char *comment;

	if (translation->comment && needed <= translation->comment_room)
		return true;
	comment = realloc(translation->comment, 2 * needed);
	if (!comment) {
		translation->is_out_of_memory = true;
		return false;
	}
	translation->comment = comment;
	translation->comment_room = 2 * needed;
	return true;
}

void translation_add_comment(struct translation *translation, const char *line, size_t length)
{
	char *end;

	if (length == 0 && !translation->comment)
		return; /* an empty line that separates nothing from nothing */
	if (!grow_comment(translation, length + strlen("\n")))
		return;
	end = translation->comment + translation->comment_length;
	memcpy(end, line, length);
	memcpy(end + length, "\n", sizeof("\n"));
	replace_unprintable(end);
	translation->comment_length += length + strlen("\n");
}

char *translation_move_comment(struct translation *translation)
{
	char *comment = translation->comment;

	translation->comment = NULL;
	translation->comment_length = translation->comment_room = 0;
	return comment;
}

bool translation_is_host_name(const char *host)
{
	return host[strspn(host, "0123456789.")] != '\0' && !strpbrk(host, ":%");
}

bool translation_is_text(const char *text)
{
	for (size_t length; *text; text += length) {
		length = wire_character_length(text);
		if (length == 0)
			return false;
	}
	return true;
}
