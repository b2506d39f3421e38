/* SPDX-License-Identifier: MIT */
/*
 * The status table: see status.h. Two kinds of rows with columns of their own,
 *
 *     SERVICE  STATE    IN SERVICE  IN HAND  WAITING  ADDRESSES
 *       NO  PID  USER      UNIT         STATE  CREDIT  IN HAND  IN SERVICE  SERVED
 *
 * one for each service, then one for each of its providers.
 */
#include "status.h"

#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MAX_ADDRESSES 3 /* of one service that are shown */

enum service_column {
	SERVICE_NAME,
	SERVICE_STATE,
	SERVICE_IN_SERVICE,
	SERVICE_IN_HAND,
	SERVICE_WAITING,
	SERVICE_ADDRESSES,
	N_SERVICE_COLUMNS,
};

static const struct table_column service_columns[N_SERVICE_COLUMNS] = {
	[SERVICE_NAME] = {"SERVICE"},
	[SERVICE_STATE] = {"STATE"},
	[SERVICE_IN_SERVICE] = {"IN SERVICE", .is_number = true},
	[SERVICE_IN_HAND] = {"IN HAND", .is_number = true},
	[SERVICE_WAITING] = {"WAITING", .is_number = true},
	[SERVICE_ADDRESSES] = {"ADDRESSES"},
};

enum provider_column {
	PROVIDER_NUMBER,
	PROVIDER_PID,
	PROVIDER_USER,
	PROVIDER_UNIT,
	PROVIDER_STATE,
	PROVIDER_CREDIT,
	PROVIDER_IN_HAND,
	PROVIDER_IN_SERVICE,
	PROVIDER_SERVED,
	N_PROVIDER_COLUMNS,
};

static const struct table_column provider_columns[N_PROVIDER_COLUMNS] = {
	[PROVIDER_NUMBER] = {"NO", .is_number = true},
	[PROVIDER_PID] = {"PID", .is_number = true},
	[PROVIDER_USER] = {"USER"},
	[PROVIDER_UNIT] = {"UNIT"},
	[PROVIDER_STATE] = {"STATE"},
	[PROVIDER_CREDIT] = {"CREDIT", .is_number = true},
	[PROVIDER_IN_HAND] = {"IN HAND", .is_number = true},
	[PROVIDER_IN_SERVICE] = {"IN SERVICE", .is_number = true},
	[PROVIDER_SERVED] = {"SERVED", .is_number = true},
};

/* Of services and of providers. What is not listed has no colour. */
static const struct {
	const char *state;
	enum colour colour;
} state_colours[] = {
	{"serving", COLOUR_GREEN},
	{"ready", COLOUR_GREEN},
	{"standby", COLOUR_GREEN},
	{"lent", COLOUR_GREEN},
	{"full", COLOUR_YELLOW},
	{"limited", COLOUR_YELLOW},
	{"waiting", COLOUR_YELLOW},
	{"unreached", COLOUR_YELLOW},
	{"paused", COLOUR_YELLOW},
	{"blocked", COLOUR_YELLOW},
	{"draining", COLOUR_YELLOW},
	{"refusing", COLOUR_RED},
	{"resetting", COLOUR_RED},
	{"stuck", COLOUR_RED},
	{"quarantined", COLOUR_RED},
};

/* In the order of a connection's life. */
static const struct {
	const char *key, *words;
} totals_shown[] = {
	{"accepted", "accepted"},
	{"taken_over", "taken over"},
	{"claimed", "claimed"},
	{"released", "released"},
	{"forwarded", "forwarded"},
	{"redispatched", "redispatched"},
	{"declined", "declined"},
	{"parked", "parked"},
	{"expired", "expired"},
	{"given_up", "given up"},
	{"reset", "reset"},
	{"forwards_refused", "forwards refused"},
	{"lost", "lost"},
	{"touched", "touched"},
};

struct view {
	struct table services;
	struct table providers;
	size_t n_providers;
};

static json_int_t number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* The printable text of a member, cut to `size`; "-" if it is null, empty or missing. Returns
 * `buffer`. */
static char *text_of(const json_t *object, const char *key, char *buffer, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	text_copy(buffer, size, text && *text ? text : "-");
	return buffer;
}

