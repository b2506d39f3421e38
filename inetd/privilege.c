/* SPDX-License-Identifier: MIT */
/* Becoming an ordinary user: see privilege.h. */
#include "privilege.h"

#include <errno.h>
#include <grp.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Have exactly CAP_NET_BIND_SERVICE; nothing can be gained by execve(2) either. */
static int keep_net_bind_service(void)
{
	const cap_value_t kept = CAP_NET_BIND_SERVICE;
	cap_t capabilities = cap_init();
	int r = 0;

	if (!capabilities)
		return -errno;
	if (cap_set_flag(capabilities, CAP_PERMITTED, 1, &kept, CAP_SET) < 0 ||
		cap_set_flag(capabilities, CAP_EFFECTIVE, 1, &kept, CAP_SET) < 0 ||
		cap_set_proc(capabilities) < 0)
		r = -errno;
	cap_free(capabilities);
	return r;
}

int privilege_drop(const char *user, uid_t uid, gid_t gid)
{
	if (initgroups(user, gid) < 0 || setresgid(gid, gid, gid) < 0)
		return -errno;
	/* The permitted set survives the change of user only if asked for (prctl(2)). */
	if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return keep_net_bind_service();
}

void privilege_close_to_others(void)
{
#ifndef USHER_SANITIZED
	(void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L); /* can't fail with this argument */
#endif
}
