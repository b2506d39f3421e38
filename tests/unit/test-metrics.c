/* SPDX-License-Identifier: MIT */
/*
 * metrics: what the text says of a service, whatever its name is. That it is what Prometheus reads
 * is for tests/integration/test_metrics.py to ask promtool(1).
 */
#include "metrics.h"
#include "service-world.h"

#include <stdlib.h>
#include <string.h>

#define N_MANY 10000

static bool has_memory = true;

void *__real_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size);
void *__wrap_realloc(void *bytes, size_t size)
{
	return has_memory ? __real_realloc(bytes, size) : NULL;
}

/* `n` services, all of them the one of `w`. As a string, from malloc(3). */
static char *text_of(const struct world *w, size_t n)
{
	struct service_list list = {.services = calloc(n, sizeof(*list.services)), .n_services = n};
	const struct status_source source = {.services = &list, .uptime_usec = 1500000};
	char *text, *string = NULL;
	size_t size;

	for (size_t i = 0; i < n; i++)
		list.services[i] = w->service;
	text = metrics_text(&source, &size);
	free(list.services);
	if (text) {
		string = malloc(size + 1);
		assert_non_null(string);
		memcpy(string, text, size);
		string[size] = '\0';
		assert_int_equal(strlen(string), size);
	}
	free(text);
	return string;
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
	assert_in_range(strlen(text), N_MANY * UINT64_C(1000), N_MANY * UINT64_C(5000));
	free(text);
	has_memory = false;
	text = text_of(&w, 1);
	has_memory = true;
	assert_null(text);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_connection_on_its_way),
		check_loop_test(test_credit_and_states_of_providers),
		check_loop_test(test_odd_name_is_escaped),
		check_loop_test(test_many_services_and_no_memory),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
