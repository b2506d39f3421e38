/* SPDX-License-Identifier: MIT */
/* See arguments.h. */
#include "arguments.h"
#include "process.h"
#include "say.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <usher.h>

/* An option without a letter. */
#define NOTIFY_FD 256

static const struct option shared[] = {
	{"credit", required_argument, NULL, 'c'},
	{"run-dir", required_argument, NULL, 'd'},
	{"user", required_argument, NULL, 'u'},
	{"notify-fd", required_argument, NULL, NOTIFY_FD},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
};
#define N_SHARED (sizeof(shared) / sizeof(shared[0]))

/* All options, in both the forms that getopt_long(3) wants. */
struct forms {
	struct option options[N_SHARED + ARGUMENTS_MAX_OWN + 1];
	char letters[2 * (N_SHARED + ARGUMENTS_MAX_OWN) + 1];
};

static void add_form(struct forms *f, size_t i, const struct option *option)
{
	size_t length = strlen(f->letters);

	assert(i < N_SHARED + ARGUMENTS_MAX_OWN);
	f->options[i] = *option;
	if (option->val == NOTIFY_FD)
		return;
	f->letters[length++] = (char)option->val;
	if (option->has_arg == required_argument)
		f->letters[length] = ':';
}

static void make_forms(struct forms *ret, const struct option *own)
{
	size_t n = 0;

	*ret = (struct forms){0};
	while (n < N_SHARED) {
		add_form(ret, n, &shared[n]);
		n++;
	}
	for (; own && own->name; own++)
		add_form(ret, n++, own);
}

/* Prints for --help and --version; returns the exit status. */
static int print(const char *text, const char *more)
{
	bool is_printed = fputs(text, stdout) >= 0 && fputs(more, stdout) >= 0;

	return is_printed && fflush(stdout) == 0 ? EXIT_SUCCESS : EX_IOERR;
}

bool arguments_number(const char *text, unsigned long least, unsigned long most, unsigned long *ret)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-')
		return false;
	if (number < least || number > most)
		return false;
	*ret = number;
	return true;
}

bool arguments_bounded(const char *what, const char *text, unsigned long least, unsigned long most,
	unsigned long *ret)
{
	if (arguments_number(text, least, most, ret))
		return true;
	say("expected %s of %lu to %lu, not '%s'", what, least, most, text);
	return false;
}

static bool take_credit(struct arguments *a, const char *text)
{
	unsigned long credit;

	if (!arguments_bounded("a credit", text, 1, USHER_MAX_CREDIT, &credit))
		return false;
	a->credit = (uint32_t)credit;
	return true;
}

/* As arguments_begin(), for one option. */
static bool take(struct arguments *a, int *ret_status, int letter)
{
	switch (letter) {
	case 'c':
		return take_credit(a, optarg);
	case 'd':
		*ret_status = EX_OSERR;
		return setenv("USHER_RUN_DIR", optarg, 1) == 0;
	case 'u':
		a->user = optarg;
		return true;
	case NOTIFY_FD:
		return process_take_notify_fd(optarg);
	case 'h':
		*ret_status = print(a->help, "");
		return false;
	case 'V':
		*ret_status = print(a->program, " " USHER_VERSION "\n");
		return false;
	case '?': /* getopt_long() has said what is wrong */
		return false;
	default:
		return a->on_own(a->userdata, letter, optarg);
	}
}

bool arguments_begin(struct arguments *a, int *ret_status, int argc, char *argv[])
{
	struct forms forms;
	int letter;

	say_as(a->program);
	process_open_streams(); /* before anything is opened, or --notify-fd is looked at */
	make_forms(&forms, a->own);
	while ((letter = getopt_long(argc, argv, forms.letters, forms.options, NULL)) >= 0) {
		*ret_status = EX_USAGE;
		if (!take(a, ret_status, letter))
			return false;
	}
	a->words = argv + optind;
	return true;
}
