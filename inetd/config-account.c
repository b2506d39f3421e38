/* SPDX-License-Identifier: MIT */
/*
 * Users and groups of usher.conf(5), by the databases of nsswitch.conf(5).
 */
#include "config-private.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

/*
 * What every id without a meaning here is shown as: in a user namespace, over NFS (kernel.org,
 * idmap).
 */
#define OVERFLOW_ID	 65534

#define MAX_LOOKUP_BYTES (1u << 20)

/* The number that `text` is, if it is one that means somebody: -1 means nobody to the kernel. */
static bool is_id(const char *text, uint32_t *ret)
{
	unsigned long long value = strtoull(text, NULL, 10);

	if (!*text || text[strspn(text, "0123456789")] != '\0' || value >= UINT32_MAX)
		return false;
	*ret = (uint32_t)value;
	return true;
}

/* What a look-up found. `name` is allocated. */
struct account {
	char *name;
	uint32_t uid, gid;
};

/* One look-up with a buffer of `size` bytes: 0 and *ret, 0 and no name (unknown), or a positive
 * errno. */
typedef int (*lookup_function)(const char *text, char *buffer, size_t size, struct account *ret);

static int lookup_user(const char *text, char *buffer, size_t size, struct account *ret)
{
	struct passwd entry, *found = NULL;
	uint32_t id;
	int r = is_id(text, &id) ? getpwuid_r(id, &entry, buffer, size, &found)
				 : getpwnam_r(text, &entry, buffer, size, &found);

	if (r != 0 || !found)
		return r;
	ret->uid = found->pw_uid;
	ret->gid = found->pw_gid;
	ret->name = strdup(found->pw_name);
	return ret->name ? 0 : ENOMEM;
}

static int lookup_group(const char *text, char *buffer, size_t size, struct account *ret)
{
	struct group entry, *found = NULL;
	uint32_t id;
	int r = is_id(text, &id) ? getgrgid_r(id, &entry, buffer, size, &found)
				 : getgrnam_r(text, &entry, buffer, size, &found);

	if (r != 0 || !found)
		return r;
	ret->gid = found->gr_gid;
	ret->name = strdup(found->gr_name);
	return ret->name ? 0 : ENOMEM;
}

/* These mean "not found" in some databases: getpwnam(3). */
static bool is_not_found(int error)
{
	return error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

/* As lookup_function, with a buffer as large as it takes. */
static int look_up(lookup_function lookup, const char *text, struct account *ret)
{
	int r = ERANGE;

	for (size_t size = 1024; r == ERANGE && size <= MAX_LOOKUP_BYTES; size *= 2) {
		char *buffer = malloc(size);

		r = buffer ? lookup(text, buffer, size, ret) : ENOMEM;
		free(buffer);
	}
	return is_not_found(r) ? 0 : r;
}

static bool refuse_overflow_id(const char *kind, const char *text, char *why)
{
	return config_refuse(why,
		"%s '%s' is %d, which everybody from another user namespace looks like, expected "
		"a %s of its own",
		kind, text, OVERFLOW_ID, kind);
}

static bool refuse_unknown(
	const char *kind, const char *database, const char *text, int error, char *why)
{
	if (error != 0)
		return config_refuse(
			why, "%s '%s' cannot be looked up: %s", kind, text, strerror(error));
	return config_refuse(
		why, "unknown %s '%s', expected a name or number of %s", kind, text, database);
}

bool config_value_user(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	struct account account = {0};
	int r = 0;

	(void)key;
	if (!is_id(text, &account.uid)) {
		r = look_up(lookup_user, text, &account);
		if (!account.name)
			return refuse_unknown("user", "passwd(5)", text, r, why);
		free(account.name);
	}
	if (account.uid == OVERFLOW_ID)
		return refuse_overflow_id("user", text, why);
	*ret = account.uid;
	return true;
}

bool config_value_group(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	struct account account = {0};
	int r = 0;

	(void)key;
	if (!is_id(text, &account.gid)) {
		r = look_up(lookup_group, text, &account);
		if (!account.name)
			return refuse_unknown("group", "group(5)", text, r, why);
		free(account.name);
	}
	if (account.gid == OVERFLOW_ID)
		return refuse_overflow_id("group", text, why);
	*ret = account.gid;
	return true;
}

bool config_value_account(
	const char *text, uid_t *ret_uid, gid_t *ret_gid, char **ret_name, char *why)
{
	struct account account = {0};
	int r = look_up(lookup_user, text, &account);

	if (!account.name)
		return refuse_unknown("user", "passwd(5)", text, r, why);
	if (account.uid == OVERFLOW_ID) {
		free(account.name);
		return refuse_overflow_id("user", text, why);
	}
	*ret_uid = account.uid;
	*ret_gid = account.gid;
	*ret_name = account.name;
	return true;
}

bool config_check_user(const struct config_key *key, const char *text, char *why)
{
	struct account account = {0};
	int r = look_up(lookup_user, text, &account);

	(void)key;
	if (!account.name)
		return refuse_unknown("user", "passwd(5)", text, r, why);
	free(account.name);
	return true;
}

bool config_check_group(const struct config_key *key, const char *text, char *why)
{
	struct account account = {0};
	int r = look_up(lookup_group, text, &account);

	(void)key;
	if (!account.name)
		return refuse_unknown("group", "group(5)", text, r, why);
	free(account.name);
	return true;
}
