/* SPDX-License-Identifier: MIT */
/*
 * From root to a user, each time in a child. Skipped without root.
 *
 * prctl(2) and setresuid(2) are wrapped to see their order.
 */
#include "privilege.h"
#include "test.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER_ID	 12345
#define GROUP_ID 23456

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);            \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static bool is_dumpable = true;

int __real_setresuid(uid_t real, uid_t effective, uid_t saved);
int __wrap_setresuid(uid_t real, uid_t effective, uid_t saved);
int __real_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);

/* As with fs.suid_dumpable = 1 (proc(5)). */
int __wrap_setresuid(uid_t real, uid_t effective, uid_t saved)
{
	is_dumpable = true;
	return __real_setresuid(real, effective, saved);
}

int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	if (option == PR_SET_DUMPABLE)
		is_dumpable = a != 0;
	return __real_prctl(option, a, b, c, d);
}

static void check_as_root(bool (*body)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(body() ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static bool begin(void)
{
	return privilege_begin("nobody in particular", USER_ID, GROUP_ID) == 0;
}

static bool may_change_owners(void)
{
	cap_t capabilities = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	(void)cap_get_flag(capabilities, CAP_CHOWN, CAP_EFFECTIVE, &value);
	cap_free(capabilities);
	return value == CAP_SET;
}

static bool acts_as_user(void)
{
	EXPECT(begin());
	EXPECT(geteuid() == USER_ID && getegid() == GROUP_ID && getgroups(0, NULL) == 1);
	EXPECT(!may_change_owners());
	privilege_raise();
	EXPECT(geteuid() == 0 && may_change_owners());
	privilege_lower();
	EXPECT(geteuid() == USER_ID && !may_change_owners());
	return true;
}

static void test_root_acts_as_the_user_unless_raised(void **state)
{
	(void)state;
	check_as_root(acts_as_user);
}

static bool drops_for_good(void)
{
	uid_t real, effective, saved;

	EXPECT(begin() && privilege_drop(0) == 0);
	privilege_raise();
	EXPECT(getresuid(&real, &effective, &saved) == 0);
	EXPECT(real == USER_ID && effective == USER_ID && saved == USER_ID);
	EXPECT(seteuid(0) < 0 && !may_change_owners());
	return true;
}

static void test_dropped_rights_do_not_come_back(void **state)
{
	(void)state;
	check_as_root(drops_for_good);
}

static bool is_hardened(void)
{
	privilege_harden();
	EXPECT(begin() && privilege_drop(0) == 0);
	EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L) == 1);
	for (cap_value_t capability = 0; CAP_IS_SUPPORTED(capability); capability++)
		EXPECT(cap_get_bound(capability) == (capability == CAP_NET_BIND_SERVICE));
#ifndef USHER_SANITIZED
	EXPECT(!is_dumpable);
#endif
	return true;
}

static void test_the_change_of_user_does_not_undo_the_hardening(void **state)
{
	(void)state;
	check_as_root(is_hardened);
}

/* What the program has that is executed in the place of this one: by its status. */
static bool keeps_low_ports_over_exec(void)
{
	static char command[] = "for set in CapEff CapPrm; do "
				"grep -q $set:.0000000000000400 /proc/self/status || exit 1; done";

	privilege_harden();
	EXPECT(begin() && privilege_drop(0) == 0 && privilege_keep_over_exec() == 0);
	(void)execl("/bin/sh", "sh", "-c", command, NULL);
	return false;
}

static void test_low_ports_can_be_bound_by_the_program_that_is_executed(void **state)
{
	(void)state;
	check_as_root(keeps_low_ports_over_exec);
}

static bool keeps_transparency_over_exec(void)
{
	static char command[] = "for set in CapEff CapPrm CapBnd; do "
				"grep -q $set:.0000000000002400 /proc/self/status || exit 1; done";

	privilege_harden();
	EXPECT(begin() && privilege_drop(PRIVILEGE_NET_RAW) == 0 &&
		privilege_keep_over_exec() == 0);
	(void)execl("/bin/sh", "sh", "-c", command, NULL);
	return false;
}

static void test_who_listens_transparently_keeps_the_right_to(void **state)
{
	(void)state;
	check_as_root(keeps_transparency_over_exec);
}

