/* SPDX-License-Identifier: MIT */
/*
 * What every unit test gets: a check for leaked descriptors and a time limit.
 *
 * Use check_test(f) where cmocka says cmocka_unit_test(f). A test whose open descriptors differ
 * before and after fails, naming them.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Longest time for one test, in seconds: SIGALRM ends the program, so a hang is a failure. */
#define TEST_SECONDS 60

int test_begin(void **state);
int test_end(void **state);

#define check_test(f) cmocka_unit_test_setup_teardown(f, test_begin, test_end)

/*
 * A test that is skipped unless `condition` holds when main() begins. It says so in its name, where
 * TAP looks for it: cmocka's own skip() reports "not ok", a failure for meson.
 */
#define check_test_if(condition, f) test_if(condition, f, test_begin, test_end)
#define test_if(condition, f, begin, end)                                                          \
	{                                                                                          \
		(condition) ? #f : #f " # SKIP unless " #condition,                                \
			(condition) ? (f) : test_nothing, begin, end, NULL                         \
	}
#undef skip

void test_nothing(void **state);

/*
 * Have `undo` called when this test is over, also if it fails, before anything is reported: a
 * failed assertion leaves the test from wherever it is. One for each test.
 */
void test_at_end(void (*undo)(void));

/* Whether this process is root's, whatever a test lets geteuid() say. */
bool test_is_root(void);

/* How many descriptors this process has open. */
size_t test_count_fds(void);

/*
 * A port that is free on all addresses, and below those that the kernel chooses for others, so that
 * nobody is given it meanwhile.
 */
unsigned int test_free_port(void);

/* A connected pair of AF_UNIX SOCK_SEQPACKET sockets, non-blocking, close-on-exec. */
void test_socketpair(int ret_fds[2]);
