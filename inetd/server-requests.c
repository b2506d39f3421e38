/* SPDX-License-Identifier: MIT */
/*
 * What usherctl asks: see server-private.h. Each answer is an object, see control.h and
 * usherctl(8), "JSON".
 */
#include "server-private.h"

#include "explain.h"
#include "log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* {"ok": true, "message": ...} or {"error": ...}, with a sentence. */
__attribute__((format(printf, 2, 3))) static json_t *answer(bool is_ok, const char *format, ...)
{
	char sentence[512];
	va_list arguments;
	json_t *text;

	va_start(arguments, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	text = status_text(sentence);
	return is_ok ? json_pack("{s:b, s:o}", "ok", true, "message", text)
		     : json_pack("{s:o}", "error", text);
}

struct status_source server_status_source(const struct server *server)
{
	return (struct status_source){
		.config = server->config,
		.services = &server->services,
		.n_denied = denied_n(server->denied, server_now(server)),
		.n_followers = server->events->n_followers,
		.now_usec = server_now(server),
		.uptime_usec = server_now(server) - server->started_usec,
		.program = server->program,
		.n_upgrades = server->n_upgrades,
		.reload = server->reload,
	};
}

json_t *server_status(const struct server *server)
{
	const struct status_source source = server_status_source(server);

	return status_json(&source);
}

static json_t *answer_status(struct server *server, const char *unused, int client_fd)
{
	(void)unused, (void)client_fd;
	return server_status(server);
}

static json_t *answer_reload(struct server *server, const char *unused, int client_fd)
{
	(void)unused;
	return server_reload(server, client_fd, false);
}

/* What the configuration file says has to be what is in force: the new program reads it, too. */
static json_t *answer_upgrade(struct server *server, const char *unused, int client_fd)
{
	(void)unused;
	return server_reload(server, client_fd, true);
}

/* What a new program needs to say whether it could take over, see "usherd --check-state". */
static json_t *answer_state(struct server *server, const char *unused, int client_fd)
{
	struct succession *succession;
	json_t *state;

	(void)unused, (void)client_fd;
	if (!server->program)
		return answer(false, "usherd does not know from which program it was started");
	if (server_save(server, -EBADF, &succession) < 0)
		return NULL;
	state = succession_json(succession);
	succession_free(succession);
	if (!state)
		return answer(false, "the state cannot be written down: no memory is left, or the "
				     "path of the configuration is not UTF-8");
	return json_pack("{s:o, s:o}", "program", status_text(server->program), "state", state);
}

static json_t *answer_no_service(const char *name)
{
	return answer(
		false, "no service '%s' is running; 'usherctl status' lists those that are", name);
}

/* "SERVICE" or "SERVICE/PROVIDER". */
static json_t *answer_drain(struct server *server, const char *argument, int client_fd)
{
	char name[CONTROL_MAX_REQUEST + 1];
	struct service *service;
	char *provider;
	unsigned int n;

	(void)client_fd;
	(void)snprintf(name, sizeof(name), "%s", argument);
	provider = strchr(name, '/');
	if (provider)
		*provider++ = '\0';
	service = server_find_service(server, name);
	if (!service)
		return answer_no_service(name);
	n = service_drain(service, provider);
	if (n == 0 && provider)
		return answer(false,
			"service '%s' has no provider '%s' that is not draining; "
			"'usherctl status %s' lists them",
			name, provider, name);
	if (n == 0)
		return answer(false,
			"service '%s' has no provider that is not draining; 'usherctl status %s' "
			"lists them",
			name, name);
	return answer(true, "%s: %u provider%s told to drain", name, n, n == 1 ? " was" : "s were");
}

static json_t *set_paused(struct server *server, const char *name, bool is_paused)
{
	struct service *service = server_find_service(server, name);

	if (!service)
		return answer_no_service(name);
	service_set_paused(service, is_paused);
	log_write(LOG_NOTICE,
		&(struct log_about){.service = name, .reason = is_paused ? "paused" : "resumed"},
		"%s: %s by usherctl", name, is_paused ? "paused" : "resumed");
	return answer(true, "%s is %s", name, is_paused ? "paused" : "not paused any more");
}

static json_t *answer_pause(struct server *server, const char *name, int client_fd)
{
	(void)client_fd;
	return set_paused(server, name, true);
}

static json_t *answer_resume(struct server *server, const char *name, int client_fd)
{
	(void)client_fd;
	return set_paused(server, name, false);
}

/* From here on the client is not the control's any more. */
static json_t *begin_to_follow(struct server *server, int client_fd, struct events_wish *wish)
{
	wish->is_monitor = !control_may_change(server->control, client_fd);
	if (!events_have_place(server->events, wish->is_monitor))
		return answer(false,
			"%d processes follow already, which is the limit; of monitors half as many",
			EVENTS_MAX_FOLLOWERS);
	control_give_away(server->control, client_fd);
	(void)events_follow(
		server->events, client_fd, wish); /* else it sees its connection closed */
	return NULL;
}

/* For usher-exec: a line at once, and one after each reload. */
static json_t *answer_follow(struct server *server, const char *unused, int client_fd)
{
	(void)unused;
	return begin_to_follow(server, client_fd, &(struct events_wish){.only_reloads = true});
}

static json_t *answer_events(struct server *server, const char *services, int client_fd)
{
	char names[CONTROL_MAX_REQUEST + 1], *rest;

	if (services && services[strspn(services, " ")] == '\0')
		return answer_no_service(services);
	(void)snprintf(names, sizeof(names), "%s", services ? services : "");
	for (char *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
		if (!server_find_service(server, name))
			return answer_no_service(name);
	return begin_to_follow(server, client_fd, &(struct events_wish){.services = services});
}

/* "ADDRESS SERVICE". */
static json_t *answer_explain(struct server *server, const char *argument, int client_fd)
{
	char client[CONTROL_MAX_REQUEST + 1], *name;
	const struct service *service;
	struct wire_address peer;

	(void)client_fd;
	(void)snprintf(client, sizeof(client), "%s", argument);
	name = strchr(client, ' ');
	if (name)
		*name++ = '\0';
	if (!name || !explain_parse(client, &peer))
		return answer(false,
			"'%s' is no address of a client, expected one of IPv4 or IPv6, or unix, "
			"and the name of a service after it",
			client);
	service = server_find_service(server, name);
	if (!service)
		return answer_no_service(name);
	return explain_json(service, client, &peer, server_now(server));
}

static const struct {
	const char *word;
	enum { ARGUMENT_NONE, ARGUMENT_ANY, ARGUMENT_ONE } argument;
	bool only_looks; /* for monitors, too */
	json_t *(*answer)(struct server *server, const char *argument, int client_fd);
} requests[] = {
	{"status", ARGUMENT_NONE, true, answer_status},
	{"metrics", ARGUMENT_NONE, true, server_answer_metrics},
	{"reload", ARGUMENT_NONE, false, answer_reload},
	{"events", ARGUMENT_ANY, true, answer_events},
	{"explain", ARGUMENT_ONE, true, answer_explain},
	{"follow", ARGUMENT_NONE, true, answer_follow},
	{"state", ARGUMENT_NONE, false, answer_state},
	{"upgrade", ARGUMENT_NONE, false, answer_upgrade},
	{"drain", ARGUMENT_ONE, false, answer_drain},
	{"pause", ARGUMENT_ONE, false, answer_pause},
	{"resume", ARGUMENT_ONE, false, answer_resume},
};

static bool takes(int kind, const char *argument)
{
	return kind == ARGUMENT_ANY || (kind == ARGUMENT_ONE) == !!argument;
}

static json_t *answer_monitor(const char *word)
{
	char sentence[128];

	(void)snprintf(sentence, sizeof(sentence),
		"permission denied: monitors may look, and '%s' is for root and the user of usherd",
		word);
	return json_pack("{s:s, s:i}", "error", sentence, "exit_status", EX_NOPERM);
}

json_t *server_on_request(const char *request, int client_fd, void *userdata)
{
	const char *space = strchr(request, ' '), *argument = space ? space + 1 : NULL;
	size_t length = space ? (size_t)(space - request) : strlen(request);
	struct server *server = userdata;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (strncmp(request, requests[i].word, length) != 0 ||
			requests[i].word[length] != '\0' || !takes(requests[i].argument, argument))
			continue;
		if (!requests[i].only_looks && !control_may_change(server->control, client_fd))
			return answer_monitor(requests[i].word);
		return requests[i].answer(server, argument, client_fd);
	}
	return answer(false,
		"unknown request: this usherd knows 'status', 'metrics', 'events [SERVICE...]', "
		"'explain ADDRESS SERVICE', 'reload', 'follow', 'upgrade', 'state', "
		"'drain SERVICE[/PROVIDER]', 'pause SERVICE' and 'resume SERVICE'");
}
