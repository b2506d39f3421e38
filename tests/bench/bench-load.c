/* SPDX-License-Identifier: MIT */
/*
 * bench-load: as many clients as a server can take, and what became of each.
 *
 *   bench-load [-w echo|daytime] [-c CLIENTS] (-s SECONDS | -n CONNECTIONS) [-d DEADLINE]
 *              ADDRESS:PORT...
 *   bench-load [-w echo|daytime] -b -n CONNECTIONS [-p PID]... [-d DEADLINE] ADDRESS:PORT...
 *
 * The first form keeps CLIENTS (default 1) connections open: each that ends is followed by a new
 * one. The second makes all connections while the processes PID are stopped, and takes the time
 * from when they may go on. Addresses are used in turn. When nothing has happened for DEADLINE
 * seconds (default 10), connections that are still open have failed, and that was all.
 *
 * Prints a line of JSON; latencies are from connect(), or with -b from when the servers go on, to
 * the end of the answer. Exit status 0 also if connections failed, 2 for wrong usage, 1 otherwise.
 * It shares the processors with the servers, so a connection costs it as little as possible.
 */
#include "answer.h"
#include "hold.h"
#include "latency.h"
#include "plan.h"

#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64
#define LINE		"connection 00000000000\n"
#define LINE_SIZE	(sizeof(LINE) - 1)

enum outcome {
	SERVED,
	CONNECT,   /* there was no connection */
	RESET,	   /* by the server, also behind a right answer */
	TRUNCATED, /* the beginning of the right answer, or nothing */
	WRONG,
	TIMEOUT, /* no end of the answer */
	N_OUTCOMES,
};

struct client {
	int fd; /* -EBADF: none */
	uint64_t number;
	uint64_t started_ns;
};

static const char *const failure_names[N_OUTCOMES] = {
	[CONNECT] = "connect",
	[RESET] = "reset",
	[TRUNCATED] = "truncated",
	[WRONG] = "wrong",
	[TIMEOUT] = "timeout",
};

static struct plan plan;

static struct {
	struct client *clients; /* plan.n_clients */
	uint64_t n_started, n_open, n[N_OUTCOMES];
	uint64_t began_ns, served_ns; /* the first one began, the last one was served */
	uint64_t now_ns;	      /* when the latest ended */
	int epoll_fd;
} load;

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec time;

	(void)clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static enum outcome outcome_of(int error)
{
	return error == ECONNRESET || error == EPIPE ? RESET : CONNECT;
}

/* Reset rather than closed: a port that is left in TIME_WAIT is one less, and there are 28,000. */
static void end(struct client *c, enum outcome outcome)
{
	const struct linger none = {.l_onoff = 1};

	load.now_ns = clock_ns(CLOCK_MONOTONIC);
	load.n[outcome]++;
	if (outcome == SERVED) {
		load.served_ns = load.now_ns;
		latency_add(load.now_ns - c->started_ns);
	}
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	(void)close(c->fd);
	c->fd = -EBADF;
	load.n_open--;
}

/* The line of one client, so that nobody else's is taken for its answer. */
static void write_line(char line[static LINE_SIZE], uint64_t number)
{
	memcpy(line, LINE, LINE_SIZE);
	for (char *digit = line + LINE_SIZE - 2; number > 0; number /= 10)
		*digit-- = (char)('0' + number % 10);
}

static void await(struct client *c, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (epoll_ctl(load.epoll_fd, operation, c->fd, &event) < 0)
		err(EXIT_FAILURE, "epoll_ctl");
}

