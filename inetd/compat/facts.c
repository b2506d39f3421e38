/* SPDX-License-Identifier: MIT */
/* What the readers have to know of this system: see facts.h. */
#include "facts.h"

#include "build-config.h"
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASIC_USER  "usher-basic"
#define TCPMUX_USER "usher-tcpmux"

/* NULL: there is no such user. */
static const char *find_user(const char *name)
{
	return getpwnam(name) ? name : NULL;
}

/* Has any interface an address of IPv6? The file is not there if the kernel has no IPv6, and empty
 * if it was told to do without, when nothing but [::] could be bound. */
static bool has_ipv6(void)
{
	FILE *stream = fopen("/proc/net/if_inet6", "re");
	bool is_found = stream && fgetc(stream) != EOF;

	if (stream)
		(void)fclose(stream);
	return is_found;
}

/* Does a file of hosts_access(5) have more than comments and empty lines? */
static bool has_rules(const char *file)
{
	FILE *stream = fopen(file, "re");
	char line[256]; /* of a longer one the rest is a line, with something on it */
	bool is_found = false;

	while (stream && !is_found && fgets(line, sizeof(line), stream)) {
		const char *first = line + strspn(line, " \t\r\n");

		is_found = *first != '\0' && *first != '#';
	}
	if (stream)
		(void)fclose(stream);
	return is_found;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int facts_list_folder(const char *folder, char ***ret_names, size_t *ret_n)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_visible, compare_names), r = 0;
	char **names = n < 0 ? NULL : calloc((size_t)n + 1, sizeof(*names));

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (names)
			names[i] = strdup(entries[i]->d_name);
		r = !names || !names[i] ? -ENOMEM : r;
		free(entries[i]);
	}
	free(entries);
	for (int i = 0; r < 0 && names && i < n; i++)
		free(names[i]);
	if (r < 0) {
		free(names);
		return r;
	}
	*ret_names = names;
	*ret_n = (size_t)n;
	return 0;
}

void facts_look_up(struct translation_facts *ret)
{
	*ret = (struct translation_facts){
		.has_ipv6 = has_ipv6(),
		.has_host_rules = has_rules("/etc/hosts.allow") || has_rules("/etc/hosts.deny"),
		.basic_user = find_user(BASIC_USER),
		.tcpmux_user = find_user(TCPMUX_USER),
		.redirect_program = USHER_SBIN_DIR "/usher-redirect",
		.list_folder = facts_list_folder,
	};
}
