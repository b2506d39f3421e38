/* SPDX-License-Identifier: MIT */
/*
 * Carrying out configurations: see server-private.h.
 *
 * The start is a reload from nothing, and what SIGHUP and usherctl cause is the same function.
 */
#include "server-private.h"

#include "log.h"
#include "names.h"
#include "privilege.h"
#include "sandbox.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
			"the file and to its folder%s",
			config->log_file, strerror(-r), geteuid(), sandbox_hint(r));
	return r;
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

void server_log_warnings(const struct config_errors *errors)
{
	for (size_t i = 0; i < errors->n_warnings; i++)
		log_write(LOG_WARNING, &(struct log_about){.reason = "config"}, "%s",
			errors->warnings[i]);
}

int server_open_log(const struct server *server)
{
	struct config_errors errors = {0};
	int r = open_log(server->config, &errors);

	if (r < 0)
		log_errors(&errors, r);
	config_errors_done(&errors);
	return r;
}

/* Open what `config` needs and the running services have not. Changes nothing yet. */
static int prepare(struct server *server, const struct config *config, struct reload **ret,
	struct config_errors *errors)
{
	return reload_prepare(ret,
		&(struct reload_setting){
			.event = server->event,
			.events = &server_service_events,
			.userdata = server,
			.inherited = server->inheritance,
			.is_held = server->succession,
		},
		&server->services, config, errors);
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
	if (config->has_sandbox != server->config->has_sandbox)
		config_errors_add(errors, place, "sandbox is changed to %s, which needs a restart",
			config->has_sandbox ? "true" : "false");
}

/* Load the configuration again. *names are those that are to be looked up first. */
static int load(struct server *server, struct server_loaded *loaded, struct names *names)
{
	int r = config_load(server->setting->config_path, server->setting->fd_limit,
		&loaded->config, &loaded->errors);

	if (r < 0)
		return r;
	refuse_what_needs_restart(server, loaded->config, &loaded->errors);
	if (loaded->errors.n_lines > 0)
		return -EINVAL;
	return config_add_names(loaded->config, names, &loaded->errors);
}

/* What is in force was loaded now. */
static void note_loaded(struct server *server)
{
	server->reload = (struct status_reload){0};
	(void)sd_event_now(server->event, CLOCK_REALTIME, &server->reload.loaded_usec);
}

static bool may_look(int fd, void *userdata)
{
	return control_may_look(userdata, fd);
}

/* Those who follow and are not named any more are sent away. */
static void set_monitors(struct server *server, const struct config_accounts *monitors)
{
	control_set_monitors(server->control, monitors);
	events_review(server->events, may_look, server->control);
}

/* Carry a configuration out, or change nothing and say why in its errors. */
static int carry_out(struct server *server, struct server_loaded *loaded, struct reload_counts *ret)
{
	int r = loaded->error;

	if (r >= 0)
		r = apply(server, loaded->config, &loaded->errors, ret);
	if (r < 0) {
		config_free(loaded->config);
		server->reload.has_failed = true;
		return r;
	}
	set_monitors(server, &loaded->config->monitors);
	config_free(server->config);
	server->config = loaded->config;
	server->n_reloads++;
	note_loaded(server);
	return 0;
}

static json_t *lines_json(char *const *lines, size_t n)
{
	json_t *json = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(json, status_text(lines[i]));
	return json;
}

static json_t *failure_json(const struct config_errors *errors, int error)
{
	json_t *lines = lines_json(errors->lines, errors->n_lines);

	if (errors->n_lines == 0)
		json_array_append_new(lines, json_string(strerror(-error)));
	return json_pack(
		"{s:s, s:o}", "error", "the configuration was not changed", "lines", lines);
}

/* Log it, and return what usherctl is told. */
static json_t *report_failure(const struct config_errors *errors, int error)
{
	log_errors(errors, error);
	log_write(LOG_ERR, &(struct log_about){.reason = "reload-failed", .error = error},
		"reload failed, the configuration was not changed");
	return failure_json(errors, error);
}

