/* SPDX-License-Identifier: MIT */
/*
 * usher-basic: echo, discard, daytime, chargen and time over TCP, from connections that usherd
 * hands over. One process, one thread, one epoll(7), and nothing but libusher's public header: it
 * may serve as a model of a provider.
 *
 * This file has the arguments, the limits, the signals and the loop.
 */
#include "build-config.h"
#include "connection.h"
#include "protocol.h"
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#define MAX_DEFAULT_CREDIT 16384

/* Descriptors that are no connections: those of the loop, and what each registration needs. */
#define OWN_DESCRIPTORS		16
#define DESCRIPTORS_PER_SERVICE 8

#define EVENTS_PER_TURN		64

/* How long open connections may go on after the first SIGTERM. */
#define STOP_MS 5000

struct arguments {
	uint32_t credit; /* 0: not said */
	char **services; /* PROTOCOL[=SERVICE] ..., NULL at the end; none: all protocols */
};

struct basic {
	struct watch signal_watch; /* first, as in everything that is watched */
	int epoll_fd;
	int signal_fd;
	struct connections connections;
	struct service *services;
	size_t n_services;
	int64_t stop_at_ms; /* when open connections are closed: NO_DEADLINE before a signal */
};

static const char help[] =
	"Usage: usher-basic [-d RUN_DIR] [-c CREDIT] [PROTOCOL[=SERVICE] ...]\n"
	"Serve echo, discard, daytime, chargen and time on connections from usherd.\n"
	"\n"
	"  -c, --credit=CREDIT    most connections of each service at once\n"
	"  -d, --run-dir=RUN_DIR  where usherd's sockets are (" USHER_RUN_DIR ")\n"
	"  -h, --help             show this and exit\n"
	"  -V, --version          show the version and exit\n"
	"\n"
	"Without PROTOCOL: all five. See usher-basic(8).\n";

/* Standard streams that are closed would lend their numbers to connections. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

/* Raises the soft limit of descriptors to the hard one; returns how many there may be. */
static rlim_t raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			return raised.rlim_cur;
	}
	return limit.rlim_cur;
}

static size_t count_services(char *named[])
{
	size_t n = 0;

	while (named[0] ? named[n] != NULL : protocols[n].name != NULL)
		n++;
	return n;
}

/* Each service gets an equal share of the descriptors. */
static uint32_t default_credit(rlim_t n_descriptors, size_t n_services)
{
	rlim_t reserve = OWN_DESCRIPTORS + DESCRIPTORS_PER_SERVICE * n_services;
	rlim_t share = n_descriptors > reserve ? (n_descriptors - reserve) / n_services : 0;

	if (share > MAX_DEFAULT_CREDIT)
		return MAX_DEFAULT_CREDIT;
	return share > 0 ? (uint32_t)share : 1;
}

/* Returns the number, or 0 if the text is no credit. */
static uint32_t parse_credit(const char *text)
{
	char *end;
	unsigned long credit;

	errno = 0;
	credit = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' ||
		credit > USHER_MAX_CREDIT)
		return 0;
	return (uint32_t)credit;
}

/* Returns 0 or an exit status, after saying what is wrong. */
static int add_service(
	struct basic *b, const struct protocol *protocol, const char *name, uint32_t credit)
{
	int r = service_init(
		&b->services[b->n_services++], &b->connections, protocol, name, credit);

	if (r == 0)
		return 0;
	fprintf(stderr, "usher-basic: cannot register for '%s': %s\n", name, strerror(-r));
	return r == -EINVAL || r == -ENAMETOOLONG ? EX_USAGE : EX_OSERR;
}

/* "echo" or "echo=other-name", which is cut in two in place. Returns 0 or an exit status. */
static int add_argument(struct basic *b, char *argument, uint32_t credit)
{
	char *equals = strchr(argument, '=');
	const struct protocol *protocol;

	if (equals)
		*equals = '\0';
	protocol = protocol_find(argument);
	if (!protocol) {
		fprintf(stderr,
			"usher-basic: unknown protocol '%s', expected echo, discard, daytime, "
			"chargen or time\n",
			argument);
		return EX_USAGE;
	}
	return add_service(b, protocol, equals ? equals + 1 : protocol->name, credit);
}

/* Returns 0 or an exit status. */
static int add_services(struct basic *b, const struct arguments *arguments)
{
	size_t n = count_services(arguments->services);
	rlim_t n_descriptors = raise_descriptor_limit();
	uint32_t credit = arguments->credit ? arguments->credit : default_credit(n_descriptors, n);
	int status = 0;

	b->services = calloc(n, sizeof(*b->services));
	if (!b->services)
		return EX_OSERR;
	for (size_t i = 0; i < n && status == 0; i++) {
		if (arguments->services[0])
			status = add_argument(b, arguments->services[i], credit);
		else
			status = add_service(b, &protocols[i], protocols[i].name, credit);
	}
	return status;
}

