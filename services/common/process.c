/* SPDX-License-Identifier: MIT */
/* See process.h. */
#include "process.h"
#include "say.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

/* Descriptors that are no connections: those of the loop, and what each registration needs. */
#define OWN_DESCRIPTORS		16
#define DESCRIPTORS_PER_SERVICE 8

/* As many as usherd lets into a service that says nothing else (instances, usher.conf(5)). */
#define DEFAULT_CREDIT 1024

static int notify_fd = -1;

void process_open_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

void process_close_to_others(void)
{
#ifndef USHER_SANITIZED
	(void)prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L); /* which cannot fail */
#endif
}

/* Returns 0 or an exit status. */
static int become(const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (!user) {
		say("there is no user '%s'", name);
		return EX_NOUSER;
	}
	if (user->pw_uid == geteuid())
		return 0;
	if (initgroups(name, user->pw_gid) == 0 &&
		setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
		setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0)
		return 0;
	say("cannot become user '%s', which only root can: %s", name, strerror(errno));
	return EX_NOPERM;
}

/*
 * From all sets, and so from the ambient one, too; the bounding set is not asked for: without new
 * privileges nothing comes back from it (capabilities(7)). A sandbox may forbid capset(2) to who
 * has nothing to give up (packaging/systemd).
 */
static int drop_capabilities(void)
{
	cap_t have = cap_get_proc(), none = cap_init();
	int r = have && none ? 0 : -errno;

	if (r >= 0 && cap_compare(have, none) != 0 && cap_set_proc(none) < 0)
		r = -errno;
	cap_free(have);
	cap_free(none);
	return r;
}

int process_give_up_rights(const char *user)
{
	int status = user ? become(user) : 0, r;

	if (status != 0)
		return status;
	r = geteuid() != 0 ? drop_capabilities() : 0;
	if (r < 0) {
		say("cannot give up capabilities: %s", strerror(-r));
		return EX_OSERR;
	}
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L); /* which cannot fail */
	process_close_to_others();			  /* last: a change of user undoes it */
	return 0;
}

bool process_take_notify_fd(const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (*text && *end == '\0' && fd > STDERR_FILENO && fd <= INT_MAX &&
		fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0) {
		notify_fd = (int)fd;
		return true;
	}
	say("expected the number of an open descriptor above 2 for --notify-fd, not '%s'", text);
	return false;
}

void process_tell_ready(void)
{
	if (notify_fd < 0)
		return;
	if (write(notify_fd, "\n", 1) < 0)
		say("cannot say on descriptor %d that it is ready: %s", notify_fd, strerror(errno));
	(void)close(notify_fd);
	notify_fd = -1;
}

rlim_t process_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			return raised.rlim_cur;
	}
	return limit.rlim_cur;
}

uint32_t process_share(
	rlim_t n_descriptors, size_t n_services, unsigned int n_descriptors_each, uint32_t most)
{
	rlim_t reserve = OWN_DESCRIPTORS + DESCRIPTORS_PER_SERVICE * n_services;
	rlim_t share = n_descriptors > reserve ? (n_descriptors - reserve) / n_services : 0;

	share /= n_descriptors_each;
	if (share > most)
		return most;
	return share > 0 ? (uint32_t)share : 1;
}

uint32_t process_credit(uint32_t wanted, size_t n_services, unsigned int n_descriptors_each)
{
	rlim_t n_descriptors = process_raise_descriptors();

	return wanted > 0 ? wanted
			  : process_share(
				    n_descriptors, n_services, n_descriptors_each, DEFAULT_CREDIT);
}
