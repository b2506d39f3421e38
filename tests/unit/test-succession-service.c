/* SPDX-License-Identifier: MIT */
/*
 * A service that is saved and restored is what it was: saved once more, it says the same.
 *
 * The next usherd is a child process, which has the descriptors, a loop of its own, and nothing
 * else of the service but what was saved; it must not use cmocka's assertions.
 */
#include "fd.h"
#include "service-world.h"
#include "succession.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: says what is wrong, and ends. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "# %s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* The state of an usherd with this one service, as JSON. */
static json_t *save(const struct service *s)
{
	struct succession *succession = calloc(1, sizeof(*succession));
	json_t *json;

	if (!succession || !(succession->services = calloc(1, sizeof(struct saved_service))))
		abort();
	succession->format = SUCCESSION_FORMAT;
	succession->lock_fd = succession->control_fd = succession->client_fd = -EBADF;
	succession->n_services = 1;
	if (service_save(s, &succession->services[0]) < 0)
		abort();
	json = succession_json(succession);
	succession_free(succession);
	return json;
}

static struct inheritance *inheritance_of(const struct saved_service *saved)
{
	struct inheritance *inheritance;

	EXPECT(inheritance_new(&inheritance) == 0);
	if (saved->rendezvous_fd >= 0)
		EXPECT(inheritance_add(inheritance, FDSTORE_RENDEZVOUS, saved->name,
			       saved->rendezvous_number, saved->rendezvous_fd) == 0);
	for (size_t i = 0; i < saved->n_lots; i++)
		EXPECT(inheritance_add(inheritance, FDSTORE_PARKING, saved->name,
			       saved->lots[i].number, saved->lots[i].fd) == 0);
	return inheritance;
}

static struct listener **adopt_listeners(
	sd_event *event, const struct config_service *config, const struct saved_service *saved)
{
	struct listener **listeners = calloc(saved->n_listeners + 1, sizeof(struct listener *));
	struct address *address;
	char why[256];
	size_t n;

	for (size_t i = 0; i < saved->n_listeners; i++) {
		const struct inherited inherited = {.fd = saved->listeners[i].fd};

		EXPECT(address_parse(saved->listeners[i].address, &address, &n, why, sizeof(why)) ==
			0);
		EXPECT(listener_adopt(&listeners[i], event, address, address, &config->socket,
			       &inherited) == 0);
		free(address);
	}
	return listeners;
}

/* The service as the next usherd has it, before anything happens. */
static struct service *restore(
	sd_event *event, const struct config_service *config, struct saved_service *saved)
{
	static const struct service_events events = {0};
	struct inheritance *inheritance = inheritance_of(saved);
	struct service *s;

	if (saved->is_ending) {
		EXPECT(service_new_ending(&s, event, saved, inheritance, &events, NULL) == 0);
	} else {
		EXPECT(service_new(&s, event, config, in_folder("."), inheritance, &events, NULL) ==
			0);
		service_hold(s);
		service_configure(
			s, config, adopt_listeners(event, config, saved), saved->n_listeners);
	}
	EXPECT(service_restore(s, saved) == 0);
	inheritance_free(inheritance);
	return s;
}

/* All but the ids that are to be given next: those are only known to be new. */
static bool says_the_same(const json_t *state, const json_t *again)
{
	json_t *copy = json_deep_copy(again);
	json_t *service = json_array_get(json_object_get(copy, "services"), 0);
	const json_t *before =
		json_object_get(json_array_get(json_object_get(state, "services"), 0), "id_limit");

	EXPECT(json_integer_value(json_object_get(service, "id_limit")) >=
		json_integer_value(before));
	json_object_set_new(service, "id_limit", json_integer(json_integer_value(before)));
	return json_equal(state, copy);
}

static void be_the_next_usherd(const struct world *w, const json_t *state)
{
	struct succession *succession = NULL;
	char why[256] = "";
	struct service *s;
	sd_event *event;
	json_t *again;

	EXPECT(sd_event_new(&event) == 0);
	EXPECT(succession_parse(&succession, state, why, sizeof(why)) == 0);
	EXPECT(service_check(&succession->services[0]) == 0);
	s = restore(event, &w->config, &succession->services[0]);
	dispatch_check(service_dispatch(s));
	again = save(s);
	if (!says_the_same(state, again)) {
		fprintf(stderr, "# was: %s\n", json_dumps(state, JSON_COMPACT));
		fprintf(stderr, "# is:  %s\n", json_dumps(again, JSON_COMPACT));
		_exit(1);
	}
	service_go_on(s);
	dispatch_check(service_dispatch(s));
	_exit(0); /* nothing is closed in an orderly way: it all belongs to the test */
}

