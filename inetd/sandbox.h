/* SPDX-License-Identifier: MIT */
/*
 * What this process takes away from itself when everything is open: system calls that it never
 * needs (seccomp(2)), and writing to and executing files elsewhere (landlock(7)). So whoever makes
 * usherd do as he likes, by a fault of ours or of a library, starts no process, and changes no file
 * but those that usherd writes anyway. What he makes it into is in here, too: the loader of
 * programs, which an upgrade needs, loads whatever can be read.
 *
 * It is inherited by the program that an upgrade in place executes, and nothing of it can ever be
 * taken back: what is allowed is what a whole life of usherd needs, its start included. Who it is,
 * and with which capabilities, is the business of privilege.h. Here nothing is logged.
 *
 * Invariant: what is forbidden fails, it does not kill. A system call that is forbidden, or that
 * this version has not heard of, is one that the kernel does not have (ENOSYS), for which the C
 * library has another.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct sandbox {
	const char *program;	    /* that an upgrade executes; NULL: not known */
	const char *const *folders; /* where files and sockets are made, removed and written; one
				       that is not there is passed over */
	size_t n_folders;
};

/* Each 0 or why that part is not in force: -EOPNOTSUPP, the kernel or this build has it not, or
 * another negative errno. */
struct sandbox_result {
	int system_calls;
	int files;
};

/*
 * Enter it. To be called while there is one thread: the files are guarded from this one and those
 * that it makes, while system calls are filtered for all there are. Needs PR_SET_NO_NEW_PRIVS
 * (privilege_harden()).
 */
struct sandbox_result sandbox_enter(const struct sandbox *sandbox);

/* The program that has executed this one was in it, and so is this one. */
void sandbox_adopt(void);

/* Is this process in it, as far as it could be? */
bool sandbox_is_entered(void);

/*
 * What an administrator can do about the negative errno `error` of making or opening a file for
 * writing: words to be put behind those about the rights of usherd's user, or "", also where files
 * are not guarded.
 */
const char *sandbox_hint(int error);
