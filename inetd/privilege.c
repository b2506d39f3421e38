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

/* Those that may be kept. */
static const cap_value_t net_bind = CAP_NET_BIND_SERVICE, net_raw = CAP_NET_RAW;

static int permit(cap_t capabilities, cap_value_t capability)
{
	return cap_set_flag(capabilities, CAP_PERMITTED, 1, &capability, CAP_SET) < 0 ||
			       cap_set_flag(capabilities, CAP_EFFECTIVE, 1, &capability, CAP_SET) <
				       0
		       ? -errno
		       : 0;
}

/* Have exactly these. */
static int keep_capabilities(bool keep_net_raw)
{
	cap_t capabilities = cap_init();
	int r;

	if (!capabilities)
		return -errno;
	r = permit(capabilities, net_bind);
	if (r >= 0 && keep_net_raw)
		r = permit(capabilities, net_raw);
	if (r >= 0 && cap_set_proc(capabilities) < 0)
		r = -errno;
	cap_free(capabilities);
	return r;
}

/*
 * A container may have taken CAP_SETPCAP from root: then PR_SET_NO_NEW_PRIVS must do. What
 * privilege_keep_over_exec() makes inheritable has to be in the set (capabilities(7)).
 */
static void reduce_bounding_set(bool keep_net_raw)
{
	for (cap_value_t capability = 0; cap_get_bound(capability) >= 0; capability++)
		if (capability != net_bind && !(capability == net_raw && keep_net_raw))
			(void)cap_drop_bound(capability);
}

int privilege_drop(bool keep_net_raw)
{
	uid_t uid = getuid();
	int r;

	if (!can_raise)
		return 0;
	privilege_raise();
	reduce_bounding_set(keep_net_raw);
	/* The permitted set survives the change of user only if asked for (prctl(2)). */
	if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	can_raise = false;
	r = keep_capabilities(keep_net_raw);
	privilege_harden(); /* once more: the change of user has undone it */
	return r;
}

/* If it is permitted now. */
static int keep_one_over_exec(cap_t capabilities, cap_value_t capability)
{
	cap_flag_value_t is_permitted = CAP_CLEAR;

	(void)cap_get_flag(capabilities, capability, CAP_PERMITTED, &is_permitted);
	if (is_permitted == CAP_SET &&
		(cap_set_flag(capabilities, CAP_INHERITABLE, 1, &capability, CAP_SET) < 0 ||
			cap_set_proc(capabilities) < 0 || cap_set_ambient(capability, CAP_SET) < 0))
		return -errno;
	return 0;
}

int privilege_keep_over_exec(void)
{
	cap_t capabilities = cap_get_proc();
	int r;

	if (!capabilities)
		return -errno;
	r = keep_one_over_exec(capabilities, net_bind);
	if (r >= 0)
		r = keep_one_over_exec(capabilities, net_raw);
	cap_free(capabilities);
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
