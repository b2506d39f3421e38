/* SPDX-License-Identifier: MIT */
/* From one configuration to the next, with real sockets: what is kept, opened and closed. */
#include "config-files.h"
#include "fd.h"
#include "reload-world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* What is kept. */

static void test_an_unchanged_listener_stays_the_same_socket(void **state)
{
	const char *before =
		text("service a { listen = {\"tcp:127.0.0.1:%u\"} }", test_free_port());
	struct place p;
	ino_t inode;
	int fd;

	(void)state;
	begin(&p, before);
	check_counts(&p, 1, 0, 0);
	inode = inode_at(bound_of(&p, "a", 0));
	assert_int_not_equal(inode, 0);
	fd = connect_to(bound_of(&p, "a", 0)); /* waits in the backlog */
	assert_int_equal(reload(&p, before), 0);
	check_counts(&p, 0, 0, 1);
	assert_int_equal(inode_at(bound_of(&p, "a", 0)), inode);
	assert_int_equal(recv(fd, &(char){0}, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN); /* and was not reset */
	close_fd(fd);
	end(&p);
}

static void test_other_values_change_and_the_socket_stays(void **state)
{
	unsigned int port = test_free_port();
	struct place p;
	ino_t inode;

	(void)state;
	begin(&p, text("service a { listen = {\"tcp:%u\"} }", port));
	inode = inode_at(bound_of(&p, "a", 0));
	assert_int_equal(
		reload(&p, text("service a { listen = {\"tcp:%u\"}\n instances = 7\n }", port)), 0);
	assert_int_equal(inode_at(bound_of(&p, "a", 0)), inode);
	assert_int_equal(service_config(service_called(&p, "a"))->instances, 7);
	end(&p);
}

/* `first` moves from service a to service b. */
static void check_moves(const char *first, const char *second)
{
	struct place p;
	ino_t first_inode, second_inode;

	begin(&p, text("service a { listen = {\"%s\"} } service b { listen = {\"%s\"} }", first,
			  second));
	first_inode = inode_at(bound_of(&p, "a", 0));
	second_inode = inode_at(bound_of(&p, "b", 0));
	assert_true(first_inode != 0 && second_inode != 0);

	if (reload(&p, text("service a { listen = {\"%s\"} } service b { listen = {\"%s\"} }",
			       second, first)) < 0)
		fail_msg("%s", p.errors.lines[0]);
	assert_int_equal(inode_at(bound_of(&p, "b", 0)), first_inode);
	assert_int_equal(inode_at(bound_of(&p, "a", 0)), second_inode);
	check_counts(&p, 0, 0, 2);

	if (reload(&p, text("service c { listen = {\"%s\", \"%s\"} }", first, second)) < 0)
		fail_msg("%s", p.errors.lines[0]);
	assert_int_equal(inode_at(bound_of(&p, "c", 0)), first_inode);
	assert_int_equal(inode_at(bound_of(&p, "c", 1)), second_inode);
	check_counts(&p, 1, 2, 0);
	turn_until(p.n_ended == 2);
	assert_int_equal(inode_at(bound_of(&p, "c", 0)), first_inode);
	end(&p);
}

static void test_a_listener_that_moves_stays_the_same_socket(void **state)
{
	char first[64], second[64];

	(void)state;
	snprintf(first, sizeof(first), "tcp:127.0.0.1:%u", test_free_port());
	snprintf(second, sizeof(second), "tcp:%u", test_free_port());
	check_moves(first, second);
}

static void test_a_unix_listener_that_moves_stays_the_same_socket(void **state)
{
	char cwd[128], first[256], second[256];

	(void)state;
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(first, sizeof(first), "unix:%s/first", cwd);
	snprintf(second, sizeof(second), "unix:%s/second", cwd);
	check_moves(first, second);
	assert_int_equal(access("first", F_OK), -1);
}

static void test_listeners_of_port_0_keep_their_ports(void **state)
{
	static const char services[] = "service a { listen = {\"tcp:127.0.0.1:0\"} }"
				       "service b { listen = {\"tcp:127.0.0.1:0\"} }";
	struct place p;
	unsigned int a_port, b_port;

	(void)state;
	begin(&p, services);
	a_port = address_port(bound_of(&p, "a", 0));
	b_port = address_port(bound_of(&p, "b", 0));
	assert_int_not_equal(a_port, b_port);
	assert_int_equal(reload(&p, services), 0);
	assert_int_equal(address_port(bound_of(&p, "a", 0)), a_port);
	assert_int_equal(address_port(bound_of(&p, "b", 0)), b_port);

	/* Nobody gets another's. */
	assert_int_equal(reload(&p, "service b { listen = {\"tcp:127.0.0.1:0\"} }"
				    "service c { listen = {\"tcp:127.0.0.1:0\"} }"),
		0);
	assert_int_equal(address_port(bound_of(&p, "b", 0)), b_port);
	assert_int_not_equal(address_port(bound_of(&p, "c", 0)), a_port);
	turn_until(p.n_ended == 1);
	end(&p);
}

static void test_several_listeners_of_port_0_in_one_service(void **state)
{
	static const char two[] =
		"service a { listen = {\"tcp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"} }";
	struct place p;
	ino_t first, second;

	(void)state;
	begin(&p, two);
	first = inode_at(bound_of(&p, "a", 0));
	second = inode_at(bound_of(&p, "a", 1));
	assert_int_not_equal(first, second);
	assert_int_equal(reload(&p, two), 0);
	assert_int_equal(
		inode_at(bound_of(&p, "a", 0)) + inode_at(bound_of(&p, "a", 1)), first + second);
	assert_int_equal(reload(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }"), 0);
	assert_int_equal(n_listeners_of(&p, "a"), 1);
	end(&p);
}

