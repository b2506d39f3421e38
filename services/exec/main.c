/* SPDX-License-Identifier: MIT */
/*
 * usher-exec: a provider that runs classic inetd programs, one for each connection, or one for each
 * socket that it is lent. This file has the arguments and what a process puts in order before it
 * begins; the rest is exec.c.
 */
#include "build-config.h"
#include "exec.h"
#include "process.h"
#include "say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
	"Usage: usher-exec [-c FILE] [-d RUN_DIR] [-u USHERD] [SERVICE ...]\n"
	"Run the programs of the configuration's exec {} sections on connections from usherd.\n"
	"\n"
	"  -c, --config=FILE      the configuration (" USHER_CONFIG_FILE ")\n"
	"  -d, --run-dir=RUN_DIR  where usherd's sockets are (run_dir of the configuration)\n"
	"  -u, --usherd=USHERD    the program that reads the configuration\n"
	"                         (" USHERD_PROGRAM ")\n"
	"      --notify-fd=FD     write a newline to descriptor FD when ready, and close it\n"
	"  -h, --help             show this and exit\n"
	"  -V, --version          show the version and exit\n"
	"\n"
	"Without SERVICE: all that have a program. See usher-exec(8).\n";

/* Raises the soft limit of descriptors to the hard one: for us, not for programs. */
static void raise_descriptor_limit(struct exec_setting *setting)
{
	struct rlimit *limit = &setting->limit.value;

	setting->limit.resource = RLIMIT_NOFILE;
	if (getrlimit(RLIMIT_NOFILE, limit) < 0)
		*limit = (struct rlimit){.rlim_cur = 1024, .rlim_max = 1024};
	setting->n_fds = process_raise_descriptors();
}

/* Root's processes are not limited. */
static rlim_t count_processes(void)
{
	struct rlimit limit;

	if (geteuid() == 0 || getrlimit(RLIMIT_NPROC, &limit) < 0)
		return RLIM_INFINITY;
	return limit.rlim_cur;
}

static size_t count_processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (size_t)CPU_COUNT(&set);
}

/* Prints for --help and --version; returns the exit status. */
static int print(const char *text)
{
	return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? EX_IOERR : EXIT_SUCCESS;
}

/* Returns true with *ret filled, or false with the exit status in *ret_status. */
static bool parse_arguments(struct exec_setting *ret, int *ret_status, int argc, char *argv[])
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"run-dir", required_argument, NULL, 'd'},
		{"usherd", required_argument, NULL, 'u'},
		{"notify-fd", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int option;

	*ret_status = EX_USAGE;
	*ret = (struct exec_setting){.usherd = USHERD_PROGRAM};
	while ((option = getopt_long(argc, argv, "c:d:u:hV", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			ret->config = optarg;
			break;
		case 'd':
			ret->run_dir = optarg;
			break;
		case 'u':
			ret->usherd = optarg;
			break;
		case 'n':
			if (!process_take_notify_fd(optarg))
				return false;
			break;
		case 'h':
			*ret_status = print(help);
			return false;
		case 'V':
			*ret_status = print("usher-exec " USHER_VERSION "\n");
			return false;
		default: /* getopt_long() has said what is wrong */
			return false;
		}
	}
	ret->services = argv + optind;
	return true;
}

/* Each program is watched by a pidfd, which clone(2) has since Linux 5.2, pidfd_open(2) since 5.3.
 */
static bool has_pidfds(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 || errno != ENOSYS;
}

/* Without CLOSE_RANGE_CLOEXEC, before Linux 5.11: one by one. */
static void mark_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		int fd = atoi(entry->d_name);

		if (fd > STDERR_FILENO)
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	(void)closedir(folder);
}

int main(int argc, char *argv[])
{
	struct exec_setting setting;
	int status;

	process_open_streams();
	process_close_to_others(); /* it may be root's, and its programs other users' */
	say_as("usher-exec");
	if (!parse_arguments(&setting, &status, argc, argv))
		return status;
	if (!has_pidfds()) {
		say("this kernel has no pidfds: Linux 5.3 is needed");
		return EX_OSERR;
	}
	/* What was open here by accident is for no program, and not for usherd --programs. */
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		mark_descriptors();
	raise_descriptor_limit(&setting);
	setting.n_processes = count_processes();
	setting.n_threads = count_processors();
	child_init();
	return exec_run(&setting);
}
