/* SPDX-License-Identifier: MIT */
/* A start with what an earlier usherd has left: who gets it, and what is left to the next. */
#include "config-files.h"
#include "fd.h"
#include "manager.h"
#include "notify.h"
#include "reload-world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* A listening socket of `service`, as one that was left in the store as `number`. *ret_copy_fd is
 * the service manager's. */
static struct address leave_listener(
	struct inheritance *inheritance, const char *service, uint32_t number, int *ret_copy_fd)
{
	const struct config_socket options = {.backlog = 16};
	struct address *address, bound;
	char why[256];
	size_t n;
	int fd;

	assert_int_equal(address_parse("tcp:127.0.0.1:0", &address, &n, why, sizeof(why)), 0);
	assert_int_equal(listener_bind(address, &options, false, &fd, &bound), 0);
	free(address);
	*ret_copy_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(inheritance_add(inheritance, FDSTORE_LISTENER, service, number, fd), 0);
	return bound;
}

static void test_a_start_takes_what_was_left_and_leaves_the_rest(void **state)
{
	struct inheritance *inheritance;
	struct address one, other;
	struct place p = {0};
	ino_t inode;
	int copy_fd;

	(void)state;
	assert_int_equal(inheritance_new(&inheritance), 0);
	one = leave_listener(inheritance, "a", 0, &copy_fd);
	close_fd(copy_fd);
	other = leave_listener(inheritance, "b", 0, &copy_fd);
	close_fd(copy_fd);
	inode = inode_at(&one);
	assert_int_equal(start(&p,
				 text("service a { listen = {\"tcp:127.0.0.1:%u\", "
				      "\"tcp:127.0.0.1:0\"} }",
					 address_port(&one)),
				 inheritance),
		0);
	assert_int_equal(inode_at(bound_of(&p, "a", 0)), inode);
	assert_int_not_equal(inode_at(&other), 0);
	inheritance_free(inheritance);
	assert_int_equal(inode_at(&other), 0);
	assert_int_equal(inode_at(bound_of(&p, "a", 0)), inode);
	end(&p);
}

/* `owner` has left a port, and it is asked for by its number, as that listener of b, behind
 * `first`. */
static void check_goes_to_who_asks(const char *first, const char *owner, size_t index)
{
	_cleanup_close_ int copy_fd = -EBADF;
	struct inheritance *inheritance;
	struct place p = {0};
	struct address left;

	assert_int_equal(inheritance_new(&inheritance), 0);
	left = leave_listener(inheritance, owner, 0, &copy_fd);
	if (start(&p, text("%s\"tcp:127.0.0.1:%u\"} }", first, address_port(&left)), inheritance) <
		0)
		fail_msg("%s", p.errors.lines[0]);
	assert_int_equal(address_port(bound_of(&p, "b", index)), address_port(&left));
	inheritance_free(inheritance);
	end(&p);
}

static void test_a_port_that_was_left_goes_to_who_asks_for_its_number(void **state)
{
	(void)state;
	check_goes_to_who_asks("service b { listen = {\"tcp:127.0.0.1:0\", ", "b", 1);
	check_goes_to_who_asks(
		"service a { listen = {\"tcp:127.0.0.1:0\"} }\nservice b { listen = {", "a", 0);
}

static void test_what_was_left_is_no_obstacle_to_an_address_that_includes_it(void **state)
{
	_cleanup_close_ int copy_fd = -EBADF;
	struct inheritance *inheritance;
	struct place p = {0};
	struct address left;

	(void)state;
	assert_int_equal(inheritance_new(&inheritance), 0);
	left = leave_listener(inheritance, "a", 0, &copy_fd);
	if (start(&p, text("service a { listen = {\"tcp:%u\"} }", address_port(&left)),
		    inheritance) < 0)
		fail_msg("%s", p.errors.lines[0]);
	inheritance_free(inheritance);
	assert_int_equal(address_port(bound_of(&p, "a", 0)), address_port(&left));
	close_fd(connect_to(&left));
	end(&p);
}

/* What is planned may still come to nothing; and usherd makes no thread before it is no more root.
 */
static void test_sockets_are_stored_when_they_are_committed(void **state)
{
	struct config *config = config_of("service never { listen = {\"tcp:127.0.0.1:0\"} }");
	struct config_errors errors = {0};
	struct manager manager;
	struct reload *plan;
	struct place p = {0};
	int fd;

	(void)state;
	manager_start(&manager);
	assert_int_equal(prepare(&p, &plan, config, NULL, &errors), 0);
	reload_abort(plan);
	config_free(config);
	begin(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }");
	assert_non_null(strstr(manager_next_with_fd(&manager, &fd), "FDNAME=listener.1.a"));
	close_fd(fd);
	assert_non_null(strstr(manager_next_with_fd(&manager, &fd), "FDNAME=rendezvous.2.a"));
	close_fd(fd);
	end(&p);
	assert_true(notify_stop(TEST_SECONDS * UINT64_C(1000000)));
	manager_end(&manager);
}

/* The last test: it freezes the store. */
static void test_a_start_that_fails_leaves_everything_to_the_next(void **state)
{
	_cleanup_close_ int copy_fd = -EBADF, client_fd = -EBADF;
	struct inheritance *inheritance;
	struct place p = {0};
	struct address left;
	ino_t inode;
	char byte;

	(void)state;
	assert_int_equal(inheritance_new(&inheritance), 0);
	left = leave_listener(inheritance, "a", 7, &copy_fd);
	client_fd = connect_to(&left);
	assert_int_equal(start(&p,
				 text("service a { listen = {\"tcp:127.0.0.1:%u\", "
				      "\"tcp:192.0.2.99:1\"} }",
					 address_port(&left)),
				 inheritance),
		-EINVAL);
	inheritance_free(inheritance);
	inode = inode_at(&left); /* only the manager's is left */
	assert_int_not_equal(inode, 0);
	assert_int_equal(recv(client_fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_start_takes_what_was_left_and_leaves_the_rest),
		check_loop_test(test_what_was_left_is_no_obstacle_to_an_address_that_includes_it),
		check_loop_test(test_a_port_that_was_left_goes_to_who_asks_for_its_number),
		check_loop_test(test_sockets_are_stored_when_they_are_committed),
		check_loop_test(test_a_start_that_fails_leaves_everything_to_the_next),
	};

	return cmocka_run_group_tests_name(
		"reload-inherited", tests, config_files_begin, config_files_end);
}
