/* SPDX-License-Identifier: MIT */
/* Removing variables: see environment.h. */
#include "environment.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* With '=' the name, without it how names begin. */
static const char *const kept[] = {
	/* The service manager's. */
	"FDSTORE=",
	"JOURNAL_STREAM=",
	"LISTEN_",
	"NOTIFY_SOCKET=",
	"WATCHDOG_",
	/* Of an upgrade, whose program is loaded like this one. */
	"GLIBC_TUNABLES=",
	"LD_",
	"USHER_STATE_FD=", /* SUCCESSION_VARIABLE */
	/* For access_times. */
	"TZ=",
	"TZDIR=",
#ifdef USHER_SANITIZED
	"ASAN_",
	"LSAN_",
	"PATH=", /* where the sanitizers look for their symbolizer */
	"TSAN_",
	"UBSAN_",
#endif
};

static bool is_kept(const char *variable)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (strncmp(variable, kept[i], strlen(kept[i])) == 0)
			return true;
	return false;
}

void environment_clear(void)
{
	char **to = environ;

	for (char **from = environ; from && *from; from++)
		if (is_kept(*from))
			*to++ = *from;
		else
			explicit_bzero(*from, strlen(*from));
	if (to)
		*to = NULL;
}
