/* SPDX-License-Identifier: MIT */
/*
 * How usherd starts, turns and stops: see server-private.h.
 *
 * A start goes on where an earlier usherd was, if there was one: with the sockets that the service
 * manager has kept, or with everything, after an upgrade in place.
 */
#include "server-private.h"

#include "background.h"
#include "closer.h"
#include "fd.h"
#include "log.h"
#include "notify.h"
#include "privilege.h"
#include "rundir.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* How long the last messages and closes may take at the end, each. */
#define STOP_USEC UINT64_C(1000000)

uint64_t server_now(const struct server *server)
{
	uint64_t usec = 0;

	(void)sd_event_now(server->event, CLOCK_MONOTONIC, &usec);
	return usec;
}

struct service *server_find_service(const struct server *server, const char *name)
{
	for (size_t i = 0; i < server->services.n_services; i++) {
		struct service *s = server->services.services[i];

		if (!service_is_ending(s) && strcmp(service_name(s), name) == 0)
			return s;
	}
	return NULL;
}

/* Services that have drained after a reload removed them. */
static void on_service_ended(struct service *s, void *userdata)
{
	struct server *server = userdata;
	size_t i = 0;

	while (server->services.services[i] != s)
		i++;
	server->services.n_services--;
	memmove(&server->services.services[i], &server->services.services[i + 1],
		(server->services.n_services - i) * sizeof(struct service *));
	log_write(LOG_INFO,
		&(struct log_about){.service = service_name(s), .reason = "service-removed"},
		"%s: the removed service has drained", service_name(s));
	service_free(s);
}

void server_notify_ready(const struct server *server)
{
	size_t n_listeners = 0;

	for (size_t i = 0; i < server->services.n_services; i++) {
		size_t n;

		(void)intake_listeners(service_intake(server->services.services[i]), &n);
		n_listeners += n;
	}
	(void)notify_send("READY=1\nSTATUS=services: %zu, listeners: %zu",
		server->services.n_services, n_listeners);
}

/* A provider of `s` gives a connection on to another service. */
static int on_forward(struct service *s, const char *to, struct handoff *h, void *userdata)
{
	struct service *target = server_find_service(userdata, to);

	(void)s;
	return target ? service_take_forwarded(target, h) : -ENOENT;
}

static struct denied *get_denied(void *userdata)
{
	const struct server *server = userdata;

	return server->denied;
}

static struct events *get_followers(void *userdata)
{
	const struct server *server = userdata;

	return server->events;
}

const struct service_events server_service_events = {
	.on_ended = on_service_ended,
	.on_forward = on_forward,
	.get_denied = get_denied,
	.get_followers = get_followers,
};

void server_notify_reloading(const struct server *server)
{
	(void)notify_send(
		"RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)server_now(server));
}

static int open_control(struct server *server)
{
	int inherited_fd = server->succession ? take_fd(&server->succession->control_fd) : -EBADF;
	char *path;
	int r;

	if (asprintf(&path, "%s/control.sock", server->config->run_dir) < 0)
		return -ENOMEM;
	r = control_new(
		&server->control, server->event, path, inherited_fd, server_on_request, server);
	if (r >= 0)
		control_set_monitors(server->control, &server->config->monitors);
	else
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot make the control socket %s: %s", path, strerror(-r));
	free(path);
	return r;
}

/*
 * Act as `user` from here on: what usherd makes is then that user's, in folders of that user. Root
 * is left for listeners that `user` could not open, until become_user().
 */
static int act_as_user(const struct server *server)
{
	const struct config *config = server->config;
	int r;

	if (geteuid() != 0 || (config->is_user_known && config->uid == 0))
		return 0;
	if (!config->is_user_known) {
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"user '%s' does not exist: create it ('useradd --system --no-create-home "
			"%s'), or set user in %s",
			config->user, config->user, config->files[0]);
		return -ESRCH;
	}
	r = privilege_begin(config->user, config->uid, config->gid);
	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot become user '%s': %s", config->user, strerror(-r));
	return r;
}

static int start_loop(struct server *server)
{
	int r = sd_event_new(&server->event);

	if (r >= 0)
		r = events_new(&server->events, server->event);
	if (r >= 0)
		r = server_watch_signals(server);
	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot make an event loop: %s", strerror(-r));
	else
		server->started_usec = server_now(server);
	return r;
}

/* Nothing is written before somebody asks for it. */
static int make_dump(struct server *server)
{
	int r = dump_new(&server->dump, server->config->run_dir, "usherd.dump");

	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot start: %s", strerror(-r));
	return r;
}

static int start_closer(void)
{
	int r = closer_start();

	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot start a thread: %s", strerror(-r));
	return r;
}

