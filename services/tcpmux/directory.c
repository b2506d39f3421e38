/* SPDX-License-Identifier: MIT */
/* See directory.h. Upper and lower case are those of ASCII: the program sets no locale. */
#include "directory.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_name(const char *text, size_t length)
{
	if (length == 0 || length > REQUEST_NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

/* As usher.conf(5) names services. */
static bool is_service(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > REQUEST_NAME_MAX || text[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
			return false;
	return true;
}

static int parse_entry(struct directory_entry *ret, const char *text)
{
	const char *name = text[0] == '+' ? text + 1 : text;
	size_t length = strcspn(name, "=");
	const char *service = name[length] == '=' ? name + length + 1 : name;

	if (!is_name(name, length) || name[0] == '+' || !is_service(service))
		return -EINVAL;
	*ret = (struct directory_entry){.is_announced = text[0] == '+'};
	memcpy(ret->name, name, length);
	memcpy(ret->service, service, strlen(service));
	return directory_is_help(ret->name) ? -EINVAL : 0;
}

static int add_help(struct directory *d, const char *name)
{
	size_t length = strlen(name);
	char *help = realloc(d->help, d->help_size + length + 2);

	if (!help)
		return -ENOMEM;
	memcpy(help + d->help_size, name, length);
	memcpy(help + d->help_size + length, "\r\n", 2);
	d->help = help;
	d->help_size += length + 2;
	return 0;
}

int directory_add(struct directory *d, const char *text)
{
	struct directory_entry entry;
	struct directory_entry *entries;
	int r = parse_entry(&entry, text);

	if (r < 0)
		return r;
	if (directory_find(d, entry.name))
		return -EEXIST;
	if (d->n == DIRECTORY_MAX)
		return -E2BIG;
	entries = reallocarray(d->entries, d->n + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	d->entries = entries;
	r = add_help(d, entry.name);
	if (r == 0)
		d->entries[d->n++] = entry;
	return r;
}

const struct directory_entry *directory_find(const struct directory *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcasecmp(d->entries[i].name, name) == 0)
			return &d->entries[i];
	return NULL;
}

bool directory_is_help(const char *name)
{
	return strcasecmp(name, "HELP") == 0;
}

void directory_done(struct directory *d)
{
	free(d->entries);
	free(d->help);
	*d = (struct directory){0};
}
