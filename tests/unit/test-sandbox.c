/* SPDX-License-Identifier: MIT */
/*
 * What can be done in the sandbox and what cannot, each time in a child.
 *
 * Without what is tested a system call here has another errno than ENOSYS, or none, and a file can
 * be made, by root and by everybody else.
 */
#include "privilege.h"
#include "sandbox.h"
#include "test.h"

#include "build-config.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXECUTED	"executed" /* the argument of the program that an upgrade would execute */
#define EXECUTED_STATUS 42

#ifdef USHER_SANITIZED
#define GUARDS_EXECUTION false
#define FILTERS		 false
#else
#define GUARDS_EXECUTION true
#ifdef USHER_HAS_SECCOMP
#define FILTERS true
#else
#define FILTERS false
#endif
#endif

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: not so: %s (%s)\n", __LINE__, #condition,        \
				strerror(errno));                                                  \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static char program[PATH_MAX];	     /* this one */
static char inside[64], outside[64]; /* folders */

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0UL,
		       (long)LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

static struct sandbox_result enter(void)
{
	const char *const folders[] = {"/nowhere at all", inside};

	privilege_harden();
	return sandbox_enter(
		&(struct sandbox){.program = program, .folders = folders, .n_folders = 2});
}

static void remove_folders(void)
{
	char command[256];

	(void)snprintf(command, sizeof(command), "rm -r %s %s", inside, outside);
	assert_int_equal(system(command), 0);
}

static void check_in_child_with(bool (*body)(void), int expected)
{
	pid_t child;
	int status;

	(void)strcpy(inside, "/tmp/usher-test-inside-XXXXXX");
	(void)strcpy(outside, "/tmp/usher-test-outside-XXXXXX");
	assert_non_null(mkdtemp(inside));
	assert_non_null(mkdtemp(outside));
	test_at_end(remove_folders);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(body() ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), expected);
}

static void check_in_child(bool (*body)(void))
{
	check_in_child_with(body, 0);
}

/* Does the kernel seem not to have it? */
static bool is_missing(long r)
{
	return r < 0 && errno == ENOSYS;
}

static bool gets_no_system_call_that_it_does_not_need(void)
{
	char byte = 'x';

	EXPECT(enter().system_calls == 0);
	EXPECT(is_missing(syscall(SYS_ptrace, (long)PTRACE_TRACEME, 0L, 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_process_vm_readv, (long)getppid(), 0L, 0L, 0L, 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_pidfd_getfd, -1L, 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_kill, (long)getppid(), 0L)));
	EXPECT(is_missing(syscall(SYS_mount, "none", "/", "tmpfs", 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_unshare, 0L)));
	EXPECT(is_missing(syscall(SYS_setns, -1L, 0L)));
	EXPECT(is_missing(syscall(SYS_chroot, "/")));
	EXPECT(is_missing(syscall(SYS_bpf, -1L, 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_perf_event_open, 0L, 0L, 0L, 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_io_uring_setup, 0L, 0L)));
	EXPECT(is_missing(syscall(SYS_keyctl, -1L)));
	EXPECT(is_missing(syscall(SYS_setuid, (long)getuid())));
	EXPECT(is_missing(syscall(SYS_execveat, -1L, "", 0L, 0L, 0L)));
	EXPECT(is_missing(ioctl(STDIN_FILENO, TIOCSTI, &byte)));
	return true;
}

static void test_other_system_calls_are_not_there(void **state)
{
	(void)state;
	check_in_child(gets_no_system_call_that_it_does_not_need);
}

static bool makes_no_process(void)
{
	EXPECT(enter().system_calls == 0);
	EXPECT(is_missing(fork()));
	EXPECT(is_missing(vfork()));
	return true;
}

static void test_no_process_is_made(void **state)
{
	(void)state;
	check_in_child(makes_no_process);
}

static bool opens(int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	int error = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = error;
	return fd >= 0;
}

