/* SPDX-License-Identifier: MIT */
/* The leak check and time limit of every unit test: see test.h. */
#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 4096

static char open_before[MAX_FDS];
static void (*undo_at_end)(void);

/* Mark the open descriptors in `is_open`; returns how many there are. */
static size_t scan_fds(char is_open[MAX_FDS])
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	memset(is_open, 0, MAX_FDS);
	for (struct dirent *entry; (entry = readdir(dir));) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.' || fd == dirfd(dir))
			continue;
		n++;
		if (fd < MAX_FDS)
			is_open[fd] = 1;
	}
	closedir(dir);
	return n;
}

void test_nothing(void **state)
{
	(void)state;
}

bool test_is_root(void)
{
	return getuid() == 0;
}

size_t test_count_fds(void)
{
	char is_open[MAX_FDS];

	return scan_fds(is_open);
}

void test_at_end(void (*undo)(void))
{
	undo_at_end = undo;
}

int test_begin(void **state)
{
	(void)state;
	undo_at_end = NULL;
	alarm(TEST_SECONDS);
	scan_fds(open_before);
	return 0;
}

int test_end(void **state)
{
	char is_open[MAX_FDS];
	int n_wrong = 0;

	(void)state;
	alarm(0);
	if (undo_at_end)
		undo_at_end();
	scan_fds(is_open);
	for (int fd = 0; fd < MAX_FDS; fd++) {
		char path[64], target[128] = "?";

		if (is_open[fd] == open_before[fd])
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (is_open[fd] && readlink(path, target, sizeof(target) - 1) < 0)
			snprintf(target, sizeof(target), "?");
		print_error("descriptor %d %s: %s\n", fd,
			is_open[fd] ? "was leaked" : "was closed by mistake", target);
		n_wrong++;
	}
	return n_wrong ? -1 : 0;
}

void test_socketpair(int ret_fds[2])
{
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds), 0);
}

#define FIRST_PORT 10000u
#define N_PORTS	   20000u

unsigned int test_free_port(void)
{
	static unsigned int n_asked;

	for (;;) {
		/* Each process begins elsewhere. */
		unsigned int port =
			FIRST_PORT + ((unsigned int)getpid() * 61 + n_asked++) % N_PORTS;
		struct sockaddr_in address = {
			.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bool is_free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

		close(fd);
		if (is_free)
			return port;
	}
}
