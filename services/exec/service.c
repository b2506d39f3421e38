/* SPDX-License-Identifier: MIT */
/* See service.h. The way of a connection: take_connection(), maybe a banner, start_program(),
 * on_run_ended(). */
#include "service.h"

#include "environment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <usher.h>

/* New connections of one service before everybody else has a turn: each takes the time of a
 * child_spawn(). */
#define ACCEPT_BUDGET 16

const char *service_name(const struct service *s)
{
	return s->command->service;
}

/* The last thing that a handler does: `s` may be gone afterwards. */
static void tell_change(struct service *s)
{
	if (s->is_over)
		s->on_changed(s, s->userdata);
}

/* While no process can be made, clients are better off in the backlog. */
static void apply_credit(struct service *s)
{
	(void)usher_set_credit(s->usher, s->n_waiting > 0 ? 0 : s->credit);
}

static void remove_client(struct service *s, struct client *client)
{
	TAILQ_REMOVE(&s->clients, client, link);
	if (client->is_waiting && --s->n_waiting == 0)
		apply_credit(s);
	client_free(client);
}

static void on_run_ended(struct run *run, bool is_success, void *userdata)
{
	struct service *s = userdata;

	(void)is_success;
	(void)usher_release(s->usher, run->id);
	TAILQ_REMOVE(&s->runs, run, link);
	run_free(run);
	tell_change(s);
}

/* A process or its memory is lacking, which may end by itself. */
static bool is_shortage(int error, enum child_step step)
{
	return error == -EAGAIN ||
	       (step == CHILD_CLONE && (error == -ENOMEM || error == -EMFILE || error == -ENFILE));
}

static void report_failure(
	struct service *s, const struct command *command, int error, enum child_step step)
{
	say_once(&s->failed, "%s: cannot run %s: %s: %s: %s", service_name(s), command->path,
		child_step_name(step), strerror(-error), child_step_remedy(step));
}

/* Returns 0: it runs and has the connection; or a negative errno, and the connection is as before.
 */
static int start_program(struct service *s, struct command *command,
	struct usher_connection *connection, enum child_step *ret_step)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof(local);
	char *variables[ENVIRONMENT_MAX + 1], from[ENVIRONMENT_TEXT_SIZE];
	struct endpoint remote = {&connection->peer, connection->peer_length};
	struct environment environment;
	struct run *run;
	int r;

	if (getsockname(connection->fd, (struct sockaddr *)&local, &length) < 0)
		length = 0;
	(void)environment_make(&environment, variables, remote, (struct endpoint){&local, length});
	r = run_new(&run, s->event, command, connection->fd, variables,
		endpoint_format(remote, from), ret_step);
	if (r < 0)
		return r;
	run_set_callback(run, on_run_ended, s);
	run->id = connection->id;
	TAILQ_INSERT_TAIL(&s->runs, run, link);
	(void)close(connection->fd); /* it is the program's now */
	return 0;
}

/* Returns false if it has to be tried again. */
static bool start_or_end(
	struct service *s, struct command *command, struct usher_connection *connection)
{
	enum child_step step;
	int r = start_program(s, command, connection, &step);

	if (r < 0)
		report_failure(s, command, r, step);
	if (r < 0 && is_shortage(r, step))
		return false;
	if (r < 0)
		(void)usher_close(s->usher, connection);
	return true;
}

static void on_client_ready(struct client *client, void *userdata)
{
	struct service *s = userdata;

	if (start_or_end(s, client->command, &client->connection)) {
		remove_client(s, client);
		tell_change(s);
		return;
	}
	if (!client->is_waiting) {
		client->is_waiting = true;
		s->n_waiting++;
		apply_credit(s);
	}
	client_wait(client);
}

static void on_client_failed(struct client *client, const char *why, void *userdata)
{
	struct service *s = userdata;
	char from[ENVIRONMENT_TEXT_SIZE] = "a client";

	if (client->command->is_host_logged)
		(void)endpoint_format(
			(struct endpoint){&client->connection.peer, client->connection.peer_length},
			from);
	say_once(&s->failed, "%s: no program was run for %s: %s", service_name(s), from, why);
	(void)usher_close(s->usher, &client->connection);
	remove_client(s, client);
	tell_change(s);
}

/* It waits for a process, or for its banner to be sent. */
static void keep_client(struct service *s, struct usher_connection *connection, bool is_waiting)
{
	struct client *client;
	int r = client_new(
		&client, s->event, s->command, connection, on_client_ready, on_client_failed, s);

	if (r < 0) {
		say_once(
			&s->failed, "%s: cannot serve a client: %s", service_name(s), strerror(-r));
		(void)usher_close(s->usher, connection);
		return;
	}
	TAILQ_INSERT_TAIL(&s->clients, client, link);
	client->is_waiting = is_waiting;
	if (is_waiting && s->n_waiting++ == 0)
		apply_credit(s);
}

/* A program reads from the socket: there is no way to give it what somebody has read before. */
static void refuse_data(struct service *s, struct usher_connection *connection)
{
	say_once(&s->failed,
		"%s: a connection that '%s' has forwarded was closed: it came with %zu bytes already "
		"read, which no program can be given: forward without",
		service_name(s), connection->forwarded_by, connection->data_size);
	(void)usher_close(s->usher, connection);
}

