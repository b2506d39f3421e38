/* SPDX-License-Identifier: MIT */
/*
 * Names and domains in only_from and no_access, and warnings: what comes of them.
 *
 * getaddrinfo(3) is wrapped: "NAME-N.example" has N addresses, "NAME-N.v6" one of IPv6 besides,
 * others none.
 */
#include "config-files.h"
#include "config-private.h"
#include "names.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
	struct addrinfo **result);
void __wrap_freeaddrinfo(struct addrinfo *result);

struct entry {
	struct addrinfo info;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
	struct addrinfo **result)
{
	const char *dash = strchr(node, '-');
	size_t n = dash ? strtoul(dash + 1, NULL, 10) : 0;
	struct entry *entries = calloc(n + 1, sizeof(*entries));

	(void)service, (void)hints;
	if (n == 0 || !entries) {
		free(entries);
		return EAI_NONAME;
	}
	for (size_t i = 0; i < n; i++) {
		entries[i].in = (struct sockaddr_in){
			.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201 + (uint32_t)i)};
		entries[i].info.ai_family = AF_INET;
		entries[i].info.ai_addr = (struct sockaddr *)&entries[i].in;
		entries[i].info.ai_next = i + 1 < n ? &entries[i + 1].info : NULL;
	}
	*result = &entries[0].info;
	if (strstr(node, ".v6")) {
		entries[n].in6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
		assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &entries[n].in6.sin6_addr), 1);
		entries[n].info.ai_family = AF_INET6;
		entries[n].info.ai_addr = (struct sockaddr *)&entries[n].in6;
		entries[n - 1].info.ai_next = &entries[n].info;
	}
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *result)
{
	free((void *)result);
}

/* Load this text, whose names are looked up; the warnings are `expected`. */
static struct config *load_resolved(const char *text, const char *expected)
{
	struct config_errors errors = {0};
	struct config *config = load_text(text);
	char *lines = NULL;
	size_t size;
	FILE *stream = open_memstream(&lines, &size);

	assert_non_null(stream);
	assert_int_equal(config_resolve_now(config, &errors), 0);
	for (size_t i = 0; i < errors.n_warnings; i++)
		fprintf(stream, "%s\n", errors.warnings[i]);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(lines, expected);
	assert_int_equal(errors.n_lines, 0);
	free(lines);
	config_errors_done(&errors);
	return config;
}

static void check_rule(const struct config_rule *rule, bool is_allowed, const char *text,
	const char *network, int line)
{
	char buffer[NETWORK_TEXT_MAX];

	assert_int_equal(rule->is_allowed, is_allowed);
	assert_string_equal(rule->text, text);
	assert_string_equal(network_format(&rule->network, buffer), network);
	assert_int_equal(rule->place.line, line);
}

static void test_names_become_networks(void **state)
{
	struct config *config = load_resolved(
		"service a { listen = \"tcp:80\"\nonly_from = {\"10.0.0.1\",\n\"two-2.example\"}\n"
		"no_access = \"one-1.example\" }\n",
		"");
	const struct config_admission *admission = &config->services[0]->admission;

	(void)state;
	assert_int_equal(admission->n_rules, 4);
	check_rule(&admission->rules[0], true, "10.0.0.1", "10.0.0.1", 2);
	check_rule(&admission->rules[1], true, "two-2.example", "192.0.2.1", 3);
	check_rule(&admission->rules[2], true, "two-2.example", "192.0.2.2", 3);
	check_rule(&admission->rules[3], false, "one-1.example", "192.0.2.1", 4);
	config_free(config);
}

/* Also in the defaults of many: said once. */
static void test_unknown_names_are_nobody(void **state)
{
	struct config *config = load_resolved(
		"defaults {\nonly_from = nosuch.example }\nservice a { listen = \"tcp:80\" }\n"
		"service b { listen = \"tcp:81\"\nno_access = never.example }\n",
		"c.conf:2: warning: only_from: the name 'nosuch.example' cannot be looked up: Name "
		"or service not known; until a reload it admits nobody\n"
		"c.conf:5: warning: no_access: the name 'never.example' cannot be looked up: Name "
		"or service not known; until a reload it refuses nobody\n");

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(config->services[i]->admission.n_rules, 0);
		assert_true(config->services[i]->admission.has_only_from);
	}
	config_free(config);
}