static bool opens_only_sockets_of_its_kinds(void)
{
	EXPECT(enter().system_calls == 0);
	EXPECT(opens(AF_UNIX, SOCK_SEQPACKET, 0) && opens(AF_UNIX, SOCK_STREAM, 0));
	EXPECT(opens(AF_INET, SOCK_STREAM, 0) && opens(AF_INET, SOCK_DGRAM, 0));
	EXPECT(opens(AF_INET6, SOCK_STREAM, 0) || errno == EAFNOSUPPORT);
	EXPECT(opens(AF_VSOCK, SOCK_STREAM, 0) || errno == EAFNOSUPPORT);
	EXPECT(opens(AF_NETLINK, SOCK_RAW, 0)); /* NETLINK_ROUTE, as getaddrinfo(3) does */
	EXPECT(!opens(AF_NETLINK, SOCK_RAW, 12) && errno == ENOSYS); /* NETLINK_NETFILTER */
	EXPECT(!opens(AF_PACKET, SOCK_DGRAM, 0) && errno == ENOSYS);
	EXPECT(!opens(AF_INET, SOCK_RAW, 1) && errno == ENOSYS);
	EXPECT(!opens(38 /* AF_ALG */, SOCK_SEQPACKET, 0) && errno == ENOSYS);
	return true;
}

static void test_sockets_are_of_the_kinds_that_are_configured(void **state)
{
	(void)state;
	check_in_child(opens_only_sockets_of_its_kinds);
}

static void *note(void *ret)
{
	*(bool *)ret = true;
	return NULL;
}

static bool lives_on(void)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	bool has_run = false;
	pthread_t thread;
	int n;

	EXPECT(enter().system_calls == 0);
	EXPECT(pthread_create(&thread, NULL, note, &has_run) == 0);
	EXPECT(pthread_join(thread, NULL) == 0 && has_run);
	EXPECT(epoll_create1(EPOLL_CLOEXEC) >= 0);
	EXPECT(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) >= 0);
	EXPECT(memfd_create("state", MFD_ALLOW_SEALING) >= 0);
	EXPECT(syscall(SYS_pidfd_open, (long)getpid(), 0L) >= 0);
	EXPECT(ioctl(epoll_create1(0), FIONREAD, &n) < 0 && errno != ENOSYS);
	EXPECT(getpwnam("root") && getservbyname("http", "tcp"));
	EXPECT(getaddrinfo("127.0.0.1", NULL, &hints, &found) == 0);
	return true;
}

static void test_what_usherd_does_all_its_life_works(void **state)
{
	(void)state;
	check_in_child(lives_on);
}

static sem_t is_there, is_filtered;

static void *try_a_process(void *ret)
{
	(void)sem_post(&is_there);
	(void)sem_wait(&is_filtered);
	*(bool *)ret = is_missing(syscall(SYS_unshare, 0L));
	return NULL;
}

static bool covers_a_thread_that_was_there(void)
{
	bool is_covered = false;
	pthread_t thread;

	EXPECT(sem_init(&is_there, 0, 0) == 0 && sem_init(&is_filtered, 0, 0) == 0);
	EXPECT(pthread_create(&thread, NULL, try_a_process, &is_covered) == 0);
	(void)sem_wait(&is_there);
	EXPECT(enter().system_calls == 0);
	(void)sem_post(&is_filtered);
	EXPECT(pthread_join(thread, NULL) == 0 && is_covered);
	return true;
}

static void test_a_thread_that_is_older_is_filtered_too(void **state)
{
	(void)state;
	check_in_child(covers_a_thread_that_was_there);
}

static bool enters_twice(void)
{
	struct sandbox_result first = enter(), second = enter();

	EXPECT(first.system_calls == second.system_calls && first.files == second.files);
	return true;
}

static void test_a_later_version_can_forbid_itself_more(void **state)
{
	(void)state;
	check_in_child(enters_twice);
}

/* Returns 0 or the errno. */
static int write_to(const char *folder, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
	if (fd < 0)
		return errno;
	(void)close(fd);
	return 0;
}

static int bind_in(const char *folder)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? errno : 0;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
	if (r == 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		r = errno;
	if (fd >= 0)
		(void)close(fd);
	return r;
}

static int move(const char *from_folder, const char *to_folder, const char *to)
{
	char old_path[PATH_MAX], new_path[PATH_MAX];

	(void)snprintf(old_path, sizeof(old_path), "%s/file", from_folder);
	(void)snprintf(new_path, sizeof(new_path), "%s/%s", to_folder, to);
	return rename(old_path, new_path) < 0 ? errno : 0;
}

static int remove_from(const char *folder, const char *name)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return unlink(path) < 0 ? errno : 0;
}