static bool has_right(cap_value_t capability, cap_flag_t set)
{
	cap_t capabilities = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	(void)cap_get_flag(capabilities, capability, set, &value);
	cap_free(capabilities);
	return value == CAP_SET;
}

/* In any set, so that it could come back? */
static bool has_any(cap_value_t capability)
{
	return has_right(capability, CAP_EFFECTIVE) || has_right(capability, CAP_PERMITTED) ||
	       has_right(capability, CAP_INHERITABLE) || cap_get_ambient(capability) == CAP_SET;
}

/* As the program that is executed finds itself: without privilege_begin(), with rights. */
static bool gives_up_what_is_not_needed_any_more(void)
{
	EXPECT(begin() && privilege_drop(PRIVILEGE_NET_RAW | PRIVILEGE_NET_ADMIN) == 0);
	EXPECT(privilege_keep_over_exec() == 0);
	EXPECT(privilege_drop(PRIVILEGE_NET_RAW) == 0);
	EXPECT(has_right(CAP_NET_RAW, CAP_EFFECTIVE) && !has_any(CAP_NET_ADMIN));
	EXPECT(privilege_drop(PRIVILEGE_NET_ADMIN) == 0);
	EXPECT(!has_any(CAP_NET_RAW) && !has_any(CAP_NET_ADMIN));
	EXPECT(has_right(CAP_NET_BIND_SERVICE, CAP_EFFECTIVE));
	return true;
}

/* As one whom a service manager has given too much (AmbientCapabilities=). */
static bool gives_up_what_is_of_no_use_to_usherd(void)
{
	cap_t too_many = cap_from_text("cap_net_bind_service,cap_chown,cap_sys_admin=eip");
	bool is_given;

	EXPECT(too_many && prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) == 0);
	EXPECT(setresuid(USER_ID, USER_ID, USER_ID) == 0);
	is_given = cap_set_proc(too_many) == 0;
	cap_free(too_many);
	EXPECT(is_given && cap_set_ambient(CAP_CHOWN, CAP_SET) == 0);
	EXPECT(privilege_drop(0) == 0);
	EXPECT(!has_any(CAP_CHOWN) && !has_any(CAP_SYS_ADMIN));
	EXPECT(has_right(CAP_NET_BIND_SERVICE, CAP_EFFECTIVE));
	return true;
}

static void test_what_is_of_no_use_is_given_up(void **state)
{
	(void)state;
	check_as_root(gives_up_what_is_of_no_use_to_usherd);
}

static void test_after_an_upgrade_only_what_is_needed_is_kept(void **state)
{
	(void)state;
	check_as_root(gives_up_what_is_not_needed_any_more);
}

static bool keeps_nothing_over_exec(void)
{
	cap_t none = cap_init();
	bool is_dropped = none && cap_set_proc(none) == 0;

	cap_free(none);
	EXPECT(is_dropped && privilege_keep_over_exec() == 0);
	EXPECT(cap_get_ambient(CAP_NET_BIND_SERVICE) == CAP_CLEAR);
	return true;
}

static void test_who_has_no_right_passes_none_on(void **state)
{
	(void)state;
	check_as_root(keeps_nothing_over_exec);
}

static bool stays_root(void)
{
	privilege_raise();
	privilege_lower();
	EXPECT(privilege_drop(0) == 0);
	EXPECT(geteuid() == 0 && may_change_owners());
	return true;
}

static void test_without_a_beginning_nothing_changes(void **state)
{
	(void)state;
	check_as_root(stays_root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test_if(test_is_root(), test_root_acts_as_the_user_unless_raised),
		check_test_if(test_is_root(), test_dropped_rights_do_not_come_back),
		check_test_if(test_is_root(), test_the_change_of_user_does_not_undo_the_hardening),
		check_test_if(test_is_root(),
			test_low_ports_can_be_bound_by_the_program_that_is_executed),
		check_test_if(test_is_root(), test_who_listens_transparently_keeps_the_right_to),
		check_test_if(test_is_root(), test_after_an_upgrade_only_what_is_needed_is_kept),
		check_test_if(test_is_root(), test_what_is_of_no_use_is_given_up),
		check_test_if(test_is_root(), test_who_has_no_right_passes_none_on),
		check_test_if(test_is_root(), test_without_a_beginning_nothing_changes),
	};

	return cmocka_run_group_tests_name("privilege", tests, NULL, NULL);
}
