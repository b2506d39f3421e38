/* SPDX-License-Identifier: MIT */
/*
 * What the files of reload.c share, and nobody else includes:
 *
 *   reload.c            the plan, and how it is carried out or given up
 *   reload-listeners.c  for each address a listener
 *   reload-failure.c    why an address could not be bound
 */
#pragma once

#include "reload.h"

#include "log-destination.h"
#include <stdbool.h>
#include <stddef.h>

/* An open listener, before the change. */
struct open_listener {
	struct listener *listener;
	const struct service *owner;
	bool is_kept;
};

/* A service, after the change. */
struct planned_service {
	const struct config_service *config;
	struct service *service;
	bool is_new;
	struct listener **listeners; /* as in its config: open already, inherited, or new */
	bool *is_new_listener;
	bool is_left_out; /* an address of it can't be had, which keeps nobody else waiting */
};

struct reload {
	struct reload_setting setting;
	const struct service_list *running;
	struct config_errors *errors;
	struct planned_service *planned; /* sorted by name, as in struct config */
	size_t n_planned;
	struct log_destination **destinations; /* one for each planned service, or NULL */
	struct open_listener *open;	       /* sorted by address */
	size_t n_open;
	bool *is_service_kept;	   /* for each of the running ones */
	struct service **services; /* room for the list afterwards */
	unsigned int n_searches;   /* for who holds an address: each takes a while */
};

/* Note every listener that is open now. Returns 0 or -ENOMEM. */
int reload_collect_open(struct reload *reload);

/*
 * Find a listener for each address of `planned` that names a port, or else for each that leaves it
 * to the kernel. Returns a negative errno; or 0, also if something is wrong that was added to the
 * errors.
 */
int reload_find_listeners(
	struct reload *reload, struct planned_service *planned, bool are_unnumbered);

/* Give up the listeners of a service that is left out. */
void reload_give_listeners_up(struct reload *reload, struct planned_service *planned);

/* Close the listeners that nobody has any more. */
void reload_close_unwanted(struct reload *reload);

/* Add to the errors that usherd cannot listen there, with the reason `why`. */
void reload_add_error(struct reload *reload, const struct config_listen *listen, const char *why);

/*
 * The same for the negative errno `error` of listener_bind(), with what can be done about it. A
 * service of a foreign file that does not run yet is left out instead, with a warning: inetd and
 * xinetd go on without it too.
 */
void reload_explain_bind_failure(struct reload *reload, struct planned_service *planned,
	const struct config_listen *listen, int error);
