/* SPDX-License-Identifier: MIT */
/*
 * Channels and descriptors for tests of fdpass.
 *
 * Descriptors are told apart by the inode of the memory file behind them.
 */
#pragma once

#include "fdpass.h"
#include "test.h"

#include <sys/resource.h>

/* Both ends of a channel. */
struct pair {
	int here, there;
};

struct pair open_pair(void);
void close_pair(struct pair *pair);

/* `n` memory files, each an inode of its own. */
void open_files(int fds[], size_t n);
void close_files(int fds[], size_t n);

/* What arrived is the first `n` of `fds`, in order. */
void assert_first_arrived(const struct fdpass_received *received, const int fds[], size_t n);

/* valgrind keeps a limit of descriptors itself and leaves the kernel's as it was. */
bool is_without_valgrind(void);

/*
 * Leave this process room for `n` more descriptors. Returns the limit as it was. Like any process
 * at its limit, this one gets the lowest free numbers first.
 */
struct rlimit leave_room_for_fds(size_t n);
