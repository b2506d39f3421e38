/* SPDX-License-Identifier: MIT */
/*
 * From one configuration to the next, with real sockets: what is kept, opened and closed, and that
 * a failure changes nothing.
 *
 * calloc(3) is wrapped to fail at the n-th call.
 */
#include "config-files.h"
#include "fd.h"
#include "loop.h"
#include "manager.h"
#include "notify.h"
#include "reload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX   4096
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

/* What server.c has of this. */
struct place {
	struct service_list running;
	struct config *config;
	struct config_errors errors; /* of the last reload */
	struct reload_counts counts;
	int n_ended;
};

static void on_ended(struct service *s, void *userdata)
{
	struct place *p = userdata;
	size_t i = 0;

	while (p->running.services[i] != s)
		i++;
	for (p->running.n_services--; i < p->running.n_services; i++)
		p->running.services[i] = p->running.services[i + 1];
	service_free(s);
	p->n_ended++;
}

static const struct service_events events = {.on_ended = on_ended};

/* What the server says at a reload; at its start also what was `inherited`. */
static int prepare(struct place *p, struct reload **ret, const struct config *config,
	struct inheritance *inherited, struct config_errors *errors)
{
	return reload_prepare(ret,
		&(struct reload_setting){
			.event = loop, .events = &events, .userdata = p, .inherited = inherited},
		&p->running, config, errors);
}

static struct config *config_of(const char *services)
{
	size_t size = strlen(services) + TEXT_MAX;
	char *text = malloc(size);
	struct config *config;

	assert_non_null(text);
	snprintf(text, size, "run_dir = \"%s\"\n%s", in_folder("."), services);
	config = load_text(text);
	free(text);
	return config;
}

/* Start with these services and what was inherited. Returns what reload_prepare() returned. */
static int start(struct place *p, const char *services, struct inheritance *inherited)
{
	struct config *config = config_of(services);
	struct reload *plan;
	int r;

	config_errors_done(&p->errors);
	p->errors = (struct config_errors){0};
	r = prepare(p, &plan, config, inherited, &p->errors);
	if (r < 0) {
		config_free(config);
		return r;
	}
	reload_commit(plan, &p->running, &p->counts);
	config_free(p->config);
	p->config = config;
	return 0;
}

static int reload(struct place *p, const char *services)
{
	return start(p, services, NULL);
}

static void begin(struct place *p, const char *services)
{
	*p = (struct place){0};
	if (reload(p, services) < 0)
		fail_msg("%s", p->errors.n_lines > 0 ? p->errors.lines[0] : "no error line");
}

static void end(struct place *p)
{
	for (size_t i = 0; i < p->running.n_services; i++)
		service_free(p->running.services[i]);
	free(p->running.services);
	config_free(p->config);
	config_errors_done(&p->errors);
}

static void check_counts(const struct place *p, size_t n_added, size_t n_removed, size_t n_kept)
{
	assert_int_equal(p->counts.n_added, n_added);
	assert_int_equal(p->counts.n_removed, n_removed);
	assert_int_equal(p->counts.n_changed + p->counts.n_unchanged, n_kept);
}

static void check_names(const struct place *p, const char *expected)
{
	char names[256] = "";

	for (size_t i = 0; i < p->running.n_services; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s%s",
			i > 0 ? " " : "", service_name(p->running.services[i]),
			service_is_ending(p->running.services[i]) ? "(ending)" : "");
	assert_string_equal(names, expected);
}

static struct service *service_called(const struct place *p, const char *name)
{
	for (size_t i = 0; i < p->running.n_services; i++)
		if (strcmp(service_name(p->running.services[i]), name) == 0)
			return p->running.services[i];
	fail_msg("there is no service %s", name);
	return NULL;
}

static const struct address *bound_of(const struct place *p, const char *name, size_t i)
{
	size_t n;
	struct listener *const *listeners =
		intake_listeners(service_intake(service_called(p, name)), &n);

	assert_true(i < n);
	return listener_bound(listeners[i]);
}

static size_t n_listeners_of(const struct place *p, const char *name)
{
	size_t n;

	(void)intake_listeners(service_intake(service_called(p, name)), &n);
	return n;
}

/* The inode of the only listening socket of this process at `address`; 0 if there is none. */
static ino_t inode_at(const struct address *address)
{
	ino_t inode = 0;

	for (int fd = 3; fd < 512; fd++) {
		struct address own = {.length = sizeof(own.storage)};
		struct stat st;
		int is_listening = 0;
		socklen_t size = sizeof(is_listening);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0 ||
			!is_listening || getsockname(fd, &own.sockaddr, &own.length) < 0 ||
			own.sockaddr.sa_family != address->sockaddr.sa_family)
			continue;
		own.type = address->type;
		own.is_wildcard = address->is_wildcard;
		if (!address_equal(&own, address))
			continue;
		assert_int_equal(inode, 0);
		assert_int_equal(fstat(fd, &st), 0);
		inode = st.st_ino;
	}
	return inode;
}

static int connect_to(const struct address *address)
{
	int fd = socket(address->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &address->sockaddr, address->length), 0);
	return fd;
}

/* Services written with printf(3). Good until the fourth call after it. */
__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
	static char texts[4][TEXT_MAX];
	static unsigned int i;
	char *result = texts[i++ % 4];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(result, TEXT_MAX, format, arguments);
	va_end(arguments);
	return result;
}

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

/* Failures. */

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

static void test_an_address_that_somebody_else_has(void **state)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct place p;

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	begin(&p, "");
	assert_int_equal(reload(&p, text("service a { listen = {\"tcp:127.0.0.1:%u\"} }",
					    ntohs(address.sin_port))),
		-EINVAL);
	assert_non_null(strstr(p.errors.lines[0],
		text("c.conf:2: cannot listen on tcp:127.0.0.1:%u: the address is in use by ",
			ntohs(address.sin_port))));
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

/* What an earlier usherd has left. */

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
		check_loop_test(test_a_failure_at_any_listener_changes_nothing),
		check_loop_test(test_all_listeners_that_fail_are_named),
		check_loop_test(test_without_memory_nothing_is_changed),
		check_loop_test(test_a_plan_that_is_given_up),
		check_loop_test(test_a_rendezvous_that_somebody_else_has),
		check_loop_test(test_an_address_that_somebody_else_has),
		check_loop_test(test_from_one_address_to_all_and_back),
		check_loop_test(test_v6only_cannot_change_while_it_is_open),
		check_loop_test(test_a_start_takes_what_was_left_and_leaves_the_rest),
		check_loop_test(test_what_was_left_is_no_obstacle_to_an_address_that_includes_it),
		check_loop_test(test_a_port_that_was_left_goes_to_who_asks_for_its_number),
		check_loop_test(test_sockets_are_stored_when_they_are_committed),
		check_loop_test(test_rules_of_datagrams_hold_before_the_commit),
		check_loop_test_if(allows_three_fds_each(), test_two_thousand_services),
		check_loop_test(test_a_start_that_fails_leaves_everything_to_the_next),
	};

	return cmocka_run_group_tests_name("reload", tests, config_files_begin, config_files_end);
}
