/* SPDX-License-Identifier: MIT */
/*
 * A program for usher-exec that says what it has been given, as lines NAME=VALUE on descriptor 0,
 * then ends with the status in its first argument, if there is one. Static, and without /proc: so
 * that it runs in an empty folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FDS	   1024
#define MAX_GROUPS 1024

static void say_fds(void)
{
	struct stat first, other;

	dprintf(0, "fds=");
	for (int fd = 0; fd < MAX_FDS; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			dprintf(0, "%d ", fd);
	dprintf(0, "\nnonblock=%d\n", !!(fcntl(0, F_GETFL) & O_NONBLOCK));
	for (int fd = 1; fd < 3; fd++)
		if (fstat(0, &first) < 0 || fstat(fd, &other) < 0 || first.st_ino != other.st_ino)
			dprintf(0, "another=%d\n", fd);
}

static void say_signals(void)
{
	struct sigaction action;
	sigset_t blocked;

	(void)sigprocmask(SIG_BLOCK, NULL, &blocked);
	dprintf(0, "signals=");
	for (int number = 1; number < NSIG; number++) {
		if (sigismember(&blocked, number) == 1)
			dprintf(0, "%d blocked ", number);
		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			dprintf(0, "%d ignored ", number);
	}
	dprintf(0, "\n");
}

static void say_identity(void)
{
	uid_t uids[3];
	gid_t gids[3], groups[MAX_GROUPS];
	int n = getgroups(MAX_GROUPS, groups);

	(void)getresuid(&uids[0], &uids[1], &uids[2]);
	(void)getresgid(&gids[0], &gids[1], &gids[2]);
	dprintf(0, "uids=%u %u %u\ngids=%u %u %u\ngroups=", uids[0], uids[1], uids[2], gids[0],
		gids[1], gids[2]);
	for (int i = 0; i < n; i++)
		dprintf(0, "%u ", groups[i]);
	dprintf(0, "\nroot again=%d\n", uids[0] != 0 && setresuid(0, 0, 0) == 0);
}

static void say_limit(const char *name, int resource)
{
	struct rlimit limit;

	(void)getrlimit((__rlimit_resource_t)resource, &limit);
	dprintf(0, "%s=%lld %lld\n", name, (long long)limit.rlim_cur, (long long)limit.rlim_max);
}

static void say_rest(void)
{
	char folder[4096];
	mode_t mask = umask(0);

	dprintf(0, "umask=%03o\nnice=%d\ncwd=%s\n", mask, getpriority(PRIO_PROCESS, 0),
		getcwd(folder, sizeof(folder)) ? folder : "?");
	dprintf(0, "no_new_privs=%d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	dprintf(0, "pid=%d\npgid=%d\nsid=%d\n", getpid(), getpgrp(), getsid(0));
}

int main(int argc, char *argv[])
{
	for (int i = 0; i < argc; i++)
		dprintf(0, "argv%d=%s\n", i, argv[i]);
	for (char **variable = environ; *variable; variable++)
		dprintf(0, "env %s\n", *variable);
	say_fds();
	say_signals();
	say_identity();
	say_limit("nofile", RLIMIT_NOFILE);
	say_limit("cpu", RLIMIT_CPU);
	say_limit("core", RLIMIT_CORE);
	say_rest();
	return argc > 1 ? atoi(argv[1]) : 0;
}
