/* SPDX-License-Identifier: MIT */
/* What `usherctl top` makes of two status objects: rates, credit, quantiles. */
#include "random.h"
#include "test.h"
#include "top-model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BOUNDS "\"bounds_seconds\": [0.001, 0.01, 0.1]"

static json_t *parse(const char *text)
{
	json_error_t error;
	json_t *json = json_loads(text, 0, &error);

	if (!json)
		fail_msg("%s: %s", text, error.text);
	return json;
}

/* usherd `pid` with one service of these members. */
static json_t *status_of(int pid, const char *members)
{
	char text[2048];

	snprintf(text, sizeof(text), "{\"pid\": %d, \"services\": [{\"name\": \"web\", %s}]}", pid,
		members);
	return parse(text);
}

/* The model of the change from `before` to `now`, both taken; *ret_status has to outlive it. */
static struct top_model model_of(json_t *now, json_t *before, double seconds, json_t **ret_status)
{
	struct top_model model;

	assert_int_equal(top_model_make(&model, now, before, seconds), 0);
	json_decref(before);
	*ret_status = now;
	return model;
}

static void done(struct top_model *model, json_t *status)
{
	top_model_done(model);
	json_decref(status);
}

static void test_rates_are_what_came_in_the_time(void **state)
{
	json_t *status;
	struct top_model model = model_of(
		status_of(1, "\"totals\": {\"accepted\": 150, \"released\": 90, \"reset\": 7},"
			     "\"refused\": {\"denied\": 12, \"rate\": 3}"),
		status_of(1, "\"totals\": {\"accepted\": 100, \"released\": 80, \"reset\": 5},"
			     "\"refused\": {\"denied\": 10, \"rate\": 1}"),
		2, &status);

	(void)state;
	assert_float_equal(model.services[0].accepted, 25, 1e-9);
	assert_float_equal(model.services[0].released, 5, 1e-9);
	assert_float_equal(model.services[0].refused, 3, 1e-9);
	assert_float_equal(model.all.accepted, 25, 1e-9);
	done(&model, status);
}

static void test_without_an_earlier_moment_nothing_is_known(void **state)
{
	json_t *status;
	struct top_model model =
		model_of(status_of(1, "\"totals\": {\"accepted\": 150}"), NULL, 0, &status);

	(void)state;
	assert_true(isnan(model.services[0].accepted));
	assert_true(isnan(model.services[0].p99_seconds));
	assert_true(isnan(model.all.accepted));
	done(&model, status);
}

static void test_another_usherd_is_not_compared(void **state)
{
	json_t *status;
	struct top_model model = model_of(status_of(2, "\"totals\": {\"accepted\": 150}"),
		status_of(1, "\"totals\": {\"accepted\": 100}"), 1, &status);

	(void)state;
	assert_true(isnan(model.services[0].accepted));
	done(&model, status);
}

static void test_counter_that_went_back_counts_from_zero(void **state)
{
	json_t *status;
	struct top_model model = model_of(status_of(1, "\"totals\": {\"accepted\": 30}"),
		status_of(1, "\"totals\": {\"accepted\": 100}"), 1, &status);

	(void)state;
	assert_float_equal(model.services[0].accepted, 30, 1e-9);
	done(&model, status);
}

static void test_service_that_has_just_come_has_no_rates_and_others_do(void **state)
{
	json_t *now = parse("{\"pid\": 1, \"services\": ["
			    "{\"name\": \"new\", \"totals\": {\"accepted\": 9}},"
			    "{\"name\": \"old\", \"totals\": {\"accepted\": 9}}]}"),
	       *before = parse("{\"pid\": 1, \"services\": ["
			       "{\"name\": \"old\", \"totals\": {\"accepted\": 5}}]}"),
	       *status;
	struct top_model model = model_of(now, before, 1, &status);

	(void)state;
	assert_int_equal(model.n_services, 2);
	assert_true(isnan(model.services[0].accepted));
	assert_float_equal(model.services[1].accepted, 4, 1e-9);
	assert_float_equal(model.all.accepted, 4, 1e-9);
	done(&model, status);
}

