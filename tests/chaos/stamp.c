/* SPDX-License-Identifier: MIT */
/* The files of the chaos test's programs: see stamp.h. */
#include "stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void stamp_fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(abs(error)));
	exit(EXIT_FAILURE);
}

size_t stamp_map(const char *path, void **ret)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;
	void *map;

	if (fd < 0 || fstat(fd, &status) < 0)
		stamp_fail(path, errno);
	map = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		stamp_fail(path, errno);
	(void)close(fd);
	*ret = map;
	return (size_t)status.st_size;
}
