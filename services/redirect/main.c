/* SPDX-License-Identifier: MIT */
/* usher-redirect: relays each client to a server elsewhere. */
#include "arguments.h"
#include "process.h"
#include "program.h"
#include "redirect.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define DEFAULT_DEADLINE 10
#define MAX_DEADLINE	 3600
#define MAX_IDLE	 (7 * 86400)

/* Of one client at most: two sockets, two pipes. */
#define DESCRIPTORS_EACH 6

static const char help[] =
	"Usage: usher-redirect [-lp] [-d RUN_DIR] [-c CREDIT] [-t SECONDS] [-i SECONDS]\n"
	"                      [-u USER] SERVICE=HOST:PORT ...\n"
	"       usher-redirect --inetd [-lp] [-t SECONDS] [-i SECONDS] [-u USER] HOST PORT\n"
	"Relay the clients of SERVICE, or the one that is standard input, to HOST and PORT.\n"
	"\n" ARGUMENTS_HELP_CREDIT ARGUMENTS_HELP_RUN_DIR
	"  -i, --idle=SECONDS     close when both sides were silent so long (never)\n"
	"  -I, --inetd            relay the connection on standard input, then exit\n"
	"  -l, --log              one line for each client when it is over\n"
	"  -p, --proxy-header     tell the server the client's address (PROXY protocol 2)\n"
	"  -t, --deadline=SECONDS how long the server may take to accept (10)\n" ARGUMENTS_HELP_REST
	"\n"
	"See usher-redirect(8).\n";

struct choices {
	struct redirect_options options;
	bool is_inetd;
};

static bool take_seconds(const char *what, const char *value, unsigned long most, int64_t *ret_ms)
{
	unsigned long seconds;

	if (!arguments_bounded(what, value, 1, most, &seconds))
		return false;
	*ret_ms = (int64_t)seconds * 1000;
	return true;
}

static bool on_own(void *userdata, int letter, const char *value)
{
	struct choices *choices = userdata;
	struct redirect_options *options = &choices->options;

	switch (letter) {
	case 'i':
		return take_seconds("a time in seconds", value, MAX_IDLE, &options->idle_ms);
	case 't':
		return take_seconds(
			"a deadline in seconds", value, MAX_DEADLINE, &options->connect_ms);
	case 'I':
		choices->is_inetd = true;
		break;
	case 'l':
		options->is_logged = true;
		break;
	default:
		options->has_header = true;
	}
	return true;
}

/* "service=host:port" or "service=[::1]:port", cut into pieces in place. */
static bool cut(char *word, const char **ret_host, const char **ret_port)
{
	char *host = strchr(word, '=');
	char *colon = host ? strrchr(host, ':') : NULL;

	if (!host || host == word || !colon || colon[1] == '\0' || colon == host + 1) {
		say("expected SERVICE=HOST:PORT, not '%s'", word);
		return false;
	}
	*host++ = '\0';
	*colon = '\0';
	*ret_port = colon + 1;
	if (host[0] == '[' && colon[-1] == ']') {
		host++;
		colon[-1] = '\0';
	}
	*ret_host = host;
	return true;
}

/* Returns 0 or an exit status, and then there is no redirect. */
static int add(struct program *program, struct redirect *d, char *word,
	struct redirect_options options, uint32_t credit)
{
	int status, r;

	if (!cut(word, &options.host, &options.port))
		return EX_USAGE;
	status = program_enrol(program, &d->enrolment, word, credit, redirect_on_connection, NULL);
	if (status != 0)
		return status;
	r = redirect_init(d, &program->loop, word, &options);
	if (r == 0)
		return 0;
	say("cannot start: %s", strerror(-r));
	redirect_done(d);
	return EX_OSERR;
}

static int serve(char *words[], size_t n, const struct redirect_options *options, uint32_t credit)
{
	struct redirect *redirects = calloc(n, sizeof(*redirects));
	struct program program;
	size_t n_redirects = 0;
	int status = program_begin(&program);

	if (!redirects && status == 0)
		status = EX_OSERR;
	while (status == 0 && n_redirects < n) {
		status = add(
			&program, &redirects[n_redirects], words[n_redirects], *options, credit);
		n_redirects += status == 0;
	}
	if (status == 0)
		status = program_run(&program);
	while (n_redirects > 0)
		redirect_done(&redirects[--n_redirects]);
	program_end(&program);
	free(redirects);
	return status;
}

static int serve_services(const struct arguments *arguments, const struct redirect_options *options)
{
	size_t n = 0;
	int status;

	while (arguments->words[n])
		n++;
	if (n == 0) {
		say("expected SERVICE=HOST:PORT; see usher-redirect(8)");
		return EX_USAGE;
	}
	status = process_give_up_rights(arguments->user);
	if (status != 0)
		return status;
	return serve(arguments->words, n, options,
		process_credit(arguments->credit, n, DESCRIPTORS_EACH));
}

/* The client is on 0, 1 and 2, and must be on none of them when it is closed. */
static int take_client(void)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (fd < 0 || null_fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		if (dup2(null_fd, i) < 0)
			return -errno;
	(void)close(null_fd);
	return fd;
}

/* Returns 0, or the error of what failed first. */
static int relay_one(struct redirect *d, struct loop *loop, const struct redirect_options *options)
{
	int fd = take_client();
	int r = fd < 0 ? fd : redirect_init(d, loop, options->host, options);

	if (r < 0)
		return r;
	r = redirect_add(d, fd);
	while (r == 0 && d->n_clients > 0)
		r = loop_turn(loop);
	redirect_done(d);
	return r;
}

static int serve_inetd(const struct arguments *arguments, struct redirect_options options)
{
	static struct redirect redirect;
	char **words = arguments->words;
	struct loop loop;
	int status, r;

	if (!words[0] || !words[1] || words[2]) {
		say("expected HOST PORT; see usher-redirect(8)");
		return EX_USAGE;
	}
	options.host = words[0];
	options.port = words[1];
	say_to_syslog();
	status = process_give_up_rights(arguments->user);
	if (status != 0)
		return status;
	(void)signal(SIGPIPE, SIG_IGN);
	r = loop_init(&loop);
	if (r == 0)
		r = relay_one(&redirect, &loop, &options);
	loop_done(&loop);
	if (r < 0)
		say("cannot relay: %s", strerror(-r));
	return r < 0 ? EX_OSERR : redirect.n_done == 1 ? EXIT_SUCCESS : EX_UNAVAILABLE;
}

int main(int argc, char *argv[])
{
	static const struct option own[] = {
		{"deadline", required_argument, NULL, 't'},
		{"idle", required_argument, NULL, 'i'},
		{"inetd", no_argument, NULL, 'I'},
		{"log", no_argument, NULL, 'l'},
		{"proxy-header", no_argument, NULL, 'p'},
		{NULL, 0, NULL, 0},
	};
	struct choices choices = {
		.options = {.connect_ms = DEFAULT_DEADLINE * 1000, .idle_ms = NO_DEADLINE}};
	struct arguments arguments = {
		.program = "usher-redirect",
		.help = help,
		.own = own,
		.on_own = on_own,
		.userdata = &choices,
	};
	int status;

	if (!arguments_begin(&arguments, &status, argc, argv))
		return status;
	if (choices.is_inetd)
		return serve_inetd(&arguments, choices.options);
	return serve_services(&arguments, &choices.options);
}
