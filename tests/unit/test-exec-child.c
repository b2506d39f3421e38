/* SPDX-License-Identifier: MIT */
/* Each thing that child_spawn() promises a program, as the program itself sees it (witness.c), and
 * each step that can fail. */
#include "child.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static const char *witness; /* its path */
static struct child_stack *stack;
static char said[65536];

static char *no_environment[] = {NULL};

static struct child_plan make_plan(int fd)
{
	static char name[] = "witness", *argv[] = {name, NULL};

	return (struct child_plan){
		.path = witness, .argv = argv, .envp = no_environment, .fd = fd, .directory = "/"};
}

static void read_all(int fd)
{
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, said + size, sizeof(said) - 1 - size)) > 0)
		size += (size_t)n;
	said[size] = '\0';
}

static int wait_status(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED), 0);
	return info.si_status;
}

static bool has_child(void)
{
	return waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG) == 0;
}

/* Run it to its end. What it has said is in `said`; returns its status. */
static int run(struct child_plan *plan, int fds[2])
{
	enum child_step step;
	pid_t pid;
	int pidfd;
	int r = child_spawn(stack, plan, &pid, &pidfd, &step);

	if (r < 0)
		fail_msg("%s: %s", child_step_name(step), strerror(-r));
	close(fds[1]);
	read_all(fds[0]);
	close(fds[0]);
	assert_int_equal(poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, -1), 1);
	assert_int_equal(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
	close(pidfd);
	r = wait_status(pid);
	assert_false(has_child());
	return r;
}

static void open_pair(int fds[2])
{
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, 0), 0);
}

/* Run it with what `change` makes of the plan. */
static void witness_with(void (*change)(struct child_plan *plan))
{
	struct child_plan plan;
	int fds[2];

	open_pair(fds);
	plan = make_plan(fds[1]);
	if (change)
		change(&plan);
	(void)run(&plan, fds);
}

/* The value of a line that it has said. */
static const char *value_of(const char *name)
{
	static char value[4096];
	char start[64];
	const char *line;

	snprintf(start, sizeof(start), "\n%s=", name);
	line = strstr(said, start);
	if (!line)
		fail_msg("no %s in:\n%s", name, said);
	else
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + strlen(start), "\n"),
			line + strlen(start));
	return value;
}

static void test_it_has_the_socket_and_nothing_else(void **state)
{
	int others[] = {open("/dev/null", O_RDONLY), fcntl(0, F_DUPFD, 700)};

	(void)state;
	witness_with(NULL); /* although these are not close-on-exec */
	close(others[0]);
	close(others[1]);
	assert_string_equal(value_of("fds"), "0 1 2 ");
	assert_string_equal(value_of("nonblock"), "0");
	assert_null(strstr(said, "another="));
}

static void change_arguments(struct child_plan *plan)
{
	static char arguments[][16] = {"another-name", "3", "with space", "A=b", "C=d e"};
	static char *argv[] = {arguments[0], arguments[1], arguments[2], NULL};
	static char *envp[] = {arguments[3], arguments[4], NULL};

	plan->argv = argv;
	plan->envp = envp;
}

static void test_arguments_environment_and_status(void **state)
{
	struct child_plan plan;
	int fds[2];

	(void)state;
	open_pair(fds);
	plan = make_plan(fds[1]);
	change_arguments(&plan);
	assert_int_equal(run(&plan, fds), 3);
	assert_non_null(strstr(said, "argv0=another-name\nargv1=3\nargv2=with space\nenv A=b\nenv "
				     "C=d e\nfds"));
}

static void test_signals_are_as_at_the_beginning(void **state)
{
	sigset_t some, before;

	(void)state;
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigaddset(&some, SIGUSR1);
	assert_int_equal(sigprocmask(SIG_BLOCK, &some, &before), 0);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN);
	child_init();
	witness_with(NULL);
	assert_string_equal(value_of("signals"), "");
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, &some), 0);
	assert_int_equal(sigismember(&some, SIGTERM), 1); /* here as before */
	assert_int_equal(sigismember(&some, SIGUSR2), 0);
}

/* In a process of its own, which leads a session with or without a terminal. */
static void witness_in_a_session(bool has_terminal)
{
	char number[32];
	int terminal;

	assert_true(setsid() > 0);
	terminal = posix_openpt(O_RDWR | O_NOCTTY);
	assert_int_equal(grantpt(terminal) | unlockpt(terminal), 0);
	terminal = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	assert_true(terminal >= 0);
	if (has_terminal)
		assert_int_equal(ioctl(terminal, TIOCSCTTY, 0), 0);
	child_init();
	witness_with(NULL);
	snprintf(number, sizeof(number), "%s", value_of("pid"));
	assert_string_equal(value_of("pgid"), number);
	if (!has_terminal)
		snprintf(number, sizeof(number), "%d", getpid());
	assert_string_equal(value_of("sid"), number);
}

