/* SPDX-License-Identifier: MIT */
/*
 * A file's contents, read again when the file has changed, and shared by all who are being sent it.
 *
 * Invariant: a text never changes; who holds one goes on with it while others get the next.
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

/* Largest file. */
#define TEXT_MAX 65536

struct text {
	unsigned int n_refs;
	size_t size;
	char bytes[];
};

struct text_file {
	const char *path;  /* borrowed */
	struct text *text; /* NULL before text_file_refresh() has returned 0 once */
	struct stat stamp; /* of the file when it was read */
};

void text_file_init(struct text_file *f, const char *path);

/*
 * Read the file if it has changed, as stat(2) tells: another file, length or time. It is read as it
 * is, also when somebody is writing to it; so replace it by rename(2).
 *
 * Returns 0, or with the former text in place the error of open(2), stat(2) or read(2), -EFBIG:
 * larger than TEXT_MAX, -EINVAL: no regular file, -ENOMEM.
 */
int text_file_refresh(struct text_file *f);

void text_file_done(struct text_file *f);

/* One more holder of the text; returns it. */
struct text *text_ref(struct text *text);

/* One less. NULL is allowed. Returns NULL. */
struct text *text_unref(struct text *text);