static void test_too_many_addresses_are_said(void **state)
{
	struct config *config = load_resolved(
		"service a { listen = \"tcp:80\" only_from = many-17.example }\n",
		"c.conf:1: warning: only_from: 'many-17.example' has more than 16 addresses, the "
		"others are left out\n");

	(void)state;
	assert_int_equal(config->services[0]->admission.n_rules, NAMES_MAX_ADDRESSES);
	config_free(config);
}

static void test_names_of_disabled_services_are_not_looked_up(void **state)
{
	(void)state;
	config_free(load_resolved("service a { disable = true listen = \"tcp:80\" only_from = "
				  "nosuch.example }\n",
		""));
}

/* The listeners of a service, as "tcp:192.0.2.1:80 ". */
static void check_listeners(const struct config_service *service, const char *expected)
{
	char text[512] = "", address[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < service->n_listen; i++) {
		assert_null(service->listen[i].host);
		strcat(strcat(text, address_format(&service->listen[i].address, address)), " ");
	}
	assert_string_equal(text, expected);
}

static void test_names_become_listeners(void **state)
{
	struct config *config = load_resolved(
		"service a { listen = {\"tcp:two-2.example:80-81\", \"tcp:127.0.0.1:80\",\n"
		"\"udp4:one-1.example:69\", \"mptcp:both-1.v6:7\", \"tcp6:both-1.v6:9\",\n"
		"\"tcp4:both-1.v6:9\", \"tcp4:two-2.example:80\"} }\n",
		"");

	(void)state;
	check_listeners(config->services[0],
		"tcp:127.0.0.1:80 tcp:192.0.2.1:80 tcp:192.0.2.2:80 tcp:192.0.2.1:81 "
		"tcp:192.0.2.2:81 udp:192.0.2.1:69 mptcp:192.0.2.1:7 mptcp:[2001:db8::1]:7 "
		"tcp:[2001:db8::1]:9 tcp:192.0.2.1:9 ");
	config_free(config);
}

/* Load this text, whose names cannot all be listened on. */
static void check_refused(const char *text, const char *expected)
{
	struct config_errors errors = {0};
	struct config *config = load_text(text);

	assert_int_equal(config_resolve_now(config, &errors), -EINVAL);
	assert_int_equal(errors.n_lines, 1);
	assert_string_equal(errors.lines[0], expected);
	config_errors_done(&errors);
	config_free(config);
}

static void test_names_that_cannot_be_listened_on(void **state)
{
	(void)state;
	check_refused("service a {\nlisten = \"tcp:nosuch.example:80\" }\n",
		"c.conf:2: listen: the name 'nosuch.example' has no address that can be listened "
		"on: Name or service not known, expected another name, or an address");
	check_refused("service a {\nlisten = \"tcp6:one-1.example:80\" }\n",
		"c.conf:2: listen: the name 'one-1.example' has no address that can be listened "
		"on: it has others only, or is a network, expected another name, or an address");
	check_refused("service a { listen = \"tcp:192.0.2.1:80\" }\n"
		      "service b { listen = \"tcp:one-1.example:80\" }\n",
		"c.conf:2: service 'b' listens on tcp:192.0.2.1:80, which service 'a' has at "
		"c.conf:1");
}

/* Of a foreign file they cost that service, and no other. */
static void test_names_of_foreign_files_cost_the_service(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf", "nosuch.example:70 stream tcp nowait root /bin/cat\n"
			       "one-1.example:71 stream tcp4 nowait root /bin/cat\n"
			       "one-1.example:72 stream tcp4 nowait root /bin/cat\n");
	config = load_resolved(
		"inetd_conf('i.conf')\nservice own { listen = 'tcp:192.0.2.1:71' }\n",
		"i.conf:1: warning: listen: the name 'nosuch.example' has no address that can be "
		"listened on: Name or service not known, expected another name, or an address; "
		"service '70' is left out\n"
		"i.conf:2: warning: service '71' listens on tcp:192.0.2.1:71, which service 'own' "
		"has at c.conf:2; service '71' is left out\n");
	assert_int_equal(config->n_services, 2);
	check_listeners(config_find_service(config, "72"), "tcp:192.0.2.1:72 ");
	config_free(config);
}