static void set_text(struct table_cell *cell, const json_t *object, const char *key)
{
	text_of(object, key, cell->text, sizeof(cell->text));
}

static void print_number(struct table_cell *cell, json_int_t number)
{
	snprintf(cell->text, sizeof(cell->text), "%" JSON_INTEGER_FORMAT, number);
}

static void set_number(struct table_cell *cell, const json_t *object, const char *key)
{
	print_number(cell, number_of(object, key));
}

enum colour status_state_colour(const char *state)
{
	for (size_t i = 0; i < sizeof(state_colours) / sizeof(state_colours[0]); i++)
		if (strcmp(state_colours[i].state, state) == 0)
			return state_colours[i].colour;
	return COLOUR_NONE;
}

static bool is_state(const json_t *object, const char *state)
{
	const char *text = json_string_value(json_object_get(object, "state"));

	return text && strcmp(text, state) == 0;
}

/* `flag`: the member that says more than the state does, if it is true; NULL: none does. */
static void set_state(struct table_cell *cell, const json_t *object, const char *flag)
{
	if (json_is_true(json_object_get(object, flag)))
		text_copy(cell->text, sizeof(cell->text), flag);
	else
		set_text(cell, object, "state");
	cell->colour = status_state_colour(cell->text);
}

/* What else is to be said of a listener. Those that are open, or paused as the service's state
 * says, need no word. */
static void append_listener_state(char *text, size_t size, const json_t *listener)
{
	const json_t *lent_to = json_object_get(listener, "lent_to");

	if (is_state(listener, "retrying"))
		(void)snprintf(text, size, " (retrying)");
	else if (json_is_integer(lent_to))
		(void)snprintf(text, size, " (lent to %" JSON_INTEGER_FORMAT ")",
			json_integer_value(lent_to));
}

/* One address. */
static void append_listener(char *text, size_t size, const json_t *listener)
{
	size_t length = strlen(text);

	if (length > 0)
		length += (size_t)snprintf(text + length, size - length, ", ");
	text_of(listener, "address", text + length, size - length);
	length = strlen(text);
	append_listener_state(text + length, size - length, listener);
}

/* The first addresses, "and 998 more". */
static void set_addresses(struct table_cell *cell, const json_t *listeners)
{
	size_t n = json_array_size(listeners);
	size_t n_shown = n > MAX_ADDRESSES ? MAX_ADDRESSES - 1 : n, length;

	snprintf(cell->text, sizeof(cell->text), "%s", n > 0 ? "" : "none");
	for (size_t i = 0; i < n_shown; i++)
		append_listener(cell->text, sizeof(cell->text), json_array_get(listeners, i));
	length = strlen(cell->text);
	if (n > n_shown)
		snprintf(cell->text + length, sizeof(cell->text) - length, " and %zu more",
			n - n_shown);
}

static void make_service_row(struct table_cell *row, const json_t *service)
{
	struct table_cell *in_service = &row[SERVICE_IN_SERVICE];

	memset(row, 0, N_SERVICE_COLUMNS * sizeof(*row));
	set_text(&row[SERVICE_NAME], service, "name");
	row[SERVICE_NAME].colour = COLOUR_BOLD;
	set_state(&row[SERVICE_STATE], service, is_state(service, "draining") ? NULL : "paused");
	snprintf(in_service->text, sizeof(in_service->text),
		"%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT, number_of(service, "in_service"),
		number_of(service, "instances"));
	set_number(&row[SERVICE_IN_HAND], service, "unclaimed");
	print_number(&row[SERVICE_WAITING],
		number_of(service, "waiting") + number_of(service, "parked"));
	set_addresses(&row[SERVICE_ADDRESSES], json_object_get(service, "listeners"));
}

/* Nearly every unit is a service: the suffix is left out. */
static void set_unit(struct table_cell *cell, const json_t *provider)
{
	static const char suffix[] = ".service";
	size_t length;

	set_text(cell, provider, "unit");
	length = strlen(cell->text);
	if (length >= sizeof(suffix) && strcmp(cell->text + length - strlen(suffix), suffix) == 0)
		cell->text[length - strlen(suffix)] = '\0';
}

