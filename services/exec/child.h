/* SPDX-License-Identifier: MIT */
/*
 * A new process that runs a program on one socket.
 *
 * The child shares this process's memory until it executes the program, while the thread that made
 * it waits (clone(2) with CLONE_VM and CLONE_VFORK): nothing is copied, so that it takes as long
 * from a large process as from a small one, and what goes wrong in the child is told by writing to
 * memory. posix_spawn(3) does it like this, but knows neither limits nor users nor chroot.
 *
 * Knows nothing of services. Invariant: in the child only system calls are made; all that would
 * allocate, look up or format was done before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

struct child_limit {
	int resource;
	struct rlimit value;
};

/* What is to be run, and how. All pointers are borrowed. */
struct child_plan {
	const char *path;
	char *const *argv;
	char *const *envp;
	int fd; /* the socket: descriptors 0, 1 and 2 of the program, made blocking */
	const struct child_limit *limits;
	size_t n_limits;
	int nice; /* the nice value itself, not what is added; only if has_nice */
	bool has_nice;
	bool has_umask;
	mode_t umask;
	bool no_new_privs;     /* it, and all that it runs, gains no rights by execve(2) */
	const char *chroot;    /* NULL: none; `directory` and `path` are then inside */
	const char *directory; /* where it begins */
	bool has_identity;     /* become another user, and never root again: */
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* all supplementary groups */
	size_t n_groups;
};

/* Where it failed. */
enum child_step {
	CHILD_CLONE, /* no process could be made: with -EAGAIN or -ENOMEM later one may be */
	CHILD_SESSION,
	CHILD_SOCKET,
	CHILD_LIMITS,
	CHILD_NICE,
	CHILD_CHROOT,
	CHILD_DIRECTORY,
	CHILD_GROUPS,
	CHILD_GROUP,
	CHILD_USER,
	CHILD_PRIVILEGES,
	CHILD_EXECUTE,
};

/* What was tried. */
const char *child_step_name(enum child_step step);

/* What an administrator may do about it. */
const char *child_step_remedy(enum child_step step);

/*
 * Once, before the first child_spawn(): give each signal that this process was started to ignore
 * (nohup(1), SIGCHLD) its default action, because children inherit that; and see whether there is a
 * terminal to keep them away from.
 */
void child_init(void);

/* Where a child is until it is the program: one for each thread that calls child_spawn(). */
struct child_stack;

/*
 * Make it early: it takes a place at the beginning of the table of descriptors. Returns 0, or the
 * negative errno of open(2) or mmap(2), or -ENOMEM.
 */
int child_stack_new(struct child_stack **ret);

void child_stack_free(struct child_stack *stack);

/*
 * From another thread, when child_spawn() with this stack takes long: let the child go on, or, if
 * it is too late, kill it. Between its change of user and the program it belongs to that user, who
 * can stop it, as kill(2) with -1 does, and the thread with it. Never waits; nothing happens if
 * there is no child.
 */
void child_push(struct child_stack *stack, bool is_too_late);

/*
 * Run `plan`: in a process group of its own, and a session if this process has a terminal, with all
 * signals at their default actions and unblocked, and with no descriptors but 0, 1 and 2. Waits
 * until the program is executed; other threads go on.
 *
 * Returns 0 with *ret_pid, a child to be waited for with waitid(2), and *ret_pidfd, which becomes
 * readable when it has ended and is the caller's to close; or a negative errno with *ret_step: then
 * there is no child. -ETIME: child_push() has killed it.
 */
int child_spawn(struct child_stack *stack, const struct child_plan *plan, pid_t *ret_pid,
	int *ret_pidfd, enum child_step *ret_step);
