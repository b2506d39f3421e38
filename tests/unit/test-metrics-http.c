/* SPDX-License-Identifier: MIT */
/* The head of a request of HTTP, byte by byte and from hostile hands. */
#include "http.h"
#include "random.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

#define GET  "GET /metrics HTTP/1.1\r\n"
#define HOST "Host: a\r\n"

/* In one piece, and in pieces of a byte. */
static void check(const char *text, size_t size, enum http_status status, const char *path)
{
	struct http_request whole = {0}, slow = {0};
	enum http_status last = HTTP_MORE;

	if (http_feed(&whole, text, size) != status)
		fail_msg("%.60s: not %d", text, (int)status);
	for (size_t i = 0; i < size && last == HTTP_MORE; i++)
		last = http_feed(&slow, text + i, 1);
	assert_int_equal(last, status);
	assert_int_equal(slow.n_bytes, whole.n_bytes);
	if (path)
		assert_string_equal(whole.path, path);
}

static void expect(const char *text, enum http_status status)
{
	check(text, strlen(text), status, NULL);
}

static void expect_path(const char *text, const char *path)
{
	check(text, strlen(text), HTTP_OK, path);
}

static void test_requests(void **state)
{
	(void)state;
	expect_path(GET HOST "\r\n", "/metrics");
	expect_path("GET /metrics HTTP/1.0\r\n\r\n", "/metrics");
	expect_path("GET /metrics?a=b?c HTTP/1.1\r\n" HOST "\r\n", "/metrics");
	expect_path("GET http://x:1/metrics HTTP/1.1\r\n" HOST "\r\n", "/metrics");
	expect_path("GET HTTP://x?y HTTP/1.1\r\n" HOST "\r\n", "/");
	expect_path("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "*");
	expect_path("GET / HTTP/1.9\r\nhOsT:\r\nAccept: */*\r\nX:\tq \xc3\xa4\r\n\r\n", "/");
	expect_path(GET HOST "Content-Length: 5\r\n\r\nhello" GET, "/metrics");
}

static void test_methods(void **state)
{
	struct http_request get = {0}, head = {0}, longest = {0};

	(void)state;
	http_feed(&get, GET, strlen(GET));
	assert_string_equal(get.method, "GET");
	assert_false(get.is_head);
	http_feed(&head, "HEAD / HTTP/1.1\r\n", 17);
	assert_true(head.is_head);
	http_feed(&longest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\n", 39);
	assert_string_equal(longest.method, "ABCDEFGHIJKLMNO");
}

static void test_half_a_request_is_waited_for(void **state)
{
	(void)state;
	expect("", HTTP_MORE);
	expect("GE", HTTP_MORE);
	expect(GET, HTTP_MORE);
	expect(GET HOST, HTTP_MORE);
	expect(GET HOST "\r", HTTP_MORE);
}

static void test_bad_requests(void **state)
{
	static const char *const bad[] = {"\r\n", "\n", "GET\r\n", "GET /\r\n", "GET / \r\n",
		"GET  / HTTP/1.1\r\n", "GET /  HTTP/1.1\r\n", " GET / HTTP/1.1\r\n",
		"GET / HTTP/1.1 \r\n", "GET / HTTP/1\r\n", "GET / HTTP/1.10\r\n",
		"GET / http/1.1\r\n", "GET / HTTP/1.1\n", "GET metrics HTTP/1.1\r\n",
		"GET a.b:80 HTTP/1.1\r\n", "G\"T / HTTP/1.1\r\n", "GET /\t HTTP/1.1\r\n",
		"GET /\x01 HTTP/1.1\r\n", "GET /\x7f HTTP/1.1\r\n", "GET /\rx HTTP/1.1\r\n",
		"\x16\x03\x01\x02\n", GET "Host : a\r\n", GET " Host: a\r\n", GET ": a\r\n",
		GET "Host\r\n", GET HOST " more\r\n", GET "a: b\n", GET "a: \x02\r\n",
		GET "a: b\rc: d\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect(bad[i], HTTP_BAD_REQUEST);
	check("GET /\0 HTTP/1.1\r\n", 17, HTTP_BAD_REQUEST, NULL);
	check(GET "a\0: b\r\n", strlen(GET) + 7, HTTP_BAD_REQUEST, NULL);
}

static void test_host_is_one(void **state)
{
	(void)state;
	expect(GET "\r\n", HTTP_BAD_REQUEST);
	expect(GET HOST HOST "\r\n", HTTP_BAD_REQUEST);
	expect("GET / HTTP/1.0\r\n" HOST HOST "\r\n", HTTP_BAD_REQUEST);
	expect(GET "Hos: a\r\nHosts: a\r\n\r\n", HTTP_BAD_REQUEST);
}

static void test_other_versions(void **state)
{
	(void)state;
	expect("PRI * HTTP/2.0\r\n", HTTP_VERSION_UNKNOWN);
	expect("GET / HTTP/0.9\r\n", HTTP_VERSION_UNKNOWN);
}

/* `size` bytes 'x' between. */
static enum http_status feed_long(const char *before, size_t size, const char *after)
{
	struct http_request r = {0};
	enum http_status status = http_feed(&r, before, strlen(before));

	for (; size > 0 && status == HTTP_MORE; size--)
		status = http_feed(&r, "x", 1);
	return status == HTTP_MORE ? http_feed(&r, after, strlen(after)) : status;
}

static void test_limits(void **state)
{
	struct http_request r = {0};
	enum http_status status = http_feed(&r, GET HOST, strlen(GET HOST));
	size_t rest = HTTP_LINE_MAX - strlen("GET / HTTP/1.1\r"), n = 0;

	(void)state;
	assert_int_equal(feed_long("GET /", rest, " HTTP/1.1\r\n"), HTTP_MORE);
	assert_int_equal(feed_long("GET /", rest + 1, " HTTP/1.1\r\n"), HTTP_TARGET_TOO_LONG);
	assert_int_equal(feed_long(GET "a:", HTTP_LINE_MAX - 3, "\r\n"), HTTP_MORE);
	assert_int_equal(feed_long(GET "a:", HTTP_LINE_MAX - 2, "\r\n"), HTTP_HEAD_TOO_LARGE);
	for (; status == HTTP_MORE; n++)
		status = http_feed(&r, "a: b\r\n", 6);
	assert_int_equal(status, HTTP_HEAD_TOO_LARGE);
	assert_int_equal(n, (HTTP_HEAD_MAX - strlen(GET HOST)) / 6 + 1);
}

/* Whatever comes, the pieces in which it comes make no difference. */
static void test_random_bytes(void **state)
{
	static const char *const words[] = {"GET", "HEAD", " ", "/", "/metrics", "HTTP/1.1", "\r\n",
		"\r", "\n", "Host", ":", "a", "\t", "?", "http://"};
	uint64_t random = random_seed(1);

	(void)state;
	for (int i = 0; i < 100000; i++) {
		char text[256] = "";
		struct http_request r = {0};
		uint64_t n = random_of(&random, 24);

		while (n-- > 0)
			strcat(text, words[random_of(&random, sizeof(words) / sizeof(words[0]))]);
		check(text, strlen(text), http_feed(&r, text, strlen(text)), NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_requests),
		check_test(test_methods),
		check_test(test_half_a_request_is_waited_for),
		check_test(test_bad_requests),
		check_test(test_host_is_one),
		check_test(test_other_versions),
		check_test(test_limits),
		check_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("metrics-http", tests, NULL, NULL);
}