/* By name. Looking that up may take long: usherd, which must not wait, knows the number only. */
static void set_user(struct table_cell *cell, const json_t *provider)
{
	const struct passwd *user = getpwuid((uid_t)number_of(provider, "uid"));

	if (user)
		text_copy(cell->text, sizeof(cell->text), user->pw_name);
	else
		set_number(cell, provider, "uid");
}

static void make_provider_row(struct table_cell *row, const json_t *provider)
{
	memset(row, 0, N_PROVIDER_COLUMNS * sizeof(*row));
	set_number(&row[PROVIDER_NUMBER], provider, "number");
	set_number(&row[PROVIDER_PID], provider, "pid");
	set_user(&row[PROVIDER_USER], provider);
	set_unit(&row[PROVIDER_UNIT], provider);
	set_state(&row[PROVIDER_STATE], provider, is_state(provider, "ready") ? "standby" : NULL);
	set_number(&row[PROVIDER_CREDIT], provider, "credit");
	set_number(&row[PROVIDER_IN_HAND], provider, "unclaimed");
	set_number(&row[PROVIDER_IN_SERVICE], provider, "in_service");
	set_number(&row[PROVIDER_SERVED], provider, "served");
}

char *status_uptime(json_int_t seconds, char *text, size_t size)
{
	static const struct {
		json_int_t seconds, of_next;
		const char *name, *next;
	} units[] = {{86400, 3600, "d", "h"}, {3600, 60, "h", "min"}, {60, 1, "min", "s"}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (seconds < units[i].seconds)
			continue;
		(void)snprintf(text, size, "up %jd %s %jd %s",
			(intmax_t)(seconds / units[i].seconds), units[i].name,
			(intmax_t)(seconds % units[i].seconds / units[i].of_next), units[i].next);
		return text;
	}
	(void)snprintf(text, size, "up %jd s", (intmax_t)seconds);
	return text;
}

static void print_head(const json_t *status)
{
	char text[TABLE_CELL_SIZE];

	printf("usherd %s, pid %" JSON_INTEGER_FORMAT ", ",
		text_of(status, "version", text, sizeof(text)), number_of(status, "pid"));
	printf("%s", status_uptime(number_of(status, "uptime_seconds"), text, sizeof(text)));
	if (number_of(status, "upgrades") > 0)
		printf(", upgrades: %" JSON_INTEGER_FORMAT, number_of(status, "upgrades"));
	printf(", %s\n", text_of(status, "config", text, sizeof(text)));
	if (number_of(status, "log_messages_dropped") > 0)
		printf("%" JSON_INTEGER_FORMAT
		       " log messages were dropped: the log is not read fast enough\n",
			number_of(status, "log_messages_dropped"));
	if (number_of(status, "denied") > 0)
		printf("%" JSON_INTEGER_FORMAT
		       " networks have touched a sensor and are refused everywhere\n",
			number_of(status, "denied"));
}

/* Those that are not zero. */
static void print_totals(const json_t *totals)
{
	const char *separator = "  totals: ";

	for (size_t i = 0; i < sizeof(totals_shown) / sizeof(totals_shown[0]); i++) {
		json_int_t n = number_of(totals, totals_shown[i].key);

		if (n == 0)
			continue;
		printf("%s%" JSON_INTEGER_FORMAT " %s", separator, n, totals_shown[i].words);
		separator = ", ";
	}
	if (*separator == ',')
		putchar('\n');
}

/* Those that are not zero, each with the rule or limit that it was for. */
static void print_reasons(const char *title, const json_t *reasons)
{
	const char *separator = "", *reason;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)reasons, reason, value)
	{
		if (json_integer_value(value) == 0)
			continue;
		printf("%s%" JSON_INTEGER_FORMAT " %s", *separator ? separator : title,
			json_integer_value(value), reason);
		separator = ", ";
	}
	if (*separator)
		putchar('\n');
}

/* For what clients wait now. */
static void print_limit(const json_t *service)
{
	const json_t *limit = json_object_get(service, "limited");
	char text[TABLE_CELL_SIZE];

	if (json_is_object(limit))
		printf("  limited: by %s for %.1f s\n",
			text_of(limit, "reason", text, sizeof(text)),
			json_number_value(json_object_get(limit, "seconds")));
}

