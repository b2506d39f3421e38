/* SPDX-License-Identifier: MIT */
/*
 * Where events go that do not go where messages go: a file with limits, or syslog under a name of
 * its own.
 *
 * Part of the room `log`, whose thread does all the writing: a caller makes destinations, holds
 * them, and gives them to log_write_event().
 *
 * Invariant: the file never grows beyond its hard limit by us.
 */
#pragma once

#include "log-record.h"
#include "log-terms.h"

#include <stdint.h>

/* Counted: every holder has one reference. */
struct log_destination;

/*
 * Lines with their time are appended to the file `path` (copied), which is made with mode 0640 if
 * it is not there, and refused if it is a symbolic link or no regular file.
 *
 * `soft_bytes`: beyond it one warning is logged, until the file is smaller again; `hard_bytes`:
 * nothing is written beyond it, for as long as the file is not smaller; 0: no such limit. A file
 * that was removed, and a full one that was renamed, is noticed and made anew.
 *
 * Returns 0 with *ret, one reference; -EINVAL: no regular file; -ENOMEM; or the negative errno of
 * open(2), -ELOOP for a symbolic link.
 */
int log_destination_new_file(
	struct log_destination **ret, const char *path, uint64_t soft_bytes, uint64_t hard_bytes);

/* Lines go to syslog with this facility and level, see syslog(3). Returns 0 with *ret or -ENOMEM.
 */
int log_destination_new_syslog(struct log_destination **ret, int facility, int level);

/* One reference more. NULL is allowed. Returns `d`. */
struct log_destination *log_destination_ref(struct log_destination *d);

/* One reference less; with the last one the file is closed. NULL is allowed. Returns NULL. */
struct log_destination *log_destination_unref(struct log_destination *d);

/*
 * For the log's thread: write one record, waiting for the other side. Returns false if it was lost.
 * What a hard limit leaves out is not: it is counted, and told when writing goes on. `say` is told
 * of limits and failures.
 */
bool log_destination_write(
	struct log_destination *d, const struct log_record *record, log_writer *say);
