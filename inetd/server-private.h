/* SPDX-License-Identifier: MIT */
/*
 * usherd from the inside: for the server*.c files alone.
 *
 * server.c starts, turns and stops, server-reload.c carries out configurations, server-lookup.c
 * waits for the names in them, server-denied.c keeps what sensors remember, server-sandbox.c says
 * where usherd writes, server-requests.c answers usherctl, server-metrics.c with what Prometheus
 * reads, server-signals.c does as signals say, server-upgrade.c leaves everything to the next
 * usherd and takes it from the one before.
 */
#pragma once

#include "control.h"
#include "dump.h"
#include "events.h"
#include "inheritance.h"
#include "reload.h"
#include "server.h"
#include "status.h"
#include "succession.h"
#include <jansson.h>
#include <systemd/sd-event.h>

struct server {
	const struct server_setting *setting;
	char *program; /* what an upgrade executes: the file that we were started from, or NULL */
	sd_event *event;
	struct config *config;
	struct service_list services;
	struct denied *denied;
	struct control *control;
	struct events *events; /* and who follows them */
	struct dump *dump;     /* the state, for who sends SIGUSR1 */
	int lock_fd;	       /* of run_dir: held while we run */
	uint64_t started_usec;
	uint32_t n_upgrades;
	struct status_reload reload;
	uint64_t n_reloads; /* that were carried out */
	sd_event_source *watchdog;
	uint64_t watchdog_usec; /* how often the service manager hears that the loop turns */

	struct server_lookup *lookup; /* a reload that waits for the addresses of names, or NULL */

	/* During the start. */
	struct inheritance *inheritance;
	struct succession *succession; /* NULL: this is no upgrade */
};

/* CLOCK_MONOTONIC of this turn, µs. */
uint64_t server_now(const struct server *server);

/* The running service of that name, or NULL. */
struct service *server_find_service(const struct server *server, const char *name);

/* Tell the service manager that things are changing, and that all is open. */
void server_notify_reloading(const struct server *server);
void server_notify_ready(const struct server *server);

/* For services, whatever made them. */
extern const struct service_events server_service_events;

/* Log to where the configuration says. Returns 0 or a negative errno, which is logged. */
int server_open_log(const struct server *server);

/*
 * At the start: open the services of the configuration, be root no more, then let them run, as the
 * earlier usherd left them if there was one. Returns 0 or a negative errno, which is logged.
 */
int server_start_services(struct server *server);

/* Everything is open, and nobody is root: be in the sandbox, if the configuration wants it and an
 * earlier usherd has not entered it already. What of it could not be is logged. */
void server_enter_sandbox(const struct server *server);

/* What does not keep a configuration from being used. */
void server_log_warnings(const struct config_errors *errors);

/*
 * Load the configuration again and carry it out, or change nothing and say why; then, if it
 * succeeded and `is_upgrade`, have the program take our place. The log and the service manager hear
 * of it.
 *
 * Returns what the client `client_fd` (-EBADF: there is none) is told, NULL when out of memory. If
 * names of the configuration have to be looked up, that is done meanwhile, the client is answered
 * afterwards, and what is returned here is not for him. There can be one such reload at a time:
 * another client is told so, and without a client the configuration is loaded once more after it.
 */
json_t *server_reload(struct server *server, int client_fd, bool is_upgrade);

/* At the end: do not wait for names any longer. */
void server_forget_lookup(struct server *server);

/* For server-reload.c: a configuration with the addresses of its names, or why there is none. */
struct server_loaded {
	struct config *config; /* NULL: there is none */
	int error;	       /* why: a negative errno, and the lines */
	struct config_errors errors;
	int client_fd; /* -EBADF: there is none */
	bool is_upgrade;
};

/*
 * Look up `names`, for `loaded`, and then call server_reloaded(). Takes both, and the client from
 * the control; on failure nothing of that. Returns 0 or a negative errno.
 */
int server_look_up(struct server *server, struct names *names, const struct server_loaded *loaded);

/* While names are looked up: load the configuration once more afterwards. */
void server_look_up_again(struct server *server);

/* Carry it out. Takes it, except for the client. Returns the answer, NULL when out of memory. */
json_t *server_reloaded(struct server *server, struct server_loaded *loaded);

/* The state as it is now, with `client_fd` (or -EBADF) as the one that waits for an answer. Returns
 * 0 with *ret (succession_free()) or -ENOMEM. */
int server_save(const struct server *server, int client_fd, struct succession **ret);

/* Have the program take our place. Returns only if it can't: why, for usherctl. */
json_t *server_upgrade(struct server *server, int client_fd);

/* What sensors remember: make it, as a part of the start; leave it to the next usherd; have it from
 * the one before. Returns 0 or a negative errno, the first of which is logged. */
int server_make_denied(struct server *server);
int server_save_denied(const struct server *server, struct succession *ret);
void server_restore_denied(struct server *server);

/* First of all: is there the state of an earlier usherd? Returns 0 or more, or a negative errno,
 * which is logged. */
int server_receive_state(struct server *server);

/*
 * At the start: what an earlier usherd has left, and the lock of run_dir, ours or the earlier
 * one's. Returns 0 or a negative errno, which is logged.
 */
int server_inherit(struct server *server);

/* Make the services, which are held, what they were, and let them go on. Returns 0 or a negative
 * errno, which is logged. */
int server_restore_services(struct server *server);

/* The end of an upgrade: answer who has asked for it, and forget the state. */
void server_finish_upgrade(struct server *server);

/* For status and metrics: what is so now. */
struct status_source server_status_source(const struct server *server);

/* The request "metrics", which is answered in parts. */
json_t *server_answer_metrics(struct server *server, const char *unused, int client_fd);

/* What `usherctl status` shows: a new reference, or NULL when out of memory. */
json_t *server_status(const struct server *server);

/* Do as signals say, from now on. Returns 0 or a negative errno. */
int server_watch_signals(struct server *server);

/* For control_new(). */
json_t *server_on_request(const char *request, int client_fd, void *userdata);