/* Is the service the same after an upgrade? Returns what was saved. */
static json_t *check_restored(const struct world *w)
{
	json_t *state = save(w->service);
	int status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		be_the_next_usherd(w, state);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return state;
}

/* The array `name` of the saved service. */
static json_t *list_of(const json_t *state, const char *name)
{
	return json_object_get(json_array_get(json_object_get(state, "services"), 0), name);
}

static json_t *first_provider(const json_t *state)
{
	return json_array_get(list_of(state, "providers"), 0);
}

static json_int_t number_of(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static void test_a_service_without_anybody(void **state)
{
	struct world w;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	saved = check_restored(&w);
	assert_int_equal(json_array_size(list_of(saved, "listeners")), 1);
	assert_int_equal(json_array_size(list_of(saved, "providers")), 0);
	json_decref(saved);
	end(&w);
}

static void test_unclaimed_and_claimed_connections(void **state)
{
	struct peer first, second;
	struct world w;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &first, 3);
	clients(&w, "abc");
	expect_connections(&first, "abc");
	claim(&first, 2);
	turn_while_ready();
	join(&w, &second, 2);
	clients(&w, "de");
	expect_connections(&second, "de");
	saved = check_restored(&w);
	assert_int_equal(json_array_size(json_object_get(first_provider(saved), "claimed")), 2);
	assert_int_equal(json_array_size(json_object_get(first_provider(saved), "unclaimed")), 1);
	assert_int_equal(json_array_size(list_of(saved, "providers")), 2);
	json_decref(saved);
	leave(&first);
	leave(&second);
	turn_while_ready();
	end(&w);
}

static void test_parked_connections(void **state)
{
	struct world w;
	struct peer p;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 20);
	clients(&w, "abcdefghijklmnopqrst");
	expect_connections(&p, "abcdefghijklmnopqrst");
	leave(&p);
	turn_while_ready();
	saved = check_restored(&w);
	assert_int_equal(json_array_size(list_of(saved, "lots")), 1);
	json_decref(saved);
	end(&w);
}

static void test_connections_on_their_way_to_a_receiver(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct world w;
	json_t *saved;

	(void)state;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", in_folder("receiver"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	begin(&w);
	w.config.deliver = CONFIG_DELIVER_PASS;
	w.config.pass = (struct config_pass){.path = address.sun_path, .type = SOCK_STREAM};
	open_service(&w);
	clients(&w, "abc");
	turn_while_ready();
	saved = check_restored(&w);
	assert_int_equal(json_array_size(list_of(saved, "providers")), 3);
	assert_true(json_is_true(json_object_get(first_provider(saved), "is_pass")));
	assert_int_equal(json_array_size(json_object_get(first_provider(saved), "unclaimed")), 1);
	json_decref(saved);
	end(&w);
	close_fd(fd);
	assert_int_equal(unlink(address.sun_path), 0);
}

static void test_a_process_that_has_not_registered(void **state)
{
	struct world w;
	struct peer p;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	turn_while_ready();
	saved = check_restored(&w);
	assert_int_equal(json_array_size(list_of(saved, "strangers")), 1);
	json_decref(saved);
	leave(&p);
	turn_while_ready();
	end(&w);
}

static void test_providers_are_saved_in_the_order_of_registration(void **state)
{
	struct peer first, second;
	struct world w;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &first);
	turn_while_ready();
	join(&w, &second, 1);
	say_hello(&first, 1);
	expect(&first, WIRE_WELCOME);
	saved = check_restored(&w);
	assert_int_equal(number_of(first_provider(saved), "number"), 1);
	assert_int_equal(number_of(json_array_get(list_of(saved, "providers"), 1), "number"), 2);
	json_decref(saved);
	leave(&first);
	leave(&second);
	turn_while_ready();
	end(&w);
}

