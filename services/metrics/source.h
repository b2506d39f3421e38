/* SPDX-License-Identifier: MIT */
/*
 * The page with the metrics, and where it comes from: the control socket of usherd, which is asked
 * once in SOURCE_AGAIN_MS at most, however many want the page.
 *
 * Never waits: usherd is a peer in the loop like any client. If it can't be asked, is silent, or
 * does not say what it was asked for, the page says so.
 *
 * Invariant: while nobody is told, usherd is being asked, and that has an end: the deadline.
 */
#pragma once

#include "loop.h"
#include "page.h"
#include "say.h"

#include <stdint.h>
#include <sys/un.h>

/* How long a page is good for, and how long usherd may take for it. */
#define SOURCE_AGAIN_MS	   1000
#define SOURCE_PATIENCE_MS 3000

/* Largest answer: that is 10,000 services. */
#define SOURCE_MAX_ANSWER (64u << 20)

struct source;

/* `page`, the source's, is what there is now; NULL: there was no memory for one. */
typedef void source_on_page(struct source *source, struct page *page);

struct source {
	struct watch watch; /* of `fd` */
	struct timer timer; /* usherd has been silent for too long */
	struct loop *loop;
	source_on_page *on_page;
	struct sockaddr_un address;
	int fd;	      /* -1: usherd is not asked now */
	char *answer; /* so far */
	size_t size, room;
	struct page *page; /* the last one; NULL: there is none, or there was no memory for it */
	int64_t until_ms;  /* how long it is good */
	uint64_t n_asked;
	struct said said;
};

/*
 * `run_dir` is where usherd has its control socket. Returns 0, or -ENAMETOOLONG, and then there is
 * nothing to undo; else source_done() in the end.
 */
int source_init(
	struct source *source, struct loop *loop, const char *run_dir, source_on_page *on_page);

/*
 * There is somebody who wants the page: on_page() is called with one that is good, from here or
 * when usherd has answered.
 */
void source_want(struct source *source);

void source_done(struct source *source);
