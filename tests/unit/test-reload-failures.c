/* SPDX-License-Identifier: MIT */
/*
 * Reloads that fail: what is said, and that nothing changes.
 *
 * calloc(3) is wrapped to fail at the n-th call.
 */
#include "config-files.h"
#include "fd.h"
#include "reload-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define NO_FAILURE (-1)

static int n_callocs_until_failure = NO_FAILURE;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	if (n_callocs_until_failure != NO_FAILURE && n_callocs_until_failure-- == 0) {
		n_callocs_until_failure = NO_FAILURE;
		errno = ENOMEM;
		return NULL;
	}
	return __real_calloc(n, size);
}

/* A reload that must fail with this one line, and change nothing. */
static void check_fails(struct place *p, const char *services, const char *expected)
{
	size_t n_fds = test_count_fds(), n_services = p->running.n_services;
	struct service *first = n_services > 0 ? p->running.services[0] : NULL;

	assert_int_equal(reload(p, services), -EINVAL);
	assert_int_equal(p->errors.n_lines, 1);
	assert_string_equal(p->errors.lines[0], expected);
	assert_int_equal(test_count_fds(), n_fds);
	assert_int_equal(p->running.n_services, n_services);
	if (first) {
		assert_ptr_equal(p->running.services[0], first);
		assert_false(service_is_ending(first));
	}
	assert_int_equal(turn_while_ready(), 0);
}

static void test_a_failure_at_any_listener_changes_nothing(void **state)
{
	unsigned int port = test_free_port();
	struct place p;
	ino_t inode;

	(void)state;
	begin(&p, text("service b { listen = {\"tcp:127.0.0.1:%u\"} }", port));
	inode = inode_at(bound_of(&p, "b", 0));
	for (int bad = 0; bad < 4; bad++) {
		char services[TEXT_MAX] = "";

		for (int i = 0; i < 4; i++) { /* a and c are new, and b changes */
			const char *host = i == bad ? "192.0.2.99" : "127.0.0.1";
			size_t length = strlen(services);

			snprintf(services + length, sizeof(services) - length,
				"service %c { listen = {\n\"tcp:%s:0\", \"tcp:127.0.0.1:0\"} }\n",
				'a' + i, host);
		}
		check_fails(&p, services,
			text("c.conf:%d: cannot listen on tcp:192.0.2.99:0: Cannot assign "
			     "requested address; socket { freebind = true } binds it even if "
			     "this machine does not have it",
				3 + 2 * bad));
		assert_int_equal(n_listeners_of(&p, "b"), 1);
		assert_int_equal(inode_at(bound_of(&p, "b", 0)), inode);
		assert_int_equal(access(in_folder("a.sock"), F_OK), -1);
		assert_int_equal(access(in_folder("c.sock"), F_OK), -1);
		assert_int_equal(access(in_folder("b.sock"), F_OK), 0);
	}
	end(&p);
}

static void test_all_listeners_that_fail_are_named(void **state)
{
	struct place p;

	(void)state;
	begin(&p, "");
	assert_int_equal(reload(&p, "service a { listen = {\n\"tcp:192.0.2.98:0\",\n"
				    "\"tcp:192.0.2.99:0\"} }"),
		-EINVAL);
	assert_int_equal(p.errors.n_lines, 2);
	assert_non_null(strstr(p.errors.lines[0], "c.conf:3: cannot listen on tcp:192.0.2.98:0: "));
	assert_non_null(strstr(p.errors.lines[1], "c.conf:4: cannot listen on tcp:192.0.2.99:0: "));
	end(&p);
}

