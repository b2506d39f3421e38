/* SPDX-License-Identifier: MIT */
/*
 * From root to an ordinary user with one right left, to bind ports below 1024 (and others for who
 * listens transparently, or filters what it lends), and a process that no other one of that user
 * can look into.
 *
 * In two steps. From privilege_begin() on usherd acts as that user already, so that what it makes
 * in the user's folders is the user's, and no file of the user can lead root astray; it is root
 * again only between privilege_raise() and privilege_lower(), for what the user may not.
 * privilege_drop() ends that for good.
 *
 * To be called while there is one thread: another one would keep nothing, not even the one right.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * As root: act as `uid` and `gid` with the supplementary groups of `user`. Returns 0 or a negative
 * errno; the process must not go on then.
 */
int privilege_begin(const char *user, uid_t uid, gid_t gid);

/* Be root; nothing happens if this process did not begin as root, or has dropped it. */
void privilege_raise(void);
void privilege_lower(void);

/* Rights that are kept only where the configuration needs them. */
enum privilege {
	PRIVILEGE_NET_RAW = 1 << 0,   /* CAP_NET_RAW: the least that IP_TRANSPARENT needs */
	PRIVILEGE_NET_ADMIN = 1 << 1, /* CAP_NET_ADMIN: SO_ATTACH_FILTER on a TCP socket (Linux 6.18
					 asks for it, 6.1 does not) */
};

/*
 * Be the user of privilege_begin() for good, and keep no capability but CAP_NET_BIND_SERVICE
 * (capabilities(7)), so that a reload can open what the start could, and those of `kept`, a set of
 * enum privilege.
 *
 * Without privilege_begin(), as after an upgrade in place, an ordinary user gives up all others
 * that it was given, and gains none; for root nothing happens. Returns 0 or a negative errno; the
 * process must not go on then.
 */
int privilege_drop(unsigned int kept);

/*
 * Let the program that this process is about to execute have CAP_NET_BIND_SERVICE and those of enum
 * privilege, as far as this process has them: by the ambient set, which is all that execve(2)
 * leaves to an ordinary user without the help of the file (capabilities(7)). It stays so if
 * execve(2) fails: usherd executes nothing else. Returns 0 or a negative errno.
 */
int privilege_keep_over_exec(void);

/*
 * Gain nothing by execve(2), and keep other processes of the same user out: without this they could
 * take our descriptors by pidfd_getfd(2). The latter costs core dumps; the leak checker of a
 * sanitizer build must look into the process, so there it is left out.
 */
void privilege_harden(void);
