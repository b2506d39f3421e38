/* SPDX-License-Identifier: MIT */
/*
 * A file that is written when somebody asks for it, by a thread of its own: the state of usherd, as
 * text.
 *
 * Knows nothing of what is in it. The file is always whole: it is written beside its place, and
 * renamed.
 *
 * Invariant: dump_write() takes bounded time, whatever the disk does.
 */
#pragma once

#include <stdint.h>

struct dump;

/*
 * A file `name` in `folder` (both copied), which is not made yet. Others must not be able to write
 * to the folder. Returns 0 with *ret (free with dump_free()) or -ENOMEM.
 */
int dump_new(struct dump **ret, const char *folder, const char *name);

/*
 * Have `text` (from malloc, taken, also on failure) written in place of what is there, mode 0600.
 * The outcome is logged, with the path. Returns 0, or -EBUSY: the one before is still being
 * written.
 */
int dump_write(struct dump *dump, char *text);

/*
 * Wait until it is written, at most `timeout_usec`; one that hangs longer is left to the end of the
 * process. NULL is allowed. Returns NULL.
 */
struct dump *dump_free(struct dump *dump, uint64_t timeout_usec);
