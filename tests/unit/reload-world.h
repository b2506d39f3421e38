/* SPDX-License-Identifier: MIT */
/*
 * A server as far as a reload knows it: its services, its configuration, and real sockets.
 */
#pragma once

#include "loop.h"
#include "reload.h"

#include <sys/stat.h>

#define TEXT_MAX 4096

/* What server.c has of this. */
struct place {
	struct service_list running;
	struct config *config;
	struct config_errors errors; /* of the last reload */
	struct reload_counts counts;
	int n_ended;
};

/* What the server says at a reload; at its start also what was `inherited`. */
int prepare(struct place *p, struct reload **ret, const struct config *config,
	struct inheritance *inherited, struct config_errors *errors);

/* The configuration of these services, with the test's folder as run_dir: for config_free(). */
struct config *config_of(const char *services);

/* Start with these services and what was inherited. Returns what reload_prepare() returned. */
int start(struct place *p, const char *services, struct inheritance *inherited);

/* A reload. Returns the same. */
int reload(struct place *p, const char *services);

/* A first start, which must succeed; and the end of everything. */
void begin(struct place *p, const char *services);
void end(struct place *p);

/* What the last reload has counted, and which services there are: "a b c(ending)". */
void check_counts(const struct place *p, size_t n_added, size_t n_removed, size_t n_kept);
void check_names(const struct place *p, const char *expected);

/* Of the service of that name, which there must be: itself, and its listeners. */
struct service *service_called(const struct place *p, const char *name);
const struct address *bound_of(const struct place *p, const char *name, size_t i);
size_t n_listeners_of(const struct place *p, const char *name);

/* The inode of the only listening socket of this process at `address`; 0 if there is none. */
ino_t inode_at(const struct address *address);

/* A client of that address; the caller closes it. */
int connect_to(const struct address *address);

/* Services written with printf(3). Good until the fourth call after it. */
__attribute__((format(printf, 1, 2))) const char *text(const char *format, ...);
