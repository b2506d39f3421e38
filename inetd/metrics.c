/* SPDX-License-Identifier: MIT */
/*
 * The state of usherd for Prometheus: see metrics.h.
 *
 * The format wants all lines of a family together, so the table of families is outside and the
 * services are inside.
 */
#include "metrics.h"

#include "build-config.h"
#include "log.h"
#include "notify.h"
#include <string.h>

struct family {
	const char *name, *type, *help;
	/* One of these: its lines for the whole server, or for a service. */
	void (*of_server)(
		struct text *text, const struct family *family, const struct status_source *source);
	void (*of_service)(struct text *text, const struct family *family, const struct service *s);
	/* The offset of what it says in struct dispatch_totals, or struct service_receiver. */
	size_t member;
};

/* A line is begin_line() or begin_service(), labels, and end_labels() with the value behind it. */
static void begin_line(struct text *text, const struct family *family, const char *suffix)
{
	text_add(text, family->name);
	text_add(text, suffix);
}

static void begin_service(
	struct text *text, const struct family *family, const char *suffix, const struct service *s)
{
	begin_line(text, family, suffix);
	text_add(text, "{service=\"");
	text_add_escaped(text, service_name(s), strlen(service_name(s)));
	text_add(text, "\"");
}

static void add_label(struct text *text, const char *name, const char *value)
{
	text_add(text, ",");
	text_add(text, name);
	text_add(text, "=\"");
	text_add_escaped(text, value, strlen(value));
	text_add(text, "\"");
}

static void end_labels(struct text *text)
{
	text_add(text, "} ");
}

static void end_line(struct text *text, uint64_t n)
{
	text_add_number(text, n);
	text_add(text, "\n");
}

static void write_server(struct text *text, const struct family *family, uint64_t n)
{
	begin_line(text, family, " ");
	end_line(text, n);
}

static void write_service(
	struct text *text, const struct family *family, const struct service *s, uint64_t n)
{
	begin_service(text, family, "", s);
	end_labels(text);
	end_line(text, n);
}

/* With one more label. */
static void write_labelled(struct text *text, const struct family *family, const struct service *s,
	const char *label, const char *value, uint64_t n)
{
	begin_service(text, family, "", s);
	add_label(text, label, value);
	end_labels(text);
	end_line(text, n);
}

/* Of the whole server. */

static void write_build(
	struct text *text, const struct family *family, const struct status_source *source)
{
	(void)source;
	begin_line(text, family, "{version=\"");
	text_add_escaped(text, USHER_VERSION, strlen(USHER_VERSION));
	text_add(text, "\"} 1\n");
}

static void write_seconds(struct text *text, const struct family *family, uint64_t usec)
{
	begin_line(text, family, " ");
	text_add_seconds(text, usec);
	text_add(text, "\n");
}

static void write_uptime(
	struct text *text, const struct family *family, const struct status_source *source)
{
	write_seconds(text, family, source->uptime_usec);
}

static void write_upgrades(
	struct text *text, const struct family *family, const struct status_source *source)
{
	write_server(text, family, source->n_upgrades);
}

static void write_reload_outcome(
	struct text *text, const struct family *family, const struct status_source *source)
{
	write_server(text, family, !source->reload.has_failed);
}

static void write_reload_time(
	struct text *text, const struct family *family, const struct status_source *source)
{
	write_seconds(text, family, source->reload.loaded_usec);
}

static void write_log_dropped(
	struct text *text, const struct family *family, const struct status_source *source)
{
	(void)source;
	write_server(text, family, log_n_dropped());
}

static void write_notifications_dropped(
	struct text *text, const struct family *family, const struct status_source *source)
{
	(void)source;
	write_server(text, family, notify_n_dropped());
}

static void write_denied(
	struct text *text, const struct family *family, const struct status_source *source)
{
	write_server(text, family, source->n_denied);
}

/* Of a service. */

static void write_total(struct text *text, const struct family *family, const struct service *s)
{
	const char *totals = (const char *)dispatch_totals(service_dispatch(s));

	write_service(text, family, s, *(const uint64_t *)(const void *)(totals + family->member));
}

static void write_reset(struct text *text, const struct family *family, const struct service *s)
{
	write_service(text, family, s, intake_n_reset(service_intake(s)));
}

static void write_forwards_refused(
	struct text *text, const struct family *family, const struct service *s)
{
	write_service(text, family, s, service_n_forwards_refused(s));
}

static void write_turned(struct text *text, const struct family *family, const struct service *s,
	const char *label, enum admission_reason first, enum admission_reason last)
{
	for (unsigned int i = first; i <= last; i++)
		write_labelled(text, family, s, label, admission_word((enum admission_reason)i),
			service_n_turned(s, (enum admission_reason)i));
}

static void write_refused(struct text *text, const struct family *family, const struct service *s)
{
	write_turned(text, family, s, "reason", ADMISSION_DENIED, ADMISSION_PER_SOURCE_RATE);
}

static void write_delayed(struct text *text, const struct family *family, const struct service *s)
{
	write_turned(text, family, s, "limit", ADMISSION_CPS, ADMISSION_MAX_LOAD);
}

