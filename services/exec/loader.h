/* SPDX-License-Identifier: MIT */
/*
 * Learns the programs of the configuration: runs `usherd --programs` and reads what it prints,
 * without waiting for it. What it complains about goes to our standard error.
 *
 * Why not from the usherd that is running: see inetd/programs.h. Invariant: at most one such
 * process at a time, which gets LOADER_MAX_USEC and LOADER_MAX_SIZE.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#define LOADER_MAX_USEC (60 * UINT64_C(1000000))
#define LOADER_MAX_SIZE (64u << 20)

struct loader;

/*
 * `json` is what was read, borrowed; or NULL, and `why` is a sentence that says what went wrong.
 * `exit_status` is that of usherd, one of sysexits(3), or 71 if it could not be run or heard.
 */
typedef void (*loader_on_loaded)(json_t *json, const char *why, int exit_status, void *userdata);

/*
 * `usherd` is the path of the program, `config` its -c; NULL: its default. Both are borrowed.
 * Returns 0 or -ENOMEM.
 */
int loader_new(struct loader **ret, sd_event *event, const char *usherd, const char *config,
	loader_on_loaded on_loaded, void *userdata);

/* Read the programs now; if that is being done already, once more after it. on_loaded is called
 * from the loop, or from here if usherd cannot be run. */
void loader_start(struct loader *loader);

/* NULL is allowed. Returns NULL. */
struct loader *loader_free(struct loader *loader);
