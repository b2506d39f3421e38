/* SPDX-License-Identifier: MIT */
/* What would become of a client: see explain.h. */
#include "explain.h"

#include "status.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Later ones are stronger. */
enum outcome {
	ADMITTED,
	WAITING,
	REFUSED,
};

static const char *const outcome_names[] = {
	[ADMITTED] = "admitted",
	[WAITING] = "waiting",
	[REFUSED] = "refused",
};

struct explanation {
	const struct service *s;
	const struct config_admission *config;
	struct admission_outlook outlook;
	uint64_t now_usec;
	enum outcome outcome;
	const char *reason; /* NULL while it is admitted */
	json_t *checks;
};

bool explain_parse(const char *client, struct wire_address *ret)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr local = {.sa_family = AF_UNIX};
	const struct sockaddr *sockaddr = NULL;

	if (inet_pton(AF_INET, client, &v4.sin_addr) == 1)
		sockaddr = (const struct sockaddr *)&v4;
	else if (inet_pton(AF_INET6, client, &v6.sin6_addr) == 1)
		sockaddr = (const struct sockaddr *)&v6;
	else if (strcmp(client, "unix") == 0)
		sockaddr = &local;
	if (sockaddr)
		wire_address_from_sockaddr(ret, sockaddr);
	return sockaddr;
}

/* Something was looked at. The strongest outcome counts, and the first of several. */
__attribute__((format(printf, 4, 5))) static void add(
	struct explanation *e, const char *check, enum outcome outcome, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	json_array_append_new(
		e->checks, json_pack("{s:s, s:s, s:o}", "check", check, "outcome",
				   outcome_names[outcome], "text", status_text(text)));
	if (outcome <= e->outcome)
		return;
	e->outcome = outcome;
	e->reason = check;
}

static double seconds_until(const struct explanation *e, uint64_t usec)
{
	return usec > e->now_usec ? (double)(usec - e->now_usec) / 1e6 : 0;
}

static void add_providers(struct explanation *e)
{
	static const struct {
		enum outcome outcome;
		const char *text;
	} if_none[] = {
		[CONFIG_UNAVAILABLE_WAIT] = {WAITING, "clients wait until there is one"},
		[CONFIG_UNAVAILABLE_REFUSE] = {REFUSED, "clients are refused, see unavailable"},
		[CONFIG_UNAVAILABLE_RESET] = {REFUSED, "clients are reset, see unavailable"},
	};
	const struct config_service *config = service_config(e->s);
	uint32_t n = dispatch_n_serving(service_dispatch(e->s));

	if (config->admission.is_sensor)
		return; /* it needs none */
	if (n == 0)
		add(e, "unavailable", if_none[config->unavailable].outcome, "nobody serves: %s",
			if_none[config->unavailable].text);
	else
		add(e, "unavailable", ADMITTED, "%u %s", n, n == 1 ? "serves" : "serve");
}

static void add_room(struct explanation *e)
{
	const struct dispatch *d = service_dispatch(e->s);
	const struct config_service *config = service_config(e->s);
	uint64_t n = dispatch_n_in_service(d) + dispatch_n_unclaimed(d) + dispatch_n_waiting(d) +
		     dispatch_n_parked(d);
	bool is_full = intake_state(service_intake(e->s)) == INTAKE_FULL;

	add(e, "instances", n >= config->instances ? WAITING : ADMITTED,
		"%" PRIu64 " of %u connections", n, config->instances);
	if (is_full && n < config->instances)
		add(e, "credit", WAITING, "no provider takes another connection now");
}

static void add_wait(struct explanation *e)
{
	const struct config_admission *config = e->config;
	double seconds = seconds_until(e, e->outlook.wait_until_usec);

	if (e->outlook.wait == ADMISSION_MAX_LOAD)
		add(e, "max_load", WAITING,
			"the load average is above %u.%02u: looked at in %.3f s",
			config->max_load_percent / 100, config->max_load_percent % 100, seconds);
	else
		add(e, admission_word(e->outlook.wait), WAITING,
			"more came than it allows: goes on in %.3f s", seconds);
}

static void add_no_wait(struct explanation *e, enum admission_reason limit)
{
	const struct config_admission *config = e->config;

	if (limit == ADMISSION_CPS && config->cps.count > 0)
		add(e, "cps", ADMITTED, "not more than %u in a second came", config->cps.count);
	if (limit == ADMISSION_RATE && config->rate.count > 0)
		add(e, "rate", ADMITTED, "not more than %u in %" PRIu64 " s came",
			config->rate.count, config->rate.period_usec / 1000000);
	if (limit == ADMISSION_MAX_LOAD && config->max_load_percent > 0)
		add(e, "max_load", ADMITTED, "the load average is not above %u.%02u",
			config->max_load_percent / 100, config->max_load_percent % 100);
}