static void test_providers_are_compared_by_number(void **state)
{
	json_t *status;
	struct top_model model =
		model_of(status_of(1, "\"providers\": [{\"number\": 2, \"served\": 10},"
				      "{\"number\": 3, \"served\": 50}]"),
			status_of(1, "\"providers\": [{\"number\": 1, \"served\": 7},"
				     "{\"number\": 2, \"served\": 4}]"),
			2, &status);

	(void)state;
	assert_int_equal(model.services[0].n_providers, 2);
	assert_float_equal(model.services[0].providers[0].released, 3, 1e-9);
	assert_true(isnan(model.services[0].providers[1].released));
	done(&model, status);
}

static void test_credit_is_that_of_providers_in_use(void **state)
{
	json_t *status;
	struct top_model model = model_of(
		status_of(1,
			"\"providers\": ["
			"{\"state\": \"ready\", \"credit\": 5, \"unclaimed\": 1, \"in_service\": 2},"
			"{\"state\": \"full\", \"credit\": -1, \"in_service\": 4},"
			"{\"state\": \"draining\", \"credit\": 100, \"in_service\": 7}]"),
		NULL, 0, &status);

	(void)state;
	assert_int_equal(model.services[0].credit, 5);
	assert_int_equal(model.services[0].capacity, 12);
	done(&model, status);
}

static void test_pause_is_a_state_unless_the_service_ends(void **state)
{
	json_t *status;
	struct top_model model = model_of(
		status_of(1, "\"state\": \"serving\", \"paused\": true"), NULL, 0, &status);

	(void)state;
	assert_string_equal(model.services[0].state, "paused");
	done(&model, status);
	model = model_of(
		status_of(1, "\"state\": \"draining\", \"paused\": true"), NULL, 0, &status);
	assert_string_equal(model.services[0].state, "draining");
	done(&model, status);
}

static void test_latency_is_that_of_the_time_between(void **state)
{
	json_t *status;
	struct top_model model = model_of(
		status_of(1, "\"handoff_time\": {" BOUNDS ", \"counts\": [1000, 100, 0, 0]}"),
		status_of(1, "\"handoff_time\": {" BOUNDS ", \"counts\": [1000, 0, 0, 0]}"), 1,
		&status);

	(void)state;
	assert_float_equal(model.services[0].median_seconds, 0.0055, 1e-9);
	assert_float_equal(model.services[0].p99_seconds, 0.00991, 1e-9);
	done(&model, status);
}

static void test_latency_that_cannot_be_known(void **state)
{
	static const char *const wrong[] = {
		"\"x\": 1",
		"\"handoff_time\": 7",
		"\"handoff_time\": {\"bounds_seconds\": [], \"counts\": [1]}",
		"\"handoff_time\": {" BOUNDS ", \"counts\": [1, 2, 3]}",
		"\"handoff_time\": {" BOUNDS ", \"counts\": [1, -2, 3, 4]}",
		"\"handoff_time\": {\"bounds_seconds\": [0.1, 0.1], \"counts\": [1, 2, 3]}",
		"\"handoff_time\": {\"bounds_seconds\": [\"a\"], \"counts\": [1, 2]}",
		"\"handoff_time\": {" BOUNDS ", \"counts\": [0, 0, 0, 0]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		json_t *status;
		struct top_model model =
			model_of(status_of(1, wrong[i]), status_of(1, wrong[i]), 1, &status);

		assert_true(isnan(model.services[0].median_seconds));
		done(&model, status);
	}
}

static void test_what_is_no_status_has_no_services(void **state)
{
	static const char *const texts[] = {
		"{}",
		"{\"services\": 7}",
		"{\"pid\": {}, \"services\": [7, null, {}, [], {\"name\": 5, \"totals\": []}]}",
		"{\"services\": [{\"refused\": {\"a\": []}, \"providers\": [1, {\"number\": []}]}]}",
	};
	const size_t n_services[] = {0, 0, 5, 1};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		json_t *status, *json;
		struct top_model model = model_of(parse(texts[i]), parse(texts[i]), 1, &status);

		assert_int_equal(model.n_services, n_services[i]);
		json = top_model_json(&model, 1);
		assert_non_null(json);
		json_decref(json);
		done(&model, status);
	}
}

