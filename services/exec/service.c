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
		s->context->on_changed(s, s->context->userdata);
}

/* While no process can be made, clients are better off in the backlog. */
static void set_short(struct service *s, bool is_short)
{
	if (is_short == s->is_short)
		return;
	s->is_short = is_short;
	(void)usher_set_credit(s->usher, is_short ? 0 : s->credit);
}

/* A process or its memory is lacking, which may end by itself. */
static bool is_shortage(int error, enum child_step step)
{
	return error == -EAGAIN ||
	       (step == CHILD_CLONE && (error == -ENOMEM || error == -EMFILE || error == -ENFILE));
}

static void end_connection(struct service *s, struct usher_connection *connection, int error)
{
	if (error < 0)
		say_once(&s->failed, "%s: cannot serve a client: %s", service_name(s),
			strerror(-error));
	(void)usher_close(s->usher, connection);
}

/* Nobody is left who would be tried again: the next client has to find out. */
static void check_short(struct service *s)
{
	if (TAILQ_EMPTY(&s->clients))
		set_short(s, false);
}

static void keep_client(struct service *s, struct command *command,
	struct usher_connection *connection, int64_t since_ms);

/* The program has the connection now; or it cannot, and what failed may go on to fail or not. */
static void on_run_started(struct run *run, int error, enum child_step step, void *userdata)
{
	struct service *s = userdata;

	if (error == 0) {
		(void)close(run->connection.fd);
		set_short(s, false);
		return;
	}
	say_once(&s->failed, "%s: cannot run %s: %s: %s: %s", service_name(s), run->command->path,
		child_step_name(step), strerror(-error), child_step_remedy(step));
	if (is_shortage(error, step)) {
		set_short(s, true);
		keep_client(s, run->command, &run->connection, run->since_ms);
	} else {
		end_connection(s, &run->connection, 0);
	}
	check_short(s);
	TAILQ_REMOVE(&s->runs, run, link);
	run_free(run);
	tell_change(s);
}

static void on_run_ended(struct run *run, bool is_success, void *userdata)
{
	struct service *s = userdata;

	(void)is_success;
	(void)usher_release(s->usher, run->connection.id);
	TAILQ_REMOVE(&s->runs, run, link);
	run_free(run);
	tell_change(s);
}

/* `since_ms`: when it was tried for the first time. Takes the connection. Returns whether
 * on_run_started() will be called. */
static bool start_program(struct service *s, struct command *command,
	struct usher_connection *connection, int64_t since_ms)
{
	static const struct run_events events = {on_run_started, on_run_ended};
	struct sockaddr_storage local = {0};
	struct run_ends ends = {
		.remote = {&connection->peer, connection->peer_length},
		.local = {&local, sizeof(local)},
	};
	struct run *run;
	int r;

	if (getsockname(connection->fd, (struct sockaddr *)&local, &ends.local.length) < 0)
		ends.local.length = 0;
	r = run_new(&run, s->context->event, s->context->spawner, command, connection->fd, &ends,
		&events, s);
	if (r < 0) {
		end_connection(s, connection, r);
		return false;
	}
	run->connection = *connection;
	run->since_ms = since_ms;
	TAILQ_INSERT_TAIL(&s->runs, run, link);
	return true;
}

static void remove_client(struct service *s, struct client *client)
{
	TAILQ_REMOVE(&s->clients, client, link);
	client_free(client);
}

static void on_client_ready(struct client *client, void *userdata)
{
	struct service *s = userdata;
	bool is_tried = start_program(s, client->command, &client->connection, client->since_ms);

	remove_client(s, client);
	if (!is_tried)
		check_short(s);
	tell_change(s);
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
	end_connection(s, &client->connection, 0);
	remove_client(s, client);
	check_short(s);
	tell_change(s);
}

/* For its banner to be sent, or, with `since_ms`, until it is tried again to start its program.
 * Takes the connection. */
static void keep_client(struct service *s, struct command *command,
	struct usher_connection *connection, int64_t since_ms)
{
	static const struct client_events events = {on_client_ready, on_client_failed};
	struct client *client;
	int r = client_new(&client, s->context->event, command, connection, since_ms, &events, s);

	if (r < 0)
		end_connection(s, connection, r);
	else
		TAILQ_INSERT_TAIL(&s->clients, client, link);
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
		keep_client(s, s->command, connection, CLIENT_IS_NEW);
	else
		(void)start_program(s, s->command, connection, monotonic_ms());
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
	borrowing_init(&s->borrowing, s->context->event, s->context->spawner, s->usher, on_idle, s);
	s->borrowing.command = s->command;
	return sd_event_add_io(
		s->context->event, &s->io, usher_fd(s->usher), EPOLLIN, on_readable, s);
}

int service_new(struct service **ret, const struct service_context *context,
	struct command *command, uint32_t credit)
{
	struct service *s = malloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct service){
		.context = context,
		.command = command_ref(command),
		.credit = credit,
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
	if (!s->is_short)
		(void)usher_set_credit(s->usher, credit);
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
