/* SPDX-License-Identifier: MIT */
/* See exec.h. News come as signals, from the follower and from services; all that follows from a
 * configuration is in apply(). */
#include "exec.h"

#include "command.h"
#include "follower.h"
#include "loader.h"
#include "loop.h"
#include "process.h"
#include "say.h"
#include "service.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <usher.h>

struct exec {
	const struct exec_setting *setting;
	sd_event *event;
	struct loader *loader;
	struct follower *follower; /* NULL until the first configuration was read */
	sd_event_source *deadline; /* after SIGTERM */
	struct commands commands;  /* as they were read last */
	struct spawner *spawner;
	struct service_context context;
	struct service_list services;
	bool is_stopping;
	int status; /* to exit with */
};

static void finish(struct exec *exec, int status)
{
	exec->status = status;
	(void)sd_event_exit(exec->event, 0);
}

static void remove_service(struct exec *exec, struct service *s)
{
	TAILQ_REMOVE(&exec->services, s, link);
	service_free(s);
}

static bool are_all_over(const struct exec *exec)
{
	const struct service *s;

	TAILQ_FOREACH(s, &exec->services, link)
	{
		if (exec->is_stopping ? !service_is_over(s) : !service_is_finished(s))
			return false;
	}
	return true;
}

static void on_service_changed(struct service *s, void *userdata)
{
	struct exec *exec = userdata;

	if (are_all_over(exec) && (exec->is_stopping || !s->is_draining))
		finish(exec, EXIT_SUCCESS);
	else if (s->is_draining && service_is_finished(s))
		remove_service(exec, s);
}

/* The configuration. */

static bool is_wanted(const struct exec *exec, const char *service)
{
	char **names = exec->setting->services;

	if (!names[0])
		return true;
	while (*names && strcmp(*names, service) != 0)
		names++;
	return *names;
}

static struct service *find_service(const struct exec *exec, const char *name)
{
	struct service *s;

	TAILQ_FOREACH(s, &exec->services, link)
	{
		if (!s->is_draining && strcmp(service_name(s), name) == 0)
			return s;
	}
	return NULL;
}

/* Those that the configuration has no more, or that have to register anew. */
static void drain_removed(struct exec *exec, const struct commands *commands)
{
	struct service *s = TAILQ_FIRST(&exec->services), *next;

	for (; s; s = next) {
		const struct command *command = commands_find(commands, service_name(s));

		next = TAILQ_NEXT(s, link);
		if (s->is_draining || (command && service_can_run(s, command)))
			continue;
		if (!command)
			say("%s: removed", service_name(s));
		service_drain(s);
		if (service_is_finished(s))
			remove_service(exec, s);
	}
}

static void add_service(struct exec *exec, struct command *command)
{
	struct service *s;
	int r = service_new(&s, &exec->context, command, command->instances);

	if (r < 0)
		say("%s: cannot register: %s", command->service, strerror(-r));
	else
		TAILQ_INSERT_TAIL(&exec->services, s, link);
}

static void add_new(struct exec *exec, const struct commands *commands)
{
	for (size_t i = 0; i < commands->n; i++) {
		struct command *command = commands->list[i];
		struct service *s = find_service(exec, command->service);

		if (!is_wanted(exec, command->service))
			continue;
		if (s)
			service_set_command(s, command);
		else
			add_service(exec, command);
	}
}

/* Each service gets an equal share of what this process may have: a connection takes a descriptor
 * and a process. */
static uint32_t share(const struct exec_setting *setting, size_t n_services, uint32_t instances)
{
	uint32_t most = instances < USHER_MAX_CREDIT ? instances : USHER_MAX_CREDIT;

	most = process_share(setting->n_fds, n_services, 1, most);
	return process_share(setting->n_processes, n_services, 1, most);
}

static void share_out(struct exec *exec)
{
	struct service *s;
	size_t n = 0;

	TAILQ_FOREACH(s, &exec->services, link)
	{
		n++;
	}
	TAILQ_FOREACH(s, &exec->services, link)
	{
		service_set_credit(s, share(exec->setting, n, s->command->instances));
	}
}

static const char *find_failure(const struct commands *commands, const char *service)
{
	for (size_t i = 0; i < commands->n_failures; i++)
		if (strcmp(commands->failures[i].service, service) == 0)
			return commands->failures[i].why;
	return NULL;
}

/* What is new of it: a configuration is often read again without a change. */
static void report_failures(const struct exec *exec, const struct commands *commands)
{
	for (size_t i = 0; i < commands->n_failures; i++) {
		const struct command_failure *failure = &commands->failures[i];
		const char *before = find_failure(&exec->commands, failure->service);

		if (is_wanted(exec, failure->service) &&
			!(before && strcmp(before, failure->why) == 0))
			say("%s: not registered: %s", failure->service, failure->why);
	}
}

static void report_missing(const struct exec *exec, const struct commands *commands)
{
	for (char **names = exec->setting->services; *names; names++)
		if (!commands_find(commands, *names) && !find_failure(commands, *names))
			say("%s: no such service with exec {} is in the configuration, or it is "
			    "disabled",
				*names);
}

/* Only a restart goes to another folder: all registrations would have to move. */
static const char *choose_run_dir(struct exec *exec, const struct commands *commands)
{
	const char *run_dir = getenv("USHER_RUN_DIR");

	if (exec->setting->run_dir)
		run_dir = exec->setting->run_dir;
	if (!run_dir || !*run_dir)
		run_dir = commands->run_dir;
	if (exec->commands.run_dir && strcmp(exec->commands.run_dir, commands->run_dir) != 0)
		say("run_dir is changed from %s to %s, which needs a restart",
			exec->commands.run_dir, commands->run_dir);
	return run_dir;
}

