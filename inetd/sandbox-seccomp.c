/* SPDX-License-Identifier: MIT */
/*
 * System calls, by seccomp(2): a list of those that usherd makes, in groups that say what for, also
 * by libraries that it calls, and as earlier and later versions of the C library make them.
 *
 * Those whose arguments matter are few, and none that every connection makes: what is allowed
 * whatever its arguments are the kernel knows by number, and runs no filter for (Linux 5.11).
 *
 * Three things are not in the list by intent, though they are common: making a process (usherd
 * makes none), signals to other processes, and looking into other processes.
 */
#include "sandbox-private.h"

#include "build-config.h"
#include <errno.h>

/* A sanitizer makes system calls of its own. */
#if defined USHER_HAS_SECCOMP && !defined USHER_SANITIZED

#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

/* Without those that this architecture, or this version of libseccomp, has not. */
static const char *const allowed[] = {
	/* Configurations, users and services, logs, the dump, run_dir. */
	"access",
	"chmod",
	"chown",
	"chown32",
	"close",
	"close_range",
	"dup",
	"dup2",
	"dup3",
	"faccessat",
	"faccessat2",
	"fadvise64",
	"fadvise64_64",
	"fchmod",
	"fchmodat",
	"fchmodat2",
	"fchown",
	"fchown32",
	"fchownat",
	"fcntl",
	"fcntl64",
	"flock",
	"fstat",
	"fstat64",
	"fstatat64",
	"fstatfs",
	"fstatfs64",
	"ftruncate",
	"ftruncate64",
	"getcwd",
	"getdents",
	"getdents64",
	"lchown",
	"lchown32",
	"_llseek",
	"lseek",
	"lstat",
	"lstat64",
	"mkdir",
	"mkdirat",
	"newfstatat",
	"open",
	"openat",
	"openat2",
	"pread64",
	"pwrite64",
	"read",
	"readlink",
	"readlinkat",
	"readv",
	"rename",
	"renameat",
	"renameat2",
	"stat",
	"stat64",
	"statfs",
	"statfs64",
	"statx",
	"umask",
	"unlink",
	"unlinkat",
	"write",
	"writev",
	/* Listeners, connections, channels, names, the journal. */
	"accept",
	"accept4",
	"bind",
	"connect",
	"getpeername",
	"getsockname",
	"getsockopt",
	"listen",
	"pidfd_open",
	"recv",
	"recvfrom",
	"recvmmsg",
	"recvmmsg_time64",
	"recvmsg",
	"send",
	"sendmmsg",
	"sendmsg",
	"sendto",
	"setsockopt",
	"shutdown",
	"socketpair",
	/* Waiting. */
	"clock_getres",
	"clock_getres_time64",
	"clock_gettime",
	"clock_gettime64",
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"eventfd",
	"eventfd2",
	"gettimeofday",
	"nanosleep",
	"_newselect",
	"pipe",
	"pipe2",
	"poll",
	"ppoll",
	"ppoll_time64",
	"pselect6",
	"pselect6_time64",
	"restart_syscall",
	"select",
	"time",
	"timer_create",
	"timer_delete",
	"timer_getoverrun",
	"timer_gettime",
	"timer_gettime64",
	"timer_settime",
	"timer_settime64",
	"timerfd_create",
	"timerfd_gettime",
	"timerfd_gettime64",
	"timerfd_settime",
	"timerfd_settime64",
	/* Signals, of and to this process. */
	"rt_sigaction",
	"rt_sigpending",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigsuspend",
	"rt_sigtimedwait",
	"rt_sigtimedwait_time64",
	"sigaltstack",
	"signalfd",
	"signalfd4",
	"sigreturn",
	"tgkill",
	"tkill",
	/* Memory and threads. */
	"arch_prctl",
	"brk",
	"exit",
	"exit_group",
	"futex",
	"futex_time64",
	"get_robust_list",
	"get_thread_area",
	"getcpu",
	"madvise",
	"membarrier",
	"memfd_create",
	"mmap",
	"mmap2",
	"mprotect",
	"mremap",
	"munmap",
	"riscv_flush_icache",
	"riscv_hwprobe",
	"rseq",
	"sched_get_priority_max",
	"sched_get_priority_min",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"sched_yield",
	"set_robust_list",
	"set_thread_area",
	"set_tid_address",
	"set_tls", /* how a program begins on 32-bit ARM */
	/* Who and where it is. */
	"getegid",
	"getegid32",
	"geteuid",
	"geteuid32",
	"getgid",
	"getgid32",
	"getgroups",
	"getgroups32",
	"getpgrp",
	"getpid",
	"getppid",
	"getpriority",
	"getrandom",
	"getresgid",
	"getresgid32",
	"getresuid",
	"getresuid32",
	"getrlimit",
	"getrusage",
	"getsid",
	"gettid",
	"getuid",
	"getuid32",
	"prlimit64",
	"setrlimit",
	"sysinfo",
	"ugetrlimit",
	"uname",
	/* An upgrade: its program, which may want to allow itself even less. */
	"capget",
	"capset",
	"execve",
	"landlock_add_rule",
	"landlock_create_ruleset",
	"landlock_restrict_self",
	"prctl",
	"seccomp",
};