/* For what everybody waits: one of these, and those after it were not asked. */
static void add_limits(struct explanation *e)
{
	static const enum admission_reason limits[] = {
		ADMISSION_CPS, ADMISSION_RATE, ADMISSION_MAX_LOAD};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (e->outlook.wait == limits[i]) {
			add_wait(e);
			return;
		}
		add_no_wait(e, limits[i]);
	}
}

static void add_denied(struct explanation *e)
{
	uint64_t until_usec = e->outlook.denied_until_usec;

	if (until_usec == DENIED_FOREVER)
		add(e, "denied", REFUSED, "it has touched a sensor: until usherd ends");
	else if (until_usec > 0)
		add(e, "denied", REFUSED, "it has touched a sensor: for %.0f s more",
			seconds_until(e, until_usec));
	else
		add(e, "denied", ADMITTED, "it has touched no sensor");
}

static void add_rules(struct explanation *e)
{
	const struct config_rule *rule = e->outlook.rule;

	if (rule)
		add(e, rule->is_allowed ? "only_from" : "no_access",
			rule->is_allowed ? ADMITTED : REFUSED, "'%s' at %s:%d decides", rule->text,
			rule->place.file, rule->place.line);
	else if (e->outlook.by_rules != ADMISSION_ADMITTED)
		add(e, "only_from", REFUSED, "no rule matches");
	else if (e->config->n_rules > 0)
		add(e, "no_access", ADMITTED, "no rule is against it");
}

static void add_time(struct explanation *e)
{
	if (e->config->n_hours > 0)
		add(e, "access_times", e->outlook.is_time ? ADMITTED : REFUSED,
			"%s at this time of the day", e->outlook.is_time ? "open" : "closed");
	if (e->config->is_sensor)
		add(e, "sensor", REFUSED, "who connects is denied by all services");
}

static void add_source_rate(struct explanation *e)
{
	unsigned int count = e->config->per_source_rate.count;
	uint64_t period = e->config->per_source_rate.period_usec / 1000000;
	double seconds = seconds_until(e, e->outlook.source_ready_usec);

	if (seconds > 0)
		add(e, "per_source_rate", REFUSED,
			"as many as %u in %" PRIu64 " s came: the next one may in %.3f s", count,
			period, seconds);
	else
		add(e, "per_source_rate", ADMITTED, "not more than %u in %" PRIu64 " s came", count,
			period);
}

static void add_source(struct explanation *e)
{
	const struct admission_outlook *outlook = &e->outlook;
	const struct config_admission *config = e->config;

	if (config->per_source > 0)
		add(e, "per_source",
			outlook->n_connections >= config->per_source ? REFUSED : ADMITTED,
			"%u of %u connections", outlook->n_connections, config->per_source);
	if (config->per_source_rate.count > 0)
		add_source_rate(e);
}

/* What is asked of a client's address; as who comes by a unix socket is not. */
static void add_client(struct explanation *e, const struct wire_address *peer)
{
	if (peer->family == AF_UNIX) {
		add(e, "mode", ADMITTED, "who can open the socket file may come in");
		return;
	}
	add_denied(e);
	add_rules(e);
	add_time(e);
	if (e->outlook.is_counted)
		add_source(e);
}

static void add_all(struct explanation *e, const struct wire_address *peer)
{
	if (service_only_lends(e->s)) {
		add(e, "lent", ADMITTED,
			"its sockets are lent: the kernel's filter decides, by these rules alone");
		add_rules(e);
		return;
	}
	add(e, "paused", service_is_paused(e->s) ? WAITING : ADMITTED,
		service_is_paused(e->s) ? "by usherctl: clients wait until it is resumed" : "no");
	add_providers(e);
	add_room(e);
	add_limits(e);
	add_client(e, peer);
}

/* The rule that decides about the address, or null. */
static json_t *rule_json(const struct config_rule *rule)
{
	if (!rule)
		return json_null();
	return json_pack("{s:o, s:b, s:o, s:i}", "text", status_text(rule->text), "allows",
		rule->is_allowed, "file", status_text(rule->place.file), "line", rule->place.line);
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

json_t *explain_json(const struct service *s, const char *client, const struct wire_address *peer,
	uint64_t now_usec)
{
	struct explanation e = {
		.s = s,
		.config = &service_config(s)->admission,
		.now_usec = now_usec,
		.checks = json_array(),
	};
	const char *refused_to = NULL;

	service_explain(s, peer, &e.outlook);
	add_all(&e, peer);
	if (e.outcome == REFUSED && !e.config->is_sensor)
		refused_to = e.config->refused_to;
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "service", service_name(s),
		"client", client, "outcome", outcome_names[e.outcome], "reason",
		text_or_null(e.reason), "rule", rule_json(e.outlook.rule), "refused_to",
		text_or_null(refused_to), "checks", e.checks);
}