static json_t *report_success(
	const struct config_errors *errors, const struct reload_counts *counts)
{
	char message[128];

	snprintf(message, sizeof(message),
		"services: %zu added, %zu removed, %zu changed, %zu unchanged", counts->n_added,
		counts->n_removed, counts->n_changed, counts->n_unchanged);
	server_log_warnings(errors);
	log_write(LOG_INFO, &(struct log_about){.reason = "reloaded"}, "reloaded: %s", message);
	return json_pack("{s:b, s:s, s:o}", "ok", true, "message", message, "warnings",
		lines_json(errors->warnings, errors->n_warnings));
}

json_t *server_reloaded(struct server *server, struct server_loaded *loaded)
{
	struct reload_counts counts;
	json_t *answer;
	int r = carry_out(server, loaded, &counts);

	answer = r < 0 ? report_failure(&loaded->errors, r)
		       : report_success(&loaded->errors, &counts);
	server_notify_ready(server);
	if (r >= 0)
		events_tell(server->events, &(struct log_about){.event = "reloaded"});
	config_errors_done(&loaded->errors);
	if (r < 0 || !loaded->is_upgrade)
		return answer;
	json_decref(answer);
	return server_upgrade(server, loaded->client_fd);
}

static json_t *reload(struct server *server, struct server_loaded *loaded)
{
	struct names *names;

	server_notify_reloading(server);
	loaded->error = names_new(&names);
	if (loaded->error < 0)
		return server_reloaded(server, loaded);
	loaded->error = load(server, loaded, names);
	if (loaded->error >= 0 && names_count(names) > 0) {
		loaded->error = server_look_up(server, names, loaded);
		if (loaded->error >= 0)
			return NULL;
	}
	names_free(names);
	return server_reloaded(server, loaded);
}

json_t *server_reload(struct server *server, int client_fd, bool is_upgrade)
{
	if (!server->lookup)
		return reload(server,
			&(struct server_loaded){.client_fd = client_fd, .is_upgrade = is_upgrade});
	if (client_fd < 0) {
		server_look_up_again(server);
		return NULL;
	}
	return json_pack("{s:s}", "error",
		"a reload waits for the addresses of names, ask again in a few seconds");
}

/* Does it lend TCP sockets, and the kernel has to know to whom they answer? */
static bool filters_streams(const struct config_service *service)
{
	return service->deliver == CONFIG_DELIVER_LISTENER &&
	       (service->admission.has_only_from || service->admission.n_rules > 0);
}

/* What a reload may have to do again. */
static unsigned int needed_rights(const struct config *config)
{
	unsigned int rights = 0;

	for (size_t i = 0; i < config->n_services; i++) {
		const struct config_service *service = config->services[i];

		if (!service->is_disabled && service->socket.transparent)
			rights |= PRIVILEGE_NET_RAW;
		if (!service->is_disabled && filters_streams(service))
			rights |= PRIVILEGE_NET_ADMIN;
	}
	return rights;
}

static int become_user(const struct server *server)
{
	int r = privilege_drop(needed_rights(server->config));

	if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot become user '%s' alone: %s", server->config->user, strerror(-r));
	return r;
}

int server_start_services(struct server *server)
{
	struct config_errors errors = {0};
	struct reload_counts counts;
	struct reload *reload;
	int r = prepare(server, server->config, &reload, &errors);

	if (r < 0)
		log_errors(&errors, r);
	server_log_warnings(&errors);
	config_errors_done(&errors);
	if (r < 0)
		return r;
	r = become_user(server);
	if (r < 0) {
		reload_abort(reload);
		return r;
	}
	server_enter_sandbox(server);
	reload_commit(reload, &server->services, &counts);
	note_loaded(server);
	server->inheritance = inheritance_free(server->inheritance);
	return server->succession ? server_restore_services(server) : 0;
}
