/* SPDX-License-Identifier: MIT */
/*
 * Becoming an ordinary user with one right left, to bind ports below 1024, and one that no other
 * process of that user can look into.
 */
#pragma once

#include <sys/types.h>

/*
 * Become `uid` and `gid` with the supplementary groups of `user`, for good, and keep no capability
 * but CAP_NET_BIND_SERVICE (capabilities(7)), so that a reload can open what the start could. To be
 * called as root, while there is one thread. Returns 0 or a negative errno; the process must not go
 * on then.
 */
int privilege_drop(const char *user, uid_t uid, gid_t gid);

/*
 * Keep other processes of the same user out: without this they could take our descriptors by
 * pidfd_getfd(2). It costs core dumps. The leak checker of a sanitizer build must look into the
 * process, so there this does nothing.
 */
void privilege_close_to_others(void);
