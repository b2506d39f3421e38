/* SPDX-License-Identifier: MIT */
/*
 * usherd: arguments, exit status, and what a process should have in order before it begins. The
 * rest is server.c.
 */
#include "build-config.h"
#include "config.h"
#include "environment.h"
#include "privilege.h"
#include "programs.h"
#include "server.h"
#include "service.h"
#include "succession.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
	"Usage: usherd [-c FILE] [--notify-fd FD]\n"
	"       usherd --check [FILE]\n"
	"       usherd --programs [-c FILE]\n"
	"       usherd --check-state\n"
	"\n"
	"Accept connections on the configured ports and hand them to processes that have\n"
	"registered for them. Runs in the foreground.\n"
	"\n"
	"  -c, --config FILE  read FILE instead of " USHER_CONFIG_FILE "\n"
	"      --notify-fd FD write a newline to descriptor FD when ready, and close it\n"
	"  -C, --check        only check the configuration, open nothing\n"
	"      --programs     only print the programs of the configuration, as JSON, which\n"
	"                     usher-exec asks\n"
	"      --check-state  only check whether this program could go on from the state of\n"
	"                     a running usherd, on standard input, which usherctl upgrade asks\n"
	"  -h, --help         print this\n"
	"  -V, --version      print the version\n"
	"\n"
	"See usherd(8) and usher.conf(5).\n";

enum action {
	ACTION_SERVE,
	ACTION_CHECK,
	ACTION_PROGRAMS,
	ACTION_CHECK_STATE,
};

struct arguments {
	const char *config_path;
	int notify_fd; /* -EBADF: not wanted */
	enum action action;
};

/* An upgrade in place has the same arguments: then all was said, and the number may be another's.
 */
static bool take_notify_fd(const char *text, int *ret)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (getenv(SUCCESSION_VARIABLE))
		return true;
	if (*text && *end == '\0' && fd > STDERR_FILENO && fd <= INT_MAX &&
		fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0) {
		*ret = (int)fd;
		return true;
	}
	fprintf(stderr,
		"usherd: expected the number of an open descriptor above 2 for --notify-fd, not '%s'\n",
		text);
	return false;
}

/* Returns 0 to go on with *ret, 1 when done (help), -EINVAL for wrong usage, which was printed. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"notify-fd", required_argument, NULL, 'n'},
		{"check", no_argument, NULL, 'C'},
		{"programs", no_argument, NULL, 'p'},
		{"check-state", no_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	struct arguments arguments = {.notify_fd = -EBADF};

	for (int option; (option = getopt_long(argc, argv, "c:ChV", options, NULL)) >= 0;) {
		switch (option) {
		case 'c':
			arguments.config_path = optarg;
			break;
		case 'n':
			if (!take_notify_fd(optarg, &arguments.notify_fd))
				return -EINVAL;
			break;
		case 'C':
			arguments.action = ACTION_CHECK;
			break;
		case 'p':
			arguments.action = ACTION_PROGRAMS;
			break;
		case 's':
			arguments.action = ACTION_CHECK_STATE;
			break;
		case 'h':
			fputs(help, stdout);
			return 1;
		case 'V':
			puts("usherd " USHER_VERSION);
			return 1;
		default: /* getopt has said what is wrong */
			fputs("usherd: see --help\n", stderr);
			return -EINVAL;
		}
	}
	if (arguments.action == ACTION_CHECK && !arguments.config_path && optind < argc)
		arguments.config_path = argv[optind++];
	if (optind < argc) {
		fprintf(stderr, "usherd: unexpected argument '%s', see --help\n", argv[optind]);
		return -EINVAL;
	}
	if (!arguments.config_path)
		arguments.config_path = USHER_CONFIG_FILE;
	*ret = arguments;
	return 0;
}

/* A connection must never become somebody's standard input: /dev/null where 0, 1 or 2 is closed. */
static int ensure_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

/* Allow ourselves as many descriptors as we may. Returns how many that are. */
static uint64_t raise_fd_limit(void)
{
	struct rlimit limit, raised;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	raised = (struct rlimit){.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
	return setrlimit(RLIMIT_NOFILE, &raised) < 0 ? limit.rlim_cur : raised.rlim_cur;
}

/* How many descriptors usherd would have: the limit that --check compares with. */
static uint64_t fd_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : limit.rlim_max;
}

/* Print why there is no configuration. */
static void report(const char *path, const struct config_errors *errors, int error)
{
	for (size_t i = 0; i < errors->n_lines; i++)
		fprintf(stderr, "%s\n", errors->lines[i]);
	if (errors->n_lines == 0)
		fprintf(stderr, "usherd: %s: %s\n", path, strerror(-error));
}

/* Load, and print what is wrong. Returns NULL then. */
static struct config *load(const char *path, uint64_t limit)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	int r = config_load(path, limit, &config, &errors);

	if (r < 0)
		report(path, &errors, r);
	config_errors_done(&errors);
	return config;
}

/* The same with the addresses of names, as a running usherd has it. The warnings are in *errors,
 * also on failure. */