static bool writes_in_its_folders(void)
{
	EXPECT(enter().files == 0);
	EXPECT(write_to(inside, "file", O_CREAT | O_EXCL) == 0);
	EXPECT(write_to(inside, "file", O_APPEND) == 0 && write_to(inside, "file", O_TRUNC) == 0);
	EXPECT(move(inside, inside, "moved") == 0 && remove_from(inside, "moved") == 0);
	EXPECT(bind_in(inside) == 0 && remove_from(inside, "socket") == 0);
	EXPECT(write_to("/dev", "null", 0) == 0);
	return true;
}

static void test_its_folders_can_be_written(void **state)
{
	(void)state;
	check_in_child(writes_in_its_folders);
}

static bool writes_nowhere_else(void)
{
	struct stat status;

	EXPECT(write_to(outside, "file", O_CREAT) == 0 && write_to(inside, "file", O_CREAT) == 0);
	EXPECT(enter().files == 0);
	EXPECT(write_to(outside, "new", O_CREAT) == EACCES);
	EXPECT(write_to(outside, "file", 0) == EACCES);
	EXPECT(remove_from(outside, "file") == EACCES && bind_in(outside) == EACCES);
	EXPECT(move(outside, outside, "moved") == EACCES && move(inside, outside, "moved") != 0);
	EXPECT(mkdir(strcat(outside, "/folder"), 0700) < 0 && errno == EACCES);
	EXPECT(mkdir(strcat(inside, "/folder"), 0700) < 0 && errno == EACCES);
	EXPECT(stat("/etc/passwd", &status) == 0 && open("/etc/passwd", O_RDONLY) >= 0);
	return true;
}

static void test_nothing_else_can_be_written(void **state)
{
	(void)state;
	check_in_child(writes_nowhere_else);
}

static bool executes_no_shell(void)
{
	char *const argv[] = {strdup("sh"), strdup("-c"), strdup("exit 0"), NULL};

	EXPECT(enter().files == 0);
	EXPECT(execve("/bin/sh", argv, environ) < 0 && errno == EACCES);
	return true;
}

static void test_no_shell_can_be_executed(void **state)
{
	(void)state;
	check_in_child(executes_no_shell);
}

static bool executes_its_program(void)
{
	char *const argv[] = {program, strdup(EXECUTED), NULL};

	(void)enter();
	EXPECT(execve(program, argv, environ) == 0);
	return true;
}

static void test_the_program_of_an_upgrade_can_be_executed(void **state)
{
	(void)state;
	check_in_child_with(executes_its_program, EXECUTED_STATUS);
}

static bool advises_a_restart_when_it_helps(void)
{
	EXPECT(!sandbox_is_entered() && strcmp(sandbox_hint(-EACCES), "") == 0);
	EXPECT(enter().files == 0);
	EXPECT(sandbox_is_entered() && strstr(sandbox_hint(-EACCES), "restart"));
	EXPECT(strcmp(sandbox_hint(-ENOENT), "") == 0);
	EXPECT(strstr(sandbox_hint(-EROFS), "ReadWritePaths="));
	return true;
}

static void test_a_restart_is_advised_when_it_helps(void **state)
{
	(void)state;
	check_in_child(advises_a_restart_when_it_helps);
}

static bool knows_what_it_inherits(void)
{
	sandbox_adopt();
	EXPECT(sandbox_is_entered());
	return true;
}

static void test_the_program_of_an_upgrade_is_in_it(void **state)
{
	(void)state;
	check_in_child(knows_what_it_inherits);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		check_test_if(FILTERS, test_other_system_calls_are_not_there),
		check_test_if(FILTERS, test_no_process_is_made),
		check_test_if(FILTERS, test_sockets_are_of_the_kinds_that_are_configured),
		check_test_if(FILTERS, test_what_usherd_does_all_its_life_works),
		check_test_if(FILTERS, test_a_thread_that_is_older_is_filtered_too),
		check_test(test_a_later_version_can_forbid_itself_more),
		check_test_if(has_landlock(), test_its_folders_can_be_written),
		check_test_if(has_landlock(), test_nothing_else_can_be_written),
		check_test_if(has_landlock() && GUARDS_EXECUTION, test_no_shell_can_be_executed),
		check_test(test_the_program_of_an_upgrade_can_be_executed),
		check_test_if(has_landlock(), test_a_restart_is_advised_when_it_helps),
		check_test(test_the_program_of_an_upgrade_is_in_it),
	};

	if (argc == 2 && strcmp(argv[1], EXECUTED) == 0)
		return EXECUTED_STATUS;
	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		return 1;
	return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
