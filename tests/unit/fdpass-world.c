/* SPDX-License-Identifier: MIT */
/* Channels and descriptors for tests of fdpass: see fdpass-world.h. */
#include "fdpass-world.h"

#include "fd.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct pair open_pair(void)
{
	int fds[2];

	test_socketpair(fds);
	return (struct pair){fds[0], fds[1]};
}

void close_pair(struct pair *pair)
{
	pair->here = close_fd(pair->here);
	pair->there = close_fd(pair->there);
}

void open_files(int fds[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = memfd_create("test", MFD_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
}

void close_files(int fds[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = close_fd(fds[i]);
}

static ino_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

void assert_first_arrived(const struct fdpass_received *received, const int fds[], size_t n)
{
	assert_int_equal(received->n_fds, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(inode_of(received->fds[i]), inode_of(fds[i]));
}

bool is_without_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return !preload || !strstr(preload, "vgpreload");
}

struct rlimit leave_room_for_fds(size_t n)
{
	struct rlimit before, limit;
	int fds[FDPASS_MAX + 1];

	open_files(fds, n + 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)fds[n];
	close_files(fds, n + 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}
