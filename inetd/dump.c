/* SPDX-License-Identifier: MIT */
/* Writing a file in the background: see dump.h. */
#include "dump.h"

#include "background.h"
#include "fd.h"
#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dump {
	char *path, *new_path; /* it is renamed from new_path */
	struct background *writer;
};

static int write_all(int fd, const char *text)
{
	size_t length = strlen(text);

	while (length > 0) {
		ssize_t n = write(fd, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		length -= (size_t)n;
	}
	return 0;
}

/* What is in the way is of an usherd that ended meanwhile. */
static int write_beside(const char *path, const char *text)
{
	_cleanup_close_ int fd = -EBADF;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : write_all(fd, text);
}

static int replace(const struct dump *dump, const char *text)
{
	int r = write_beside(dump->new_path, text);

	if (r >= 0 && rename(dump->new_path, dump->path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(dump->new_path);
	return r;
}

static void work(const void *items, size_t n, void *userdata)
{
	char *const *texts = items;
	const struct dump *dump = userdata;

	for (size_t i = 0; i < n; i++) {
		int r = replace(dump, texts[i]);

		free(texts[i]);
		if (r < 0)
			log_write(LOG_ERR, &(struct log_about){.reason = "dump", .error = r},
				"cannot write the state to %s: %s", dump->path, strerror(-r));
		else
			log_write(LOG_NOTICE, &(struct log_about){.reason = "dump"},
				"the state was written to %s", dump->path);
	}
}

static struct dump *destroy(struct dump *dump)
{
	free(dump->path);
	free(dump->new_path);
	free(dump);
	return NULL;
}

int dump_new(struct dump **ret, const char *folder, const char *name)
{
	static const struct background_task task = {
		.name = "usherd-dump",
		.item_size = sizeof(char *),
		.capacity = 1,
		.n_at_once = 1,
		.work = work,
	};
	struct dump *dump = calloc(1, sizeof(*dump));

	if (!dump)
		return -ENOMEM;
	if (asprintf(&dump->path, "%s/%s", folder, name) < 0)
		dump->path = NULL;
	if (!dump->path || asprintf(&dump->new_path, "%s.new", dump->path) < 0)
		dump->new_path = NULL;
	if (!dump->new_path || background_new(&dump->writer, &task, dump) < 0) {
		destroy(dump);
		return -ENOMEM;
	}
	*ret = dump;
	return 0;
}

int dump_write(struct dump *dump, char *text)
{
	if (background_push(dump->writer, &text, 1))
		return 0;
	free(text);
	return -EBUSY;
}

struct dump *dump_free(struct dump *dump, uint64_t timeout_usec)
{
	if (dump && !background_free(dump->writer, timeout_usec))
		destroy(dump);
	return NULL;
}