/* Bytes and who has them, terminals (for buffers), interfaces. No TIOCSTI, which types. */
static const unsigned int requests[] = {FIONREAD, SIOCOUTQ, FIONBIO, FIOCLEX, TCGETS, TIOCGWINSZ,
	SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFINDEX, SIOCGIFNAME};

/* Each as a stream, datagrams and sequenced packets, but never raw; routes are for getaddrinfo(3).
 */
static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_VSOCK};
static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
#define SOCK_TYPE_MASK 0xf /* of the kernel: without SOCK_NONBLOCK and SOCK_CLOEXEC */

/* clone(2) has its flags first, but not there. */
#ifdef __s390__
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The kernel reads an int of these, whatever is in the upper half of the register. */
static struct scmp_arg_cmp is_int(unsigned int argument, unsigned int mask, unsigned int value)
{
	return (struct scmp_arg_cmp){
		.arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

/* Returns 0 or a negative errno. */
static int allow(scmp_filter_ctx filter, const char *name, unsigned int n_conditions,
	const struct scmp_arg_cmp *conditions)
{
	int number = seccomp_syscall_resolve_name(name);

	return number == __NR_SCMP_ERROR ? 0
					 : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number,
						   n_conditions, conditions);
}

static int allow_sockets(scmp_filter_ctx filter)
{
	int r = 0;

	/* Where one system call does for all of sockets, its arguments are in memory. */
	if (seccomp_syscall_resolve_name("socketcall") >= 0)
		return allow(filter, "socket", 0, NULL);
	for (size_t i = 0; i < N_ELEMENTS(families) * N_ELEMENTS(types) && r >= 0; i++)
		r = allow(filter, "socket", 2,
			(const struct scmp_arg_cmp[]){
				is_int(0, ~0U, (unsigned int)families[i % N_ELEMENTS(families)]),
				is_int(1, SOCK_TYPE_MASK,
					(unsigned int)types[i / N_ELEMENTS(families)])});
	if (r >= 0)
		r = allow(filter, "socket", 2,
			(const struct scmp_arg_cmp[]){
				is_int(0, ~0U, AF_NETLINK), is_int(2, ~0U, 0)});
	return r;
}

/* What depends on arguments. clone3(2) has its own in memory: the C library takes clone(2) then. */
static int allow_some(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp is_thread = is_int(CLONE_FLAGS, CLONE_THREAD, CLONE_THREAD);
	int r = allow(filter, "clone", 1, &is_thread);

	for (size_t i = 0; i < N_ELEMENTS(requests) && r >= 0; i++) {
		const struct scmp_arg_cmp is_request = is_int(1, ~0U, requests[i]);

		r = allow(filter, "ioctl", 1, &is_request);
	}
	return r < 0 ? r : allow_sockets(filter);
}

/* For all threads, as a tree, and with the errors of the kernel. */
static int set_attributes(scmp_filter_ctx filter)
{
	static const struct {
		enum scmp_filter_attr attribute;
		uint32_t value;
	} attributes[] = {
		{SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)},
		{SCMP_FLTATR_CTL_NNP, 0}, /* privilege_harden() has done it */
		{SCMP_FLTATR_CTL_TSYNC, 1},
		{SCMP_FLTATR_CTL_OPTIMIZE, 2},
		{SCMP_FLTATR_API_SYSRAWRC, 1},
	};
	int r = 0;

	for (size_t i = 0; i < N_ELEMENTS(attributes) && r >= 0; i++)
		r = seccomp_attr_set(filter, attributes[i].attribute, attributes[i].value);
	return r;
}

static int fill(scmp_filter_ctx filter)
{
	int r = set_attributes(filter);

	for (size_t i = 0; i < N_ELEMENTS(allowed) && r >= 0; i++)
		r = allow(filter, allowed[i], 0, NULL);
	return r < 0 ? r : allow_some(filter);
}

int sandbox_filter_system_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int r = filter ? fill(filter) : -ENOMEM;

	if (r >= 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r == -EINVAL || r == -ENOSYS ? -EOPNOTSUPP : r; /* a kernel without it */
}

#else

int sandbox_filter_system_calls(void)
{
	return -EOPNOTSUPP;
}

#endif
