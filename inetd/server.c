/* SPDX-License-Identifier: MIT */
/*
 * usherd as a whole: see server.h.
 *
 * The start is a reload from nothing, and what SIGHUP and usherctl cause is the same function.
 */
#include "server.h"

#include "closer.h"
#include "control.h"
#include "fd.h"
#include "log.h"
#include "notify.h"
#include "privilege.h"
#include "reload.h"
#include "rundir.h"
#include "service.h"
#include "status.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

/* How long the last messages and closes may take at the end, each. */
#define STOP_USEC UINT64_C(1000000)

struct server {
	sd_event *event;
	struct config *config;
	const char *config_path;
	uint64_t fd_limit;
	struct service_list services;
	struct control *control;
	int lock_fd; /* of run_dir: held while we run */
	uint64_t started_usec;
	sd_event_source *watchdog;
	uint64_t watchdog_usec; /* how often the service manager hears that the loop turns */
};

static uint64_t now_of(const struct server *server)
{
	uint64_t usec = 0;

	(void)sd_event_now(server->event, CLOCK_MONOTONIC, &usec);
	return usec;
}

/* Log to where `config` says. If that can't be, the log stays as it was, and *errors says why. */
static int open_log(const struct config *config, struct config_errors *errors)
{
	static const enum log_target targets[] = {
		[CONFIG_LOG_JOURNAL] = LOG_TO_JOURNAL,
		[CONFIG_LOG_SYSLOG] = LOG_TO_SYSLOG,
		[CONFIG_LOG_STDERR] = LOG_TO_STDERR,
		[CONFIG_LOG_FILE] = LOG_TO_FILE,
	};
	int r = log_open(targets[config->log], config->log_file);

	if (r < 0 && config->log_file)
		config_errors_add(errors, (struct config_place){.file = config->files[0]},
			"cannot log to %s: %s; usherd, as uid %u, must be able to write to "
			"the file and to its folder",
			config->log_file, strerror(-r), geteuid());
	return r;
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
	log_write(LOG_INFO, &(struct log_about){.service = service_name(s)},
		"%s: the removed service has drained", service_name(s));
	service_free(s);
}

static void notify_ready(const struct server *server)
{
	size_t n_listeners = 0;

	for (size_t i = 0; i < server->services.n_services; i++) {
		size_t n;

		(void)intake_listeners(service_intake(server->services.services[i]), &n);
		n_listeners += n;
	}
	(void)notify_send("READY=1\nSTATUS=%zu services on %zu listeners",
		server->services.n_services, n_listeners);
}

/* Open what `config` needs and the running services have not. Changes nothing yet. */
static int prepare(struct server *server, const struct config *config, struct reload **ret,
	struct config_errors *errors)
{
	return reload_prepare(
		ret, server->event, &server->services, config, on_service_ended, server, errors);
}

/* Make the services and the log what `config` says. On failure nothing has changed. */
static int apply(struct server *server, const struct config *config, struct config_errors *errors,
	struct reload_counts *ret)
{
	struct reload *reload;
	int r = prepare(server, config, &reload, errors);

	if (r < 0)
		return r;
	r = open_log(config, errors);
	if (r < 0) {
		reload_abort(reload);
		return r;
	}
	reload_commit(reload, &server->services, ret);
	return 0;
}

/* What only a restart can change. */
static void refuse_what_needs_restart(
	const struct server *server, const struct config *config, struct config_errors *errors)
{
	const struct config_place place = {.file = config->files[0]};

	if (strcmp(config->run_dir, server->config->run_dir) != 0)
		config_errors_add(errors, place,
			"run_dir is changed from %s to %s, which needs a restart",
			server->config->run_dir, config->run_dir);
	if (strcmp(config->user, server->config->user) != 0)
		config_errors_add(errors, place,
			"user is changed from %s to %s, which needs a restart",
			server->config->user, config->user);
}

