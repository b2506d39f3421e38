/* SPDX-License-Identifier: MIT */
/* Rates and quantiles between two moments: see top-model.h. */
#include "top-model.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Two moments of the same thing. `before` is NULL if there is nothing to compare with. */
struct pair {
	const json_t *now, *before;
	double seconds;
};

static uint64_t count_of(const json_t *object, const char *key)
{
	json_int_t number = json_integer_value(json_object_get(object, key));

	return number > 0 ? (uint64_t)number : 0;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static uint64_t grown(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

static double rate_of(const struct pair *pair, uint64_t now, uint64_t before)
{
	return pair->before && pair->seconds > 0 ? (double)grown(now, before) / pair->seconds : NAN;
}

/* The element of an array whose member `key` equals that of `like`, or NULL. It is looked for from
 * `place` on, where it usually is: with thousands of services every look would be millions of
 * steps. */
static const json_t *find_like(
	const json_t *array, const char *key, const json_t *like, size_t place)
{
	const json_t *value = json_object_get(like, key);
	size_t n = json_array_size(array);

	for (size_t i = 0; value && i < n; i++) {
		const json_t *element = json_array_get(array, (place + i) % n);

		if (json_equal(json_object_get(element, key), value))
			return element;
	}
	return NULL;
}

/* Returns false if the object is missing, or no histogram. */
static bool histogram_read(struct top_histogram *histogram, const json_t *object)
{
	const json_t *bounds = json_object_get(object, "bounds_seconds");
	const json_t *counts = json_object_get(object, "counts");
	size_t n = json_array_size(bounds);

	if (n == 0 || n > TOP_MAX_BOUNDS || json_array_size(counts) != n + 1)
		return false;
	histogram->n_bounds = n;
	for (size_t i = 0; i <= n; i++) {
		json_int_t count = json_integer_value(json_array_get(counts, i));

		if (count < 0)
			return false;
		histogram->counts[i] = (uint64_t)count;
	}
	for (size_t i = 0; i < n; i++) {
		histogram->bounds[i] = json_number_value(json_array_get(bounds, i));
		if (!(histogram->bounds[i] > (i > 0 ? histogram->bounds[i - 1] : 0)))
			return false;
	}
	return true;
}

/* What came to the histogram of this name meanwhile. Returns false if that is not known. */
static bool histogram_between(
	struct top_histogram *histogram, const struct pair *pair, const char *key)
{
	struct top_histogram before;

	if (!histogram_read(histogram, json_object_get(pair->now, key)) ||
		!histogram_read(&before, json_object_get(pair->before, key)) ||
		before.n_bounds != histogram->n_bounds)
		return false;
	for (size_t i = 0; i <= histogram->n_bounds; i++)
		histogram->counts[i] = grown(histogram->counts[i], before.counts[i]);
	return true;
}

double top_histogram_quantile(const struct top_histogram *histogram, double share)
{
	double total = 0, below = 0, rank;

	if (histogram->n_bounds == 0)
		return NAN;
	for (size_t i = 0; i <= histogram->n_bounds; i++)
		total += (double)histogram->counts[i];
	rank = share * total;
	for (size_t i = 0; total > 0 && i < histogram->n_bounds; i++) {
		double count = (double)histogram->counts[i];
		double lowest = i > 0 ? histogram->bounds[i - 1] : 0;

		if (count > 0 && below + count >= rank)
			return lowest + (histogram->bounds[i] - lowest) * (rank - below) / count;
		below += count;
	}
	return total > 0 ? histogram->bounds[histogram->n_bounds - 1] : NAN;
}

static void set_latency(struct top_row *row, const struct pair *pair)
{
	struct top_histogram histogram;

	row->median_seconds = row->p99_seconds = NAN;
	if (!histogram_between(&histogram, pair, "handoff_time"))
		return;
	row->median_seconds = top_histogram_quantile(&histogram, 0.5);
	row->p99_seconds = top_histogram_quantile(&histogram, 0.99);
}

/* Turned away by rules and limits, or because nobody could serve them. */
static uint64_t count_refused(const json_t *service)
{
	const json_t *reasons = json_object_get(service, "refused");
	uint64_t n = count_of(json_object_get(service, "totals"), "reset");
	void *iterator = json_object_iter((json_t *)(uintptr_t)reasons);

	for (; iterator; iterator = json_object_iter_next((json_t *)(uintptr_t)reasons, iterator)) {
		json_int_t count = json_integer_value(json_object_iter_value(iterator));

		n += count > 0 ? (uint64_t)count : 0;
	}
	return n;
}

/* Only in these states a provider gets connections. */
static bool is_in_use(const char *state)
{
	return strcmp(state, "ready") == 0 || strcmp(state, "full") == 0;
}

static void make_provider(struct top_row *row, const struct pair *pair)
{
	const json_t *now = pair->now;

	*row = (struct top_row){.name = text_of(now, "name"),
		.state = text_of(now, "state"),
		.number = json_integer_value(json_object_get(now, "number")),
		.pid = json_integer_value(json_object_get(now, "pid")),
		.in_service = count_of(now, "in_service"),
		.unclaimed = count_of(now, "unclaimed"),
		.accepted = NAN,
		.refused = NAN,
		.released =
			rate_of(pair, count_of(now, "served"), count_of(pair->before, "served")),
		.median_seconds = NAN,
		.p99_seconds = NAN};
	if (is_in_use(row->state)) {
		row->credit = count_of(now, "credit");
		row->capacity = row->credit + row->in_service + row->unclaimed;
	}
}

static int make_providers(struct top_row *row, const struct pair *pair)
{
	const json_t *now = json_object_get(pair->now, "providers");
	const json_t *before = json_object_get(pair->before, "providers");
	size_t n = json_array_size(now);

	row->providers = n > 0 ? calloc(n, sizeof(*row->providers)) : NULL;
	if (n > 0 && !row->providers)
		return -ENOMEM;
	row->n_providers = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *provider = json_array_get(now, i);
		struct pair own = {
			provider, find_like(before, "number", provider, i), pair->seconds};

		make_provider(&row->providers[i], &own);
		row->credit += row->providers[i].credit;
		row->capacity += row->providers[i].capacity;
	}
	return 0;
}

static void set_rates(struct top_row *row, const struct pair *pair)
{
	const json_t *totals = json_object_get(pair->now, "totals");
	const json_t *before = json_object_get(pair->before, "totals");

	row->accepted = rate_of(pair, count_of(totals, "accepted"), count_of(before, "accepted"));
	row->released = rate_of(pair, count_of(totals, "released"), count_of(before, "released"));
	row->refused = rate_of(pair, count_refused(pair->now), count_refused(pair->before));
}

static int make_service(struct top_row *row, const struct pair *pair)
{
	const json_t *now = pair->now;
	bool is_paused = json_is_true(json_object_get(now, "paused"));

	*row = (struct top_row){.name = text_of(now, "name"),
		.state = text_of(now, "state"),
		.in_service = count_of(now, "in_service"),
		.unclaimed = count_of(now, "unclaimed"),
		.instances = count_of(now, "instances"),
		.waiting = count_of(now, "waiting") + count_of(now, "parked")};
	if (is_paused && strcmp(row->state, "draining") != 0)
		row->state = "paused";
	set_rates(row, pair);
	set_latency(row, pair);
	return make_providers(row, pair);
}

static void add_to_all(struct top_row *all, const struct top_row *service)
{
	all->in_service += service->in_service;
	all->waiting += service->waiting;
	/* Of a service that has just come nothing is known yet. */
	all->accepted += isnan(service->accepted) ? 0 : service->accepted;
	all->refused += isnan(service->refused) ? 0 : service->refused;
	all->released += isnan(service->released) ? 0 : service->released;
}

int top_model_make(
	struct top_model *ret, const json_t *status, const json_t *before, double seconds)
{
	const json_t *services = json_object_get(status, "services");
	const json_t *pid = json_object_get(status, "pid"), *earlier = NULL;
	size_t n = json_array_size(services);
	struct top_model model = {.services = n > 0 ? calloc(n, sizeof(*model.services)) : NULL};
	int r = n > 0 && !model.services ? -ENOMEM : 0;

	if (before && json_equal(pid, json_object_get(before, "pid")))
		earlier = json_object_get(before, "services");
	for (; r == 0 && model.n_services < n; model.n_services++) {
		struct top_row *row = &model.services[model.n_services];
		const json_t *service = json_array_get(services, model.n_services);
		struct pair pair = {
			service, find_like(earlier, "name", service, model.n_services), seconds};

		r = make_service(row, &pair);
		add_to_all(&model.all, row);
	}
	if (!earlier)
		model.all.accepted = model.all.refused = model.all.released = NAN;
	if (r < 0)
		top_model_done(&model);
	else
		*ret = model;
	return r;
}

void top_model_done(struct top_model *model)
{
	for (size_t i = 0; i < model->n_services; i++)
		free(model->services[i].providers);
	free(model->services);
	*model = (struct top_model){0};
}

/* JSON knows no NAN. */
static json_t *number_json(double number)
{
	return isnan(number) ? json_null() : json_real(number);
}

static json_t *provider_json(const struct top_row *row)
{
	return json_pack("{s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:o}", "number", row->number, "pid",
		row->pid, "name", row->name, "state", row->state, "credit", (json_int_t)row->credit,
		"unclaimed", (json_int_t)row->unclaimed, "in_service", (json_int_t)row->in_service,
		"released_per_second", number_json(row->released));
}

static json_t *service_json(const struct top_row *row)
{
	json_t *providers = json_array();

	for (size_t i = 0; i < row->n_providers; i++)
		json_array_append_new(providers, provider_json(&row->providers[i]));
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
		"name", row->name, "state", row->state, "in_service", (json_int_t)row->in_service,
		"instances", (json_int_t)row->instances, "unclaimed", (json_int_t)row->unclaimed,
		"waiting", (json_int_t)row->waiting, "credit", (json_int_t)row->credit, "capacity",
		(json_int_t)row->capacity, "accepted_per_second", number_json(row->accepted),
		"refused_per_second", number_json(row->refused), "released_per_second",
		number_json(row->released), "handoff_median_seconds",
		number_json(row->median_seconds), "handoff_p99_seconds",
		number_json(row->p99_seconds), "providers", providers);
}

json_t *top_model_json(const struct top_model *model, double seconds)
{
	json_t *services = json_array();

	for (size_t i = 0; i < model->n_services; i++)
		json_array_append_new(services, service_json(&model->services[i]));
	return json_pack("{s:f, s:o}", "seconds", seconds, "services", services);
}
