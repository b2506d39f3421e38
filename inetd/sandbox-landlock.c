/* SPDX-License-Identifier: MIT */
/*
 * Files, by landlock(7): reading stays free, because a reload reads what an administrator names,
 * and so do libraries for users and hosts. Connecting to a socket is no writing for Landlock.
 *
 * glibc has no functions for its system calls.
 */
#include "sandbox-private.h"

#include "fd.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Debian 12 has the headers of Linux 6.1. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14) /* Linux 6.2 */
#endif
#define ABI_OF_REFER	2
#define ABI_OF_TRUNCATE 3

#define MAKE                                                                                       \
	(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |                              \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                       \
		LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                     \
		LANDLOCK_ACCESS_FS_MAKE_SYM)
#define REMOVE (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE)

/* What is forbidden where nothing allows it. A sanitizer executes its symbolizer. */
#ifdef USHER_SANITIZED
#define GUARDED (MAKE | REMOVE | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define EXECUTE 0
#else
#define GUARDED (MAKE | REMOVE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE)
#define EXECUTE LANDLOCK_ACCESS_FS_EXECUTE
#endif

/* In folders of ours: logs, sockets, and what is renamed in run_dir. */
#define USED                                                                                       \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |                             \
		LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                       \
		LANDLOCK_ACCESS_FS_REMOVE_FILE)

/* Returns which version of Landlock the kernel has, or -EOPNOTSUPP. */
static int find_abi(void)
{
	long abi = syscall(
		SYS_landlock_create_ruleset, NULL, 0UL, (long)LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 1 ? -EOPNOTSUPP : (int)abi;
}

/* Everything that this kernel can forbid. Before TRUNCATE it is no right, and nothing forbids it.
 */
static uint64_t guarded_by(int abi)
{
	uint64_t guarded = GUARDED;

	if (abi >= ABI_OF_REFER)
		guarded |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= ABI_OF_TRUNCATE)
		guarded |= LANDLOCK_ACCESS_FS_TRUNCATE;
	return guarded;
}

/* Allow it at and below `path`. What is not there is passed over. Returns 0 or a negative errno. */
static int allow(int ruleset_fd, const char *path, uint64_t access)
{
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

	if (fd < 0 || access == 0)
		return 0;
	return syscall(SYS_landlock_add_rule, (long)ruleset_fd, (long)LANDLOCK_RULE_PATH_BENEATH,
		       &rule, 0UL) < 0
		       ? -errno
		       : 0;
}

/* The folder that `path` is in, for a file may be replaced. */
static int allow_beside(int ruleset_fd, const char *path, uint64_t access)
{
	char *folder = realpath(path, NULL), *slash = folder ? strrchr(folder, '/') : NULL;
	int r = 0;

	if (slash) {
		slash[slash == folder] = '\0';
		r = allow(ruleset_fd, folder, access);
	}
	free(folder);
	return r;
}

/* For dl_iterate_phdr(3), which begins with the program itself: who loads it, as the kernel knows
 * it. */
static int find_loader(struct dl_phdr_info *info, size_t size, void *ret)
{
	(void)size;
	for (size_t i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_INTERP)
			*(const char **)ret = (const char *)(uintptr_t)(info->dlpi_addr +
									info->dlpi_phdr[i].p_vaddr);
	return 1;
}

/* The program of an upgrade, and what the kernel executes to load it. */
static int allow_upgrade(int ruleset_fd, const char *program)
{
	const char *loader = NULL;
	int r = program ? allow_beside(ruleset_fd, program, EXECUTE) : 0;

	(void)dl_iterate_phdr(find_loader, &loader);
	return r < 0 || !loader ? r : allow_beside(ruleset_fd, loader, EXECUTE);
}

static int allow_all(int ruleset_fd, const struct sandbox *sandbox, uint64_t guarded)
{
	int r = allow_upgrade(ruleset_fd, sandbox->program);

	if (r >= 0) /* in the place of standard streams, when the program of an upgrade begins */
		r = allow(ruleset_fd, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE);
	for (size_t i = 0; i < sandbox->n_folders && r >= 0; i++)
		r = allow(ruleset_fd, sandbox->folders[i], USED & guarded);
	return r;
}

int sandbox_guard_files(const struct sandbox *sandbox)
{
	int abi = find_abi(), r;
	const struct landlock_ruleset_attr attributes = {.handled_access_fs = guarded_by(abi)};
	_cleanup_close_ int fd = -EBADF;

	if (abi < 0)
		return abi;
	fd = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0UL);
	if (fd < 0)
		return -errno;
	r = allow_all(fd, sandbox, attributes.handled_access_fs);
	if (r >= 0 && syscall(SYS_landlock_restrict_self, (long)fd, 0UL) < 0)
		r = -errno;
	return r;
}