static void write_connections(
	struct text *text, const struct family *family, const struct service *s)
{
	const struct dispatch *d = service_dispatch(s);

	write_labelled(text, family, s, "state", "waiting", dispatch_n_waiting(d));
	write_labelled(text, family, s, "state", "parked", dispatch_n_parked(d));
	write_labelled(text, family, s, "state", "unclaimed", dispatch_n_unclaimed(d));
	write_labelled(text, family, s, "state", "in_service", dispatch_n_in_service(d));
}

static void write_instances(struct text *text, const struct family *family, const struct service *s)
{
	write_service(text, family, s, service_config(s)->instances);
}

static void write_sources(struct text *text, const struct family *family, const struct service *s)
{
	write_service(text, family, s, service_n_sources(s));
}

static void write_state(struct text *text, const struct family *family, const struct service *s)
{
	unsigned int state = status_service_state(s);

	for (unsigned int i = 0; i < STATUS_DRAINING; i++)
		write_labelled(text, family, s, "state", status_service_words[i], i == state);
}

static void write_listeners(struct text *text, const struct family *family, const struct service *s)
{
	uint64_t counts[STATUS_N_LISTENER_STATES] = {0};
	size_t n;
	struct listener *const *listeners = intake_listeners(service_intake(s), &n);

	for (size_t i = 0; i < n; i++)
		counts[listener_state(listeners[i])]++;
	for (size_t i = 0; i < STATUS_N_LISTENER_STATES; i++)
		write_labelled(text, family, s, "state", status_listener_words[i], counts[i]);
}

static void write_providers(struct text *text, const struct family *family, const struct service *s)
{
	uint64_t counts[STATUS_N_PROVIDER_STATES] = {0};

	for (const struct provider *p = service_providers(s); p; p = p->next)
		if (p->record)
			counts[status_provider_state(p->record)]++;
	for (size_t i = 0; i < STATUS_N_PROVIDER_STATES; i++)
		write_labelled(text, family, s, "state", status_provider_words[i], counts[i]);
}

static void write_credit(struct text *text, const struct family *family, const struct service *s)
{
	uint64_t credit = 0;

	for (const struct provider *p = service_providers(s); p; p = p->next)
		if (p->record && status_provider_state(p->record) == PROVIDER_READY)
			credit += (uint64_t)p->record->credit;
	write_service(text, family, s, credit);
}

/* Of a service that passes its connections; others have no such line. */
static void write_receiver(struct text *text, const struct family *family, const struct service *s)
{
	struct service_receiver receiver;

	if (service_pass_report(s, &receiver))
		write_service(text, family, s,
			*(const uint64_t *)(const void *)((const char *)&receiver +
							  family->member));
}

/* A bucket counts what is in those before it, too. */
static void write_buckets(struct text *text, const struct family *family, const struct service *s,
	const struct histogram *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= HISTOGRAM_N_BOUNDS; i++) {
		begin_service(text, family, "_bucket", s);
		text_add(text, ",le=\"");
		if (i < HISTOGRAM_N_BOUNDS)
			text_add_seconds(text, histogram_bounds_usec[i]);
		else
			text_add(text, "+Inf");
		text_add(text, "\"");
		end_labels(text);
		end_line(text, n += h->counts[i]);
	}
	begin_service(text, family, "_sum", s);
	end_labels(text);
	text_add_seconds(text, h->sum_usec);
	text_add(text, "\n");
	begin_service(text, family, "_count", s);
	end_labels(text);
	end_line(text, n);
}

/*
 * Of a histogram that lies where a total would. Half of the text would be histograms in which there
 * is nothing: those are left out.
 */
static void write_histogram(struct text *text, const struct family *family, const struct service *s)
{
	const struct dispatch_totals *totals = dispatch_totals(service_dispatch(s));

	if (totals->n_claimed > 0)
		write_buckets(
			text, family, s, (const void *)((const char *)totals + family->member));
}

