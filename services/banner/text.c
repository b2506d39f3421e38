/* SPDX-License-Identifier: MIT */
/* See text.h. */
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct text *text_ref(struct text *text)
{
	text->n_refs++;
	return text;
}

struct text *text_unref(struct text *text)
{
	if (text && --text->n_refs == 0)
		free(text);
	return NULL;
}

void text_file_init(struct text_file *f, const char *path)
{
	*f = (struct text_file){.path = path};
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Up to `size` bytes. Returns how many there are, or a negative errno. */
static ssize_t read_all(int fd, char *bytes, size_t size)
{
	size_t n_read = 0;

	while (n_read < size) {
		ssize_t n = read(fd, bytes + n_read, size - n_read);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		n_read += (size_t)n;
	}
	return (ssize_t)n_read;
}

/* One byte more than it may have, to notice when it grows meanwhile. */
static int read_text(int fd, struct text **ret)
{
	struct text *text = malloc(sizeof(*text) + TEXT_MAX + 1);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = read_all(fd, text->bytes, TEXT_MAX + 1);
	if (n < 0 || n > TEXT_MAX) {
		free(text);
		return n < 0 ? (int)n : -EFBIG;
	}
	text->n_refs = 1;
	text->size = (size_t)n;
	*ret = realloc(text, sizeof(*text) + text->size); /* it shrinks */
	if (!*ret)
		*ret = text;
	return 0;
}

/* What it is, is looked at when it is open: then it stays that. */
static int read_file(int fd, struct text_file *f)
{
	struct text *text = NULL;
	struct stat stamp;
	int r;

	if (fstat(fd, &stamp) < 0)
		return -errno;
	if (!S_ISREG(stamp.st_mode))
		return -EINVAL;
	r = read_text(fd, &text);
	if (r < 0)
		return r;
	text_unref(f->text);
	f->text = text;
	f->stamp = stamp; /* from before: what was written since is read the next time */
	return 0;
}

int text_file_refresh(struct text_file *f)
{
	struct stat now;
	int fd, r;

	if (stat(f->path, &now) < 0)
		return -errno;
	if (f->text && is_same(&now, &f->stamp))
		return 0;
	fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a fifo must not wait */
	if (fd < 0)
		return -errno;
	r = read_file(fd, f);
	(void)close(fd);
	return r;
}

void text_file_done(struct text_file *f)
{
	f->text = text_unref(f->text);
}
