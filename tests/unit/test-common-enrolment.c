/* SPDX-License-Identifier: MIT */
/*
 * A registration in an event loop: what it tells standard error and how often, how many connections
 * it takes in a turn, how it ends. libusher is replaced by a few lines that do what a test says,
 * and time stands still until it is moved.
 */
#include "connection.h"
#include "enrolment.h"
#include "stub-usher.h"
#include "talk.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct connections all;
static struct enrolment enrolment;
static bool is_memory_out;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return is_memory_out ? NULL : __real_calloc(n, size);
}

static const struct conversation conversation = {.on_readable = connection_discard};

static int on_connection(struct enrolment *e, struct usher_connection *accepted)
{
	return connection_open(&all, &conversation, e, accepted);
}

static void begin(void)
{
	talk_begin();
	connections_init(&all, &talk.loop);
	assert_int_equal(
		enrolment_init(&enrolment, &talk.loop, "test", 100, on_connection, NULL), 0);
}

static void end(void)
{
	connections_close_all(&all);
	connections_done(&all);
	enrolment_done(&enrolment);
	talk_end();
}

/* The registration's descriptor is readable. */
static void turn(void)
{
	enrolment.watch.on_event(&enrolment.watch, EPOLLIN);
}

static void test_registration_is_said_when_it_changes(void **state)
{
	(void)state;
	begin();
	turn();
	assert_said(""); /* usherd is awaited, and nothing is wrong */
	stub.is_registered = true;
	turn();
	turn();
	assert_said("usher-test: test: registered\n");
	stub.is_registered = false;
	strcpy(stub.error_text, "usherd has closed the channel");
	turn();
	turn();
	assert_said("usher-test: test: not registered: usherd has closed the channel\n");
	stub.is_registered = true;
	turn();
	assert_said("usher-test: test: registered\n");
	end();
}

static void test_refusal_is_said_once_in_usherds_words(void **state)
{
	(void)state;
	begin();
	strcpy(stub.error_text, "not you");
	for (int i = 0; i < 3; i++) {
		stub.error = -EACCES;
		turn();
	}
	assert_said("usher-test: test: not registered: not you\n");
	end();
}

static void test_episode_is_said_again_after_a_quiet_minute(void **state)
{
	(void)state;
	begin();
	strcpy(stub.error_text, "full");
	turn();
	assert_said("usher-test: test: not registered: full\n");
	for (int i = 0; i < 5; i++) { /* as long as it goes on it is one episode */
		talk.now.tv_sec += 59;
		turn();
		assert_said("");
	}
	talk.now.tv_sec += 60;
	turn();
	assert_said("usher-test: test: not registered: full\n");
	strcpy(stub.error_text, "other words");
	turn();
	assert_said("usher-test: test: not registered: other words\n");
	end();
}

static void test_lack_of_descriptors_is_said_with_advice(void **state)
{
	(void)state;
	begin();
	stub.is_registered = true;
	turn();
	stub.error = -EMFILE;
	turn();
	assert_said("usher-test: test: registered\n"
		    "usher-test: test: out of descriptors, so that usherd serves clients elsewhere "
		    "or lets them wait: raise the limit (LimitNOFILE=) or lower the credit (-c)\n");
	end();
}

static void test_other_trouble_of_a_registration_is_said(void **state)
{
	(void)state;
	begin();
	stub.is_registered = true;
	turn();
	assert_said("usher-test: test: registered\n");
	stub.error = -ENOMEM;
	turn();
	assert_said("usher-test: test: cannot take connections: Cannot allocate memory\n");
	end();
}

static void test_client_that_is_turned_away_is_said(void **state)
{
	(void)state;
	begin();
	stub.n_pending = 1;
	is_memory_out = true;
	turn();
	is_memory_out = false;
	assert_said("usher-test: test: cannot serve a connection: Cannot allocate memory\n");
	assert_int_equal(stub.n_held, 0);
	end();
}

static void test_stalled_reader_of_messages_stops_nothing(void **state)
{
	char line[4096] = "";

	(void)state;
	begin();
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
	while (write(STDERR_FILENO, line, sizeof(line)) > 0)
		;
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
	stub.is_registered = true;
	stub.n_pending = 1;
	turn();
	assert_int_equal(stub.n_held, 1);
	end();
}

/* The other services, and the clients that are here, have their turn too. */
static void test_turn_takes_sixty_four_connections(void **state)
{
	(void)state;
	begin();
	stub.n_pending = 100;
	turn();
	assert_int_equal(stub.n_held, 64);
	turn();
	assert_int_equal(stub.n_held, 100);
	end();
}

/* usher_fd() would be readable for ever. */
static void test_drained_enrolment_is_watched_no_more(void **state)
{
	struct epoll_event events[2]; /* of a client that is gone, and of the enrolment */

	(void)state;
	begin();
	stub.n_pending = 1;
	turn();
	enrolment_drain(&enrolment);
	assert_true(stub.is_draining);
	turn();
	assert_false(enrolment_is_finished(&enrolment));
	assert_int_equal(eventfd_write(stub.fd, 1), 0);
	assert_int_equal(epoll_wait(talk.loop.epoll_fd, events, 2, 0), 2);

	stub.is_over = true;
	turn();
	assert_false(enrolment_is_finished(&enrolment)); /* there is still a client */
	connections_close_all(&all);
	assert_int_equal(epoll_wait(talk.loop.epoll_fd, events, 2, 0), 0);
	assert_true(enrolment_is_finished(&enrolment));
	assert_said("");
	end();
}

/* Because a newer provider has taken over, or the administrator wished it. */
static void test_enrolment_that_usherd_drains_says_why_and_finishes(void **state)
{
	(void)state;
	begin();
	stub.n_pending = 1;
	strcpy(stub.error_text, "a newer provider has taken over this service");
	stub.is_over = true;
	turn();
	assert_said("usher-test: test: takes no more connections: a newer provider has taken "
		    "over this service\n");
	assert_false(enrolment_is_finished(&enrolment));
	connections_close_all(&all);
	assert_true(enrolment_is_finished(&enrolment));
	end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_registration_is_said_when_it_changes),
		check_test(test_refusal_is_said_once_in_usherds_words),
		check_test(test_episode_is_said_again_after_a_quiet_minute),
		check_test(test_lack_of_descriptors_is_said_with_advice),
		check_test(test_other_trouble_of_a_registration_is_said),
		check_test(test_client_that_is_turned_away_is_said),
		check_test(test_stalled_reader_of_messages_stops_nothing),
		check_test(test_turn_takes_sixty_four_connections),
		check_test(test_drained_enrolment_is_watched_no_more),
		check_test(test_enrolment_that_usherd_drains_says_why_and_finishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