static void test_json_has_null_for_what_is_not_known(void **state)
{
	json_t *status, *json, *service;
	struct top_model model =
		model_of(status_of(1, "\"totals\": {\"accepted\": 30}, \"providers\": [{}]"), NULL,
			0, &status);

	(void)state;
	json = top_model_json(&model, 0.5);
	service = json_array_get(json_object_get(json, "services"), 0);
	assert_true(json_is_null(json_object_get(service, "accepted_per_second")));
	assert_int_equal(json_array_size(json_object_get(service, "providers")), 1);
	json_decref(json);
	done(&model, status);
}

static struct top_histogram histogram_of(size_t n, const double *bounds, const uint64_t *counts)
{
	struct top_histogram histogram = {.n_bounds = n};

	memcpy(histogram.bounds, bounds, n * sizeof(*bounds));
	memcpy(histogram.counts, counts, (n + 1) * sizeof(*counts));
	return histogram;
}

static void test_quantile_above_all_bounds_is_the_last_one(void **state)
{
	struct top_histogram histogram = histogram_of(2, (double[]){1, 2}, (uint64_t[]){0, 0, 5});

	(void)state;
	assert_float_equal(top_histogram_quantile(&histogram, 0.5), 2, 1e-9);
}

static void test_quantile_of_nothing(void **state)
{
	struct top_histogram histogram = {0};

	(void)state;
	assert_true(isnan(top_histogram_quantile(&histogram, 0.5)));
	histogram = histogram_of(2, (double[]){1, 2}, (uint64_t[]){0, 0, 0});
	assert_true(isnan(top_histogram_quantile(&histogram, 0.99)));
}

static int compare_doubles(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;

	return one < other ? -1 : one > other;
}

/* Against the values themselves: the quantile lies in the bucket of the one that has its rank. */
static void test_quantile_is_in_the_bucket_of_the_true_one(void **state)
{
	const double bounds[] = {0.1, 0.2, 0.4, 0.8};
	const double shares[] = {0.01, 0.5, 0.9, 0.99, 1};
	uint64_t random = random_seed(1);

	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct top_histogram histogram = histogram_of(4, bounds, (uint64_t[5]){0});
		double values[200];
		size_t n = 1 + random_of(&random, 200);

		for (size_t i = 0; i < n; i++) {
			size_t bucket = 0;

			values[i] = (double)random_of(&random, 800) / 1000 + 0.0005;
			while (bucket < 4 && values[i] > bounds[bucket])
				bucket++;
			histogram.counts[bucket]++;
		}
		qsort(values, n, sizeof(*values), compare_doubles);
		for (size_t i = 0; i < 5; i++) {
			size_t rank = (size_t)ceil(shares[i] * (double)n - 1e-9), bucket = 0;
			double quantile = top_histogram_quantile(&histogram, shares[i]);

			while (bucket < 3 && values[rank - 1] > bounds[bucket])
				bucket++;
			assert_true(quantile <= bounds[bucket] + 1e-9);
			assert_true(quantile >= (bucket > 0 ? bounds[bucket - 1] : 0));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_rates_are_what_came_in_the_time),
		check_test(test_without_an_earlier_moment_nothing_is_known),
		check_test(test_another_usherd_is_not_compared),
		check_test(test_counter_that_went_back_counts_from_zero),
		check_test(test_service_that_has_just_come_has_no_rates_and_others_do),
		check_test(test_providers_are_compared_by_number),
		check_test(test_credit_is_that_of_providers_in_use),
		check_test(test_pause_is_a_state_unless_the_service_ends),
		check_test(test_latency_is_that_of_the_time_between),
		check_test(test_latency_that_cannot_be_known),
		check_test(test_what_is_no_status_has_no_services),
		check_test(test_json_has_null_for_what_is_not_known),
		check_test(test_quantile_above_all_bounds_is_the_last_one),
		check_test(test_quantile_of_nothing),
		check_test(test_quantile_is_in_the_bucket_of_the_true_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