/* Load the configuration again and carry it out, or change nothing and say why in *errors. */
static int reload(struct server *server, struct config_errors *errors, struct reload_counts *ret)
{
	struct config *config;
	int r = config_load(server->config_path, server->fd_limit, &config, errors);

	if (r < 0)
		return r;
	refuse_what_needs_restart(server, config, errors);
	r = errors->n_lines > 0 ? -EINVAL : apply(server, config, errors, ret);
	if (r < 0) {
		config_free(config);
		return r;
	}
	config_free(server->config);
	server->config = config;
	return 0;
}

/* Why something failed: the lines, or if there are none `error`. */
static void log_errors(const struct config_errors *errors, int error)
{
	for (size_t i = 0; i < errors->n_lines; i++)
		log_write(LOG_ERR, &(struct log_about){.reason = "config"}, "%s", errors->lines[i]);
	if (errors->n_lines == 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "config", .error = error},
			"cannot carry out the configuration: %s", strerror(-error));
}

static json_t *failed_reload_json(const struct config_errors *errors, int error)
{
	json_t *lines = json_array();

	for (size_t i = 0; i < errors->n_lines; i++)
		json_array_append_new(lines, status_text(errors->lines[i]));
	if (errors->n_lines == 0)
		json_array_append_new(lines, json_string(strerror(-error)));
	return json_pack(
		"{s:s, s:o}", "error", "the configuration was not changed", "lines", lines);
}

/* Reload with everything that belongs to it: the service manager and the log hear of it. */
static json_t *reload_and_tell(struct server *server)
{
	struct config_errors errors = {0};
	struct reload_counts counts;
	json_t *answer;
	int r;

	(void)notify_send("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_of(server));
	r = reload(server, &errors, &counts);
	if (r < 0) {
		log_errors(&errors, r);
		log_write(LOG_ERR, &(struct log_about){.reason = "config", .error = r},
			"reload failed, the configuration was not changed");
		answer = failed_reload_json(&errors, r);
	} else {
		char message[128];

		snprintf(message, sizeof(message),
			"services: %zu added, %zu removed, %zu changed, %zu unchanged",
			counts.n_added, counts.n_removed, counts.n_changed, counts.n_unchanged);
		log_write(LOG_INFO, NULL, "reloaded: %s", message);
		answer = json_pack("{s:b, s:s}", "ok", true, "message", message);
	}
	notify_ready(server);
	config_errors_done(&errors);
	return answer;
}

static json_t *answer_status(const struct server *server)
{
	json_t *answer = status_json(&(struct status_source){
		.config = server->config,
		.services = &server->services,
		.uptime_usec = now_of(server) - server->started_usec,
	});

	if (!answer)
		log_write(LOG_ERR, NULL, "cannot tell usherctl the status: out of memory");
	return answer;
}

static json_t *on_request(const char *request, void *userdata)
{
	struct server *server = userdata;

	if (strcmp(request, "status") == 0)
		return answer_status(server);
	if (strcmp(request, "reload") == 0)
		return reload_and_tell(server);
	return json_pack(
		"{s:s}", "error", "unknown request: this usherd knows 'status' and 'reload'");
}

static int on_reload_signal(
	sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	(void)source, (void)info;
	json_decref(reload_and_tell(userdata));
	return 0;
}

static int on_stop_signal(
	sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct server *server = userdata;

	(void)source, (void)info;
	return sd_event_exit(server->event, 0);
}

static int watch_signals(struct server *server)
{
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return -errno;
	r = sd_event_add_signal(server->event, NULL, SIGTERM, on_stop_signal, server);
	if (r >= 0)
		r = sd_event_add_signal(server->event, NULL, SIGINT, on_stop_signal, server);
	if (r >= 0)
		r = sd_event_add_signal(server->event, NULL, SIGHUP, on_reload_signal, server);
	return r;
}

static int open_control(struct server *server)
{
	char *path;
	int r;

	if (asprintf(&path, "%s/control.sock", server->config->run_dir) < 0)
		return -ENOMEM;
	r = control_new(&server->control, server->event, path, on_request, server);
	if (r < 0)
		log_write(
			LOG_ERR, NULL, "cannot make the control socket %s: %s", path, strerror(-r));
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
		log_write(LOG_ERR, NULL,
			"user '%s' does not exist: create it ('useradd --system --no-create-home "
			"%s'), or set user in %s",
			config->user, config->user, config->files[0]);
		return -ESRCH;
	}
	r = privilege_begin(config->user, config->uid, config->gid);
	if (r < 0)
		log_write(LOG_ERR, NULL, "cannot become user '%s': %s", config->user, strerror(-r));
	return r;
}

