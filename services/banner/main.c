/* SPDX-License-Identifier: MIT */
/* usher-banner: sends each client a text, then closes it or gives it on. */
#include "arguments.h"
#include "banner.h"
#include "process.h"
#include "program.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DEFAULT_DEADLINE 10
#define MAX_DEADLINE	 3600

static const char help[] =
	"Usage: usher-banner [-d RUN_DIR] [-c CREDIT] [-t SECONDS] [-u USER]\n"
	"                    SERVICE[+TARGET]=FILE ...\n"
	"Send the text in FILE to each client of SERVICE, then close it, or forward it to TARGET.\n"
	"\n" ARGUMENTS_HELP_CREDIT ARGUMENTS_HELP_RUN_DIR
	"  -t, --deadline=SECONDS how long a client may take to receive the text (10)\n" ARGUMENTS_HELP_REST
	"\n"
	"See usher-banner(8).\n";

struct choices {
	unsigned long deadline; /* seconds */
};

static bool on_own(void *userdata, int letter, const char *value)
{
	struct choices *choices = userdata;

	(void)letter; /* there is one */
	return arguments_bounded(
		"a deadline in seconds", value, 1, MAX_DEADLINE, &choices->deadline);
}

/* "service=/a/file" or "service+target=/a/file", cut into pieces in place. */
static bool cut(char *word, char **ret_target, char **ret_path)
{
	char *equals = strchr(word, '=');
	char *plus;

	if (!equals || equals == word || equals[1] == '\0') {
		say("expected SERVICE=FILE or SERVICE+TARGET=FILE, not '%s'", word);
		return false;
	}
	*equals = '\0';
	*ret_path = equals + 1;
	plus = strchr(word, '+');
	if (plus)
		*plus++ = '\0';
	*ret_target = plus;
	if (!plus || plus[0] != '\0')
		return true;
	say("expected the name of a service after '%s+'", word);
	return false;
}

/* Returns 0 or an exit status, and then there is no banner. */
static int add(struct program *program, struct banner *b, char *word, unsigned long deadline,
	uint32_t credit)
{
	char *target, *path;
	int status, r;

	if (!cut(word, &target, &path))
		return EX_USAGE;
	status = program_enrol(program, &b->enrolment, word, credit, banner_on_connection, NULL);
	if (status != 0)
		return status;
	r = banner_init(b, path, target, (int64_t)deadline * 1000, credit);
	if (r == 0)
		return 0;
	say("cannot read %s: %s", path, strerror(-r));
	banner_done(b);
	return EX_NOINPUT;
}

static int serve(char *words[], size_t n, unsigned long deadline, uint32_t credit)
{
	struct banner *banners = calloc(n, sizeof(*banners));
	struct program program;
	size_t n_banners = 0;
	int status = program_begin(&program);

	if (!banners && status == 0)
		status = EX_OSERR;
	while (status == 0 && n_banners < n) {
		status = add(&program, &banners[n_banners], words[n_banners], deadline, credit);
		n_banners += status == 0;
	}
	if (status == 0)
		status = program_run(&program);
	while (n_banners > 0)
		banner_done(&banners[--n_banners]);
	program_end(&program);
	free(banners);
	return status;
}

static size_t count(char *words[])
{
	size_t n = 0;

	while (words[n])
		n++;
	return n;
}

int main(int argc, char *argv[])
{
	static const struct option own[] = {
		{"deadline", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
	struct choices choices = {.deadline = DEFAULT_DEADLINE};
	struct arguments arguments = {
		.program = "usher-banner",
		.help = help,
		.own = own,
		.on_own = on_own,
		.userdata = &choices,
	};
	size_t n;
	int status;

	if (!arguments_begin(&arguments, &status, argc, argv))
		return status;
	n = count(arguments.words);
	if (n == 0) {
		say("expected SERVICE=FILE; see usher-banner(8)");
		return EX_USAGE;
	}
	status = process_give_up_rights(arguments.user);
	if (status != 0)
		return status;
	return serve(arguments.words, n, choices.deadline, process_credit(arguments.credit, n, 1));
}