/* What comes and goes. */

/* Every option of a service makes it another one. */
static void test_changed_and_unchanged_are_told_apart(void **state)
{
	static const char *const options[] = {"instances = 7", "unavailable = reset",
		"claim_timeout = 7s", "providers { users = {games} }",
		"providers { groups = {games} }", "providers { max = 7 }",
		"providers { balance = round_robin }", "socket { backlog = 7 }",
		"socket { nodelay = true }", "socket { keepalive = true }",
		"socket { freebind = true }", "listen += {\"tcp:127.0.0.1:0\"}"};
	static const char plain[] = "service a { listen = {\"tcp:127.0.0.1:0\"} %s }";
	struct place p;

	(void)state;
	begin(&p, text(plain, ""));
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		for (size_t n_times = 0; n_times < 2; n_times++) {
			assert_int_equal(reload(&p, text(plain, options[i])), 0);
			assert_int_equal(p.counts.n_changed, n_times == 0);
			assert_int_equal(p.counts.n_unchanged, n_times == 1);
		}
		assert_int_equal(reload(&p, text(plain, "")), 0);
		assert_int_equal(p.counts.n_changed, 1);
	}
	end(&p);
}

static void test_added_removed_and_kept_are_counted(void **state)
{
	struct place p;

	(void)state;
	begin(&p, "service b { listen = {\"tcp:127.0.0.1:0\"} }"
		  "service d { listen = {\"tcp:127.0.0.1:0\"} }");
	check_counts(&p, 2, 0, 0);
	check_names(&p, "b d");
	assert_int_equal(reload(&p, "service e { listen = {\"tcp:127.0.0.1:0\"} }"
				    "service d { listen = {\"tcp:127.0.0.1:0\"} }"
				    "service a { listen = {\"tcp:127.0.0.1:0\"} }"),
		0);
	check_counts(&p, 2, 1, 1);
	check_names(&p, "a d e b(ending)");
	assert_int_equal(access(in_folder("b.sock"), F_OK), -1);
	assert_int_equal(access(in_folder("e.sock"), F_OK), 0);
	turn_until(p.n_ended == 1);
	check_names(&p, "a d e");
	assert_int_equal(reload(&p, ""), 0);
	check_counts(&p, 0, 3, 0);
	turn_until(p.n_ended == 4);
	check_names(&p, "");
	end(&p);
}

static void test_a_disabled_service_is_not_run(void **state)
{
	struct place p;
	struct address address;

	(void)state;
	begin(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }");
	address = *bound_of(&p, "a", 0);
	assert_int_equal(
		reload(&p, "service a { listen = {\"tcp:127.0.0.1:0\"}\n disable = true\n }"), 0);
	check_counts(&p, 0, 1, 0);
	assert_int_equal(inode_at(&address), 0);
	turn_until(p.n_ended == 1);
	end(&p);
}

static void test_a_service_comes_back_while_it_is_ending(void **state)
{
	static const char services[] = "service a { listen = {\"tcp:127.0.0.1:0\"} }";
	struct place p;

	(void)state;
	begin(&p, services);
	assert_int_equal(reload(&p, ""), 0);
	assert_int_equal(reload(&p, services), 0);
	check_counts(&p, 1, 0, 0);
	check_names(&p, "a a(ending)");
	assert_int_equal(access(in_folder("a.sock"), F_OK), 0);
	turn_until(p.n_ended == 1);
	check_names(&p, "a");
	assert_int_equal(access(in_folder("a.sock"), F_OK), 0); /* it is the new one's */
	end(&p);
}

