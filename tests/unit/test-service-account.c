/* SPDX-License-Identifier: MIT */
/*
 * What a service says to the log about its connections: each one start and one end, or one refusal,
 * in whatever way it goes.
 *
 * Events are kept as text, one line each, without numbers that differ from run to run: "start echo
 * LISTENER PEER PROVIDER REASON", with "-" for what is not said.
 */
#include "loop.h"
#include "service-world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUCCESSES (CONFIG_LOG_HOST | CONFIG_LOG_PID | CONFIG_LOG_EXIT | CONFIG_LOG_DURATION)

static char told[4096];
static uint64_t started_id; /* of the connection that has started last */
static uint64_t last_duration_usec;

void __wrap_log_write_event(
	struct log_destination *to, int priority, const struct log_about *about);
void __wrap_log_write_event(struct log_destination *to, int priority, const struct log_about *about)
{
	size_t length = strlen(told);

	(void)to, (void)priority;
	if (strcmp(about->event, "start") == 0)
		started_id = about->connection;
	else if (strcmp(about->event, "end") == 0)
		assert_int_equal(about->connection, started_id);
	else
		assert_int_equal(about->connection, 0);
	if (about->provider)
		assert_int_equal(about->provider_pid, getpid());
	last_duration_usec = about->duration_usec;
	snprintf(told + length, sizeof(told) - length, "%s %s %s %s %s %s\n", about->event,
		about->service, about->listener ? "at" : "-", about->peer ? about->peer : "-",
		about->provider ? about->provider : "-", about->reason ? about->reason : "-");
}

static void expect_told(const char *lines)
{
	assert_string_equal(told, lines);
	told[0] = '\0';
}

static void begin_test(struct world *w)
{
	told[0] = '\0';
	begin(w);
	w->config.log.on_success = SUCCESSES;
	w->config.log.on_failure = CONFIG_LOG_HOST | CONFIG_LOG_REASON;
}

static void claim_last(struct peer *p)
{
	claim(p, p->last_sequence);
	(void)turn_while_ready();
}

static void test_claimed_and_released(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	expect_told(""); /* it may still go to somebody else */
	claim_last(&p);
	expect_told("start echo at 127.0.0.1 tester -\n");
	let_pass(2000);
	release(&p, p.last_id);
	(void)turn_while_ready();
	expect_told("end echo - 127.0.0.1 tester released\n");
	assert_true(last_duration_usec >= 2000 && last_duration_usec < 60000000);
	leave(&p);
	end(&w);
	expect_told("");
}

static void test_nothing_is_said_unless_it_is_wanted(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	w.config.log = (struct config_service_log){0};
	w.config.park.max = 0;
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 10);
	clients(&w, "ab");
	expect_connections(&p, "ab");
	claim(&p, 1);
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
	expect_told("");
}

static void test_what_is_wanted_changes_with_a_reload(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	w.config.log = (struct config_service_log){0};
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	w.config.log.on_success = CONFIG_LOG_HOST;
	reconfigure(&w, 0);
	claim_last(&p);
	expect_told("start echo at 127.0.0.1 - -\n");
	w.config.log.on_success = CONFIG_LOG_EXIT;
	reconfigure(&w, 0);
	release(&p, p.last_id);
	(void)turn_while_ready();
	expect_told("end echo - - - released\n");
	leave(&p);
	end(&w);
}

/* The first provider never had it. */
static void test_who_dies_before_the_claim_is_not_mentioned(void **state)
{
	struct world w;
	struct peer first, second;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	join(&w, &first, 10);
	clients(&w, "a");
	expect_connections(&first, "a");
	leave(&first);
	turn_until(!service_providers(w.service));
	expect_told("");
	join(&w, &second, 10);
	expect_connections(&second, "a");
	claim_last(&second);
	expect_told("start echo at 127.0.0.1 tester -\n");
	leave(&second);
	turn_until(!service_providers(w.service));
	expect_told("end echo - 127.0.0.1 - provider-gone\n");
	end(&w);
}

static void test_forwarded_ends_here_and_starts_there(void **state)
{
	static char own_name[] = "echo", *targets[] = {own_name};
	struct world w;
	struct peer p, other;

	(void)state;
	begin_test(&w);
	w.config.providers.forward = targets;
	w.config.providers.n_forward = 1;
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 1);
	p.keeps_last = true;
	clients(&w, "a");
	expect_connections(&p, "a");
	claim_last(&p);
	told[0] = '\0';
	join(&w, &other, 1);
	forward(&p, p.last_id, "", "");
	expect(&other, WIRE_FORWARDED);
	expect_told("end echo - 127.0.0.1 tester forwarded\n");
	claim_last(&other);
	expect_told("start echo at 127.0.0.1 tester -\n");
	leave(&p);
	leave(&other);
	turn_until(!service_providers(w.service));
	end(&w);
}

