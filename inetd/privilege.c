/* SPDX-License-Identifier: MIT */
/* Becoming an ordinary user: see privilege.h. */
#include "privilege.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool can_raise;

int privilege_begin(const char *user, uid_t uid, gid_t gid)
{
	/* The saved user id stays root's: with it come back all capabilities (capabilities(7)). */
	if (initgroups(user, gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, 0) < 0)
		return -errno;
	can_raise = true;
	return 0;
}

void privilege_raise(void)
{
	int r = can_raise ? seteuid(0) : 0;

	assert(r == 0); /* the saved user id is root's */
}

void privilege_lower(void)
{
	int r = can_raise ? seteuid(getuid()) : 0;

	assert(r == 0); /* the real user id may always be taken */
}

/* The right that is always kept has no name in enum privilege: 0. */
static const struct {
	unsigned int kept;
	cap_value_t capability;
} rights[] = {
	{0, CAP_NET_BIND_SERVICE},
	{PRIVILEGE_NET_RAW, CAP_NET_RAW},
	{PRIVILEGE_NET_ADMIN, CAP_NET_ADMIN},
};

#define N_RIGHTS (sizeof(rights) / sizeof(rights[0]))

static bool is_kept(size_t i, unsigned int kept)
{
	return rights[i].kept == 0 || rights[i].kept & kept;
}

static int permit(cap_t capabilities, cap_value_t capability)
{
	return cap_set_flag(capabilities, CAP_PERMITTED, 1, &capability, CAP_SET) < 0 ||
			       cap_set_flag(capabilities, CAP_EFFECTIVE, 1, &capability, CAP_SET) <
				       0
		       ? -errno
		       : 0;
}

/* Have exactly these. */
static int keep_capabilities(unsigned int kept)
{
	cap_t capabilities = cap_init();
	int r = 0;

	if (!capabilities)
		return -errno;
	for (size_t i = 0; i < N_RIGHTS && r >= 0; i++)
		if (is_kept(i, kept))
			r = permit(capabilities, rights[i].capability);
	if (r >= 0 && cap_set_proc(capabilities) < 0)
		r = -errno;
	cap_free(capabilities);
	return r;
}

static bool is_wanted(cap_value_t capability, unsigned int kept)
{
	for (size_t i = 0; i < N_RIGHTS; i++)
		if (rights[i].capability == capability)
			return is_kept(i, kept);
	return false;
}

/*
 * A container may have taken CAP_SETPCAP from root: then PR_SET_NO_NEW_PRIVS must do. What
 * privilege_keep_over_exec() makes inheritable has to be in the set (capabilities(7)).
 */
static void reduce_bounding_set(unsigned int kept)
{
	for (cap_value_t capability = 0; cap_get_bound(capability) >= 0; capability++)
		if (!is_wanted(capability, kept))
			(void)cap_drop_bound(capability);
}

/* From all sets, and so from the ambient one, too (capabilities(7)). */
static int clear(cap_t capabilities, cap_value_t capability)
{
	static const cap_flag_t sets[] = {CAP_EFFECTIVE, CAP_PERMITTED, CAP_INHERITABLE};
	int r = 0;

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]) && r >= 0; i++)
		r = cap_set_flag(capabilities, sets[i], 1, &capability, CAP_CLEAR);
	return r < 0 ? -errno : 0;
}

/* A sandbox may forbid capset(2) to who has nothing to change (packaging/systemd). */
static int change(cap_t before, cap_t after)
{
	return cap_compare(before, after) != 0 && cap_set_proc(after) < 0 ? -errno : 0;
}

/* What an ordinary user was given, by an earlier usherd or by who started this one. */
static int give_up(unsigned int kept)
{
	cap_t before = cap_get_proc(), after = before ? cap_dup(before) : NULL;
	int r = after ? 0 : -errno;

	for (cap_value_t capability = 0; CAP_IS_SUPPORTED(capability) && r >= 0; capability++)
		if (!is_wanted(capability, kept))
			r = clear(after, capability);
	reduce_bounding_set(kept); /* only who has CAP_SETPCAP can */
	if (r >= 0)
		r = change(before, after);
	cap_free(after);
	cap_free(before);
	return r;
}

int privilege_drop(unsigned int kept)
{
	uid_t uid = getuid();
	int r;

	if (!can_raise)
		return geteuid() == 0 ? 0 : give_up(kept);
	privilege_raise();
	reduce_bounding_set(kept);
	/* The permitted set survives the change of user only if asked for (prctl(2)). */
	if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	can_raise = false;
	r = keep_capabilities(kept);
	privilege_harden(); /* once more: the change of user has undone it */
	return r;
}

static bool is_permitted(cap_t capabilities, cap_value_t capability)
{
	cap_flag_value_t value = CAP_CLEAR;

	return cap_get_flag(capabilities, capability, CAP_PERMITTED, &value) == 0 &&
	       value == CAP_SET;
}

int privilege_keep_over_exec(void)
{
	cap_t before = cap_get_proc(), after = before ? cap_dup(before) : NULL;
	int r = after ? 0 : -errno;

	for (size_t i = 0; i < N_RIGHTS && r >= 0; i++)
		if (is_permitted(before, rights[i].capability) &&
			cap_set_flag(after, CAP_INHERITABLE, 1, &rights[i].capability, CAP_SET) < 0)
			r = -errno;
	if (r >= 0)
		r = change(before, after);
	for (size_t i = 0; i < N_RIGHTS && r >= 0; i++)
		if (is_permitted(before, rights[i].capability) &&
			cap_set_ambient(rights[i].capability, CAP_SET) < 0)
			r = -errno;
	cap_free(after);
	cap_free(before);
	return r;
}

void privilege_harden(void)
{
	/* Neither can fail with these arguments. */
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L);
#ifndef USHER_SANITIZED
	(void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
#endif
}