/* Of two on one address the first keeps it, whatever they are called. */
static void test_first_of_two_foreign_names_keeps_the_address(void **state)
{
	struct config *config;

	(void)state;
	write_config("z.conf", "one-1.example:http stream tcp4 nowait root /bin/cat\n");
	write_config("a.conf", "one-1.v4.example:80 stream tcp4 nowait root /bin/cat\n");
	config = load_resolved("inetd_conf('z.conf')\ninetd_conf('a.conf')\n",
		"a.conf:1: warning: service '80' listens on tcp:192.0.2.1:80, which service 'http' "
		"has at z.conf:1; service '80' is left out\n");
	assert_int_equal(config->n_services, 1);
	config_free(config);
}

/* What names of foreign files come to besides is said of them as of others. */
static void test_too_many_addresses_of_a_foreign_name(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf", "many-20.example:70 stream tcp4 nowait root /bin/cat\n");
	config = load_resolved("inetd_conf('i.conf')\n",
		"i.conf:1: warning: listen: 'many-20.example' has more than 16 addresses, the "
		"others are left out\n");
	assert_int_equal(config->services[0]->n_listen, 16);
	config_free(config);
}

/* Without its rule somebody would be let in who was kept out; one of only_from lets nobody in. */
static void test_foreign_service_without_a_name_of_no_access_is_left_out(void **state)
{
	struct config *config;

	(void)state;
	write_config("x.conf",
		"service s\n{\ntype = UNLISTED\nport = 70\nsocket_type = stream\nwait = no\n"
		"user = root\nserver = /bin/cat\nno_access = one-1.example nosuch.example\n}\n"
		"service t\n{\ntype = UNLISTED\nport = 71\nsocket_type = stream\nwait = no\n"
		"user = root\nserver = /bin/cat\nonly_from = gone.example\n"
		"no_access = one-1.example\n}\n");
	config = load_resolved("xinetd_conf('x.conf')\n",
		"x.conf:9: warning: no_access: the name 'nosuch.example' cannot be looked up: "
		"Name or service not known, expected another name, or an address; service 's' is "
		"left out\n"
		"x.conf:19: warning: only_from: the name 'gone.example' cannot be looked up: Name "
		"or service not known; until a reload it admits nobody\n");
	assert_int_equal(config->n_services, 1);
	assert_string_equal(config->services[0]->name, "t");
	config_free(config);
}

static void test_many_names_need_many_descriptors(void **state)
{
	struct config_errors errors = {0};
	struct config *config;

	(void)state;
	config = load_text("service a { listen = \"tcp:one-1.example:80\" }\n");
	assert_int_equal(config_most_listeners(config->services[0]), NAMES_MAX_ADDRESSES);
	assert_int_equal(config_n_fds(config), 256 + NAMES_MAX_ADDRESSES + 1 + 2 * 16);
	config_free(config);
	write_config("c.conf", "service a { listen = \"tcp:one-1.example:8000-8064\" }\n");
	assert_int_equal(config_load("c.conf", 0, &config, &errors), -EINVAL);
	assert_string_equal(
		errors.lines[0], "c.conf:1: service 'a' has 1040 listeners, expected at most 1024");
	config_errors_done(&errors);
}

static void test_too_many_names(void **state)
{
	struct config_errors errors = {0};
	struct config *config;
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	assert_non_null(stream);
	fputs("service a { listen = \"tcp:80\"\nonly_from = {host0", stream);
	for (int i = 1; i <= NAMES_MAX; i++)
		fprintf(stream, ",\nhost%d", i);
	fputs("} }\n", stream);
	assert_int_equal(fclose(stream), 0);
	config = load_text(text);
	assert_int_equal(config_resolve_now(config, &errors), -EINVAL);
	assert_int_equal(errors.n_lines, 1);
	assert_string_equal(errors.lines[0],
		"c.conf:258: 'host256' is one name more than 256 in listen, only_from and "
		"no_access of all services, expected addresses instead of so many names");
	config_errors_done(&errors);
	config_free(config);
	free(text);
}

/* Until they are looked up, names are rules that no client is in. */
static void test_names_that_are_not_looked_up_are_nobody(void **state)
{
	struct config *config =
		load_text("service a { listen = \"tcp:80\" only_from = one-1.example }\n");
	const struct wire_address client = {.family = AF_INET, .address = {192, 0, 2, 1}};

	(void)state;
	assert_int_equal(config->services[0]->admission.n_rules, 1);
	assert_false(network_contains(&config->services[0]->admission.rules[0].network, &client));
	assert_int_equal(config->services[0]->admission.rules[0].network.family, AF_UNSPEC);
	config_free(config);
}

