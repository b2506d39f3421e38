/* SPDX-License-Identifier: MIT */
/* The service manager's store: see fdstore.h. */
#include "fdstore.h"

#include "notify.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[FDSTORE_N_KINDS] = {
	[FDSTORE_LISTENER] = "listener",
	[FDSTORE_RENDEZVOUS] = "rendezvous",
	[FDSTORE_PARKING] = "parking",
};

static uint32_t last_number;
static bool is_frozen;

#define NAME_FORMAT "%s.%u.%s"

/* Will the manager keep what it is sent? sd_notify(3) can't say: systemd puts it into $FDSTORE. */
static bool is_there(void)
{
	const char *max = getenv("FDSTORE");

	return notify_has_manager() && max && strtoul(max, NULL, 10) > 0;
}

uint32_t fdstore_add(enum fdstore_kind kind, const char *service, int fd)
{
	if (!is_there() || last_number == FDSTORE_OF_UNIT - 1 ||
		!notify_send_fd(fd, "FDSTORE=1\nFDPOLL=0\nFDNAME=" NAME_FORMAT, kind_names[kind],
			last_number + 1, service))
		return 0;
	return ++last_number;
}

bool fdstore_remove(enum fdstore_kind kind, const char *service, uint32_t number)
{
	if (number != 0 && number != FDSTORE_OF_UNIT && !is_frozen)
		(void)notify_send(
			"FDSTOREREMOVE=1\nFDNAME=" NAME_FORMAT, kind_names[kind], number, service);
	return number != 0 && is_frozen;
}

void fdstore_freeze(void)
{
	is_frozen = true;
}

void fdstore_found(uint32_t number)
{
	if (number > last_number && number != FDSTORE_OF_UNIT)
		last_number = number;
}

/* The kind whose word and a dot `name` begins with; FDSTORE_N_KINDS: none. */
static unsigned int find_kind(const char *name)
{
	unsigned int kind;

	for (kind = 0; kind < FDSTORE_N_KINDS; kind++) {
		size_t length = strlen(kind_names[kind]);

		if (strncmp(name, kind_names[kind], length) == 0 && name[length] == '.')
			break;
	}
	return kind;
}

bool fdstore_parse_name(
	const char *name, enum fdstore_kind *ret_kind, uint32_t *ret_number, char *ret_service)
{
	unsigned int kind = find_kind(name);
	unsigned long long number;
	const char *digits;
	char *end;

	if (kind == FDSTORE_N_KINDS)
		return false;
	digits = name + strlen(kind_names[kind]) + 1;
	if (*digits < '1' || *digits > '9')
		return false;
	number = strtoull(digits, &end, 10);
	if (number >= FDSTORE_OF_UNIT || *end != '.' || end[1] == '\0' ||
		strlen(end + 1) >= WIRE_NAME_SIZE)
		return false;
	*ret_kind = (enum fdstore_kind)kind;
	*ret_number = (uint32_t)number;
	strcpy(ret_service, end + 1);
	return true;
}
