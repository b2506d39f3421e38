/* SPDX-License-Identifier: MIT */
/* From names to ids: see identity.h. */
#include "identity.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Most that Linux has for one process. */
#define MAX_GROUPS   65536

#define FIRST_GROUPS 64

/* "65535" and "4294967295" mean "none" to the kernel. Returns false if it is no number. */
static bool parse_id(const char *text, id_t *ret)
{
	unsigned long number;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || number >= UINT32_MAX)
		return false;
	*ret = (id_t)number;
	return true;
}

/* NULL with errno 0: there is none. */
static const struct passwd *find_user(const char *user)
{
	id_t id;

	errno = 0;
	return parse_id(user, &id) ? getpwuid(id) : getpwnam(user);
}

static int find_group(const char *group, gid_t *ret, char *why, size_t why_size)
{
	const struct group *found;
	id_t id;

	errno = 0;
	if (parse_id(group, &id)) {
		*ret = id;
		return 0;
	}
	found = getgrnam(group);
	if (!found) {
		(void)snprintf(why, why_size, "there is no group '%s'%s%s", group,
			errno ? ": " : "", errno ? strerror(errno) : "");
		return -EINVAL;
	}
	*ret = found->gr_gid;
	return 0;
}

/* The user's groups, with `gid`. */
static int find_groups(struct identity *identity, const char *name)
{
	int n = FIRST_GROUPS;

	for (;;) {
		gid_t *groups = reallocarray(identity->groups, n, sizeof(*groups));
		int room = n;

		if (!groups)
			return -ENOMEM;
		identity->groups = groups;
		if (getgrouplist(name, identity->gid, groups, &n) >= 0) {
			identity->n_groups = n;
			return 0;
		}
		n = n > room ? n : 2 * room;
		if (n > MAX_GROUPS)
			return -ENOMEM;
	}
}

/* Only the one group. */
static int set_single_group(struct identity *identity)
{
	identity->groups = malloc(sizeof(*identity->groups));
	if (!identity->groups)
		return -ENOMEM;
	identity->groups[0] = identity->gid;
	identity->n_groups = 1;
	return 0;
}

/* What this process is already needs no right; its groups stay what they are. */
static int check_right(
	struct identity *identity, const char *user, const char *group, char *why, size_t why_size)
{
	identity->is_changed =
		geteuid() == 0 || identity->uid != geteuid() || identity->gid != getegid();
	if (!identity->is_changed || geteuid() == 0)
		return 0;
	(void)snprintf(why, why_size,
		"it is to run as %s '%s', for which usher-exec must be started by root, and it was "
		"started by uid %u: start it as root, or as that user, or change exec { %s }",
		user ? "user" : "group", user ? user : group, geteuid(), user ? "user" : "group");
	return -EINVAL;
}

static int find(struct identity *identity, const char *user, const char *group, bool has_groups,
	char *why, size_t why_size)
{
	const struct passwd *entry = user ? find_user(user) : NULL;
	int r = 0;

	if (user && !entry) {
		(void)snprintf(why, why_size, "there is no user '%s'%s%s", user, errno ? ": " : "",
			errno ? strerror(errno) : "");
		return -EINVAL;
	}
	identity->uid = entry ? entry->pw_uid : geteuid();
	identity->gid = entry ? entry->pw_gid : getegid();
	if (group)
		r = find_group(group, &identity->gid, why, why_size);
	if (r >= 0)
		r = check_right(identity, user, group, why, why_size);
	if (r < 0 || !identity->is_changed)
		return r;
	return entry && has_groups ? find_groups(identity, entry->pw_name)
				   : set_single_group(identity);
}

int identity_find(struct identity *ret, const char *user, const char *group, bool has_groups,
	char *why, size_t why_size)
{
	struct identity identity = {0};
	int r = 0;

	if (user || group)
		r = find(&identity, user, group, has_groups, why, why_size);
	if (r < 0)
		identity_done(&identity);
	else
		*ret = identity;
	return r;
}

void identity_done(struct identity *identity)
{
	free(identity->groups);
	*identity = (struct identity){0};
}