static void test_without_memory_nothing_is_changed(void **state)
{
	const char *after =
		text("service a { listen = {\"tcp:127.0.0.1:0\", \"tcp:127.0.0.1:%u\"} }"
		     "service b { listen = {\"tcp:127.0.0.1:0\"} }",
			test_free_port());
	struct place p;
	struct config *config;
	struct reload *plan;
	int n = -1, r;

	(void)state;
	begin(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }");
	config = config_of(after);
	do {
		struct config_errors errors = {0};
		size_t n_fds = test_count_fds();

		n_callocs_until_failure = ++n;
		r = prepare(&p, &plan, config, NULL, &errors);
		if (r < 0) {
			assert_int_equal(r, -ENOMEM);
			assert_int_equal(test_count_fds(), n_fds);
			assert_int_equal(access(in_folder("b.sock"), F_OK), -1);
			check_names(&p, "a");
		}
		config_errors_done(&errors);
	} while (r < 0);
	n_callocs_until_failure = NO_FAILURE;
	assert_true(n > 10);
	reload_abort(plan);
	config_free(config);
	end(&p);
}

static void test_a_plan_that_is_given_up(void **state)
{
	struct place p;
	struct config *config;
	struct config_errors errors = {0};
	struct reload *plan;
	size_t n_fds;

	(void)state;
	begin(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }");
	config = config_of("service b { listen = {\"tcp:127.0.0.1:0\"} }");
	n_fds = test_count_fds();
	assert_int_equal(prepare(&p, &plan, config, NULL, &errors), 0);
	assert_int_equal(test_count_fds(), n_fds + 2); /* a listener and a rendezvous */
	reload_abort(plan);
	assert_int_equal(test_count_fds(), n_fds);
	reload_abort(NULL);
	config_free(config);
	end(&p);
}

