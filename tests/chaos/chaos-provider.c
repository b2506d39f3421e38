/* SPDX-License-Identifier: MIT */
/*
 * chaos-provider: a few providers of one service, which are ended again and again.
 *
 *   chaos-provider SERVICE LOG N CREDIT END_MS [WAY...]
 *
 * N processes register with CREDIT and answer chaos-client (stamp.h), writing into LOG what they do
 * with each connection. Every END_MS milliseconds (0: never) one of them is ended, in the next of
 * the WAYs:
 *
 *   kill   SIGKILL
 *   stop   SIGSTOP, and SIGKILL when it is its turn again: meanwhile its queue fills
 *   close  it leaves by usher_free() in the middle of everything, and answers whom it has
 *   exit   _exit(2) with all connections open
 *
 * and another one is started. When the standard input is closed this stops, and all leave as
 * providers should: usher_drain(), and the end when everything is done. Then the program ends too,
 * with 0 if nobody ended by himself. Children never outlive it.
 *
 * The library is the real one; what it claims is seen by standing between it and fdpass.
 */
#include "fdpass.h"
#include "stamp.h"
#include "usher.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64
#define MAX_PROCESSES	64
#define MAX_WAYS	16

#define IS_USHER	UINT64_MAX
#define IS_SIGNALS	(UINT64_MAX - 1)

static struct stamp_log *stamps;
static size_t max_stamps;

static void stamp(enum stamp_event event, uint32_t client)
{
	uint64_t i = atomic_fetch_add(&stamps->n, 1);

	if (i < max_stamps)
		atomic_store(&stamps->stamps[i],
			(uint64_t)client << 32 | (uint64_t)getpid() << 8 | (uint64_t)event);
}

static uint32_t client_of_address(struct in_addr address)
{
	return ntohl(address.s_addr) - STAMP_FIRST_ADDRESS;
}

/*
 * Between libusher and the channel: which clients a CLAIM is about.
 */

#define MAX_UNCLAIMED 4096 /* on their way between receive and claim: one message in truth */

static struct {
	uint64_t last, claimed; /* sequences */
	uint32_t clients[MAX_UNCLAIMED];
} channel;

int __real_fdpass_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds);
int __wrap_fdpass_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds);
int __real_fdpass_send_many(int socket_fd, struct iovec *messages, unsigned int n);
int __wrap_fdpass_send_many(int socket_fd, struct iovec *messages, unsigned int n);
int __real_fdpass_receive(
	int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret);
int __wrap_fdpass_receive(
	int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret);

static void stamp_claims(uint64_t sequence)
{
	while (channel.claimed < sequence)
		stamp(STAMP_CLAIMS, channel.clients[++channel.claimed % MAX_UNCLAIMED]);
}

/* A stamp that comes before the message says more than usherd may ever know, never less. */
static void stamp_message(const void *data)
{
	const struct wire_header *header = data;

	if (header->type == WIRE_HELLO) {
		channel.last = channel.claimed = 0;
		stamp(STAMP_REGISTERS, 0);
	} else if (header->type == WIRE_CLAIM) {
		stamp_claims(((const struct wire_claim *)data)->sequence);
	} else if (header->type == WIRE_DECLINE) {
		channel.claimed = ((const struct wire_decline *)data)->last;
	}
}

int __wrap_fdpass_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds)
{
	stamp_message(data);
	return __real_fdpass_send(socket_fd, data, size, fds, n_fds);
}

int __wrap_fdpass_send_many(int socket_fd, struct iovec *messages, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		stamp_message(messages[i].iov_base);
	return __real_fdpass_send_many(socket_fd, messages, n);
}

int __wrap_fdpass_receive(
	int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret)
{
	int r = __real_fdpass_receive(socket_fd, data, size, max_fds, ret);
	const union wire_message *message = data;

	if (r < 0 || ret->size == 0 || message->header.type != WIRE_CONNECTIONS)
		return r;
	for (size_t i = 0; i < wire_n_records(message, ret->size); i++) {
		const struct wire_connection *record = &message->connections.connections[i];
		struct in_addr address;

		memcpy(&address, record->peer.address, sizeof(address));
		channel.last = record->sequence;
		channel.clients[record->sequence % MAX_UNCLAIMED] = client_of_address(address);
	}
	return r;
}

/*
 * One provider.
 */

struct served {
	struct usher_connection connection;
	uint32_t client;
};

static struct {
	struct usher *usher; /* NULL: has left */
	int epoll_fd;
	struct served *served; /* by descriptor */
	uint32_t n_served;     /* in hand */
	bool is_draining;
} provider;

static void hang_up(struct served *s)
{
	struct usher_connection connection = s->connection;

	s->connection.fd = -1;
	provider.n_served--;
	if (provider.usher) {
		(void)usher_close(provider.usher, &connection);
	} else {
		(void)shutdown(connection.fd, SHUT_RDWR);
		(void)close(connection.fd);
	}
}