static int become_user(const struct server *server)
{
	int r = privilege_drop();

	if (r < 0)
		log_write(LOG_ERR, NULL, "cannot become user '%s' alone: %s", server->config->user,
			strerror(-r));
	return r;
}

/* Before the change of user the first message, which makes the log's thread, is one of failure. */
static int start_log(const struct server *server)
{
	struct config_errors errors = {0};
	int r = open_log(server->config, &errors);

	if (r < 0)
		log_errors(&errors, r);
	config_errors_done(&errors);
	return r;
}

/* Open the services as root where that is needed, then be root no more, then let them run. */
static int start_services(struct server *server)
{
	struct config_errors errors = {0};
	struct reload_counts counts;
	struct reload *reload;
	int r = prepare(server, server->config, &reload, &errors);

	if (r < 0)
		log_errors(&errors, r);
	config_errors_done(&errors);
	if (r < 0)
		return r;
	r = become_user(server);
	if (r < 0)
		reload_abort(reload);
	else
		reload_commit(reload, &server->services, &counts);
	return r;
}

static int start_loop(struct server *server)
{
	int r = sd_event_default(&server->event);

	if (r >= 0)
		r = watch_signals(server);
	if (r < 0)
		log_write(LOG_ERR, NULL, "cannot make an event loop: %s", strerror(-r));
	else
		server->started_usec = now_of(server);
	return r;
}

static int start_closer(void)
{
	int r = closer_start();

	if (r < 0)
		log_write(LOG_ERR, NULL, "cannot start a thread: %s", strerror(-r));
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
		log_write(LOG_ERR, NULL, "cannot make the watchdog's timer: %s", strerror(-r));
	return r;
}

static int start(struct server *server)
{
	const char *run_dir = server->config->run_dir;
	int r = start_loop(server);

	if (r >= 0)
		r = act_as_user(server);
	if (r >= 0)
		r = start_log(server);
	if (r >= 0)
		r = rundir_make(run_dir);
	if (r >= 0)
		r = rundir_lock(run_dir, &server->lock_fd);
	if (r >= 0) {
		rundir_sweep(run_dir);
		r = start_services(server);
	}
	if (r >= 0)
		r = open_control(server);
	if (r >= 0)
		r = start_closer();
	if (r >= 0)
		r = start_watchdog(server);
	return r;
}

static void stop(struct server *server)
{
	server->control = control_free(server->control);
	for (size_t i = 0; i < server->services.n_services; i++)
		service_free(server->services.services[i]);
	free(server->services.services);
	config_free(server->config);
	sd_event_source_disable_unref(server->watchdog);
	sd_event_unref(server->event);
	close_fd(server->lock_fd);
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
		log_write(LOG_CRIT, &(struct log_about){.error = r}, "the event loop failed: %s",
			strerror(-r));
	return r < 0 ? r : 0;
}

int server_run(struct config *config, const char *config_path, uint64_t fd_limit)
{
	struct server server = {
		.config = config,
		.config_path = config_path,
		.fd_limit = fd_limit,
		.lock_fd = -EBADF,
	};
	int r;

	log_set_echo(true);
	r = start(&server);
	if (r >= 0) {
		log_set_echo(false);
		log_write(LOG_INFO, NULL, "started with %zu services from %s",
			server.services.n_services, config_path);
		notify_ready(&server);
		r = loop(&server);
		(void)notify_send("STOPPING=1\nSTATUS=stopping");
		log_write(LOG_INFO, NULL, "stopping");
	} else {
		(void)privilege_drop(); /* what is to be undone needs no root */
	}
	stop(&server);
	closer_stop(STOP_USEC);
	notify_stop(STOP_USEC);
	log_close(STOP_USEC);
	return r;
}
