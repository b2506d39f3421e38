/* SPDX-License-Identifier: MIT */
/*
 * usher-basic: echo, discard, daytime, chargen and time over TCP, from connections that usherd
 * hands over, and over UDP, from sockets that it lends. One process, one thread, one loop, and
 * nothing but libusher's public header: it may serve as a model of a provider.
 *
 * This file has the arguments and the table of services.
 */
#include "arguments.h"
#include "connection.h"
#include "datagrams.h"
#include "process.h"
#include "program.h"
#include "protocol.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define MAX_DEFAULT_CREDIT 16384

/* One registration, through which connections of one protocol come in. */
struct service {
	struct enrolment enrolment; /* first, so that the one is found from the other */
	struct connections *connections;
	struct datagrams datagrams;
	const struct protocol *protocol;
};

struct basic {
	struct program program;
	struct connections connections;
	struct postbox postbox;
	struct service *services;
	size_t n_services;
};

static const char help[] =
	"Usage: usher-basic [-d RUN_DIR] [-c CREDIT] [-u USER] [PROTOCOL[=SERVICE] ...]\n"
	"Serve echo, discard, daytime, chargen and time on connections and sockets from usherd.\n"
	"\n" ARGUMENTS_HELP_CREDIT ARGUMENTS_HELP_RUN_DIR ARGUMENTS_HELP_REST "\n"
	"Without PROTOCOL: all five. See usher-basic(8).\n";

static int service_on_connection(struct enrolment *e, struct usher_connection *accepted)
{
	struct service *s = (struct service *)e;

	return connection_open(s->connections, &s->protocol->conversation, e, accepted);
}

static void service_on_lent(struct enrolment *e)
{
	datagrams_on_lent(&((struct service *)e)->datagrams);
}

static size_t count_services(char *named[])
{
	size_t n = 0;

	while (named[0] ? named[n] != NULL : protocols[n].name != NULL)
		n++;
	return n;
}

/* Returns 0 or an exit status. */
static int add_service(
	struct basic *b, const struct protocol *protocol, const char *name, uint32_t credit)
{
	struct service *s = &b->services[b->n_services];
	int status = program_enrol(
		&b->program, &s->enrolment, name, credit, service_on_connection, service_on_lent);

	if (status != 0)
		return status;
	s->connections = &b->connections;
	s->protocol = protocol;
	datagrams_init(&s->datagrams, &b->postbox, &s->enrolment, protocol);
	b->n_services++;
	return 0;
}

/* "echo" or "echo=other-name", which is cut in two in place. Returns 0 or an exit status. */
static int add_argument(struct basic *b, char *argument, uint32_t credit)
{
	char *equals = strchr(argument, '=');
	const struct protocol *protocol;

	if (equals)
		*equals = '\0';
	protocol = protocol_find(argument);
	if (!protocol) {
		say("unknown protocol '%s', expected echo, discard, daytime, chargen or time",
			argument);
		return EX_USAGE;
	}
	return add_service(b, protocol, equals ? equals + 1 : protocol->name, credit);
}

/* Returns 0 or an exit status. */
static int add_services(struct basic *b, const struct arguments *arguments)
{
	size_t n = count_services(arguments->words);
	uint32_t credit = process_share(process_raise_descriptors(), n, 1, MAX_DEFAULT_CREDIT);
	int status = 0;

	if (arguments->credit > 0)
		credit = arguments->credit;
	b->services = calloc(n, sizeof(*b->services));
	if (!b->services)
		return EX_OSERR;
	for (size_t i = 0; i < n && status == 0; i++) {
		if (arguments->words[0])
			status = add_argument(b, arguments->words[i], credit);
		else
			status = add_service(b, &protocols[i], protocols[i].name, credit);
	}
	return status;
}

static int serve(const struct arguments *arguments)
{
	struct basic b = {0};
	int status = program_begin(&b.program);

	connections_init(&b.connections, &b.program.loop);
	postbox_init(&b.postbox);
	if (status == 0)
		status = add_services(&b, arguments);
	if (status == 0)
		status = program_run(&b.program);
	connections_close_all(&b.connections);
	connections_done(&b.connections);
	for (size_t i = 0; i < b.n_services; i++)
		datagrams_done(&b.services[i].datagrams);
	program_end(&b.program);
	free(b.services);
	return status;
}

int main(int argc, char *argv[])
{
	struct arguments arguments = {.program = "usher-basic", .help = help};
	int status;

	if (!arguments_begin(&arguments, &status, argc, argv))
		return status;
	status = process_give_up_rights(arguments.user);
	return status != 0 ? status : serve(&arguments);
}
