/* SPDX-License-Identifier: MIT */
/*
 * A service of usher-basic: what it tells standard error and how often, how many connections it
 * takes in a turn, how it ends. libusher is replaced by a few lines that do what a test says, and
 * time stands still until it is moved.
 */
#include "protocol.h"
#include "service.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The one registration. */
struct usher {
	int fd;
	unsigned int n_pending; /* connections to return first */
	int error;		/* to return then, once */
	unsigned int n_held;
	bool is_registered, is_draining;
	bool is_over; /* return -ESHUTDOWN */
	char error_text[128];
};

static struct usher registration;
static struct connections all;
static struct service service;
static int real_stderr, output_fd;
static time_t now_s;
static bool is_memory_out;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return is_memory_out ? NULL : __real_malloc(size);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	(void)id;
	*ret = (struct timespec){.tv_sec = now_s};
	return 0;
}

int usher_new(struct usher **ret, const char *name, const struct usher_options *options)
{
	assert_string_equal(name, "test");
	assert_int_equal(options->flags, USHER_NONBLOCK);
	assert_int_equal(options->credit, 100);
	*ret = &registration;
	return 0;
}

struct usher *usher_free(struct usher *u)
{
	(void)u;
	return NULL;
}

int usher_fd(const struct usher *u)
{
	return u->fd;
}

int usher_accept(struct usher *u, struct usher_connection *ret, int flags)
{
	int error = u->error;
	int fds[2];

	assert_int_equal(flags, SOCK_NONBLOCK);
	if (u->n_pending == 0) {
		u->error = 0;
		return u->is_over ? -ESHUTDOWN : error ? error : -EAGAIN;
	}
	u->n_pending--;
	u->n_held++;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	close(fds[1]);
	*ret = (struct usher_connection){.fd = fds[0], .id = 1};
	return 0;
}

int usher_close(struct usher *u, struct usher_connection *connection)
{
	close(connection->fd);
	u->n_held--;
	return 0;
}

int usher_drain(struct usher *u)
{
	u->is_draining = true;
	return 0;
}

bool usher_is_registered(struct usher *u)
{
	return u->is_registered;
}

uint32_t usher_holding(struct usher *u)
{
	return u->n_held;
}

int usher_error(struct usher *u, char *text, size_t size)
{
	(void)snprintf(text, size, "%s", u->error_text);
	return 0;
}

/* What is said goes into a pipe. */
static void begin(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	output_fd = fds[0];
	assert_int_equal(fcntl(output_fd, F_SETFL, O_NONBLOCK), 0);
	now_s = 1000;
	registration = (struct usher){.fd = eventfd(1, EFD_CLOEXEC)};
	connections_init(&all, epoll_create1(EPOLL_CLOEXEC));
	assert_int_equal(service_init(&service, &all, protocol_find("discard"), "test", 100), 0);
}

static void end(void)
{
	connections_close_all(&all);
	service_done(&service);
	close(registration.fd);
	close(all.epoll_fd);
	close(output_fd);
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
}

/* The registration's descriptor is readable. */
static void turn(void)
{
	service.watch.on_event(&service.watch, EPOLLIN);
}

/* All that was said since the last time. */
static void assert_said(const char *expected)
{
	char said[1024] = "";
	ssize_t n = read(output_fd, said, sizeof(said) - 1);

	if (n < 0)
		assert_int_equal(errno, EAGAIN);
	assert_string_equal(said, expected);
}

static void test_registration_is_said_when_it_changes(void **state)
{
	(void)state;
	begin();
	turn();
	assert_said(""); /* usherd is awaited, and nothing is wrong */
	registration.is_registered = true;
	turn();
	turn();
	assert_said("usher-basic: test: registered\n");
	registration.is_registered = false;
	strcpy(registration.error_text, "usherd has closed the channel");
	turn();
	turn();
	assert_said("usher-basic: test: not registered: usherd has closed the channel\n");
	registration.is_registered = true;
	turn();
	assert_said("usher-basic: test: registered\n");
	end();
}