#define TOTAL(field)                                                                               \
	.of_service = write_total, .member = offsetof(struct dispatch_totals, n_##field)
#define HISTOGRAM(field)                                                                           \
	.of_service = write_histogram, .member = offsetof(struct dispatch_totals, field)
#define RECEIVER(field)                                                                            \
	.of_service = write_receiver, .member = offsetof(struct service_receiver, n_##field)

static const struct family families[] = {
	{"usher_build_info", "gauge", "Always 1; the label says the version of usherd.",
		.of_server = write_build},
	{"usher_uptime_seconds", "gauge", "How long usherd has been running, upgrades included.",
		.of_server = write_uptime},
	{"usher_upgrades_total", "counter", "Upgrades of usherd while it was running.",
		.of_server = write_upgrades},
	{"usher_config_last_reload_successful", "gauge",
		"Whether the configuration could be carried out when it was read last.",
		.of_server = write_reload_outcome},
	{"usher_config_last_reload_success_timestamp_seconds", "gauge",
		"When the configuration that is in force was read.",
		.of_server = write_reload_time},
	{"usher_log_messages_dropped_total", "counter", "Log messages that were lost.",
		.of_server = write_log_dropped},
	{"usher_notifications_dropped_total", "counter",
		"Messages to the service manager that were lost.",
		.of_server = write_notifications_dropped},
	{"usher_denied_networks", "gauge",
		"Networks refused by all services because they have touched a sensor.",
		.of_server = write_denied},
	{"usher_service_state", "gauge", "1 for the state that a service is in, 0 for the others.",
		.of_service = write_state},
	{"usher_listeners", "gauge", "Listening sockets, by state.", .of_service = write_listeners},
	{"usher_providers", "gauge", "Registered processes, by state.",
		.of_service = write_providers},
	{"usher_provider_credit", "gauge",
		"How many connections all providers together would take now.",
		.of_service = write_credit},
	{"usher_connections", "gauge", "Connections that are there now, by state.",
		.of_service = write_connections},
	{"usher_connections_limit", "gauge", "How many connections there may be: instances.",
		.of_service = write_instances},
	{"usher_sources", "gauge", "Sources of clients that are known now.",
		.of_service = write_sources},
	{"usher_connections_accepted_total", "counter", "Connections that usherd accepted.",
		TOTAL(accepted)},
	{"usher_connections_taken_over_total", "counter",
		"Connections that came otherwise: forwarded, or from an earlier usherd.",
		TOTAL(taken_over)},
	{"usher_connections_claimed_total", "counter", "Connections that a provider took.",
		TOTAL(claimed)},
	{"usher_connections_released_total", "counter", "Connections that a provider ended.",
		TOTAL(released)},
	{"usher_connections_forwarded_total", "counter",
		"Connections that a provider gave on to another service, or back.",
		TOTAL(forwarded)},
	{"usher_connections_redispatched_total", "counter",
		"Unclaimed connections taken back from a provider that died.", TOTAL(redispatched)},
	{"usher_connections_declined_total", "counter",
		"Connections that a provider gave back unclaimed.", TOTAL(declined)},
	{"usher_connections_parked_total", "counter",
		"Connections put aside because nobody could take them.", TOTAL(parked)},
	{"usher_connections_expired_total", "counter",
		"Connections reset because they were parked for too long.", TOTAL(expired)},
	{"usher_connections_given_up_total", "counter",
		"Connections reset because nobody could take them, nor could they be parked.",
		TOTAL(given_up)},
	{"usher_connections_lost_total", "counter",
		"Connections whose fate is not known, because their provider died.", TOTAL(lost)},
	{"usher_connections_touched_total", "counter",
		"Those among the lost that were used before they were claimed.", TOTAL(touched)},
	{"usher_connections_reset_total", "counter",
		"Connections that usherd reset because nobody could serve them.",
		.of_service = write_reset},
	{"usher_forwards_refused_total", "counter",
		"Forwarded connections that were reset because the other service did not take them.",
		.of_service = write_forwards_refused},
	{"usher_connections_refused_total", "counter", "Clients that were refused, by reason.",
		.of_service = write_refused},
	{"usher_delays_total", "counter", "How often clients had to wait, by limit.",
		.of_service = write_delayed},
	{"usher_receiver_in_flight", "gauge",
		"Connections that were sent to a receiver and not read yet.", RECEIVER(in_flight)},
	{"usher_receiver_passed_total", "counter", "Connections that a receiver has read.",
		RECEIVER(passed)},
	{"usher_receiver_unread_total", "counter",
		"Connections that a receiver was gone without reading.", RECEIVER(unread)},
	{"usher_waiting_seconds", "histogram",
		"From accepting a connection to sending it to the provider that claimed it.",
		HISTOGRAM(waiting_time)},
	{"usher_handoff_seconds", "histogram", "From sending a connection to its claim.",
		HISTOGRAM(handoff_time)},
};

static void write_head(struct text *text, const struct family *family)
{
	text_add(text, "# HELP ");
	text_add(text, family->name);
	text_add(text, " ");
	text_add(text, family->help);
	text_add(text, "\n# TYPE ");
	text_add(text, family->name);
	text_add(text, " ");
	text_add(text, family->type);
	text_add(text, "\n");
}

/* Those that are ending come last in the list. */
static bool is_there(const struct service_list *services, size_t i)
{
	return i < services->n_services && !service_is_ending(services->services[i]);
}

/* Returns false if there is room for nothing more in this part, and maybe something is left. */
static bool write_services(struct text *text, const struct family *family,
	const struct service_list *services, size_t *service)
{
	while (is_there(services, *service)) {
		family->of_service(text, family, services->services[(*service)++]);
		if (text->size >= METRICS_PART) /* behind a service: the head is written */
			return false;
	}
	*service = 0;
	return true;
}

bool metrics_write(
	struct text *text, struct metrics_cursor *cursor, const struct status_source *source)
{
	for (; cursor->family < sizeof(families) / sizeof(families[0]); cursor->family++) {
		const struct family *family = &families[cursor->family];

		if (cursor->service == 0)
			write_head(text, family);
		if (family->of_server)
			family->of_server(text, family, source);
		else if (!write_services(text, family, source->services, &cursor->service))
			return true;
	}
	return false;
}
