/* SPDX-License-Identifier: MIT */
/*
 * The providers of a service: who may register, what they are told, and how they leave.
 */
#include "service-private.h"

#include "closer.h"
#include "fd.h"
#include "log.h"
#include "probe.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Channels of a service that have not said HELLO yet. */
#define MAX_STRANGERS 64u

_Static_assert(CONFIG_MAX_LISTENERS == WIRE_MAX_LISTENERS, "WELCOME lists all listeners");

static void on_change(void *userdata)
{
	service_settle(userdata);
}

static void on_gone(struct provider *p, void *userdata)
{
	struct service *s = userdata;
	struct provider **link = &s->providers;

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	s->n_providers--;
	if (s->pace.provider == p)
		s->pace.provider = NULL;
	service_end_borrowing(s, p);
	if (p->number > 0) {
		s->n_registered--;
		provider_log(p, LOG_INFO, "gone", "is gone");
		service_tell_provider(s, p, "gone", NULL);
	}
	provider_free(p);
	service_settle(s);
}

/* WELCOME with all listeners, to be freed; *ret_size its bytes. NULL: out of memory. */
static struct wire_welcome *make_welcome(const struct service *s, size_t *ret_size)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);
	size_t size = sizeof(struct wire_welcome) + n * sizeof(struct wire_listener);
	struct wire_welcome *welcome = calloc(1, size);

	if (!welcome)
		return NULL;
	welcome->n_listeners = (uint32_t)n;
	wire_set_text(welcome->service, sizeof(welcome->service), s->name);
	for (size_t i = 0; i < n; i++) {
		const struct address *bound = listener_bound(listeners[i]);

		welcome->listeners[i].type = (uint32_t)bound->type;
		wire_address_from_sockaddr(&welcome->listeners[i].address, &bound->sockaddr);
	}
	*ret_size = size;
	return welcome;
}

static int welcome(const struct service *s, struct provider *p)
{
	size_t size = 0;
	struct wire_welcome *message = make_welcome(s, &size);
	int r = message ? provider_welcome(p, message, size) : -ENOMEM;

	free(message);
	return r;
}

/* Tell a registered provider of changed listeners, now or when there is room in its channel. */
static void welcome_again(struct provider *p, void *userdata)
{
	struct service *s = userdata;
	int r = welcome(s, p);

	if (r < 0)
		provider_owe_welcome(p, r);
	else
		provider_owe_listeners(p);
	s->is_lending_new = true;
}

void service_welcome_again(struct service *s)
{
	for (struct provider *p = s->providers; p; p = p->next)
		if (p->record)
			welcome_again(p, s);
}

/* Those that were there before get nothing more; standbys stay what they are. */
static void replace_older(struct service *s, const struct provider *newest)
{
	if (s->config.providers.takeover != CONFIG_TAKEOVER_NEWEST || newest->record->is_standby)
		return;
	for (struct provider *p = s->providers; p; p = p->next) {
		if (p == newest || !provider_is_serving(p) || p->record->is_standby)
			continue;
		provider_log(p, LOG_INFO, "replaced",
			"is replaced by provider %u: it gets no more connections", newest->number);
		provider_drain(p, WIRE_DRAINING_REPLACED);
	}
}

/* A process that may register has been welcomed. */
static void add_registered(struct service *s, struct provider *p, const struct wire_hello *hello)
{
	p->number = ++s->last_number;
	s->is_lending_new = true;
	s->n_registered++;
	if (hello->holding > s->config.instances)
		provider_log(p, LOG_NOTICE, "holding",
			"holds %u connections from earlier, more than instances: clients "
			"wait until enough of them have ended",
			hello->holding);
	probe_register(s->name, p->pid, hello->credit);
	provider_log(p, LOG_INFO, "registered", "has registered with credit %d%s", hello->credit,
		p->record->is_standby ? ", as a standby" : "");
	service_tell_provider(s, p, "registered", NULL);
	replace_older(s, p);
}

static int refuse_too_many(const struct service *s, const struct provider *p, char *reason)
{
	(void)snprintf(reason, WIRE_REASON_SIZE,
		"service %s has %u providers, which is its maximum", s->name, s->n_registered);
	provider_log(p, LOG_WARNING, "max-providers",
		"may not register: there are %u providers already, see providers { max }",
		s->n_registered);
	return EUSERS;
}

