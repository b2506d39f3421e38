/* SPDX-License-Identifier: MIT */
/*
 * balance = "source", where a connection does not come straight from its listener. All clients here
 * are one user, so the same provider of many is first for all of them.
 */
#include "loop.h"
#include "service-private.h"
#include "service-world.h"

#include <string.h>

#define N_PEERS 8

/* Have the client connect whose connection shows who is first, after that of "a" was given. */
static void expect_first_has_a(struct world *w, struct peer peers[N_PEERS])
{
	const struct dispatch *d = service_dispatch(w->service);
	unsigned int first = 0;

	turn_until(dispatch_n_unclaimed(d) == 1);
	clients(w, "b");
	turn_until(dispatch_n_unclaimed(d) == 2);
	while (first < N_PEERS && provider_of(w, 2 + first)->record->unclaimed.n != 2)
		first++;
	assert_in_range(first, 0, N_PEERS - 1);
	expect_connections(&peers[first], "ab");
}

static void join_all(struct world *w, struct peer peers[N_PEERS], int32_t credit)
{
	for (int i = 0; i < N_PEERS; i++)
		join(w, &peers[i], credit);
}

/* They all have some before anything is given. */
static void credit_all(struct world *w)
{
	for (unsigned int i = 0; i < N_PEERS; i++)
		assert_int_equal(dispatch_credited(w->service->dispatch,
					 provider_of(w, 2 + i)->record, 0, 9, 0),
			0);
	service_settle(w->service);
}

static void end_with(struct world *w, struct peer peers[N_PEERS])
{
	for (int i = 0; i < N_PEERS; i++)
		leave(&peers[i]);
	end(w);
}

/* Have a provider get these and die without a claim; nobody else is there. */
static void strand(struct world *w, const char *letters)
{
	struct peer p;

	join(w, &p, 9);
	clients(w, letters);
	expect_connections(&p, letters);
	leave(&p);
	turn_until(n_parked(w) == strlen(letters));
}

static void test_what_was_parked_goes_to_its_clients_first(void **state)
{
	struct peer peers[N_PEERS];
	struct world w;

	(void)state;
	begin(&w);
	w.config.providers.balance = CONFIG_BALANCE_SOURCE;
	open_service(&w);
	strand(&w, "a");
	join_all(&w, peers, 0);
	credit_all(&w);
	expect_first_has_a(&w, peers);
	end_with(&w, peers);
}

static void test_what_came_before_the_reload_goes_to_its_clients_first(void **state)
{
	struct peer dying, peers[N_PEERS];
	struct world w;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &dying, 1);
	clients(&w, "a");
	expect_connections(&dying, "a");
	w.config.providers.balance = CONFIG_BALANCE_SOURCE;
	reconfigure(&w, 0);
	join_all(&w, peers, 9);
	leave(&dying);
	turn_until(!provider_of(&w, 1));
	expect_first_has_a(&w, peers);
	end_with(&w, peers);
}

/* It does not know any more what one source was: the load is shared. */
static void test_a_service_that_ends_gives_to_who_has_least(void **state)
{
	struct peer peers[N_PEERS];
	struct world w;

	(void)state;
	begin(&w);
	w.config.providers.balance = CONFIG_BALANCE_SOURCE;
	open_service(&w);
	strand(&w, "ab");
	join_all(&w, peers, 0);
	end_service(&w);
	credit_all(&w);
	turn_until(n_parked(&w) == 0);
	for (unsigned int i = 0; i < N_PEERS; i++)
		assert_in_range(provider_of(&w, 2 + i)->record->unclaimed.n, 0, 1);
	end_with(&w, peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_what_was_parked_goes_to_its_clients_first),
		check_loop_test(test_what_came_before_the_reload_goes_to_its_clients_first),
		check_loop_test(test_a_service_that_ends_gives_to_who_has_least),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
