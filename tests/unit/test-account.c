/* SPDX-License-Identifier: MIT */
/* account: when refusals are counted instead, and when the count is told. Time is the test's. */
#include "account-limit.h"
#include "account.h"
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000)

static uint64_t now_usec;
static sd_event_source *timer;
static uint64_t timer_usec;
static bool has_no_randomness;
static char last[256]; /* event=... of the last one that was written */
static unsigned int n_written;

int __wrap_sd_event_now(sd_event *event, clockid_t clock, uint64_t *ret);
int __wrap_sd_event_now(sd_event *event, clockid_t clock, uint64_t *ret)
{
	(void)event, (void)clock;
	*ret = now_usec;
	return 0;
}

int __real_sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
	uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);
int __wrap_sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
	uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);
int __wrap_sd_event_add_time(sd_event *event, sd_event_source **ret, clockid_t clock, uint64_t usec,
	uint64_t accuracy, sd_event_time_handler_t callback, void *userdata)
{
	int r = __real_sd_event_add_time(
		event, ret, clock, UINT64_MAX, accuracy, callback, userdata);

	timer = *ret;
	timer_usec = usec;
	return r;
}

int __real_sd_event_source_set_time(sd_event_source *source, uint64_t usec);
int __wrap_sd_event_source_set_time(sd_event_source *source, uint64_t usec);
int __wrap_sd_event_source_set_time(sd_event_source *source, uint64_t usec)
{
	timer_usec = usec;
	return __real_sd_event_source_set_time(source, UINT64_MAX);
}

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

/* The timer that is due rings. */
static void ring(void)
{
	assert_true(timer && timer_usec <= now_usec);
	assert_true(__real_sd_event_source_set_time(timer, 0) >= 0);
	turn();
}

static struct account *open_account(const struct config_service_log *config)
{
	struct account *account;

	now_usec = 1000;
	timer = NULL;
	n_written = 0;
	last[0] = '\0';
	assert_int_equal(account_new(&account, loop, "web", NULL), 0);
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
	assert_null(timer);
	account_free(account);
	assert_int_equal(n_written, 0);
}

static void test_refusals_beyond_the_limit_are_told_as_a_number(void **state)
{
	struct account *account = open_account(&failures);

	(void)state;
	refuse(account, "cps", ACCOUNT_LIMIT_BURST);
	assert_string_equal(last, "refused web 192.0.2.1 cps 0");
	assert_null(timer);
	refuse(account, "cps", 5);
	assert_int_equal(n_written, ACCOUNT_LIMIT_BURST);
	assert_int_equal(timer_usec, now_usec + ACCOUNT_LIMIT_USEC);

	now_usec += ACCOUNT_LIMIT_USEC;
	ring();
	assert_string_equal(last, "refused web - cps 5");
	assert_int_equal(n_written, ACCOUNT_LIMIT_BURST + 1);
	refuse(account, "cps", 1);
	assert_string_equal(last, "refused web 192.0.2.1 cps 0");
	account_free(account);
}

/* The one that began first is due first, also when it has overflowed last. */
static void test_each_count_is_told_when_it_is_due(void **state)
{
	struct account *account = open_account(&failures);

	(void)state;
	refuse(account, "cps", 1);
	now_usec += SECOND;
	refuse(account, "no_access", ACCOUNT_LIMIT_BURST + 1);
	assert_int_equal(timer_usec, now_usec + ACCOUNT_LIMIT_USEC);
	refuse(account, "cps", ACCOUNT_LIMIT_BURST + 1);
	assert_int_equal(timer_usec, now_usec - SECOND + ACCOUNT_LIMIT_USEC);
	now_usec += ACCOUNT_LIMIT_USEC - SECOND;
	ring();
	assert_string_equal(last, "refused web - cps 2");
	now_usec += SECOND;
	ring();
	assert_string_equal(last, "refused web - no_access 1");
	assert_int_equal(sd_event_source_get_enabled(timer, NULL), SD_EVENT_OFF);
	account_free(account);
}

static void test_end_tells_what_is_left(void **state)
{
	struct account *account = open_account(&failures);

	(void)state;
	refuse(account, "cps", ACCOUNT_LIMIT_BURST + 3);
	account_free(account);
	assert_string_equal(last, "refused web - cps 3");
}

static void test_successes_are_not_limited(void **state)
{
	struct account *account =
		open_account(&(struct config_service_log){.on_success = CONFIG_LOG_EXIT});

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct account_fact fact = {.event = ACCOUNT_END, .reason = "released"};

		account_write(account, &fact);
	}
	assert_int_equal(n_written, 1000);
	assert_string_equal(last, "end web - released 0");
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
	assert_int_equal(account_new(&account, loop, "web", events), 0);
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
		check_loop_test(test_refusals_beyond_the_limit_are_told_as_a_number),
		check_loop_test(test_each_count_is_told_when_it_is_due),
		check_loop_test(test_end_tells_what_is_left),
		check_loop_test(test_successes_are_not_limited),
		check_loop_test(test_services_have_the_same_key),
		check_loop_test(test_followers_hear_what_is_not_logged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
