/* SPDX-License-Identifier: MIT */
/*
 * chaos-client: very many clients of one service, each with a number, each accounted for.
 *
 *   chaos-client PORT RESULTS FIRST PARALLEL RATE N_ANSWERS PATIENCE
 *
 * The clients FIRST and following, as many as the file RESULTS has room for (stamp.h), connect to
 * 127.0.0.1:PORT: PARALLEL at a time, and at most RATE new ones a second (0: as fast as it goes).
 * Each wants N_ANSWERS answers; the ones after the first only when the standard input is closed: so
 * long it holds its connection. Nobody waits for an answer longer than PATIENCE seconds.
 *
 * When the standard input is closed no client is started any more, and when all have ended, so does
 * the program. It prints "connected" and "answered" when that is true of all clients.
 *
 * Nothing is tried twice: what happens to a client is what is written down.
 */
#include "stamp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256
#define STARTS_PER_TURN 64 /* so that those that are connected do not wait for those that begin */
#define TICK_NS		1000000

/* What epoll's data says when it is no client. */
#define IS_INPUT UINT64_MAX
#define IS_TICK	 (UINT64_MAX - 1)

enum state {
	FREE,
	CONNECTING,
	WAITING, /* for an answer */
	HOLDING, /* answered, and wants more when it may */
	ENDING,	 /* has all answers, waits for the end */
};

struct client {
	enum state state;
	int fd;
	uint32_t number;
	uint32_t n_answers_left;
	uint64_t since_usec; /* begin of the state */
	uint64_t started_usec;
};

static struct {
	struct sockaddr_in server;
	uint32_t first, n, n_parallel, rate, n_answers;
	uint64_t patience_usec;
	struct stamp_result *results;

	struct client *clients; /* n_parallel */
	uint32_t *unused;	/* indices of those that are free */
	uint32_t n_unused;
	uint32_t n_started, n_connected, n_answered;
	uint64_t began_usec;
	bool is_told; /* standard input is closed */
	int epoll_fd;
} load;

static uint64_t now_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void say(const char *word)
{
	puts(word);
	(void)fflush(stdout);
}

static void count(uint32_t *n, const char *word)
{
	if (++*n == load.n)
		say(word);
}

static void set_state(struct client *c, enum state state)
{
	c->state = state;
	c->since_usec = now_usec();
}

/* Reset rather than closed: no TIME_WAIT is left, nor anything for a provider to wait for. */
static void end(struct client *c, enum stamp_outcome outcome)
{
	const struct linger none = {.l_onoff = 1};

	load.results[c->number - load.first].outcome = outcome;
	load.results[c->number - load.first].ended_usec = now_usec();
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	(void)close(c->fd);
	c->state = FREE;
	load.unused[load.n_unused++] = (uint32_t)(c - load.clients);
}

static enum stamp_outcome outcome_of(int error)
{
	return error == ECONNREFUSED ? STAMP_REFUSED : STAMP_RESET;
}

/* Connect from the address that is the client's number. */
static int open_socket(uint32_t number)
{
	const struct sockaddr_in own = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(STAMP_FIRST_ADDRESS + number),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int on = 1;

	if (fd < 0)
		stamp_fail("socket", errno);
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0)
		stamp_fail("bind", errno);
	return fd;
}

static void start_one(void)
{
	uint32_t index = load.unused[--load.n_unused];
	struct client *c = &load.clients[index];
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = index};

	*c = (struct client){
		.number = load.first + load.n_started,
		.n_answers_left = load.n_answers,
	};
	c->fd = open_socket(c->number);
	load.n_started++;
	set_state(c, CONNECTING);
	c->started_usec = c->since_usec;
	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
		stamp_fail("epoll_ctl", errno);
	if (connect(c->fd, (const struct sockaddr *)&load.server, sizeof(load.server)) < 0 &&
		errno != EINPROGRESS)
		end(c, outcome_of(errno));
}

/* How many may have been started by now. */
static uint64_t n_due(void)
{
	if (load.is_told)
		return load.n_started;
	if (load.rate == 0)
		return load.n;
	return 1 + (now_usec() - load.began_usec) * load.rate / 1000000;
}

static void start_due(void)
{
	uint64_t due = n_due() < load.n ? n_due() : load.n;

	for (int i = 0; i < STARTS_PER_TURN && load.n_unused > 0 && load.n_started < due; i++)
		start_one();
}

static void ask(struct client *c)
{
	const struct stamp_request request = {
		.client = c->number, .n_answers_left = c->n_answers_left};

	if (send(c->fd, &request, sizeof(request), MSG_NOSIGNAL) == (ssize_t)sizeof(request))
		set_state(c, WAITING);
	else
		end(c, outcome_of(errno));
}

static void ask_if_connected(struct client *c, uint32_t events)
{
	int error = 0;
	socklen_t size = sizeof(error);

	(void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error != 0) {
		end(c, outcome_of(error));
	} else if (events & EPOLLOUT) {
		count(&load.n_connected, "connected");
		ask(c);
	}
}