static void test_refused_forward(void **state)
{
	static char own_name[] = "echo", *targets[] = {own_name};
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	w.config.providers.forward = targets;
	w.config.providers.n_forward = 1;
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 1);
	p.keeps_last = true;
	clients(&w, "a");
	expect_connections(&p, "a");
	claim_last(&p);
	told[0] = '\0';
	forward(&p, p.last_id, "elsewhere", "");
	(void)turn_while_ready();
	assert_non_null(strstr(told, "refused echo - 127.0.0.1 - forward-refused\n"));
	assert_non_null(strstr(told, "end echo - 127.0.0.1 tester forwarded\n"));
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

/* Have a provider get one client and die without a claim; nobody else is there. */
static void strand_one(struct world *w)
{
	struct peer p;

	join(w, &p, 10);
	clients(w, "a");
	expect_connections(&p, "a");
	leave(&p);
	turn_until(!service_providers(w->service));
	(void)turn_while_ready();
}

static void test_no_room_to_park(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	w.config.park.max = 0;
	open_service_on(&w, ANY_PORT);
	strand_one(&w);
	expect_told("refused echo - 127.0.0.1 - park-full\n");
	end(&w);
	expect_told("");
}

static void test_parked_for_too_long(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	w.config.park.timeout_usec = 1;
	open_service_on(&w, ANY_PORT);
	strand_one(&w);
	turn_until(told[0] != '\0');
	expect_told("refused echo - 127.0.0.1 - park-timeout\n");
	end(&w);
}

static void test_parked_until_the_end(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	strand_one(&w);
	expect_told("");
	end(&w);
	expect_told("refused echo - 127.0.0.1 - stopping\n");
}

/* He waited before the listening socket was lent, and there is no room for him. */
static void test_reset_before_the_socket_is_lent(void **state)
{
	static struct config_rule rule = {.network = {AF_INET, 32, {127, 0, 0, 2}}};
	struct peer p;
	struct world w;

	(void)state;
	begin_test(&w);
	w.config.instances = 1;
	open_service_on(&w, ANY_PORT);
	connect_peer(&w, &p);
	say_hello_with(&p, 0, WIRE_HELLO_TAKES_LISTENERS);
	expect(&p, WIRE_WELCOME);
	clients(&w, "ab");
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	w.config.admission.rules = &rule;
	w.config.admission.n_rules = 1;
	reconfigure(&w, 0);
	expect_told("refused echo at 127.0.0.1 - instances\n");
	w.config.admission = (struct config_admission){0};
	reconfigure(&w, 0);
	leave(&p);
	end(&w);
}

static void test_reset_because_nobody_serves(void **state)
{
	struct world w;

	(void)state;
	begin_test(&w);
	w.config.unavailable = CONFIG_UNAVAILABLE_RESET;
	open_service_on(&w, ANY_PORT);
	clients(&w, "ab");
	turn_until(intake_n_reset(service_intake(w.service)) == 2);
	expect_told("refused echo at 127.0.0.1 - unavailable\n"
		    "refused echo at 127.0.0.1 - unavailable\n");
	end(&w);
}

static void test_client_of_a_unix_socket_has_no_address(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	claim_last(&p);
	expect_told("start echo at unix tester -\n");
	leave(&p);
	end(&w);
}

/* The service has ended, and its configuration is gone: what it was asked to say it still says. */
static void test_last_connections_of_a_removed_service(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin_test(&w);
	open_service_on(&w, ANY_PORT);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	end_service(&w);
	claim_last(&p);
	expect_told("start echo - 127.0.0.1 tester -\n");
	leave(&p);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_claimed_and_released),
		check_loop_test(test_nothing_is_said_unless_it_is_wanted),
		check_loop_test(test_what_is_wanted_changes_with_a_reload),
		check_loop_test(test_who_dies_before_the_claim_is_not_mentioned),
		check_loop_test(test_forwarded_ends_here_and_starts_there),
		check_loop_test(test_refused_forward),
		check_loop_test(test_no_room_to_park),
		check_loop_test(test_parked_for_too_long),
		check_loop_test(test_parked_until_the_end),
		check_loop_test(test_reset_before_the_socket_is_lent),
		check_loop_test(test_reset_because_nobody_serves),
		check_loop_test(test_client_of_a_unix_socket_has_no_address),
		check_loop_test(test_last_connections_of_a_removed_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