static void test_a_listener_that_is_removed_is_closed(void **state)
{
	struct place p;
	struct address first, second;
	unsigned int port = test_free_port(), other = test_free_port();

	(void)state;
	begin(&p, text("service a { listen = {\"tcp:127.0.0.1:%u\", \"tcp:127.0.0.1:%u\"} }", port,
			  other));
	first = *bound_of(&p, "a", 0);
	second = *bound_of(&p, "a", 1);
	assert_int_equal(
		reload(&p, text("service a { listen = {\"tcp:127.0.0.1:%u\"} }", other)), 0);
	assert_int_equal(inode_at(&first), 0);
	assert_int_not_equal(inode_at(&second), 0);
	end(&p);
}

/* Many services. */

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Services that each listen on one address of 127.0.0.0/8, or each on a port of the kernel's. */
static char *many_services(int n, unsigned int port)
{
	char *services = NULL;
	size_t size;
	FILE *stream = open_memstream(&services, &size);

	assert_non_null(stream);
	for (int i = 0; i < n; i++)
		fprintf(stream, "service s%d { listen = {\"tcp:127.1.%d.%d:%u\"} }\n", i,
			port ? i / 250 : 0, port ? 1 + i % 250 : 1, port);
	assert_int_equal(fclose(stream), 0);
	return services;
}

enum { n_services = 2000 };

static bool allows_three_fds_each(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= 3 * n_services;
}

/* Send a datagram to a port of this machine. */
static void send_to(unsigned int port)
{
	const struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(sendto(fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
}

/* Has one arrived at its only listener? */
static bool has_datagram(const struct place *p, const char *name)
{
	size_t n;
	struct listener *const *listeners =
		intake_listeners(service_intake(service_called(p, name)), &n);
	char byte;

	assert_int_equal(n, 1);
	return recv(listener_fd(listeners[0]), &byte, 1, MSG_DONTWAIT) == 1;
}

/* Over loopback a datagram is there when sendto(2) is back. */
static void test_rules_of_datagrams_hold_before_the_commit(void **state)
{
	struct place p = {0};
	struct config_errors errors = {0};
	unsigned int port = test_free_port();
	struct reload *plan;

	(void)state;
	p.config = config_of(text("service a { listen = {\"udp:127.0.0.1:%u\"} "
				  "no_access = {\"127.0.0.1\"} }",
		port));
	assert_int_equal(prepare(&p, &plan, p.config, NULL, &errors), 0);
	send_to(port);
	reload_commit(plan, &p.running, &p.counts);
	assert_false(has_datagram(&p, "a"));
	assert_int_equal(
		reload(&p, text("service a { listen = {\"udp:127.0.0.1:%u\"} }", port)), 0);
	send_to(port);
	assert_true(has_datagram(&p, "a"));
	end(&p);
}

static void test_two_thousand_services(void **state)
{
	const unsigned int ports[] = {test_free_port(), 0};
	struct rlimit before, high;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	high = (struct rlimit){.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &high), 0);
	for (int i = 0; i < 2; i++) {
		char *services = many_services(n_services, ports[i]);
		struct place p;
		double started;

		begin(&p, services);
		check_counts(&p, n_services, 0, 0);
		started = seconds_now();
		assert_int_equal(reload(&p, services), 0);
		print_message("# a reload of %d services%s takes %.3f s\n", n_services,
			ports[i] ? "" : " of port 0", seconds_now() - started);
		check_counts(&p, 0, 0, n_services);
		end(&p);
		free(services);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_an_unchanged_listener_stays_the_same_socket),
		check_loop_test(test_other_values_change_and_the_socket_stays),
		check_loop_test(test_a_listener_that_moves_stays_the_same_socket),
		check_loop_test(test_a_unix_listener_that_moves_stays_the_same_socket),
		check_loop_test(test_listeners_of_port_0_keep_their_ports),
		check_loop_test(test_several_listeners_of_port_0_in_one_service),
		check_loop_test(test_added_removed_and_kept_are_counted),
		check_loop_test(test_changed_and_unchanged_are_told_apart),
		check_loop_test(test_a_disabled_service_is_not_run),
		check_loop_test(test_a_service_comes_back_while_it_is_ending),
		check_loop_test(test_a_listener_that_is_removed_is_closed),
		check_loop_test(test_rules_of_datagrams_hold_before_the_commit),
		check_loop_test_if(allows_three_fds_each(), test_two_thousand_services),
	};

	return cmocka_run_group_tests_name("reload", tests, config_files_begin, config_files_end);
}