static const struct config_key *find_key(const char *name)
{
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		if (!config_keys[i].section && strcmp(config_keys[i].name, name) == 0)
			return &config_keys[i];
	fail_msg("no key %s", name);
	return NULL;
}

/* A service of a file of another program, with one option. */
static void make_foreign(struct config_draft *draft, const char *name, const char *text,
	struct config_errors *errors)
{
	const struct config_place place = {.file = "x.conf", .line = 7};
	const struct config_draft defaults = {0};

	*draft = (struct config_draft){.is_foreign = true};
	config_draft_take(draft, find_key("listen"), "udp:69", place, false, errors);
	config_draft_take(draft, find_key(name), text, place, false, errors);
	config_draft_close(draft, "a", place, errors);
	config_draft_complete(draft, &defaults, errors);
	assert_int_equal(errors->n_lines, 0);
	assert_int_equal(errors->n_warnings, 1);
}

static void test_domain_of_a_foreign_file_in_only_from_admits_nobody(void **state)
{
	struct config_errors errors = {0};
	struct config_draft draft;

	(void)state;
	make_foreign(&draft, "only_from", ".example.org", &errors);
	assert_string_equal(errors.warnings[0],
		"x.conf:7: warning: only_from: '.example.org' is a domain, which cannot be decided "
		"without asking DNS for each client; nobody is admitted by it; name its networks "
		"or its hosts instead");
	assert_true(draft.service.admission.has_only_from);
	assert_int_equal(draft.service.admission.n_rules, 0);
	assert_false(draft.service.is_disabled);
	config_draft_clear(&draft);
	config_errors_done(&errors);
}

static void test_domain_of_a_foreign_file_in_no_access_disables_the_service(void **state)
{
	struct config_errors errors = {0};
	struct config_draft draft;

	(void)state;
	make_foreign(&draft, "no_access", ".example.org", &errors);
	assert_string_equal(errors.warnings[0],
		"x.conf:7: warning: no_access: '.example.org' is a domain, which cannot be decided "
		"without asking DNS for each client; the service is not run; name its networks or "
		"its hosts instead");
	assert_true(draft.service.is_disabled);
	config_draft_clear(&draft);
	config_errors_done(&errors);
}

static void test_misfit_of_a_foreign_file_is_a_warning(void **state)
{
	struct config_errors errors = {0};
	struct config_draft draft;

	(void)state;
	make_foreign(&draft, "per_source", "3", &errors);
	assert_string_equal(errors.warnings[0],
		"x.conf:7: warning: per_source is not carried out, because service 'a' has lent "
		"sockets only, whose clients usherd does not see");
	assert_int_equal(draft.service.admission.per_source, 0);
	config_draft_clear(&draft);
	config_errors_done(&errors);
}

static void test_too_many_warnings_are_cut(void **state)
{
	struct config_errors errors = {0};
	const struct config_place place = {.file = "c.conf"};

	(void)state;
	for (int i = 0; i < 2 * CONFIG_MAX_ERRORS; i++)
		config_warnings_add(&errors, place, "%d\x1b", i);
	assert_int_equal(errors.n_warnings, CONFIG_MAX_ERRORS + 1);
	assert_string_equal(errors.warnings[1], "c.conf: warning: 1?");
	assert_string_equal(errors.warnings[CONFIG_MAX_ERRORS],
		"There are more warnings, which are not shown.");
	assert_int_equal(errors.n_lines, 0);
	config_errors_done(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_names_become_networks),
		check_test(test_unknown_names_are_nobody),
		check_test(test_too_many_addresses_are_said),
		check_test(test_names_of_disabled_services_are_not_looked_up),
		check_test(test_names_become_listeners),
		check_test(test_names_that_cannot_be_listened_on),
		check_test(test_names_of_foreign_files_cost_the_service),
		check_test(test_first_of_two_foreign_names_keeps_the_address),
		check_test(test_too_many_addresses_of_a_foreign_name),
		check_test(test_foreign_service_without_a_name_of_no_access_is_left_out),
		check_test(test_many_names_need_many_descriptors),
		check_test(test_too_many_names),
		check_test(test_names_that_are_not_looked_up_are_nobody),
		check_test(test_domain_of_a_foreign_file_in_only_from_admits_nobody),
		check_test(test_domain_of_a_foreign_file_in_no_access_disables_the_service),
		check_test(test_misfit_of_a_foreign_file_is_a_warning),
		check_test(test_too_many_warnings_are_cut),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