static void test_a_standby_a_draining_one_and_a_quarantined_one(void **state)
{
	struct peer standby, draining, bad;
	union wire_message nonsense = {0};
	struct world w;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &bad, 1);
	clients(&w, "a");
	expect_connections(&bad, "a");
	say(&bad, 99, &nonsense, sizeof(nonsense.header));
	join_as_standby(&w, &standby, 5);
	join(&w, &draining, 5);
	drain(&draining);
	turn_while_ready();
	assert_int_equal(provider_of(&w, 1)->record->state, PROVIDER_QUARANTINED);
	assert_int_equal(provider_of(&w, 3)->record->state, PROVIDER_DRAINING);
	json_decref(check_restored(&w));
	saved = save(w.service);
	assert_true(json_is_true(
		json_object_get(json_array_get(list_of(saved, "providers"), 1), "is_standby")));
	json_decref(saved);
	leave(&bad);
	leave(&standby);
	leave(&draining);
	turn_while_ready();
	end(&w);
}

static void test_what_is_owed_to_a_provider(void **state)
{
	struct world w;
	struct peer p;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 100);
	make_narrow(&w, 1);
	while (provider_of(&w, 1)->record->state == PROVIDER_READY) {
		clients(&w, "x");
		turn_while_ready();
	}
	reconfigure(&w, 1); /* WELCOME does not fit */
	(void)service_drain(w.service, NULL);
	saved = check_restored(&w);
	assert_true(json_is_true(json_object_get(first_provider(saved), "owes_welcome")));
	assert_true(json_is_true(json_object_get(first_provider(saved), "owes_draining")));
	assert_int_equal(
		number_of(first_provider(saved), "draining_reason"), WIRE_DRAINING_ADMINISTRATOR);
	json_decref(saved);
	close(p.fd);
	turn_while_ready();
	end(&w);
}

static void test_a_connection_that_was_parked_keeps_its_time(void **state)
{
	struct world w;
	json_t *saved, *unclaimed;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	clients(&w, "a");
	join(&w, &p, 1);
	expect_connections(&p, "a");
	leave(&p);
	turn_until(dispatch_n_parked(service_dispatch(w.service)) == 1);
	join(&w, &p, 1);
	expect_connections(&p, "a");
	saved = check_restored(&w);
	unclaimed = json_object_get(first_provider(saved), "unclaimed");
	assert_true(number_of(json_array_get(unclaimed, 0), "parked_usec") > 0);
	json_decref(saved);
	leave(&p);
	turn_while_ready();
	end(&w);
}

static void test_a_forwarded_connection(void **state)
{
	static char echo[] = "echo", *names[] = {echo};
	struct peer first, second;
	struct world w;
	json_t *saved, *unclaimed;

	(void)state;
	begin(&w);
	w.config.providers.forward = names;
	w.config.providers.n_forward = 1;
	open_service(&w);
	join(&w, &first, 1);
	first.keeps_last = true;
	clients(&w, "a");
	expect_connections(&first, "a");
	claim(&first, 1);
	turn_while_ready();
	join(&w, &second, 1);
	forward(&first, first.last_id, "", "bytes");
	turn_while_ready();
	saved = check_restored(&w);
	unclaimed = json_object_get(json_array_get(list_of(saved, "providers"), 1), "unclaimed");
	assert_int_equal(number_of(json_array_get(unclaimed, 0), "n_hops"), 1);
	json_decref(saved);
	leave(&first);
	leave(&second);
	turn_while_ready();
	end(&w);
}

static void join_to_borrow(struct world *w, struct peer *p)
{
	connect_peer(w, p);
	say_hello_with(p, 1, WIRE_HELLO_TAKES_LISTENERS);
	expect(p, WIRE_WELCOME);
	expect(p, WIRE_LISTENERS);
	fdpass_close(&p->received, 0);
}

static void test_who_has_what_is_lent(void **state)
{
	struct peer first, second;
	struct world w;
	json_t *saved, *borrower, *other;

	(void)state;
	begin(&w);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	open_service_on(&w, "tcp:127.0.0.1:0");
	join_to_borrow(&w, &first);
	join_to_borrow(&w, &second);
	saved = check_restored(&w);
	borrower = first_provider(saved);
	other = json_array_get(list_of(saved, "providers"), 1);
	assert_true(json_is_true(json_object_get(borrower, "is_borrower")));
	assert_false(json_is_true(json_object_get(other, "is_borrower")));
	assert_true(json_is_true(json_object_get(other, "takes_listeners")));
	assert_true(json_is_true(
		json_object_get(json_array_get(list_of(saved, "listeners"), 0), "is_for_lending")));
	json_decref(saved);
	expect_nothing(&first); /* nor did the next usherd say anything */
	expect_nothing(&second);
	leave(&first);
	leave(&second);
	turn_while_ready();
	end(&w);
}

