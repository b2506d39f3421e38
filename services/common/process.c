/* SPDX-License-Identifier: MIT */
/* See process.h. */
#include "process.h"

#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
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

/* The bounding set is not asked for: without new privileges nothing comes back from it. */
static int drop_capabilities(void)
{
	cap_t none = cap_init();
	int r = none && cap_set_proc(none) == 0 && cap_reset_ambient() == 0 ? 0 : -errno;

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
