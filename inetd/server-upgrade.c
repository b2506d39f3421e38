/* SPDX-License-Identifier: MIT */
/*
 * An upgrade in place, from both sides: see server-private.h.
 *
 * The old process gathers everything into a struct succession and executes the program; the new one
 * finds it there and begins with it. Until execve(2) succeeds nothing is changed. The threads need
 * not be stopped, they end with the program; but what they were given must be done by then.
 */
#include "server-private.h"

#include "build-config.h"
#include "closer.h"
#include "fd.h"
#include "log.h"
#include "notify.h"
#include "privilege.h"
#include "rundir.h"
#include "sandbox.h"
#include "status.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long each thread may take for what it was given. Nobody is served meanwhile. */
#define WAIT_USEC UINT64_C(300000)

int server_save(const struct server *server, int client_fd, struct succession **ret)
{
	const struct service_list *services = &server->services;
	struct succession *succession = calloc(1, sizeof(*succession));
	int r = 0;

	if (!succession)
		return -ENOMEM;
	*succession = (struct succession){
		.format = SUCCESSION_FORMAT,
		.version = USHER_VERSION,
		.started_usec = server->started_usec,
		.n_upgrades = server->n_upgrades + 1,
		.is_sandboxed = sandbox_is_entered(),
		.lock_fd = server->lock_fd,
		.control_fd = control_fd(server->control),
		.client_fd = client_fd,
		.services = calloc(services->n_services + 1, sizeof(*succession->services)),
	};
	(void)snprintf(succession->config_path, sizeof(succession->config_path), "%s",
		server->setting->config_path);
	if (!succession->services)
		r = -ENOMEM;
	for (size_t i = 0; i < services->n_services && r >= 0; i++)
		r = service_save(
			services->services[i], &succession->services[succession->n_services++]);
	if (r >= 0)
		r = server_save_denied(server, succession);
	if (r < 0) {
		succession_free(succession);
		return r;
	}
	*ret = succession;
	return 0;
}

/* Why there can be no upgrade now, or NULL. */
static const char *find_obstacle(const struct server *server)
{
	if (!server->program)
		return "usherd does not know from which program it was started (is /proc mounted?): "
		       "restart it";
	/* execve(2) would wait for such a close, as long as it takes. */
	if (!closer_wait(WAIT_USEC))
		return "sockets that providers have made slow to close are being closed: try again";
	/* What was not sent would be lost, and with it sockets that the manager is to keep. */
	if (!notify_wait(WAIT_USEC))
		return "the service manager does not take notifications: try again when it does";
	return NULL;
}

static int execute(struct server *server, int client_fd)
{
	struct succession *succession;
	int r = privilege_keep_over_exec();

	if (r >= 0)
		r = server_save(server, client_fd, &succession);
	if (r < 0)
		return r;
	log_wait(WAIT_USEC); /* what a stalled log has not taken is lost, as at a stop */
	r = succession_execute(succession, server->program, server->setting->argv);
	succession_free(succession);
	return r;
}

static json_t *report_refusal(const char *why)
{
	char sentence[512];

	log_write(
		LOG_ERR, &(struct log_about){.reason = "upgrade-failed"}, "not upgraded: %s", why);
	(void)snprintf(sentence, sizeof(sentence), "not upgraded: %s", why);
	return json_pack("{s:o}", "error", status_text(sentence));
}

json_t *server_upgrade(struct server *server, int client_fd)
{
	const char *obstacle;
	char why[256];
	int r;

	server_notify_reloading(server);
	obstacle = find_obstacle(server);
	if (!obstacle) {
		log_write(LOG_INFO, &(struct log_about){.reason = "upgrading"},
			"usherd " USHER_VERSION " is upgrading: executing %s", server->program);
		events_tell(server->events, &(struct log_about){.event = "upgrading"});
		events_flush(server->events);
		r = execute(server, client_fd);
		(void)snprintf(why, sizeof(why), "cannot execute %.128s: %s", server->program,
			strerror(-r));
		obstacle = why;
	}
	server_notify_ready(server);
	return report_refusal(obstacle);
}

int server_receive_state(struct server *server)
{
	char why[256] = "out of memory";
	int r = succession_receive(&server->succession, why, sizeof(why));

	if (r < 0)
		log_write(LOG_CRIT, &(struct log_about){.reason = "upgrade-failed", .error = r},
			"cannot go on from the state of the earlier usherd: %s", why);
	return r;
}