static void apply(struct exec *exec, const struct commands *commands)
{
	drain_removed(exec, commands);
	add_new(exec, commands);
	share_out(exec);
	report_failures(exec, commands);
	if (!exec->commands.run_dir)
		report_missing(exec, commands);
}

/* Loading it. */

static void on_news(void *userdata)
{
	struct exec *exec = userdata;

	loader_start(exec->loader);
}

static void on_refused(const char *why, void *userdata)
{
	(void)userdata;
	say("hears of no reloads: %s; send SIGHUP after each, or start it as one of these", why);
}

/* The first configuration says where usherd is. Returns 0 or a negative errno. */
static int begin_to_follow(struct exec *exec, const struct commands *commands)
{
	const char *run_dir = choose_run_dir(exec, commands);

	if (exec->follower)
		return 0;
	if (setenv("USHER_RUN_DIR", run_dir, 1) < 0)
		return -errno;
	return follower_new(&exec->follower, exec->event, run_dir, on_news, on_refused, exec);
}

static int take_programs(struct exec *exec, json_t *json, char *why)
{
	const struct exec_setting *setting = exec->setting;
	struct commands commands;
	int r = commands_parse(&commands, json, &setting->limit, 1, why);

	if (r < 0)
		return r;
	r = begin_to_follow(exec, &commands);
	if (r < 0) {
		commands_done(&commands);
		return r;
	}
	apply(exec, &commands);
	commands_done(&exec->commands);
	exec->commands = commands;
	return 0;
}

static void on_failed_load(struct exec *exec, const char *why, int exit_status)
{
	bool is_first = !exec->commands.run_dir;

	say("cannot read the configuration: %s%s", why,
		is_first ? "" : "; the programs stay as they were");
	if (is_first)
		finish(exec, exit_status);
}

static void on_loaded(json_t *json, const char *load_why, int exit_status, void *userdata)
{
	struct exec *exec = userdata;
	char why[COMMAND_WHY_SIZE] = "";
	int r = 0;

	if (json)
		r = take_programs(exec, json, why);
	if (!json)
		on_failed_load(exec, load_why, exit_status);
	else if (r < 0)
		on_failed_load(exec, why[0] ? why : strerror(-r), EX_OSERR);
	if (!exec->commands.run_dir)
		return;
	(void)sd_notify(0, "READY=1");
	process_tell_ready();
}

/* Signals. */

static int on_reload_signal(
	sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct exec *exec = userdata;

	(void)source, (void)info;
	(void)sd_notifyf(
		0, "RELOADING=1\nMONOTONIC_USEC=%llu", 1000 * (unsigned long long)monotonic_ms());
	loader_start(exec->loader);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	finish(userdata, EXIT_SUCCESS);
	return 0;
}

/* The first one lets what usherd has sent arrive, the second does not. */
static int on_stop_signal(
	sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct exec *exec = userdata;
	struct service *s;
	bool is_second = exec->is_stopping;

	(void)source, (void)info;
	exec->is_stopping = true;
	(void)sd_notify(0, "STOPPING=1");
	TAILQ_FOREACH(s, &exec->services, link)
	{
		service_drain(s);
	}
	exec->follower = follower_free(exec->follower);
	if (is_second || are_all_over(exec) ||
		sd_event_add_time_relative(exec->event, &exec->deadline, CLOCK_MONOTONIC,
			EXEC_STOP_USEC, 0, on_deadline, exec) < 0)
		finish(exec, EXIT_SUCCESS);
	return 0;
}

/* SIGPIPE is blocked and not ignored, which programs would inherit. */
static int watch_signals(struct exec *exec)
{
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGPIPE);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	r = sd_event_add_signal(exec->event, NULL, SIGTERM, on_stop_signal, exec);
	if (r >= 0)
		r = sd_event_add_signal(exec->event, NULL, SIGINT, on_stop_signal, exec);
	if (r >= 0)
		r = sd_event_add_signal(exec->event, NULL, SIGHUP, on_reload_signal, exec);
	return r;
}

static int start(struct exec *exec)
{
	const struct exec_setting *setting = exec->setting;
	int r = sd_event_new(&exec->event);

	if (r >= 0)
		r = watch_signals(exec);
	if (r >= 0)
		r = spawner_new(&exec->spawner, exec->event, setting->n_threads);
	if (r >= 0)
		r = loader_new(&exec->loader, exec->event, setting->usherd, setting->config,
			on_loaded, exec);
	if (r < 0)
		return r;
	exec->context = (struct service_context){
		.event = exec->event,
		.spawner = exec->spawner,
		.on_changed = on_service_changed,
		.userdata = exec,
	};
	loader_start(exec->loader);
	return 0;
}

static void stop(struct exec *exec)
{
	struct service *s;

	exec->spawner = spawner_free(exec->spawner);
	while ((s = TAILQ_FIRST(&exec->services)))
		remove_service(exec, s);
	follower_free(exec->follower);
	loader_free(exec->loader);
	commands_done(&exec->commands);
	sd_event_source_disable_unref(exec->deadline);
	sd_event_unref(exec->event);
}

int exec_run(const struct exec_setting *setting)
{
	struct exec exec = {.setting = setting};
	int r;

	TAILQ_INIT(&exec.services);
	r = start(&exec);
	if (r >= 0)
		r = sd_event_loop(exec.event);
	if (r < 0) {
		say("cannot go on: %s", strerror(-r));
		exec.status = EX_OSERR;
	}
	stop(&exec);
	return exec.status;
}