static struct config *load_whole(const char *path, uint64_t limit, struct config_errors *errors)
{
	struct config *config = NULL;
	int r = config_load(path, limit, &config, errors);

	if (r == 0)
		r = config_resolve_now(config, errors);
	if (r == 0)
		return config;
	report(path, errors, r);
	return config_free(config);
}

static int check(const char *path)
{
	struct config_errors errors = {0};
	struct config *config = load_whole(path, fd_limit(), &errors);

	for (size_t i = 0; i < errors.n_warnings; i++)
		fprintf(stderr, "%s\n", errors.warnings[i]);
	config_errors_done(&errors);
	if (!config)
		return EX_CONFIG;
	config_free(config);
	printf("%s: OK\n", path);
	return EXIT_SUCCESS;
}

static int print_programs(const char *path)
{
	struct config *config = load(path, fd_limit());
	json_t *json;
	bool is_printed;

	if (!config)
		return EX_CONFIG;
	json = programs_json(config);
	is_printed = json && json_dumpf(json, stdout, JSON_INDENT(1) | JSON_SORT_KEYS) == 0 &&
		     putchar('\n') != EOF && fflush(stdout) == 0;
	if (!is_printed)
		fprintf(stderr, "usherd: cannot print the programs: %s\n",
			json ? strerror(errno) : "out of memory");
	json_decref(json);
	config_free(config);
	return is_printed ? EXIT_SUCCESS : EX_OSERR;
}

/* Read the state of a running usherd. What is wrong is printed. Returns NULL then. */
static struct succession *read_state(void)
{
	struct succession *succession = NULL;
	char why[256] = "out of memory";
	json_error_t error;
	json_t *json = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);

	if (!json)
		fprintf(stderr, "usherd: this is not the state of an usherd: %s\n", error.text);
	else if (succession_parse(&succession, json, why, sizeof(why)) < 0)
		fprintf(stderr, "usherd: %s\n", why);
	json_decref(json);
	return succession;
}

/* What is wrong is printed. */
static bool check_services(const struct succession *succession)
{
	for (size_t i = 0; i < succession->n_services; i++) {
		int r = service_check(&succession->services[i]);

		if (r < 0) {
			fprintf(stderr, "usherd: service %s cannot be restored: %s\n",
				succession->services[i].name,
				r == -EINVAL ? "its connections contradict each other"
					     : strerror(-r));
			return false;
		}
	}
	return true;
}

/* Could this program go on from that state? How many descriptors usherd may have is not known here.
 */
static int check_state(void)
{
	struct succession *succession = read_state();
	struct config *config;

	if (!succession)
		return EX_DATAERR;
	if (!check_services(succession)) {
		succession_free(succession);
		return EX_DATAERR;
	}
	config = load(succession->config_path, 0);
	if (config)
		printf("usherd " USHER_VERSION " " SUCCESSION_ACCEPTED " %s\n",
			succession->version);
	succession_free(succession);
	if (!config)
		return EX_CONFIG;
	config_free(config);
	return EXIT_SUCCESS;
}

/* For status, and for those who then look for the file from another folder. To be freed. */
static char *make_absolute(const char *path)
{
	char *folder, *absolute;

	if (*path == '/')
		return strdup(path);
	folder = getcwd(NULL, 0);
	if (!folder || asprintf(&absolute, "%s/%s", folder, path) < 0)
		absolute = NULL;
	free(folder);
	return absolute;
}

static int serve(const char *path, int notify_fd, char *const *argv)
{
	struct config_errors errors = {0};
	struct server_setting setting = {
		.config_path = path, .argv = argv, .notify_fd = notify_fd, .loaded = &errors};
	struct config *config;
	int status = EX_CONFIG;

	if (ensure_standard_fds() < 0)
		return EX_OSERR;
	environment_clear();
	privilege_harden();
	(void)signal(SIGPIPE, SIG_IGN); /* stderr and the control socket may lose their readers */
	setting.fd_limit = raise_fd_limit();
	config = load_whole(path, setting.fd_limit, &errors);
	if (config)
		status = server_run(config, &setting) < 0 ? EX_OSERR : EXIT_SUCCESS;
	config_errors_done(&errors);
	return status;
}

static int run(const struct arguments *arguments, char *const *argv)
{
	char *absolute = make_absolute(arguments->config_path);
	int status;

	if (!absolute) {
		fprintf(stderr, "usherd: cannot find the folder of %s: %s\n",
			arguments->config_path, strerror(errno));
		return EX_OSERR;
	}
	status = serve(absolute, arguments->notify_fd, argv);
	free(absolute);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {0};
	int r = parse_arguments(argc, argv, &arguments);

	if (r != 0)
		return r < 0 ? EX_USAGE : EXIT_SUCCESS;
	switch (arguments.action) {
	case ACTION_CHECK:
		return check(arguments.config_path);
	case ACTION_PROGRAMS:
		return print_programs(arguments.config_path);
	case ACTION_CHECK_STATE:
		return check_state();
	case ACTION_SERVE:
		break;
	}
	return run(&arguments, argv);
}