static int refuse_without_use(const struct service *s, const struct provider *p, char *reason)
{
	(void)snprintf(reason, WIRE_REASON_SIZE,
		"service %s lends its sockets, and this provider takes none: it needs "
		"USHER_LISTENERS of libusher, or the service deliver = \"connection\"",
		s->name);
	provider_log(p, LOG_WARNING, "takes-no-listeners",
		"may not register: the service lends its sockets, and it takes none; only tcp: and "
		"unix: listeners with deliver = \"connection\" are for it");
	return EOPNOTSUPP;
}

/* The error with which a provider may not register, and a sentence about it; 0: it may. */
static int find_refusal(const struct service *s, const struct provider *p,
	const struct wire_hello *hello, char *reason)
{
	if (s->is_ending) {
		(void)snprintf(
			reason, WIRE_REASON_SIZE, "the service was removed from the configuration");
		return ESHUTDOWN;
	}
	if (service_is_passing(s)) {
		(void)snprintf(reason, WIRE_REASON_SIZE,
			"the service passes its connections to a receiver, see deliver in "
			"usher.conf(5)");
		return EOPNOTSUPP;
	}
	if (s->n_registered >= s->config.providers.max)
		return refuse_too_many(s, p, reason);
	if (!(hello->header.flags & WIRE_HELLO_TAKES_LISTENERS) && service_only_lends(s))
		return refuse_without_use(s, p, reason);
	return 0;
}

static void on_hello(struct provider *p, const struct wire_hello *hello, void *userdata)
{
	struct service *s = userdata;
	char reason[WIRE_REASON_SIZE];
	int r = find_refusal(s, p, hello, reason);

	if (r > 0) {
		provider_refuse(p, r, reason);
		return;
	}
	r = welcome(s, p);
	if (r < 0) {
		provider_refuse(p, -r, strerror(-r));
		return;
	}
	if (provider_register(p, hello) < 0) {
		on_gone(p, s); /* no memory: too late for REFUSED, it sees its channel closed */
		return;
	}
	add_registered(s, p, hello);
	service_settle(s);
}

const struct provider_events service_provider_events = {
	.on_hello = on_hello,
	.on_welcome_owed = welcome_again,
	.on_forward = service_on_forward,
	.on_draining = service_on_draining,
	.on_change = on_change,
	.on_gone = on_gone,
};

static void refuse_peer(const struct service *s, int fd, const struct rendezvous_peer *peer,
	int error, const char *why)
{
	log_write(LOG_WARNING,
		&(struct log_about){.service = s->name,
			.provider_pid = peer->process.pid,
			.provider_uid = peer->process.uid,
			.reason = "not-registered",
			.error = error},
		"%s: process %d of uid %u may not register: %s", s->name, peer->process.pid,
		peer->process.uid, why);
	provider_refuse_channel(fd, error, why);
	closer_close(fd); /* and with it the descriptors in what it has said already */
}

void service_on_peer(int fd, const struct rendezvous_peer *peer, void *userdata)
{
	_cleanup_close_ int owned_fd = fd;
	struct service *s = userdata;
	struct provider *p;

	if (!rendezvous_allows(&s->config.providers, peer)) {
		refuse_peer(s, take_fd(&owned_fd), peer, EACCES,
			"neither its user nor its groups are in providers { users groups } of the "
			"service");
		return;
	}
	if (s->n_providers - s->n_registered >= MAX_STRANGERS) {
		refuse_peer(s, take_fd(&owned_fd), peer, EAGAIN,
			"too many processes are about to register");
		return;
	}
	if (provider_new(&p, s->event, take_fd(&owned_fd), peer, s->name, s->dispatch,
		    &service_provider_events, s) < 0)
		return; /* no memory: the process sees its channel closed and tries again */
	p->next = s->providers;
	s->providers = p;
	s->n_providers++;
}

static bool is_called(const struct provider *p, const char *number_or_name)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", p->number);
	return strcmp(number_or_name, number) == 0 || strcmp(number_or_name, p->name) == 0;
}

unsigned int service_drain(struct service *s, const char *provider)
{
	unsigned int n = 0;

	for (struct provider *p = s->providers; p; p = p->next) {
		if (!provider_is_serving(p) || (provider && !is_called(p, provider)))
			continue;
		provider_log(p, LOG_NOTICE, "drained",
			"is told by the administrator to drain: it gets no more connections");
		provider_drain(p, WIRE_DRAINING_ADMINISTRATOR);
		n++;
	}
	service_settle(s);
	return n;
}