static void test_who_was_not_told_yet_what_is_lent(void **state)
{
	struct world w;
	struct peer p;
	json_t *saved;

	(void)state;
	begin(&w);
	w.config.deliver = CONFIG_DELIVER_LISTENER;
	open_service_on(&w, "tcp:127.0.0.1:0");
	join_to_borrow(&w, &p);
	make_narrow(&w, 1);
	while (!provider_of(&w, 1)->owes_listeners) {
		service_set_paused(w.service, true);
		service_set_paused(w.service, false);
	}
	saved = check_restored(&w);
	assert_true(json_is_true(json_object_get(first_provider(saved), "owes_listeners")));
	json_decref(saved);
	leave(&p);
	turn_while_ready();
	end(&w);
}

static void test_a_paused_service(void **state)
{
	struct world w;
	json_t *saved;

	(void)state;
	begin(&w);
	open_service(&w);
	service_set_paused(w.service, true);
	saved = check_restored(&w);
	assert_true(json_is_true(list_of(saved, "is_paused")));
	json_decref(saved);
	end(&w);
}

/* The second client was too much for cps, and waits. */
static void test_a_pause_and_how_fast_clients_came(void **state)
{
	struct world w;
	struct peer p;
	json_t *saved;

	(void)state;
	begin(&w);
	w.config.admission.source_bits_v4 = 32;
	w.config.admission.cps = (struct config_rate){
		.count = 1, .period_usec = 1000000, .pause_usec = UINT64_C(3600000000)};
	w.config.admission.per_source_rate =
		(struct config_rate){.count = 9, .period_usec = UINT64_C(3600000000)};
	open_service_on(&w, "tcp:127.0.0.1:0");
	join(&w, &p, 9);
	clients(&w, "a");
	expect_connections(&p, "a");
	clients(&w, "b");
	turn_until(service_n_turned(w.service, ADMISSION_CPS) == 1);
	saved = check_restored(&w);
	assert_int_equal(json_integer_value(list_of(saved, "n_cps")), 1);
	assert_true(json_integer_value(list_of(saved, "paused_until_usec")) > 0);
	assert_true(json_integer_value(list_of(saved, "cps_full_nsec")) > 0);
	assert_int_equal(json_array_size(list_of(saved, "sources")), 1);
	json_decref(saved);
	leave(&p);
	turn_while_ready();
	end(&w);
}

static void test_a_service_that_is_ending(void **state)
{
	struct world w;
	struct peer p;
	json_t *saved;

	(void)state;
	begin(&w);
	w.config.instances = 77;
	open_service(&w);
	join(&w, &p, 2);
	clients(&w, "ab");
	expect_connections(&p, "ab");
	claim(&p, 1);
	turn_while_ready();
	end_service(&w);
	saved = check_restored(&w);
	assert_true(json_is_true(list_of(saved, "is_ending")));
	assert_int_equal(json_integer_value(list_of(saved, "instances")), 77);
	assert_true(json_is_null(list_of(saved, "rendezvous_fd")));
	json_decref(saved);
	leave(&p);
	turn_until(w.n_ended == 1);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_service_without_anybody),
		check_loop_test(test_unclaimed_and_claimed_connections),
		check_loop_test(test_parked_connections),
		check_loop_test(test_connections_on_their_way_to_a_receiver),
		check_loop_test(test_a_process_that_has_not_registered),
		check_loop_test(test_providers_are_saved_in_the_order_of_registration),
		check_loop_test(test_a_standby_a_draining_one_and_a_quarantined_one),
		check_loop_test(test_what_is_owed_to_a_provider),
		check_loop_test(test_a_connection_that_was_parked_keeps_its_time),
		check_loop_test(test_a_forwarded_connection),
		check_loop_test(test_who_has_what_is_lent),
		check_loop_test(test_who_was_not_told_yet_what_is_lent),
		check_loop_test(test_a_paused_service),
		check_loop_test(test_a_pause_and_how_fast_clients_came),
		check_loop_test(test_a_service_that_is_ending),
	};

	return cmocka_run_group_tests_name("succession-service", tests, NULL, NULL);
}
