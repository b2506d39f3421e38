/* SPDX-License-Identifier: MIT */
/* account: what is written of what happens, and with which addresses. */
#include "account.h"
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static bool has_no_randomness;
static char last[256]; /* event=... of the last one that was written */
static unsigned int n_written;

ssize_t __real_getrandom(void *buffer, size_t size, unsigned int flags);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned int flags);
ssize_t __wrap_getrandom(void *buffer, size_t size, unsigned int flags)
{
	errno = ENOSYS;
	return has_no_randomness ? -1 : __real_getrandom(buffer, size, flags);
}

void __wrap_log_write_event(
	struct log_destination *to, int priority, const struct log_about *about);
void __wrap_log_write_event(struct log_destination *to, int priority, const struct log_about *about)
{
	assert_null(to);
	assert_int_equal(priority, strcmp(about->event, "refused") == 0 ? LOG_NOTICE : LOG_INFO);
	snprintf(last, sizeof(last), "%s %s %s %s %u", about->event, about->service,
		about->peer ? about->peer : "-", about->reason ? about->reason : "-",
		(unsigned int)about->n_more);
	n_written++;
}

static struct account *open_account(const struct config_service_log *config)
{
	struct account *account;

	n_written = 0;
	last[0] = '\0';
	assert_int_equal(account_new(&account, "web", NULL), 0);
	account_configure(account, config, 24, 56);
	return account;
}

static void refuse(struct account *account, const char *reason, unsigned int n)
{
	const struct wire_address peer = {.family = AF_INET, .address = {192, 0, 2, 1}};

	while (n--) {
		struct account_fact fact = {
			.event = ACCOUNT_REFUSED, .peer = &peer, .reason = reason};

		account_write(account, &fact);
	}
}

static const struct config_service_log failures = {
	.on_failure = CONFIG_LOG_HOST | CONFIG_LOG_REASON};

static void test_nothing_is_wanted_by_default(void **state)
{
	struct account *account = open_account(&(struct config_service_log){0});

	(void)state;
	for (enum account_event event = ACCOUNT_START; event <= ACCOUNT_REFUSED; event++)
		assert_false(account_wants(account, event));
	refuse(account, "cps", 100);
	assert_int_equal(n_written, 0);
	account_free(account);
	assert_int_equal(n_written, 0);
}

static void test_what_is_wanted_is_written_once(void **state)
{
	struct account *account = open_account(&failures);
	struct account_fact end = {.event = ACCOUNT_END, .reason = "released"};

	(void)state;
	account_write(account, &end);
	assert_int_equal(n_written, 0);
	refuse(account, "cps", 1);
	assert_int_equal(n_written, 1);
	assert_string_equal(last, "refused web 192.0.2.1 cps 0");
	account_free(account);
}

static void test_services_have_the_same_key(void **state)
{
	struct config_service_log config = failures;
	struct account *one, *other;
	char first[sizeof(last)];

	(void)state;
	config.address = CONFIG_LOG_ADDRESS_HASH;
	one = open_account(&config);
	refuse(one, "cps", 1);
	strcpy(first, last);
	other = open_account(&config);
	refuse(other, "cps", 1);
	assert_string_equal(last, first);
	assert_null(strstr(last, "192"));
	account_free(one);
	account_free(other);
}

/* Runs before there is a key. */
static void test_without_a_key_there_are_no_addresses(void **state)
{
	struct config_service_log config = failures;
	struct account *account;

	(void)state;
	config.address = CONFIG_LOG_ADDRESS_HASH;
	has_no_randomness = true;
	account = open_account(&config);
	has_no_randomness = false;
	refuse(account, "cps", 1);
	assert_string_equal(last, "refused web - cps 0");
	assert_int_equal(n_logged("no addresses are logged"), 1);
	account_free(account);
}

static void test_followers_hear_what_is_not_logged(void **state)
{
	const struct config_service_log config = {.address = CONFIG_LOG_ADDRESS_PREFIX};
	const struct wire_address peer = {.family = AF_INET, .address = {192, 0, 2, 77}};
	struct account_fact fact = {
		.event = ACCOUNT_START, .peer = &peer, .provider = "p", .provider_pid = 7};
	struct account *account;
	struct events *events;
	char line[512];
	ssize_t length;
	int fds[2];

	(void)state;
	n_written = 0;
	assert_int_equal(events_new(&events, loop), 0);
	assert_int_equal(account_new(&account, "web", events), 0);
	account_configure(account, &config, 24, 56);
	assert_false(account_wants(account, ACCOUNT_START));
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(events_follow(events, fds[1], &(struct events_wish){0}), 0);
	assert_true(account_wants(account, ACCOUNT_START));
	assert_true(recv(fds[0], line, sizeof(line), 0) > 0); /* the first line */
	account_write(account, &fact);
	events_flush(events);
	length = recv(fds[0], line, sizeof(line) - 1, 0);
	assert_true(length > 0);
	line[length] = '\0';
	assert_non_null(strstr(line, "\"peer\":\"192.0.2.0/24\",\"provider\":\"p\""));
	assert_int_equal(n_written, 0);
	close(fds[0]);
	account_free(account);
	events_free(events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_without_a_key_there_are_no_addresses),
		check_loop_test(test_nothing_is_wanted_by_default),
		check_loop_test(test_what_is_wanted_is_written_once),
		check_loop_test(test_services_have_the_same_key),
		check_loop_test(test_followers_hear_what_is_not_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