static void test_it_leads_a_group_and_where_there_is_a_terminal_a_session(void **state)
{
	(void)state;
	for (int has_terminal = 0; has_terminal <= 1; has_terminal++) {
		pid_t pid = fork();

		if (pid == 0) {
			witness_in_a_session(has_terminal);
			_exit(EXIT_SUCCESS);
		}
		assert_int_equal(wait_status(pid), EXIT_SUCCESS);
	}
}

static void change_attributes(struct child_plan *plan)
{
	static const struct child_limit limits[] = {
		{RLIMIT_NOFILE, {100, 100}}, {RLIMIT_CPU, {7, 7}}, {RLIMIT_NOFILE, {64, 64}}};

	plan->limits = limits;
	plan->n_limits = 3;
	plan->has_nice = true;
	plan->nice = 13;
	plan->no_new_privs = true;
	plan->has_umask = true;
	plan->umask = 0137;
	plan->directory = "/usr/bin";
}

static void test_limits_nice_privileges_umask_directory(void **state)
{
	struct rlimit before, after;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	witness_with(change_attributes);
	assert_string_equal(value_of("nofile"), "64 64");
	assert_string_equal(value_of("cpu"), "7 7");
	assert_string_equal(value_of("nice"), "13");
	assert_string_equal(value_of("no_new_privs"), "1");
	assert_string_equal(value_of("umask"), "137");
	assert_string_equal(value_of("cwd"), "/usr/bin");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
	assert_int_equal(after.rlim_cur, before.rlim_cur);
}

static void test_what_is_not_given_stays(void **state)
{
	char mask[16];
	mode_t before = umask(0);

	(void)state;
	(void)umask(before);
	witness_with(NULL);
	snprintf(mask, sizeof(mask), "%03o", before);
	assert_string_equal(value_of("umask"), mask);
	assert_string_equal(value_of("cwd"), "/");
	assert_int_equal(atoi(value_of("no_new_privs")), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static void change_identity(struct child_plan *plan)
{
	static const gid_t groups[] = {NOBODY, 12345, 54321};

	plan->has_identity = true;
	plan->uid = NOBODY;
	plan->gid = NOBODY - 1;
	plan->groups = groups;
	plan->n_groups = 3;
}

static void test_it_is_somebody_else_for_good(void **state)
{
	(void)state;
	witness_with(change_identity);
	assert_string_equal(value_of("uids"), "65534 65534 65534");
	assert_string_equal(value_of("gids"), "65533 65533 65533");
	assert_string_equal(value_of("groups"), "12345 54321 65534 ");
	assert_string_equal(value_of("root again"), "0");
	assert_int_equal(geteuid(), 0);
}

/* A folder with nothing but the program in it. */
static void make_root(char *folder)
{
	char command[512];

	assert_non_null(mkdtemp(folder));
	assert_int_equal(chmod(folder, 0755), 0);
	snprintf(command, sizeof(command), "mkdir %s/inside && cp %s %s/program", folder, witness,
		folder);
	assert_int_equal(system(command), 0);
}

static void remove_root(const char *folder)
{
	char command[512];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

static void test_it_is_inside_of_its_chroot(void **state)
{
	char folder[] = "/tmp/usher-test-child-XXXXXX";
	struct child_plan plan;
	int fds[2];

	(void)state;
	make_root(folder);
	open_pair(fds);
	plan = make_plan(fds[1]);
	change_identity(&plan);
	plan.chroot = folder;
	plan.path = "/program";
	plan.directory = "/inside";
	(void)run(&plan, fds);
	remove_root(folder);
	assert_string_equal(value_of("cwd"), "/inside");
	assert_string_equal(value_of("uids"), "65534 65534 65534");
}

/* `change` makes a plan that fails at `expected` with `error`; and nothing is left of it. */
static void check_failure(
	void (*change)(struct child_plan *plan), enum child_step expected, int error)
{
	struct child_plan plan;
	enum child_step step;
	int fds[2], pidfd = -EBADF;
	pid_t pid;
	char byte;

	open_pair(fds);
	plan = make_plan(fds[1]);
	change(&plan);
	assert_int_equal(child_spawn(stack, &plan, &pid, &pidfd, &step), -error);
	assert_string_equal(child_step_name(step), child_step_name(expected));
	assert_true(strlen(child_step_remedy(step)) > 0);
	assert_int_equal(pidfd, -EBADF);
	assert_false(has_child());
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 0);
	close(fds[0]);
}

static void change_to_no_program(struct child_plan *plan)
{
	plan->path = "/none";
}

static void change_to_no_executable(struct child_plan *plan)
{
	plan->path = "/etc/passwd";
}

static void change_to_no_directory(struct child_plan *plan)
{
	plan->directory = "/none";
}

static void change_to_no_socket(struct child_plan *plan)
{
	plan->fd = 1000;
}

static void change_to_wrong_limit(struct child_plan *plan)
{
	static const struct child_limit limit = {RLIMIT_NOFILE, {2, 1}};

	plan->limits = &limit;
	plan->n_limits = 1;
}

static void test_each_failure_has_its_step(void **state)
{
	(void)state;
	check_failure(change_to_no_program, CHILD_EXECUTE, ENOENT);
	check_failure(change_to_no_executable, CHILD_EXECUTE, EACCES);
	check_failure(change_to_no_directory, CHILD_DIRECTORY, ENOENT);
	check_failure(change_to_no_socket, CHILD_SOCKET, EBADF);
	check_failure(change_to_wrong_limit, CHILD_LIMITS, EINVAL);
}

static void change_to_no_chroot(struct child_plan *plan)
{
	plan->chroot = "/none";
}

static void change_to_wrong_groups(struct child_plan *plan)
{
	change_identity(plan);
	plan->n_groups = 1 << 20;
}

static void change_to_secret_directory(struct child_plan *plan)
{
	change_identity(plan);
	plan->directory = "/root";
}

static void test_each_failure_of_root_has_its_step(void **state)
{
	(void)state;
	check_failure(change_to_no_chroot, CHILD_CHROOT, ENOENT);
	check_failure(change_to_wrong_groups, CHILD_GROUPS, EINVAL);
	check_failure(change_to_secret_directory, CHILD_DIRECTORY, EACCES); /* as the user */
}

/* Run `function` as somebody who is not root, in a process of its own. */
static void check_as_nobody(void (*function)(void **state))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(1);
		function(NULL);
		_exit(0);
	}
	assert_int_equal(wait_status(pid), 0);
}