/* Answer what has been asked. */
static void serve(struct served *s)
{
	const struct stamp_answer answer = {.client = s->client, .process = (uint32_t)getpid()};
	struct stamp_request request;
	ssize_t n = recv(s->connection.fd, &request, sizeof(request), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n != (ssize_t)sizeof(request)) {
		hang_up(s);
		return;
	}
	if (request.client != s->client)
		stamp(STAMP_MIXES_UP, request.client);
	if (request.n_answers_left == 1)
		stamp(STAMP_SERVES, s->client);
	(void)!send(s->connection.fd, &answer, sizeof(answer), MSG_NOSIGNAL);
	if (request.n_answers_left == 1)
		hang_up(s);
}

static void watch(int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};

	if (epoll_ctl(provider.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		stamp_fail("epoll_ctl", errno);
}

static void take(const struct usher_connection *connection)
{
	struct served *s = &provider.served[connection->fd];
	const struct sockaddr_in *peer = (const struct sockaddr_in *)&connection->peer;

	*s = (struct served){
		.connection = *connection, .client = client_of_address(peer->sin_addr)};
	provider.n_served++;
	stamp(STAMP_TAKES, s->client);
	serve(s);
	if (s->connection.fd >= 0)
		watch(s->connection.fd, EPOLLIN, (uint64_t)s->connection.fd);
}

static void leave(void)
{
	provider.usher = usher_free(provider.usher);
}

static void take_all(void)
{
	struct usher_connection connection;
	int r;

	while ((r = usher_accept(provider.usher, &connection, SOCK_NONBLOCK)) == 0)
		take(&connection);
	if (r == -ESHUTDOWN &&
		epoll_ctl(provider.epoll_fd, EPOLL_CTL_DEL, usher_fd(provider.usher), NULL) == 0)
		provider.is_draining = true;
	else if (r != -EAGAIN && r != -EINTR && r != -ESHUTDOWN)
		fprintf(stderr, "usher_accept: %s\n", strerror(-r));
}

static void on_signal(int signal_fd)
{
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) < 0 || !provider.usher)
		return;
	if (info.ssi_signo == SIGTERM)
		(void)usher_drain(provider.usher);
	else
		leave();
}

static bool has_ended(void)
{
	return provider.n_served == 0 && (!provider.usher || provider.is_draining);
}

static void on_event(const struct epoll_event *event, int signal_fd)
{
	if (event->data.u64 == IS_USHER) {
		if (provider.usher)
			take_all();
	} else if (event->data.u64 == IS_SIGNALS) {
		on_signal(signal_fd);
	} else if (provider.served[event->data.u64].connection.fd >= 0) {
		serve(&provider.served[event->data.u64]);
	}
}

static void begin(const char *service, uint32_t credit)
{
	const struct usher_options options = {
		.size = sizeof(options), .flags = USHER_NONBLOCK, .credit = credit};
	struct rlimit limit;
	int r = usher_new(&provider.usher, service, &options);

	if (r < 0)
		stamp_fail("usher_new", r);
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	provider.served = calloc(limit.rlim_cur, sizeof(*provider.served));
	provider.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!provider.served || provider.epoll_fd < 0)
		stamp_fail("epoll_create1", errno);
	watch(usher_fd(provider.usher), EPOLLIN, IS_USHER);
}

static sigset_t provider_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGUSR1);
	return signals;
}

/* A provider, until it has left and has nothing more in hand. */
static void provide(const char *service, uint32_t credit)
{
	const sigset_t signals = provider_signals();
	int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);

	begin(service, credit);
	watch(signal_fd, EPOLLIN, IS_SIGNALS);
	while (!has_ended()) {
		struct epoll_event events[EVENTS_PER_TURN];
		int n = epoll_wait(provider.epoll_fd, events, EVENTS_PER_TURN, -1);

		for (int i = 0; i < n; i++)
			on_event(&events[i], signal_fd);
	}
	if (provider.usher)
		leave();
}

/*
 * Those who are ended, and who ends them.
 */

enum way {
	WAY_KILL,
	WAY_STOP,
	WAY_CLOSE,
	WAY_EXIT,
	N_WAYS,
};

static const struct {
	const char *name;
	int signal;
} ways[N_WAYS] = {
	[WAY_KILL] = {"kill", SIGKILL},
	[WAY_STOP] = {"stop", SIGSTOP},
	[WAY_CLOSE] = {"close", SIGUSR1},
	[WAY_EXIT] = {"exit", SIGUSR2}, /* not blocked in a provider: it ends it */
};

struct process {
	pid_t pid; /* 0: none */
	bool is_stopped;
	size_t n_ways; /* in which its predecessors were ended */
};

static struct {
	const char *service;
	uint32_t n, credit, end_ms;
	enum way ways[MAX_WAYS];
	size_t n_ways;
	struct process processes[MAX_PROCESSES];
	uint64_t n_ended;
	bool is_ending;
	bool has_failed; /* somebody ended by himself */
} nursery;

static void on_exit_signal(int number)
{
	(void)number;
	_exit(EXIT_SUCCESS);
}

