/* SPDX-License-Identifier: MIT */
/*
 * From one configuration to the next: what is kept, opened and closed.
 *
 * In two steps, so that it happens whole or not at all: reload_prepare() opens everything that is
 * new and changes nothing; reload_commit() cannot fail. The first start is a reload from nothing.
 *
 * Invariant: a listener with the same address and type stays the same socket, whatever else
 * changed, also when it moves to another service.
 */
#pragma once

#include "config.h"
#include "inheritance.h"
#include "service.h"
#include <systemd/sd-event.h>

/*
 * The services of a server, sorted by name as struct config has them; those that are ending come
 * last.
 */
struct service_list {
	struct service **services;
	size_t n_services;
};

struct reload_counts {
	size_t n_added, n_removed, n_changed, n_unchanged;
};

struct reload;

/* What services are made with. */
struct reload_setting {
	sd_event *event;
	const struct service_events *events;
	void *userdata;
	/* At the start what an earlier usherd has left, else NULL. The caller's, who closes the
	 * rest after the commit. */
	struct inheritance *inherited;
	bool is_held; /* new services wait for service_go_on() */
};

/*
 * Open what `config` needs beyond what `running` has.
 *
 * Returns 0 with *ret, for reload_commit() or reload_abort(); -EINVAL with lines in *errors, each
 * with its file and line (and who holds a port in use, where that can be known); -ENOMEM.
 */
int reload_prepare(struct reload **ret, const struct reload_setting *setting,
	const struct service_list *running, const struct config *config,
	struct config_errors *errors);

/* Carry it out: `running` becomes what `config` says, and the service manager gets its sockets to
 * keep. Frees the plan. */
void reload_commit(struct reload *reload, struct service_list *running, struct reload_counts *ret);

/*
 * Close what was opened. After a start that fails so, the service manager keeps what it had for the
 * next one. NULL is allowed.
 */
void reload_abort(struct reload *reload);