static void test_refusal_is_said_once_in_usherds_words(void **state)
{
	(void)state;
	begin();
	strcpy(registration.error_text, "not you");
	for (int i = 0; i < 3; i++) {
		registration.error = -EACCES;
		turn();
	}
	assert_said("usher-basic: test: not registered: not you\n");
	end();
}

static void test_episode_is_said_again_after_a_quiet_minute(void **state)
{
	(void)state;
	begin();
	strcpy(registration.error_text, "full");
	turn();
	assert_said("usher-basic: test: not registered: full\n");
	for (int i = 0; i < 5; i++) { /* as long as it goes on it is one episode */
		now_s += 59;
		turn();
		assert_said("");
	}
	now_s += 60;
	turn();
	assert_said("usher-basic: test: not registered: full\n");
	strcpy(registration.error_text, "other words");
	turn();
	assert_said("usher-basic: test: not registered: other words\n");
	end();
}

static void test_lack_of_descriptors_is_said_with_advice(void **state)
{
	(void)state;
	begin();
	registration.is_registered = true;
	turn();
	registration.error = -EMFILE;
	turn();
	assert_said(
		"usher-basic: test: registered\n"
		"usher-basic: test: out of descriptors, so that usherd serves clients elsewhere "
		"or lets them wait: raise the limit (LimitNOFILE=) or lower the credit (-c)\n");
	end();
}

static void test_other_trouble_of_a_registration_is_said(void **state)
{
	(void)state;
	begin();
	registration.is_registered = true;
	turn();
	assert_said("usher-basic: test: registered\n");
	registration.error = -ENOMEM;
	turn();
	assert_said("usher-basic: test: cannot take connections: Cannot allocate memory\n");
	end();
}

static void test_client_that_is_turned_away_is_said(void **state)
{
	(void)state;
	begin();
	registration.n_pending = 1;
	is_memory_out = true;
	turn();
	is_memory_out = false;
	assert_said("usher-basic: test: cannot serve a connection: Cannot allocate memory\n");
	assert_int_equal(registration.n_held, 0);
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
	registration.is_registered = true;
	registration.n_pending = 1;
	turn();
	assert_int_equal(registration.n_held, 1);
	end();
}

/* The other services, and the clients that are here, have their turn too. */
static void test_turn_takes_sixty_four_connections(void **state)
{
	(void)state;
	begin();
	registration.n_pending = 100;
	turn();
	assert_int_equal(registration.n_held, 64);
	turn();
	assert_int_equal(registration.n_held, 100);
	end();
}

/* usher_fd() would be readable for ever. */
static void test_drained_service_is_watched_no_more(void **state)
{
	struct epoll_event event;

	(void)state;
	begin();
	registration.n_pending = 1;
	turn();
	service_drain(&service);
	assert_true(registration.is_draining);
	turn();
	assert_false(service_is_finished(&service));
	assert_int_equal(epoll_wait(all.epoll_fd, &event, 1, 0), 1);
	assert_ptr_equal(event.data.ptr, &service);

	registration.is_over = true;
	turn();
	assert_false(service_is_finished(&service)); /* there is still a client */
	connections_close_all(&all);
	assert_int_equal(epoll_wait(all.epoll_fd, &event, 1, 0), 0);
	assert_true(service_is_finished(&service));
	assert_said("");
	end();
}

/* Because a newer provider has taken over, or the administrator wished it. */
static void test_service_that_usherd_drains_says_why_and_finishes(void **state)
{
	(void)state;
	begin();
	registration.n_pending = 1;
	strcpy(registration.error_text, "a newer provider has taken over this service");
	registration.is_over = true;
	turn();
	assert_said("usher-basic: test: takes no more connections: a newer provider has taken "
		    "over this service\n");
	assert_false(service_is_finished(&service));
	connections_close_all(&all);
	assert_true(service_is_finished(&service));
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
		check_test(test_drained_service_is_watched_no_more),
		check_test(test_service_that_usherd_drains_says_why_and_finishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
