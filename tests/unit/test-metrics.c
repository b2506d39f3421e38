/* SPDX-License-Identifier: MIT */
/*
 * metrics: what the text says of a service, whatever its name is. That it is what Prometheus reads
 * is for tests/integration/test_metrics.py to ask promtool(1).
 */
#include "metrics.h"
#include "service-world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_MANY 2000

static bool has_memory = true;

void *__real_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size)
{
	return has_memory ? __real_realloc(bytes, size) : NULL;
}

/* Put the part behind `text` (from malloc(3)), which is returned; NULL if the part is not whole. */
static char *join_part(char *text, struct text *part)
{
	char *joined = NULL;

	if (!part->is_short && asprintf(&joined, "%s%.*s", text, (int)part->size, part->bytes) < 0)
		joined = NULL;
	free(part->bytes);
	free(text);
	return joined;
}

/* `n` services, all of them the one of `w`. From malloc(3). */
static char *text_of(const struct world *w, size_t n)
{
	struct service_list list = {.services = calloc(n, sizeof(*list.services)), .n_services = n};
	const struct status_source source = {.services = &list, .uptime_usec = 1500000};
	struct metrics_cursor cursor = {0};
	char *text = calloc(1, 1);

	for (size_t i = 0; i < n; i++)
		list.services[i] = w->service;
	for (bool more = true; text && more;) {
		struct text part = {0};

		more = metrics_write(&part, &cursor, &source);
		assert_true(part.is_short || !more || part.size >= METRICS_PART);
		assert_true(part.size < METRICS_PART + 8192);
		text = join_part(text, &part);
	}
	free(list.services);
	return text;
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

static void check_line(const char *text, const char *line)
{
	char whole[256];

	snprintf(whole, sizeof(whole), "\n%s\n", line);
	if (!strstr(text, whole))
		fail_msg("there is no line '%s' in:\n%s", line, text);
}

static void test_connection_on_its_way(void **state)
{
	struct world w;
	struct peer p;
	char *text;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 4);
	client(&w, 'a');
	expect_connections(&p, "a");
	text = text_of(&w, 1);
	check_line(text, "usher_connections{service=\"echo\",state=\"unclaimed\"} 1");
	check_line(text, "usher_connections_accepted_total{service=\"echo\"} 1");
	check_line(text, "usher_connections_claimed_total{service=\"echo\"} 0");
	check_line(text, "usher_provider_credit{service=\"echo\"} 3");
	check_line(text, "usher_uptime_seconds 1.5");
	assert_null(strstr(text, "_bucket"));
	free(text);
	claim(&p, p.last_sequence);
	(void)turn_while_ready();
	text = text_of(&w, 1);
	check_line(text, "usher_connections{service=\"echo\",state=\"in_service\"} 1");
	check_line(text, "usher_connections_claimed_total{service=\"echo\"} 1");
	check_line(text, "usher_handoff_seconds_bucket{service=\"echo\",le=\"+Inf\"} 1");
	check_line(text, "usher_waiting_seconds_count{service=\"echo\"} 1");
	free(text);
	leave(&p);
	end(&w);
}

static void test_credit_and_states_of_providers(void **state)
{
	struct world w;
	struct peer ready, full;
	char *text;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &ready, 5);
	join(&w, &full, 0);
	text = text_of(&w, 1);
	check_line(text, "usher_providers{service=\"echo\",state=\"ready\"} 1");
	check_line(text, "usher_providers{service=\"echo\",state=\"full\"} 1");
	check_line(text, "usher_provider_credit{service=\"echo\"} 5");
	check_line(text, "usher_listeners{service=\"echo\",state=\"open\"} 1");
	free(text);
	leave(&ready);
	leave(&full);
	end(&w);
}

/* No name of the configuration is like this; what writes the text does not rely on it. */
static void test_odd_name_is_escaped(void **state)
{
	static char odd[] = "a\"b\\c\nd\xff";
	struct world w;
	char *text;

	(void)state;
	begin(&w);
	w.config.name = odd;
	open_service(&w);
	text = text_of(&w, 1);
	check_line(text, "usher_connections_accepted_total{service=\"a\\\"b\\\\c\\nd?\"} 0");
	free(text);
	end(&w);
}

static void test_many_services_and_no_memory(void **state)
{
	struct world w;
	char *text;

	(void)state;
	begin(&w);
	open_service(&w);
	text = text_of(&w, N_MANY);
	assert_int_equal(count(text, "# TYPE usher_"), count(text, "# HELP usher_"));
	assert_int_equal(count(text, "# TYPE usher_connections_lost_total counter\n"), 1);
	assert_int_equal(count(text, "\nusher_connections_lost_total{service=\"echo\"} 0"), N_MANY);
	assert_int_equal(count(text, "\nusher_delays_total{"), 3 * N_MANY);
	free(text);
	has_memory = false;
	text = text_of(&w, 1);
	has_memory = true;
	assert_null(text);
	end(&w);
}

static size_t offset(const char *text, const char *what)
{
	const char *at = strstr(text, what);

	assert_non_null(at);
	return (size_t)(at - text);
}

static size_t size_of(const struct world *w, size_t n)
{
	char *text = text_of(w, n);
	size_t size;

	assert_non_null(text);
	size = strlen(text);
	free(text);
	return size;
}

/*
 * So many services that a part is full with the last line of a family, or one less or more: no head
 * and no line is missing or there twice, because each service has as much text as the second.
 */
static void test_part_ends_with_a_family(void **state)
{
	struct world w;
	size_t begin_size, family_size, first_size, service_size, n;
	char *text;

	(void)state;
	begin(&w);
	open_service(&w);
	text = text_of(&w, 1);
	begin_size = offset(text, "\nusher_service_state{") + 1;
	family_size = offset(text, "# HELP usher_listeners ") - begin_size;
	first_size = strlen(text);
	free(text);
	service_size = size_of(&w, 2) - first_size;
	n = (METRICS_PART - begin_size + family_size - 1) / family_size;
	for (size_t i = n - 1; i <= n + 1; i++)
		assert_int_equal(size_of(&w, i), first_size + (i - 1) * service_size);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_connection_on_its_way),
		check_loop_test(test_credit_and_states_of_providers),
		check_loop_test(test_odd_name_is_escaped),
		check_loop_test(test_many_services_and_no_memory),
		check_loop_test(test_part_ends_with_a_family),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