/* The sockets of one service; those of one that is ending come later, see restore_ending(). */
static int inherit_service(struct inheritance *inheritance, struct saved_service *saved)
{
	int r = 0;

	for (size_t i = 0; i < saved->n_listeners && r >= 0; i++)
		r = inheritance_add(inheritance, FDSTORE_LISTENER, saved->name,
			saved->listeners[i].number, take_fd(&saved->listeners[i].fd));
	if (r >= 0 && saved->rendezvous_fd >= 0)
		r = inheritance_add(inheritance, FDSTORE_RENDEZVOUS, saved->name,
			saved->rendezvous_number, take_fd(&saved->rendezvous_fd));
	for (size_t i = 0; i < saved->n_lots && r >= 0; i++)
		r = inheritance_add(inheritance, FDSTORE_PARKING, saved->name,
			saved->lots[i].number, take_fd(&saved->lots[i].fd));
	return r;
}

/* All that was passed on. */
static int inherit_from_state(struct server *server)
{
	struct succession *succession = server->succession;
	int r = inheritance_new(&server->inheritance);

	server->started_usec = succession->started_usec;
	server->n_upgrades = succession->n_upgrades;
	server->lock_fd = take_fd(&succession->lock_fd);
	for (size_t i = 0; i < succession->n_services && r >= 0; i++)
		if (!succession->services[i].is_ending)
			r = inherit_service(server->inheritance, &succession->services[i]);
	return r;
}

static int inherit_from_manager(struct server *server)
{
	int r = rundir_lock(server->config->run_dir, &server->lock_fd);

	if (r < 0)
		return r;
	r = inheritance_from_manager(&server->inheritance);
	if (r >= 0)
		rundir_sweep(server->config->run_dir, server->inheritance);
	return r;
}

int server_inherit(struct server *server)
{
	int r = server->succession ? inherit_from_state(server) : inherit_from_manager(server);

	if (r == -ENOMEM)
		log_write(LOG_CRIT, &(struct log_about){.reason = "start-failed"},
			"cannot take what an earlier usherd has left: no memory");
	return r;
}

/* One that was not configured any more and had not ended. */
static int restore_ending(struct server *server, struct saved_service *saved)
{
	struct service **services = reallocarray(
		server->services.services, server->services.n_services + 1, sizeof(*services));
	struct inheritance *inheritance;
	int r;

	if (!services)
		return -ENOMEM;
	server->services.services = services;
	r = inheritance_new(&inheritance);
	if (r >= 0)
		r = inherit_service(inheritance, saved);
	if (r >= 0)
		r = service_new_ending(&services[server->services.n_services], server->event, saved,
			inheritance, &server_service_events, server);
	inheritance_free(inheritance);
	server->services.n_services += r >= 0;
	return r;
}

static int restore_service(struct server *server, struct saved_service *saved)
{
	struct service *service;
	int r = saved->is_ending ? restore_ending(server, saved) : 0;

	if (r < 0)
		return r;
	service = saved->is_ending ? server->services.services[server->services.n_services - 1]
				   : server_find_service(server, saved->name);
	return service ? service_restore(service, saved) : 0;
}

int server_restore_services(struct server *server)
{
	struct succession *succession = server->succession;
	int r = 0;

	server_restore_denied(server);
	for (size_t i = 0; i < succession->n_services && r >= 0; i++) {
		r = restore_service(server, &succession->services[i]);
		if (r < 0)
			log_write(LOG_CRIT,
				&(struct log_about){.reason = "upgrade-failed", .error = r},
				"cannot restore service %s: %s", succession->services[i].name,
				strerror(-r));
	}
	for (size_t i = 0; i < server->services.n_services && r >= 0; i++)
		service_go_on(server->services.services[i]);
	return r;
}

void server_finish_upgrade(struct server *server)
{
	struct succession *succession = server->succession;
	char message[128];

	(void)snprintf(message, sizeof(message), "upgraded from %.32s to " USHER_VERSION,
		succession->version);
	log_write(LOG_INFO, &(struct log_about){.reason = "upgraded"}, "usherd was %s", message);
	if (succession->client_fd >= 0)
		(void)control_answer(server->control, take_fd(&succession->client_fd),
			json_pack("{s:b, s:s}", "ok", true, "message", message));
	succession_close(succession);
	server->succession = succession_free(succession);
}
