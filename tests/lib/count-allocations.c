/* SPDX-License-Identifier: MIT */
/*
 * Count how often a program asks for memory, while it runs: for LD_PRELOAD (ld.so(8)).
 *
 * The environment variable COUNT_ALLOCATIONS names a file of eight bytes, a number to which each
 * request adds one, whoever makes it: the program, its libraries, the C library for them. Whoever
 * wants to know reads the file. Freeing is not counted, and what is asked of the kernel past the
 * allocator (mmap(2)) is not seen.
 *
 * The functions are replaced as the manual of glibc describes, "Replacing malloc", and are glibc's
 * own under their other names: so free(3) stays, and nothing is looked up before the first call.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);

static _Atomic uint64_t uncounted; /* by nobody: before the file is there, or without one */
static _Atomic uint64_t *count = &uncounted;

__attribute__((constructor)) static void open_count(void)
{
	const char *path = getenv("COUNT_ALLOCATIONS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *shared;

	if (fd < 0)
		return;
	shared = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared != MAP_FAILED)
		count = shared;
	(void)close(fd);
}

void *malloc(size_t size)
{
	atomic_fetch_add(count, 1);
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	atomic_fetch_add(count, 1);
	return __libc_calloc(n, size);
}

/* reallocarray(3) comes by here. */
void *realloc(void *old, size_t size)
{
	atomic_fetch_add(count, 1);
	return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
	atomic_fetch_add(count, 1);
	return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *memory = memalign(alignment, size);

	if (!memory)
		return ENOMEM;
	*ret = memory;
	return 0;
}