static void test_a_rendezvous_that_somebody_else_has(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct place p;

	(void)state;
	begin(&p, "service b { listen = {\"tcp:127.0.0.1:0\"} }");
	strcpy(address.sun_path, in_folder("a.sock"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	check_fails(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }",
		text("c.conf:2: cannot make the rendezvous %s of service 'a': Address already in "
		     "use",
			in_folder("./a.sock")));
	assert_int_equal(access(in_folder("a.sock"), F_OK), 0);
	end(&p);
}

/* A port of 127.0.0.1 that is in use until the caller closes what is returned. */
static int occupy(unsigned int *ret_port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static void test_an_address_that_somebody_else_has(void **state)
{
	unsigned int port;
	int fd = occupy(&port);
	struct place p;

	(void)state;
	begin(&p, "");
	assert_int_equal(
		reload(&p, text("service a { listen = {\"tcp:127.0.0.1:%u\"} }", port)), -EINVAL);
	assert_non_null(strstr(p.errors.lines[0],
		text("c.conf:2: cannot listen on tcp:127.0.0.1:%u: the address is in use by ",
			port)));
	end(&p);
	close(fd);
}

/* Service b of xinetd, on a port of 127.0.0.1 or of all addresses, IPv4 and IPv6. */
static void write_foreign(const char *where, unsigned int port)
{
	write_config("xinetd.conf", text("service b\n{\ntype = UNLISTED\nport = %u\n%s\n"
					 "protocol = tcp\nsocket_type = stream\nwait = no\n"
					 "user = root\nserver = /bin/cat\n}\n",
					    port, where));
}

#define LOCAL	"bind = 127.0.0.1"
#define ALL	""
#define FOREIGN "xinetd_conf(\"xinetd.conf\")"

static void test_a_foreign_service_without_its_address_is_left_out(void **state)
{
	unsigned int port;
	int fd = occupy(&port);
	size_t n_fds;
	struct place p;

	(void)state;
	begin(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }");
	n_fds = test_count_fds();
	write_foreign(LOCAL, port);
	assert_int_equal(reload(&p, "service a { listen = {\"tcp:127.0.0.1:0\"} }" FOREIGN), 0);
	check_names(&p, "a");
	assert_int_equal(test_count_fds(), n_fds);
	assert_int_equal(p.errors.n_warnings, 1);
	assert_non_null(strstr(p.errors.warnings[0],
		text("warning: service 'b' is left out until a reload finds that it can listen "
		     "on tcp:127.0.0.1:%u: the address is in use by ",
			port)));
	close(fd);
	assert_int_equal(reload(&p, FOREIGN), 0);
	assert_int_equal(p.errors.n_warnings, 0);
	check_names(&p, "b a(ending)");
	end(&p);
}

static void test_a_foreign_service_that_runs_is_not_left_out(void **state)
{
	unsigned int taken;
	int fd = occupy(&taken);
	struct place p;

	(void)state;
	write_foreign(LOCAL, test_free_port());
	begin(&p, FOREIGN);
	write_foreign(LOCAL, taken);
	assert_int_equal(reload(&p, FOREIGN), -EINVAL);
	assert_non_null(strstr(p.errors.lines[0], "the address is in use by "));
	check_names(&p, "b");
	end(&p);
	close(fd);
}

/* Of two sockets one would come from a service that is removed: it is closed, as nobody has it. */
static void test_what_is_left_out_keeps_no_listener(void **state)
{
	const struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 taken;
	socklen_t length = sizeof(taken);
	struct address address;
	struct place p;

	(void)state;
	assert_int_equal(setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&taken, &length), 0);
	begin(&p, text("service a { listen = {\"tcp:0.0.0.0:%u\"} }", ntohs(taken.sin6_port)));
	address = *bound_of(&p, "a", 0);
	write_foreign(ALL, ntohs(taken.sin6_port));
	assert_int_equal(reload(&p, FOREIGN), 0);
	check_names(&p, "a(ending)");
	assert_int_equal(p.errors.n_warnings, 1);
	assert_int_equal(inode_at(&address), 0);
	end(&p);
}

static void test_from_one_address_to_all_and_back(void **state)
{
	static const char way[] = "remove that, reload, then add this and reload again; or restart";
	unsigned int port = test_free_port();
	struct place p;

	(void)state;
	begin(&p, text("service a { listen = {\"tcp:127.0.0.1:%u\"} }", port));
	check_fails(&p, text("service b { listen = {\"tcp:%u\"} }", port),
		text("c.conf:2: cannot listen on tcp:%u: usherd itself still listens on "
		     "tcp:127.0.0.1:%u for service a: %s",
			port, port, way));
	assert_int_equal(reload(&p, ""), 0);
	assert_int_equal(reload(&p, text("service b { listen = {\"tcp:%u\"} }", port)), 0);
	turn_until(p.n_ended == 1);
	check_fails(&p, text("service b { listen = {\"tcp:127.0.0.1:%u\"} }", port),
		text("c.conf:2: cannot listen on tcp:127.0.0.1:%u: usherd itself still listens on "
		     "tcp:%u for service b: %s",
			port, port, way));
	end(&p);
}

static void test_v6only_cannot_change_while_it_is_open(void **state)
{
	unsigned int port = test_free_port();
	struct place p;
	static const char format[] = "service a { listen = {\"%s:%u\"} socket { v6only = %s } }";
	static const char *const hosts[] = {"tcp", "tcp:[::]", "tcp:[::1]"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		begin(&p, text(format, hosts[i], port, "false"));
		check_fails(&p, text(format, hosts[i], port, "true"),
			text("c.conf:2: cannot listen on %s:%u: v6only can't be changed while it "
			     "is "
			     "open, that needs a restart",
				hosts[i], port));
		end(&p);
	}
	begin(&p, text(format, "tcp:127.0.0.1", port, "false")); /* where it means nothing */
	assert_int_equal(reload(&p, text(format, "tcp:127.0.0.1", port, "true")), 0);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_a_failure_at_any_listener_changes_nothing),
		check_loop_test(test_all_listeners_that_fail_are_named),
		check_loop_test(test_without_memory_nothing_is_changed),
		check_loop_test(test_a_plan_that_is_given_up),
		check_loop_test(test_a_rendezvous_that_somebody_else_has),
		check_loop_test(test_an_address_that_somebody_else_has),
		check_loop_test(test_a_foreign_service_without_its_address_is_left_out),
		check_loop_test(test_a_foreign_service_that_runs_is_not_left_out),
		check_loop_test(test_what_is_left_out_keeps_no_listener),
		check_loop_test(test_from_one_address_to_all_and_back),
		check_loop_test(test_v6only_cannot_change_while_it_is_open),
	};

	return cmocka_run_group_tests_name(
		"reload-failures", tests, config_files_begin, config_files_end);
}