static void on_answer(struct client *c)
{
	if (c->n_answers_left == load.n_answers) {
		load.results[c->number - load.first].latency_usec =
			(uint32_t)(now_usec() - c->started_usec);
		count(&load.n_answered, "answered");
	}
	c->n_answers_left--;
	set_state(c, c->n_answers_left > 0 ? HOLDING : ENDING);
	if (c->state == HOLDING && load.is_told)
		ask(c);
}

/* Returns whether there may be more to read. */
static bool read_one(struct client *c)
{
	struct stamp_answer answer;
	ssize_t n = recv(c->fd, &answer, sizeof(answer), 0);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0 && c->state == ENDING)
		end(c, STAMP_ANSWERED);
	else if (n <= 0)
		end(c, n == 0 ? STAMP_CLOSED : outcome_of(errno));
	else if (n != (ssize_t)sizeof(answer) || c->state != WAITING || answer.client != c->number)
		end(c, STAMP_WRONG);
	else
		on_answer(c);
	return c->state != FREE;
}

static void on_client(struct client *c, uint32_t events)
{
	if (c->state == CONNECTING)
		ask_if_connected(c, events);
	if (c->state != FREE && c->state != CONNECTING)
		while (read_one(c))
			;
}

static void ask_all_holding(void)
{
	for (uint32_t i = 0; i < load.n_parallel; i++)
		if (load.clients[i].state == HOLDING)
			ask(&load.clients[i]);
}

static void on_input(void)
{
	char bytes[64];

	if (read(STDIN_FILENO, bytes, sizeof(bytes)) > 0)
		return;
	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL) < 0)
		stamp_fail("epoll_ctl", errno);
	load.is_told = true;
	ask_all_holding();
}

static void lose_patience(void)
{
	static uint64_t next_usec;
	uint64_t now = now_usec();

	if (now < next_usec)
		return;
	next_usec = now + 100000;
	for (uint32_t i = 0; i < load.n_parallel; i++) {
		struct client *c = &load.clients[i];

		if (c->state != FREE && c->state != HOLDING &&
			now > c->since_usec + load.patience_usec)
			end(c, STAMP_SILENT);
	}
}

static bool is_over(void)
{
	return load.n_unused == load.n_parallel && (load.is_told || load.n_started == load.n);
}

static void on_event(const struct epoll_event *event, int tick_fd)
{
	uint64_t n_ticks;

	if (event->data.u64 == IS_INPUT)
		on_input();
	else if (event->data.u64 == IS_TICK)
		(void)!read(tick_fd, &n_ticks, sizeof(n_ticks));
	else if (load.clients[event->data.u64].state != FREE)
		on_client(&load.clients[event->data.u64], event->events);
}

static void watch(int fd, uint64_t data)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};

	if (epoll_ctl(load.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		stamp_fail("epoll_ctl", errno);
}

static void run(void)
{
	const struct itimerspec tick = {
		.it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS};
	int tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll_fd < 0 || tick_fd < 0 || timerfd_settime(tick_fd, 0, &tick, NULL) < 0)
		stamp_fail("timerfd", errno);
	watch(STDIN_FILENO, IS_INPUT);
	watch(tick_fd, IS_TICK);
	load.began_usec = now_usec();
	while (!is_over()) {
		struct epoll_event events[EVENTS_PER_TURN];
		int n;

		start_due();
		n = epoll_wait(load.epoll_fd, events, EVENTS_PER_TURN, -1);
		for (int i = 0; i < n; i++)
			on_event(&events[i], tick_fd);
		lose_patience();
	}
	(void)close(tick_fd);
	(void)close(load.epoll_fd);
}

static uint32_t parse(const char *text)
{
	char *end_of_number;
	unsigned long value = strtoul(text, &end_of_number, 10);

	if (*end_of_number != '\0' || value > UINT32_MAX)
		stamp_fail(text, EINVAL);
	return (uint32_t)value;
}

static void make_clients(void)
{
	load.clients = calloc(load.n_parallel, sizeof(*load.clients));
	load.unused = calloc(load.n_parallel, sizeof(*load.unused));
	if (!load.clients || !load.unused)
		stamp_fail("clients", ENOMEM);
	for (uint32_t i = 0; i < load.n_parallel; i++)
		load.unused[i] = i;
	load.n_unused = load.n_parallel;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void read_arguments(char *argv[])
{
	void *results;

	load.server = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)parse(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	load.n = (uint32_t)(stamp_map(argv[2], &results) / sizeof(struct stamp_result));
	load.results = results;
	load.first = parse(argv[3]);
	load.n_parallel = parse(argv[4]);
	load.rate = parse(argv[5]);
	load.n_answers = parse(argv[6]);
	load.patience_usec = parse(argv[7]) * UINT64_C(1000000);
	if (load.first + load.n > STAMP_MAX_CLIENT)
		stamp_fail("too many clients", EINVAL);
}

int main(int argc, char *argv[])
{
	if (argc != 8)
		stamp_fail("PORT RESULTS FIRST PARALLEL RATE N_ANSWERS PATIENCE", EINVAL);
	read_arguments(argv);
	make_clients();
	raise_descriptor_limit();
	run();
	free(load.clients);
	free(load.unused);
	return EXIT_SUCCESS;
}