/* What the provider says of itself, if anything: "usher-basic: all is well". */
static void print_words(const json_t *provider)
{
	const char *name = json_string_value(json_object_get(provider, "name"));
	const char *status = json_string_value(json_object_get(provider, "status"));
	bool has_name = name && *name, has_status = status && *status;
	char text[TABLE_CELL_SIZE];

	if (!has_name && !has_status)
		return;
	printf("      ");
	if (has_name)
		printf("%s", text_of(provider, "name", text, sizeof(text)));
	if (has_status)
		printf("%s%s", has_name ? ": " : "",
			text_of(provider, "status", text, sizeof(text)));
	putchar('\n');
}

static void fit_service(struct view *view, const json_t *service)
{
	const json_t *providers = json_object_get(service, "providers");
	struct table_cell row[TABLE_MAX_COLUMNS];

	make_service_row(row, service);
	table_fit(&view->services, row);
	for (size_t i = 0; i < json_array_size(providers); i++) {
		make_provider_row(row, json_array_get(providers, i));
		table_fit(&view->providers, row);
		view->n_providers++;
	}
}

static void print_provider(const struct view *view, const json_t *provider)
{
	struct table_cell row[TABLE_MAX_COLUMNS];

	make_provider_row(row, provider);
	table_print(&view->providers, row);
	print_words(provider);
}

/* Of a service that passes its connections: whom to, and how that goes. */
static void print_receiver(const json_t *receiver)
{
	char path[TABLE_CELL_SIZE], state[TABLE_CELL_SIZE];

	if (!json_is_object(receiver))
		return;
	printf("  receiver %s: %s, %lld in flight, %lld passed\n",
		text_of(receiver, "path", path, sizeof(path)),
		text_of(receiver, "state", state, sizeof(state)),
		(long long)json_integer_value(json_object_get(receiver, "in_flight")),
		(long long)json_integer_value(json_object_get(receiver, "passed")));
}

static void print_service(const struct view *view, const json_t *service)
{
	const json_t *providers = json_object_get(service, "providers");
	struct table_cell row[TABLE_MAX_COLUMNS];

	putchar('\n');
	make_service_row(row, service);
	table_print(&view->services, row);
	for (size_t i = 0; i < json_array_size(providers); i++)
		print_provider(view, json_array_get(providers, i));
	print_receiver(json_object_get(service, "receiver"));
	print_totals(json_object_get(service, "totals"));
	print_reasons("  refused: ", json_object_get(service, "refused"));
	print_reasons("  delayed: ", json_object_get(service, "delayed"));
	print_limit(service);
	if (number_of(service, "sources") > 0)
		printf("  sources: %" JSON_INTEGER_FORMAT "\n", number_of(service, "sources"));
}

static void print_disabled(const json_t *disabled)
{
	size_t n = json_array_size(disabled);

	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(disabled, i));
		char text[TABLE_CELL_SIZE];

		text_copy(text, sizeof(text), name ? name : "-");
		printf("%s%s", i == 0 ? "\ndisabled: " : ", ", text);
	}
	if (n > 0)
		putchar('\n');
}

static void print_titles(const struct view *view)
{
	putchar('\n');
	table_print_titles(&view->services);
	if (view->n_providers > 0)
		table_print_titles(&view->providers);
}

void status_print(const json_t *status, bool has_colours)
{
	const json_t *services = json_object_get(status, "services");
	size_t n = json_array_size(services);
	struct view view = {0};

	table_init(&view.services, service_columns, N_SERVICE_COLUMNS, 0, has_colours);
	table_init(&view.providers, provider_columns, N_PROVIDER_COLUMNS, 2, has_colours);
	for (size_t i = 0; i < n; i++)
		fit_service(&view, json_array_get(services, i));

	print_head(status);
	if (n > 0)
		print_titles(&view);
	for (size_t i = 0; i < n; i++)
		print_service(&view, json_array_get(services, i));
	print_disabled(json_object_get(status, "disabled"));
}