static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata)
{
	const struct server *server = userdata;

	(void)usec;
	notify_alive();
	(void)sd_event_source_set_time_relative(source, server->watchdog_usec);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

/* Where the service manager wants it: a loop that hangs is silent, and is restarted. */
static int start_watchdog(struct server *server)
{
	uint64_t usec;
	int r = sd_watchdog_enabled(false, &usec);

	if (r <= 0)
		return 0; /* not wanted, or not meant for us */
	server->watchdog_usec = usec / 2;
	r = sd_event_add_time_relative(server->event, &server->watchdog, CLOCK_MONOTONIC, 0,
		server->watchdog_usec / 10, on_watchdog, server);
	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot make the watchdog's timer: %s", strerror(-r));
	return r;
}

static int start(struct server *server)
{
	int r;

	background_let_start(false); /* until server_enter_sandbox() */
	r = server_receive_state(server);
	log_set_echo(!server->succession); /* nobody watches the end of an upgrade there */
	if (r >= 0)
		r = start_loop(server);
	if (r >= 0)
		r = act_as_user(server);
	if (r >= 0)
		r = server_open_log(server);
	if (r >= 0)
		r = server_make_denied(server);
	if (r >= 0)
		r = rundir_make(server->config->run_dir);
	if (r >= 0)
		r = server_inherit(server);
	if (r >= 0)
		r = server_start_services(server);
	if (r >= 0)
		r = open_control(server);
	if (r >= 0)
		r = make_dump(server);
	if (r >= 0)
		r = start_closer();
	if (r >= 0)
		r = start_watchdog(server);
	return r;
}

/* What the service manager keeps is left as it is: for the next start, or until it drops it. */
static void stop(struct server *server)
{
	fdstore_freeze();
	server_forget_lookup(server);
	server->control = control_free(server->control);
	for (size_t i = 0; i < server->services.n_services; i++)
		service_free(server->services.services[i]);
	free(server->services.services);
	events_free(server->events);
	denied_free(server->denied);
	inheritance_free(server->inheritance);
	succession_free(server->succession);
	config_free(server->config);
	sd_event_source_disable_unref(server->watchdog);
	sd_event_unref(server->event);
	close_fd(server->lock_fd);
	free(server->program);
}

/* As sd_event_loop(3), but what a turn has closed is given to the closer before the next wait. */
static int loop(const struct server *server)
{
	int r = 0;

	while (r >= 0 && sd_event_get_state(server->event) != SD_EVENT_FINISHED) {
		r = sd_event_run(server->event, UINT64_MAX);
		closer_flush();
	}
	if (r < 0)
		log_write(LOG_CRIT, &(struct log_about){.reason = "loop-failed", .error = r},
			"the event loop failed: %s", strerror(-r));
	return r < 0 ? r : 0;
}

static void tell_supervisor(int notify_fd)
{
	int r = notify_fd < 0 ? 0 : notify_newline(notify_fd);

	if (r < 0)
		log_write(LOG_WARNING,
			&(struct log_about){.reason = "supervisor-failed", .error = r},
			"cannot say on descriptor %d (--notify-fd) that usherd is ready: %s",
			notify_fd, strerror(-r));
}

/* Everything is open. */
static void finish_start(struct server *server)
{
	server_log_warnings(server->setting->loaded);
	log_set_echo(false);
	if (server->succession)
		server_finish_upgrade(server);
	else
		log_write(LOG_INFO, &(struct log_about){.reason = "started"},
			"started from %s (services: %zu)", server->setting->config_path,
			server->services.n_services);
	server_notify_ready(server);
	tell_supervisor(server->setting->notify_fd);
}

static int serve(struct server *server)
{
	int r;

	finish_start(server);
	r = loop(server);
	(void)notify_send("STOPPING=1\nSTATUS=stopping");
	log_write(LOG_INFO, &(struct log_about){.reason = "stopping"}, "stopping");
	return r;
}

/* Of the file that this process executes now; it may be another one soon. */
static char *find_program(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path));

	return length > 0 && (size_t)length < sizeof(path) ? strndup(path, (size_t)length) : NULL;
}

int server_run(struct config *config, const struct server_setting *setting)
{
	struct server server = {
		.setting = setting,
		.program = find_program(),
		.config = config,
		.lock_fd = -EBADF,
	};
	int r;

	r = start(&server);
	if (r >= 0)
		r = serve(&server);
	else
		(void)privilege_drop(0); /* what is to be undone needs no root */
	stop(&server);
	server.dump = dump_free(server.dump, STOP_USEC);
	(void)closer_stop(STOP_USEC);
	(void)notify_stop(STOP_USEC);
	log_close(STOP_USEC);
	return r;
}
