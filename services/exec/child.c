/* SPDX-License-Identifier: MIT */
/*
 * See child.h. What runs in the child is marked in_child: it must not return into this process's
 * frames, must not leave traces in a sanitizer's idea of this process's memory, and changes the
 * user by the system calls themselves, because the C library's functions would signal all threads
 * of "its" process (nptl(7)).
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where there are two generations, the older one has ids of 16 bits. */
#ifdef SYS_setgroups32
#define SET_GROUPS SYS_setgroups32
#define SET_GROUP  SYS_setresgid32
#define SET_USER   SYS_setresuid32
#else
#define SET_GROUPS SYS_setgroups
#define SET_GROUP  SYS_setresgid
#define SET_USER   SYS_setresuid
#endif

#define in_child __attribute__((no_sanitize("address")))

/* More than the kernel and a handful of frames need; the page below it is a guard. */
#define STACK_SIZE  65536
#define GUARD_SIZE  65536

#define EXIT_FAILED 127

struct birth {
	const struct child_plan *plan;
	int fd; /* the socket, at the beginning of the table */
	enum child_step step;
	int error; /* 0: the program runs */
};

/*
 * A child shares our table of descriptors and then takes a copy of its beginning alone: what it
 * costs does not depend on how many connections there are. So the socket has to be at the
 * beginning, where each stack has a place. Before Linux 5.9, without close_range(2), it gets all.
 */
struct child_stack {
	char *memory;
	int fd;	     /* the place: /dev/null, or the socket of the child that is being made */
	int null_fd; /* /dev/null */

	/* For child_push(): while the thread that made the child waits for it. */
	pthread_mutex_t lock;
	int pidfd; /* the kernel writes it; -1: there is none */
	bool was_killed;
};

static bool is_table_shared;

/* Of this process: only a session of its own keeps a program away from it. */
static bool has_terminal;

/* If it can't be told, as in a folder /dev without a tty, there may be one. */
static bool find_terminal(void)
{
	int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 || errno != ENXIO;
}

/* Whoever is ignored now is ignored by programs, too. Handlers end with execve(2) by themselves. */
void child_init(void)
{
	struct sigaction action;

	for (int number = 1; number < NSIG; number++)
		if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			(void)signal(number, SIG_DFL);
	is_table_shared = syscall(SYS_close_range, ~0U, ~0U, 0) == 0;
	has_terminal = find_terminal();
}

int child_stack_new(struct child_stack **ret)
{
	struct child_stack *stack = calloc(1, sizeof(*stack));
	int r = 0;

	if (!stack)
		return -ENOMEM;
	(void)pthread_mutex_init(&stack->lock, NULL);
	stack->pidfd = -1;
	stack->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	stack->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	stack->memory = stack->null_fd < 0
				? MAP_FAILED
				: mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack->memory == MAP_FAILED || mprotect(stack->memory, GUARD_SIZE, PROT_NONE) < 0)
		r = -errno;
	if (r < 0)
		child_stack_free(stack);
	else
		*ret = stack;
	return r;
}

void child_stack_free(struct child_stack *stack)
{
	if (stack->fd >= 0)
		(void)close(stack->fd);
	if (stack->null_fd >= 0)
		(void)close(stack->null_fd);
	if (stack->memory != MAP_FAILED)
		(void)munmap(stack->memory, GUARD_SIZE + STACK_SIZE);
	(void)pthread_mutex_destroy(&stack->lock);
	free(stack);
}

static const struct {
	const char *name, *remedy;
} steps[] = {
	[CHILD_CLONE] = {"making a process",
		"raise the limits of usher-exec (TasksMax=, LimitNPROC=, LimitNOFILE=) or lower "
		"instances"},
	[CHILD_SESSION] = {"making a session or process group", "see setsid(2)"},
	[CHILD_SOCKET] = {"preparing its socket", "see dup2(2)"},
	[CHILD_LIMITS] = {"setting rlimits",
		"correct rlimit in exec {}; only root may raise one above that of usher-exec"},
	[CHILD_NICE] = {"setting nice", "start usher-exec as root, or take nice out of exec {}"},
	[CHILD_CHROOT] = {"entering chroot", "correct chroot in exec {}"},
	[CHILD_DIRECTORY] = {"entering directory", "correct directory in exec {}"},
	[CHILD_GROUPS] = {"setting the groups", "start usher-exec with all rights of root"},
	[CHILD_GROUP] = {"setting group", "start usher-exec with all rights of root"},
	[CHILD_USER] = {"setting user", "start usher-exec with all rights of root"},
	[CHILD_PRIVILEGES] = {"setting no_new_privs", "take no_new_privs out of exec {}"},
	[CHILD_EXECUTE] = {"executing it",
		"correct program in exec {}, or let its user execute that file"},
};

const char *child_step_name(enum child_step step)
{
	return steps[step].name;
}

const char *child_step_remedy(enum child_step step)
{
	return steps[step].remedy;
}