static void change_to_better_nice(struct child_plan *plan)
{
	plan->has_nice = true;
	plan->nice = -20;
}

static void change_to_root_group(struct child_plan *plan)
{
	change_identity(plan);
	plan->n_groups = 0;
}

static void fail_without_rights(void **state)
{
	(void)state;
	check_failure(change_to_better_nice, CHILD_NICE, EACCES);
	check_failure(change_to_root_group, CHILD_GROUPS, EPERM);
}

static void test_each_failure_without_rights_has_its_step(void **state)
{
	(void)state;
	check_as_nobody(fail_without_rights);
}

/* Of a plan that is never looked at: the kernel has no room for the pidfd. */
static void test_no_process_is_a_failure_of_its_own(void **state)
{
	struct rlimit old, none;
	struct child_plan plan;
	enum child_step step;
	pid_t pid;
	int pidfd, fds[2];

	(void)state;
	open_pair(fds);
	plan = make_plan(fds[1]);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)fds[1] + 1, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(child_spawn(stack, &plan, &pid, &pidfd, &step), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(step, CHILD_CLONE);
	assert_false(has_child());
	close(fds[0]);
	close(fds[1]);
}

/* Our own table is untouched, and its size does not matter to the child. */
static void test_a_large_table_is_left_alone(void **state)
{
	int fds[200];

	(void)state;
	for (size_t i = 0; i < 200; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	witness_with(NULL);
	assert_string_equal(value_of("fds"), "0 1 2 ");
	for (size_t i = 0; i < 200; i++)
		assert_int_equal(close(fds[i]), 0);
	assert_true(fcntl(STDERR_FILENO, F_GETFD) >= 0);
}

static void test_a_thousand_leave_nothing(void **state)
{
	size_t n_before = test_count_fds();

	(void)state;
	for (int i = 0; i < 1000; i++)
		witness_with(i % 2 ? change_attributes : NULL);
	assert_int_equal(test_count_fds(), n_before);
	assert_false(has_child());
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		check_test(test_it_has_the_socket_and_nothing_else),
		check_test(test_arguments_environment_and_status),
		check_test(test_signals_are_as_at_the_beginning),
		check_test(test_it_leads_a_group_and_where_there_is_a_terminal_a_session),
		check_test(test_limits_nice_privileges_umask_directory),
		check_test(test_what_is_not_given_stays),
		check_test_if(test_is_root(), test_it_is_somebody_else_for_good),
		check_test_if(test_is_root(), test_it_is_inside_of_its_chroot),
		check_test(test_each_failure_has_its_step),
		check_test_if(test_is_root(), test_each_failure_of_root_has_its_step),
		check_test_if(test_is_root(), test_each_failure_without_rights_has_its_step),
		check_test(test_no_process_is_a_failure_of_its_own),
		check_test(test_a_large_table_is_left_alone),
		check_test(test_a_thousand_leave_nothing),
	};

	assert_int_equal(argc, 2);
	witness = realpath(argv[1], NULL); /* a program is started in "/" */
	assert_non_null(witness);
	child_init();
	assert_int_equal(child_stack_new(&stack), 0);
	return cmocka_run_group_tests_name("exec: child", tests, NULL, NULL);
}