static void start(struct process *process)
{
	pid_t parent = getpid();
	sigset_t signals;

	process->is_stopped = false;
	process->pid = fork();
	if (process->pid < 0)
		stamp_fail("fork", errno);
	if (process->pid > 0)
		return;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	(void)close_range(STDERR_FILENO + 1, ~0u, 0);
	(void)signal(SIGUSR2, on_exit_signal);
	signals = provider_signals();
	(void)sigprocmask(SIG_SETMASK, &signals, NULL);
	provide(nursery.service, nursery.credit);
	_exit(EXIT_SUCCESS);
}

/* It is the turn of the next one, in the way that is next for it. */
static void end_next(void)
{
	struct process *process = &nursery.processes[nursery.n_ended++ % nursery.n];
	enum way way = WAY_KILL;

	if (process->pid == 0)
		return;
	if (!process->is_stopped)
		way = nursery.ways[process->n_ways++ % nursery.n_ways];
	process->is_stopped = way == WAY_STOP;
	(void)kill(process->pid, ways[way].signal);
}

static bool is_expected(int status)
{
	return WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL
				   : WEXITSTATUS(status) == EXIT_SUCCESS;
}

static void on_child(void)
{
	pid_t pid;

	for (int status; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (uint32_t i = 0; i < nursery.n; i++) {
			struct process *process = &nursery.processes[i];

			if (process->pid != pid)
				continue;
			nursery.has_failed |= !is_expected(status);
			process->pid = 0;
			if (!nursery.is_ending)
				start(process);
		}
}

/* Nobody is ended any more; all may finish. One that stands still is killed. */
static void let_end(void)
{
	nursery.is_ending = true;
	for (uint32_t i = 0; i < nursery.n; i++)
		if (nursery.processes[i].pid > 0)
			(void)kill(nursery.processes[i].pid,
				nursery.processes[i].is_stopped ? SIGKILL : SIGTERM);
}

static bool are_all_gone(void)
{
	for (uint32_t i = 0; i < nursery.n; i++)
		if (nursery.processes[i].pid > 0)
			return false;
	return true;
}

static int open_timer(void)
{
	const struct timespec interval = {
		.tv_sec = nursery.end_ms / 1000, .tv_nsec = nursery.end_ms % 1000 * 1000000L};
	const struct itimerspec timer = {.it_interval = interval, .it_value = interval};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &timer, NULL) < 0)
		stamp_fail("timerfd", errno);
	return fd;
}

/* Signals for a provider wait until it has begun to look at them. */
static int open_signals(void)
{
	sigset_t signals, blocked = provider_signals();

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &blocked, NULL) < 0)
		stamp_fail("sigprocmask", errno);
	return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void run(void)
{
	struct pollfd watched[] = {
		{open_signals(), POLLIN, 0},
		{open_timer(), POLLIN, 0},
		{STDIN_FILENO, POLLIN, 0},
	};
	union {
		char bytes[4096];
		uint64_t n_ticks;
	} input;

	for (uint32_t i = 0; i < nursery.n; i++)
		start(&nursery.processes[i]);
	while (!nursery.is_ending || !are_all_gone()) {
		(void)poll(watched, sizeof(watched) / sizeof(watched[0]), -1);
		while (read(watched[0].fd, &input, sizeof(input)) > 0)
			on_child();
		if (read(watched[1].fd, &input, sizeof(input)) > 0 && !nursery.is_ending)
			for (uint64_t n = input.n_ticks; n > 0; n--)
				end_next();
		if (watched[2].revents && read(STDIN_FILENO, &input, sizeof(input)) <= 0) {
			watched[2].fd = -1;
			let_end();
		}
	}
}

static uint32_t parse(const char *text, uint32_t max)
{
	char *end_of_number;
	unsigned long value = strtoul(text, &end_of_number, 10);

	if (*end_of_number != '\0' || value > max)
		stamp_fail(text, EINVAL);
	return (uint32_t)value;
}

static enum way parse_way(const char *text)
{
	for (enum way way = 0; way < N_WAYS; way++)
		if (strcmp(text, ways[way].name) == 0)
			return way;
	stamp_fail(text, EINVAL);
}

int main(int argc, char *argv[])
{
	void *map;

	if (argc < 6 || argc > 6 + MAX_WAYS)
		stamp_fail("expected SERVICE LOG N CREDIT END_MS [WAY...]", EINVAL);
	nursery.service = argv[1];
	max_stamps = (stamp_map(argv[2], &map) - sizeof(struct stamp_log)) / sizeof(uint64_t);
	stamps = map;
	nursery.n = parse(argv[3], MAX_PROCESSES);
	nursery.credit = parse(argv[4], USHER_MAX_CREDIT);
	nursery.end_ms = parse(argv[5], 1000000);
	for (int i = 6; i < argc; i++)
		nursery.ways[nursery.n_ways++] = parse_way(argv[i]);
	if (nursery.n == 0 || (nursery.end_ms > 0 && nursery.n_ways == 0))
		stamp_fail("nobody to end, or no way", EINVAL);
	run();
	printf("%llu\n", (unsigned long long)nursery.n_ended);
	return nursery.has_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