in_child static bool prepare_socket(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	/* First of all: from here on the table is the child's own. */
	if (is_table_shared && syscall(SYS_close_range, fd + 1, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return false;
	if (flags < 0 || (flags & O_NONBLOCK && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0))
		return false;
	for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
		if (dup2(fd, standard) < 0)
			return false;
	/* Without close_range(2): what is ours is close-on-exec. */
	return !is_table_shared || syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0;
}

/* For each session the kernel makes a group of its scheduler (autogroup, sched(7)): a twentieth of
 * all that a short program takes. So there is one only where it is of use. */
in_child static bool leave_group(void)
{
	return has_terminal ? setsid() >= 0 : setpgid(0, 0) == 0;
}

in_child static bool set_limits(const struct child_plan *plan)
{
	for (size_t i = 0; i < plan->n_limits; i++)
		if (setrlimit(plan->limits[i].resource, &plan->limits[i].value) < 0)
			return false;
	return true;
}

/* Returns the step that failed, with errno. */
in_child static enum child_step become_program(const struct child_plan *plan, int fd)
{
	sigset_t none;

	if (!leave_group())
		return CHILD_SESSION;
	if (!prepare_socket(fd))
		return CHILD_SOCKET;
	if (!set_limits(plan))
		return CHILD_LIMITS;
	if (plan->has_nice && setpriority(PRIO_PROCESS, 0, plan->nice) < 0)
		return CHILD_NICE;
	if (plan->has_umask)
		(void)umask(plan->umask);
	if (plan->chroot && chroot(plan->chroot) < 0)
		return CHILD_CHROOT;
	if (plan->has_identity && syscall(SET_GROUPS, plan->n_groups, plan->groups) < 0)
		return CHILD_GROUPS;
	if (plan->has_identity && syscall(SET_GROUP, plan->gid, plan->gid, plan->gid) < 0)
		return CHILD_GROUP;
	if (plan->has_identity && syscall(SET_USER, plan->uid, plan->uid, plan->uid) < 0)
		return CHILD_USER;
	if (chdir(plan->directory) < 0)
		return CHILD_DIRECTORY;
	if (plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return CHILD_PRIVILEGES;
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(plan->path, plan->argv, plan->envp);
	return CHILD_EXECUTE;
}

in_child static int run_child(void *argument)
{
	struct birth *birth = argument;

	birth->step = become_program(birth->plan, birth->fd);
	birth->error = errno;
	_exit(EXIT_FAILED);
}

/* With every signal blocked: a handler of ours would run in the child, on our memory. */
static pid_t clone_child(struct child_stack *stack, struct birth *birth)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(run_child, stack->memory + GUARD_SIZE + STACK_SIZE,
		CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD |
			(is_table_shared ? CLONE_FILES : 0),
		birth, &stack->pidfd);
	if (pid < 0)
		birth->error = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* Nobody pushes it any more. Returns its pidfd, or -1. */
static int take_pidfd(struct child_stack *stack, bool *ret_was_killed)
{
	int fd;

	(void)pthread_mutex_lock(&stack->lock);
	fd = __atomic_exchange_n(&stack->pidfd, -1, __ATOMIC_SEQ_CST);
	*ret_was_killed = stack->was_killed;
	stack->was_killed = false;
	(void)pthread_mutex_unlock(&stack->lock);
	return fd;
}

void child_push(struct child_stack *stack, bool is_too_late)
{
	int fd;

	(void)pthread_mutex_lock(&stack->lock);
	fd = __atomic_load_n(&stack->pidfd, __ATOMIC_SEQ_CST);
	if (fd >= 0)
		(void)syscall(SYS_pidfd_send_signal, fd, is_too_late ? SIGKILL : SIGCONT, NULL, 0);
	stack->was_killed |= fd >= 0 && is_too_late;
	(void)pthread_mutex_unlock(&stack->lock);
}

static void forget_child(pid_t pid, int pidfd)
{
	siginfo_t info;

	while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	(void)close(pidfd);
}

/* The client must see the end when the program closes, and the place must not be anybody else's. */
static void free_place(struct child_stack *stack)
{
	(void)dup3(stack->null_fd, stack->fd, O_CLOEXEC);
}

int child_spawn(struct child_stack *stack, const struct child_plan *plan, pid_t *ret_pid,
	int *ret_pidfd, enum child_step *ret_step)
{
	struct birth birth = {.plan = plan, .fd = stack->fd, .step = CHILD_CLONE};
	bool was_killed;
	int pidfd;
	pid_t pid;

	if (dup3(plan->fd, stack->fd, O_CLOEXEC) < 0) {
		*ret_step = CHILD_SOCKET;
		return -errno;
	}
	pid = clone_child(stack, &birth);
	pidfd = take_pidfd(stack, &was_killed);
	free_place(stack);
	if (was_killed && birth.error == 0) {
		birth.step = CHILD_EXECUTE;
		birth.error = ETIME;
	}
	if (pid >= 0 && birth.error != 0)
		forget_child(pid, pidfd);
	if (birth.error != 0) {
		*ret_step = birth.step;
		return -birth.error;
	}
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return 0;
}