/* The first signal lets open connections finish, the second does not. */
static void on_signal(struct watch *watch, uint32_t events)
{
	struct basic *b = (struct basic *)watch;
	struct signalfd_siginfo info;

	(void)events;
	if (read(b->signal_fd, &info, sizeof(info)) < 0)
		return;
	b->stop_at_ms = monotonic_ms() + (b->stop_at_ms == NO_DEADLINE ? STOP_MS : 0);
	for (size_t i = 0; i < b->n_services; i++)
		service_drain(&b->services[i]);
}

/*
 * A descriptor for signals, because epoll_pwait(2) looks at them only when it finds no event: under
 * load that may be never.
 */
static int open_loop(struct basic *b)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &b->signal_watch};
	sigset_t signals;

	b->signal_watch.on_event = on_signal;
	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll_fd < 0)
		return -errno;
	connections_init(&b->connections, b->epoll_fd);
	b->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (b->signal_fd < 0)
		return -errno;
	return epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->signal_fd, &event) < 0 ? -errno : 0;
}

/* For epoll_wait(2): how long until something is due, -1 for ever. */
static int next_timeout_ms(const struct basic *b)
{
	int64_t deadline_ms = connections_deadline(&b->connections);
	int64_t now_ms = monotonic_ms();

	if (b->stop_at_ms < deadline_ms)
		deadline_ms = b->stop_at_ms;
	if (deadline_ms == NO_DEADLINE)
		return -1;
	return deadline_ms > now_ms ? (int)(deadline_ms - now_ms) : 0; /* seconds at most */
}

/* After a signal every service is drained; usherd may drain them too, without a deadline. */
static bool is_finished(const struct basic *b)
{
	for (size_t i = 0; i < b->n_services; i++)
		if (!service_is_finished(&b->services[i]))
			return monotonic_ms() >= b->stop_at_ms;
	return true;
}

/*
 * Until every service is finished, or the time after a signal is over. An event ends no connection
 * but its own, so that the events after it are for something that still exists. Returns 0 or an
 * exit status.
 */
static int run(struct basic *b)
{
	struct epoll_event events[EVENTS_PER_TURN];

	while (!is_finished(b)) {
		int n = epoll_wait(b->epoll_fd, events, EVENTS_PER_TURN, next_timeout_ms(b));

		if (n < 0 && errno != EINTR) {
			fprintf(stderr, "usher-basic: cannot wait for events: %s\n",
				strerror(errno));
			return EX_OSERR;
		}
		for (int i = 0; i < n; i++) {
			struct watch *watch = events[i].data.ptr;

			watch->on_event(watch, events[i].events);
		}
		connections_expire(&b->connections, monotonic_ms());
	}
	return 0;
}

static int serve(const struct arguments *arguments)
{
	struct basic b = {.stop_at_ms = NO_DEADLINE};
	int status;
	int r;

	r = open_loop(&b);
	if (r < 0) {
		fprintf(stderr, "usher-basic: cannot start: %s\n", strerror(-r));
		return EX_OSERR;
	}
	status = add_services(&b, arguments);
	if (status == 0)
		status = run(&b);
	connections_close_all(&b.connections);
	for (size_t i = 0; i < b.n_services; i++)
		service_done(&b.services[i]);
	free(b.services);
	return status;
}

/* Prints for --help and --version; returns the exit status. */
static int print(const char *text)
{
	return fputs(text, stdout) < 0 || fflush(stdout) != 0 ? EX_IOERR : EXIT_SUCCESS;
}

/* Returns true with *ret filled, or false with the exit status in *ret_status. */
static bool parse_arguments(struct arguments *ret, int *ret_status, int argc, char *argv[])
{
	static const struct option options[] = {
		{"credit", required_argument, NULL, 'c'},
		{"run-dir", required_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int option;

	*ret_status = EX_USAGE;
	*ret = (struct arguments){0};
	while ((option = getopt_long(argc, argv, "c:d:hV", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			ret->credit = parse_credit(optarg);
			if (ret->credit > 0)
				break;
			fprintf(stderr, "usher-basic: expected a credit of 1 to %d, not '%s'\n",
				USHER_MAX_CREDIT, optarg);
			return false;
		case 'd':
			if (setenv("USHER_RUN_DIR", optarg, 1) == 0)
				break;
			*ret_status = EX_OSERR;
			return false;
		case 'h':
			*ret_status = print(help);
			return false;
		case 'V':
			*ret_status = print("usher-basic " USHER_VERSION "\n");
			return false;
		default: /* getopt_long() has said what is wrong */
			return false;
		}
	}
	ret->services = argv + optind;
	return true;
}

int main(int argc, char *argv[])
{
	struct arguments arguments;
	int status;

	open_standard_streams();
	if (!parse_arguments(&arguments, &status, argc, argv))
		return status;
	return serve(&arguments);
}