static void take_connection(struct service *s, struct usher_connection *connection)
{
	if (connection->data_size > 0)
		refuse_data(s, connection);
	else if (s->command->banner)
		keep_client(s, connection, false);
	else if (!start_or_end(s, s->command, connection))
		keep_client(s, connection, true);
}

/* usherd's absence is no error, but somebody who mistyped a name wants to know. */
static void say_registration(struct service *s)
{
	bool was_registered = s->is_registered;
	char reason[256];

	s->is_registered = usher_is_registered(s->usher);
	if (s->is_registered) {
		if (!was_registered)
			say_once(&s->said, "%s: registered", service_name(s));
		return;
	}
	(void)usher_error(s->usher, reason, sizeof(reason));
	if (reason[0] != '\0')
		say_once(&s->said, "%s: not registered: %s", service_name(s), reason);
}

static void on_error(struct service *s, int error)
{
	if (error == -EMFILE)
		say_once(&s->said,
			"%s: out of descriptors, so that clients wait: raise the limit "
			"(LimitNOFILE=) or lower instances",
			service_name(s));
	else if (error == -EAGAIN || !usher_is_registered(s->usher))
		say_registration(s);
	else
		say_once(&s->said, "%s: cannot take connections: %s", service_name(s),
			strerror(-error));
}

/* From now on usher_fd() is always readable. */
static void end_registration(struct service *s)
{
	char reason[256];

	if (!s->is_draining) {
		(void)usher_error(s->usher, reason, sizeof(reason));
		say("%s: takes no more connections: %s", service_name(s), reason);
	}
	s->is_over = true;
	s->io = sd_event_source_disable_unref(s->io);
}

/* Level-triggered: what is beyond the budget is reported again. */
static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct service *s = userdata;
	struct usher_connection connection;
	int r = 0;

	(void)source, (void)fd, (void)events;
	for (int i = 0; i < ACCEPT_BUDGET && r != -EAGAIN && !s->is_over; i++) {
		r = usher_accept(s->usher, &connection, 0);
		if (r == 0)
			take_connection(s, &connection);
		else if (r == USHER_LENT)
			borrowing_refresh(&s->borrowing);
		else if (r == -ESHUTDOWN)
			end_registration(s);
		else
			on_error(s, r);
	}
	tell_change(s);
	return 0;
}

static void on_idle(void *userdata)
{
	tell_change(userdata);
}

static int open_registration(struct service *s)
{
	struct usher_options options = {
		.size = sizeof(options),
		.flags = USHER_NONBLOCK | (s->command->has_lent ? USHER_LISTENERS : 0),
		.credit = s->credit,
	};
	int r = usher_new(&s->usher, service_name(s), &options);

	if (r < 0)
		return r;
	borrowing_init(&s->borrowing, s->event, s->usher, on_idle, s);
	s->borrowing.command = s->command;
	return sd_event_add_io(s->event, &s->io, usher_fd(s->usher), EPOLLIN, on_readable, s);
}

int service_new(struct service **ret, sd_event *event, struct command *command, uint32_t credit,
	void (*on_changed)(struct service *s, void *userdata), void *userdata)
{
	struct service *s = malloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct service){
		.event = event,
		.command = command_ref(command),
		.credit = credit,
		.on_changed = on_changed,
		.userdata = userdata,
	};
	TAILQ_INIT(&s->runs);
	TAILQ_INIT(&s->clients);
	r = open_registration(s);
	if (r < 0) {
		service_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

bool service_can_run(const struct service *s, const struct command *command)
{
	return s->command->has_lent == command->has_lent;
}

void service_set_command(struct service *s, struct command *command)
{
	struct command *before = s->command;

	s->command = s->borrowing.command = command_ref(command);
	if (!command_equal(before, command))
		say("%s: changed, from the next connection", service_name(s));
	command_unref(before);
}

void service_set_credit(struct service *s, uint32_t credit)
{
	s->credit = credit;
	apply_credit(s);
}

void service_drain(struct service *s)
{
	s->is_draining = true;
	(void)usher_drain(s->usher);
}

bool service_is_over(const struct service *s)
{
	return s->is_over;
}

bool service_is_finished(const struct service *s)
{
	return s->is_over && TAILQ_EMPTY(&s->runs) && TAILQ_EMPTY(&s->clients) &&
	       borrowing_is_idle(&s->borrowing);
}

struct service *service_free(struct service *s)
{
	struct client *client;
	struct run *run;

	if (!s)
		return NULL;
	while ((client = TAILQ_FIRST(&s->clients))) {
		(void)usher_close(s->usher, &client->connection);
		remove_client(s, client);
	}
	while ((run = TAILQ_FIRST(&s->runs))) {
		TAILQ_REMOVE(&s->runs, run, link);
		run_free(run);
	}
	if (s->usher)
		borrowing_done(&s->borrowing);
	sd_event_source_disable_unref(s->io);
	usher_free(s->usher);
	command_unref(s->command);
	free(s);
	return NULL;
}
