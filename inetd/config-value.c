/* SPDX-License-Identifier: MIT */
/*
 * One value of usher.conf(5): a text becomes a number, or a sentence says why not.
 *
 * Users and groups are looked up in the databases of nsswitch.conf(5); nothing else here looks
 * outside.
 */
#include "config-private.h"

#include <assert.h>
#include <confuse.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What every id without a meaning here is shown as: in a user namespace, over NFS (kernel.org,
 * idmap).
 */
#define OVERFLOW_ID	 65534

#define MAX_LOOKUP_BYTES (1u << 20)

struct unit {
	const char *name;
	uint64_t usec;
};

static const struct unit units[] = {
	{"h", UINT64_C(3600000000)},
	{"min", UINT64_C(60000000)},
	{"s", UINT64_C(1000000)},
	{"ms", UINT64_C(1000)},
};

#define N_UNITS (sizeof(units) / sizeof(units[0]))

/* Fill `why`. Returns false, for the caller to return. */
__attribute__((format(printf, 2, 3))) static bool refuse(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, CONFIG_WHY_SIZE, format, args);
	va_end(args);
	return false;
}

bool config_value_boolean(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	int value = cfg_parse_boolean(text);

	if (value < 0)
		return refuse(why, "%s is '%s', expected true or false", key->name, text);
	*ret = (uint64_t)value;
	return true;
}

/* The digits that `text` begins with. Returns what follows them, NULL if there are none. */
static const char *read_digits(const char *text, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return NULL;
	*ret = strtoull(text, &end, 10); /* UINT64_MAX when it is too large */
	return end;
}

bool config_value_number(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	uint64_t value = 0;
	const char *end = read_digits(text, &value);

	if (!end || *end || value < key->least || value > key->most)
		return refuse(why, "%s is '%s', expected a number from %" PRIu64 " to %" PRIu64,
			key->name, text, key->least, key->most);
	*ret = value;
	return true;
}

static const struct unit *find_unit(const char *name)
{
	for (size_t i = 0; i < N_UNITS; i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

/* As an administrator would write it, in the largest unit that fits. */
static const char *format_duration(uint64_t usec, char *buffer, size_t size)
{
	size_t i = 0;

	while (i < N_UNITS - 1 && usec % units[i].usec != 0)
		i++;
	(void)snprintf(buffer, size, "%" PRIu64 "%s", usec / units[i].usec, units[i].name);
	return buffer;
}

bool config_value_duration(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	char least[32], most[32];
	uint64_t number = 0;
	const char *end = read_digits(text, &number);
	const struct unit *unit = end ? find_unit(end) : NULL;

	if (unit && number <= key->most / unit->usec && number * unit->usec >= key->least) {
		*ret = number * unit->usec;
		return true;
	}
	return refuse(why,
		"%s is '%s'%s, expected a duration from %s to %s, as in 500ms, 5s, 2min or 1h",
		key->name, text, end && !*end ? ", which has no unit" : "",
		format_duration(key->least, least, sizeof(least)),
		format_duration(key->most, most, sizeof(most)));
}

bool config_value_choice(const struct config_key *key, const char *text, uint64_t *ret, char *why)
{
	char expected[128] = "";
	size_t length = 0;

	for (size_t i = 0; key->choices[i]; i++) {
		if (strcmp(text, key->choices[i]) == 0) {
			*ret = i;
			return true;
		}
		length += (size_t)snprintf(expected + length, sizeof(expected) - length, "%s%s",
			i == 0		      ? ""
			: key->choices[i + 1] ? ", "
					      : " or ",
			key->choices[i]);
		assert(length < sizeof(expected));
	}
	return refuse(why, "%s is '%s', expected %s", key->name, text, expected);
}

/* The number that `text` is, if it is one that means somebody: -1 means nobody to the kernel. */
static bool is_id(const char *text, uint32_t *ret)
{
	uint64_t value = 0;
	const char *end = read_digits(text, &value);

	if (!end || *end || value >= UINT32_MAX)
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
	int r = getgrnam_r(text, &entry, buffer, size, &found);

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
	return refuse(why,
		"%s '%s' is %d, which everybody from another user namespace looks like, expected "
		"a %s of its own",
		kind, text, OVERFLOW_ID, kind);
}

static bool refuse_unknown(
	const char *kind, const char *database, const char *text, int error, char *why)
{
	if (error != 0)
		return refuse(why, "%s '%s' cannot be looked up: %s", kind, text, strerror(error));
	return refuse(
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