/* Returns 0, -EAGAIN (not connected yet), or the error of the connection. */
static int say(const struct client *c)
{
	char line[LINE_SIZE];

	write_line(line, c->number);
	return send(c->fd, line, sizeof(line), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Loopback connects at once, so that the line can be said; if it does not, that is waited for. What
 * else is waited for is the end alone: then the answer is here too, by one wake-up. */
static void ask(struct client *c, int operation)
{
	int r = plan.work == WORK_ECHO ? say(c) : 0;

	if (r < 0 && r != -EAGAIN)
		end(c, outcome_of(-r));
	else
		await(c, operation, r < 0 ? EPOLLRDHUP | EPOLLOUT : EPOLLRDHUP);
}

static void start(struct client *c)
{
	const struct sockaddr_in *to = &plan.endpoints[load.n_started % plan.n_endpoints];

	c->number = load.n_started++;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		err(EXIT_FAILURE, "socket");
	load.n_open++;
	c->started_ns = clock_ns(CLOCK_MONOTONIC);
	if (connect(c->fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS)
		end(c, CONNECT);
	else
		ask(c, EPOLL_CTL_ADD);
}

static bool is_more_wanted(void)
{
	return load.n_started < plan.n_connections &&
	       load.now_ns - load.began_ns < plan.duration_ns;
}

/* One that fails at once is followed by the next. */
static void start_next(struct client *c)
{
	while (c->fd < 0 && is_more_wanted())
		start(c);
}

static enum outcome judge(const struct client *c, const char *text, size_t size)
{
	char expected[ANSWER_MAX_SIZE];
	size_t expected_size = LINE_SIZE;

	if (plan.work == WORK_ECHO)
		write_line(expected, c->number);
	else
		expected_size = strlen(strcpy(expected, ANSWER_DAYTIME));
	if (size > expected_size || memcmp(text, expected, size) != 0)
		return WRONG;
	return size == expected_size ? SERVED : TRUNCATED;
}

/* At the end of a connection everything that the server has sent is here. */
static enum outcome hear(const struct client *c, uint32_t events)
{
	char text[ANSWER_MAX_SIZE];
	int error_number = 0;
	ssize_t size;

	if (events & EPOLLERR) {
		(void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error_number,
			&(socklen_t){sizeof(error_number)});
		return outcome_of(error_number);
	}
	size = recv(c->fd, text, sizeof(text), 0);
	return size < 0 ? outcome_of(errno) : judge(c, text, (size_t)size);
}

static void on_event(struct client *c, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLRDHUP))
		end(c, hear(c, events));
	else
		ask(c, EPOLL_CTL_MOD);
	start_next(c);
}

static void give_up(void)
{
	for (uint32_t i = 0; i < plan.n_clients; i++)
		if (load.clients[i].fd >= 0)
			end(&load.clients[i], TIMEOUT);
}

static void run(void)
{
	struct epoll_event events[EVENTS_PER_TURN];

	while (load.n_open > 0) {
		int n = epoll_wait(load.epoll_fd, events, EVENTS_PER_TURN, plan.deadline_ms);

		if (n < 0 && errno != EINTR)
			err(EXIT_FAILURE, "epoll_wait");
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
		if (n == 0)
			give_up();
	}
}

static void start_all(void)
{
	load.began_ns = load.now_ns = clock_ns(CLOCK_MONOTONIC);
	for (uint32_t i = 0; i < plan.n_clients; i++)
		start_next(&load.clients[i]);
}

/* Who found no room in the backlog would try again in a second: the kernel would be measured. */
static void check_queued(void)
{
	for (uint32_t i = 0; i < plan.n_clients; i++) {
		struct sockaddr_in peer;
		int fd = load.clients[i].fd;

		if (fd >= 0 &&
			getpeername(fd, (struct sockaddr *)&peer, &(socklen_t){sizeof(peer)}) < 0)
			errx(EXIT_FAILURE, "no room for %u connections in the backlog",
				plan.n_clients);
	}
}

static void hold_servers(void)
{
	for (size_t i = 0; i < plan.n_held; i++) {
		int r = hold_stop(plan.held[i]);

		if (r < 0)
			errx(EXIT_FAILURE, "cannot stop %d: %s", (int)plan.held[i], strerror(-r));
	}
}

static void start_burst(void)
{
	hold_servers();
	start_all();
	check_queued();
	load.began_ns = clock_ns(CLOCK_MONOTONIC);
	hold_continue();
	for (uint32_t i = 0; i < plan.n_clients; i++)
		load.clients[i].started_ns = load.began_ns;
}

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void print_failures(void)
{
	const char *separator = "";

	printf("\"failures\": {");
	for (enum outcome i = SERVED + 1; i < N_OUTCOMES; i++) {
		printf("%s\"%s\": %" PRIu64, separator, failure_names[i], load.n[i]);
		separator = ", ";
	}
	printf("}, ");
}

static void print(uint64_t cpu_ns)
{
	double n_served = (double)load.n[SERVED];
	double seconds = n_served > 0 ? (double)(load.served_ns - load.began_ns) / 1e9 : 0;

	printf("{\"connections\": %" PRIu64 ", ", load.n[SERVED]);
	print_failures();
	printf("\"seconds\": %.6f, ", seconds);
	printf("\"rate\": %.1f, ", seconds > 0 ? n_served / seconds : 0);
	printf("\"latency_us\": {\"median\": %.2f, \"p90\": %.2f, \"p99\": %.2f, "
	       "\"max\": %.2f}, ",
		us(latency_quantile(500)), us(latency_quantile(900)), us(latency_quantile(990)),
		us(latency_quantile(1000)));
	printf("\"cpu_us\": %.2f}\n", us(cpu_ns) / (double)load.n_started);
}

static void prepare(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	load.clients = calloc(plan.n_clients, sizeof(*load.clients));
	if (load.epoll_fd < 0 || !load.clients)
		err(EXIT_FAILURE, "cannot begin");
	for (uint32_t i = 0; i < plan.n_clients; i++)
		load.clients[i].fd = -EBADF;
}

int main(int argc, char *argv[])
{
	uint64_t cpu_ns;

	plan = plan_read(argc, argv);
	prepare();
	cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (plan.is_burst)
		start_burst();
	else
		start_all();
	run();
	print(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns);
	return EXIT_SUCCESS;
}
