/* SPDX-License-Identifier: MIT */
/* What one usherd leaves to the next: see succession.h. */
#include "succession.h"

#include "fd.h"
#include "sources.h"
#include "succession-table.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FIELD(of, m) .offset = offsetof(struct of, m), .size = sizeof(((struct of *)NULL)->m)
#define COUNT(of, m) .n_offset = offsetof(struct of, m)
#define TABLE(of, list)                                                                            \
	{                                                                                          \
		.members = (list), .n_members = sizeof(list) / sizeof((list)[0]),                  \
		.size = sizeof(struct of)                                                          \
	}

static const struct table_member listener_members[] = {
	{"fd", TABLE_FD, FIELD(saved_listener, fd)},
	{"number", TABLE_UINT32, FIELD(saved_listener, number)},
	{"address", TABLE_TEXT, FIELD(saved_listener, address)},
	{"is_for_lending", TABLE_BOOL, FIELD(saved_listener, is_for_lending), .since = 2},
};
static const struct table listener_table = TABLE(saved_listener, listener_members);

static const struct table_member lot_members[] = {
	{"fd", TABLE_FD, FIELD(saved_lot, fd)},
	{"number", TABLE_UINT32, FIELD(saved_lot, number)},
};
static const struct table lot_table = TABLE(saved_lot, lot_members);

static const struct table_member forwarded_members[] = {
	{"from", TABLE_TEXT, FIELD(saved_forwarded, from)},
	{"n_read", TABLE_UINT64, FIELD(saved_forwarded, mark.n_read)},
	{"n_written", TABLE_UINT64, FIELD(saved_forwarded, mark.n_written)},
	{"data", TABLE_DATA, FIELD(saved_forwarded, data), COUNT(saved_forwarded, size),
		.max = WIRE_MAX_FORWARDED_BYTES},
};
static const struct table forwarded_table = TABLE(saved_forwarded, forwarded_members);

static const struct table_member handoff_members[] = {
	{"fd", TABLE_FD, FIELD(saved_handoff, fd)},
	{"id", TABLE_UINT64, FIELD(saved_handoff, id)},
	{"sequence", TABLE_UINT64, FIELD(saved_handoff, sequence)},
	{"accepted_ns", TABLE_UINT64, FIELD(saved_handoff, accepted_ns)},
	{"has_listener", TABLE_BOOL, FIELD(saved_handoff, has_listener)},
	{"peer", TABLE_BYTES, FIELD(saved_handoff, peer)},
	{"n_hops", TABLE_UINT32, FIELD(saved_handoff, n_hops), .since = 1},
	{"parked_usec", TABLE_UINT64, FIELD(saved_handoff, parked_usec), .since = 1},
	{"entered_usec", TABLE_UINT64, FIELD(saved_handoff, entered_usec), .since = 2,
		.may_lack = true},
	{"given_usec", TABLE_UINT64, FIELD(saved_handoff, given_usec), .since = 2,
		.may_lack = true},
	{"forwarded", TABLE_LIST, FIELD(saved_handoff, forwarded),
		COUNT(saved_handoff, n_forwarded), .items = &forwarded_table, .max = 1, .since = 1},
};
static const struct table handoff_table = TABLE(saved_handoff, handoff_members);

/* There may be a million of them. */
static const struct table_member claim_members[] = {
	{"id", TABLE_UINT64, FIELD(saved_claim, id)},
	{"sequence", TABLE_UINT64, FIELD(saved_claim, sequence)},
	{"accepted_ns", TABLE_UINT64, FIELD(saved_claim, accepted_ns)},
	{"peer", TABLE_BYTES, FIELD(saved_claim, peer)},
	{"n_hops", TABLE_UINT32, FIELD(saved_claim, n_hops), .since = 1},
};
static const struct table claim_table = {
	.members = claim_members,
	.n_members = sizeof(claim_members) / sizeof(claim_members[0]),
	.size = sizeof(struct saved_claim),
	.is_row = true,
};

static const struct table_member provider_members[] = {
	{"fd", TABLE_FD, FIELD(saved_provider, fd)},
	{"pid", TABLE_UINT32, FIELD(saved_provider, pid), .max = INT32_MAX},
	{"uid", TABLE_UINT32, FIELD(saved_provider, uid)},
	{"number", TABLE_UINT32, FIELD(saved_provider, number)},
	{"name", TABLE_TEXT, FIELD(saved_provider, name)},
	{"status", TABLE_TEXT, FIELD(saved_provider, status)},
	{"may_forward", TABLE_BOOL, FIELD(saved_provider, may_forward), .since = 1},
	{"owes_welcome", TABLE_BOOL, FIELD(saved_provider, owes_welcome)},
	{"owes_draining", TABLE_BOOL, FIELD(saved_provider, owes_draining)},
	{"takes_listeners", TABLE_BOOL, FIELD(saved_provider, takes_listeners), .since = 2},
	{"owes_listeners", TABLE_BOOL, FIELD(saved_provider, owes_listeners), .since = 2},
	{"is_borrower", TABLE_BOOL, FIELD(saved_provider, is_borrower), .since = 2},
	{"draining_reason", TABLE_UINT32, FIELD(saved_provider, draining_reason),
		.max = WIRE_DRAINING_ADMINISTRATOR, .since = 1},
	{"is_standby", TABLE_BOOL, FIELD(saved_provider, is_standby), .since = 1},
	{"is_pass", TABLE_BOOL, FIELD(saved_provider, is_pass), .since = 2},
	{"state", TABLE_UINT32, FIELD(saved_provider, state), .max = PROVIDER_QUARANTINED},
	{"weight", TABLE_UINT32, FIELD(saved_provider, weight), .max = WIRE_MAX_WEIGHT},
	{"n_foreign", TABLE_UINT32, FIELD(saved_provider, n_foreign), .max = WIRE_MAX_CREDIT},
	{"n_turns", TABLE_UINT32, FIELD(saved_provider, n_turns), .max = WIRE_MAX_WEIGHT},
	{"place", TABLE_UINT32, FIELD(saved_provider, place), .since = 2, .may_lack = true},
	{"credit", TABLE_INT64, FIELD(saved_provider, credit)},
	{"last_sequence", TABLE_UINT64, FIELD(saved_provider, last_sequence)},
	{"claimed_sequence", TABLE_UINT64, FIELD(saved_provider, claimed_sequence)},
	{"unclaimed_since", TABLE_UINT64, FIELD(saved_provider, unclaimed_since)},
	{"n_served", TABLE_UINT64, FIELD(saved_provider, n_served)},
	{"unclaimed", TABLE_LIST, FIELD(saved_provider, unclaimed),
		COUNT(saved_provider, n_unclaimed), .items = &handoff_table},
	{"claimed", TABLE_LIST, FIELD(saved_provider, claimed), COUNT(saved_provider, n_claimed),
		.items = &claim_table},
};
static const struct table provider_table = TABLE(saved_provider, provider_members);

static const struct table_member stranger_members[] = {
	{"fd", TABLE_FD, FIELD(saved_stranger, fd)},
	{"pid", TABLE_UINT32, FIELD(saved_stranger, pid), .max = INT32_MAX},
	{"uid", TABLE_UINT32, FIELD(saved_stranger, uid)},
	{"may_forward", TABLE_BOOL, FIELD(saved_stranger, may_forward), .since = 1},
};
static const struct table stranger_table = TABLE(saved_stranger, stranger_members);

static const struct table_member source_members[] = {
	{"network", TABLE_BYTES, FIELD(saved_source, network)},
	{"full_nsec", TABLE_UINT64, FIELD(saved_source, bucket.full_nsec)},
};
static const struct table source_table = {
	.members = source_members,
	.n_members = sizeof(source_members) / sizeof(source_members[0]),
	.size = sizeof(struct saved_source),
	.is_row = true,
};

#define TOTAL(m)       TABLE_UINT64, FIELD(saved_service, totals.m)
#define TURNED(reason) TABLE_UINT64, FIELD(saved_service, n_turned[ADMISSION_##reason]), .since = 2

static const struct table_member service_members[] = {
	{"name", TABLE_TEXT, FIELD(saved_service, name)},
	{"is_ending", TABLE_BOOL, FIELD(saved_service, is_ending)},
	{"is_paused", TABLE_BOOL, FIELD(saved_service, is_paused), .since = 1},
	{"instances", TABLE_UINT32, FIELD(saved_service, instances), .max = DISPATCH_MAX_INSTANCES},
	{"max_providers", TABLE_UINT32, FIELD(saved_service, max_providers)},
	{"max_parked", TABLE_UINT32, FIELD(saved_service, max_parked), .since = 1},
	{"claim_timeout_usec", TABLE_UINT64, FIELD(saved_service, claim_timeout_usec)},
	{"park_timeout_usec", TABLE_UINT64, FIELD(saved_service, park_timeout_usec), .since = 1},
	{"rendezvous_fd", TABLE_FD, FIELD(saved_service, rendezvous_fd)},
	{"rendezvous_number", TABLE_UINT32, FIELD(saved_service, rendezvous_number)},
	{"n_registered", TABLE_UINT32, FIELD(saved_service, n_registered)},
	{"n_reset", TABLE_UINT64, FIELD(saved_service, n_reset)},
	{"n_forwards_refused", TABLE_UINT64, FIELD(saved_service, n_forwards_refused), .since = 1},
	{"n_denied", TURNED(DENIED)},
	{"n_no_access", TURNED(NO_ACCESS)},
	{"n_only_from", TURNED(ONLY_FROM)},
	{"n_access_times", TURNED(ACCESS_TIMES)},
	{"n_sensor", TURNED(SENSOR)},
	{"n_per_source", TURNED(PER_SOURCE)},
	{"n_per_source_rate", TURNED(PER_SOURCE_RATE)},
	{"n_cps", TURNED(CPS)},
	{"n_rate", TURNED(RATE)},
	{"n_max_load", TURNED(MAX_LOAD)},
	{"cps_full_nsec", TABLE_UINT64, FIELD(saved_service, admission.cps.full_nsec), .since = 2,
		.may_lack = true},
	{"rate_full_nsec", TABLE_UINT64, FIELD(saved_service, admission.rate.full_nsec), .since = 2,
		.may_lack = true},
	{"paused_until_usec", TABLE_UINT64, FIELD(saved_service, admission.paused_until_usec),
		.since = 2, .may_lack = true},
	{"sources", TABLE_LIST, FIELD(saved_service, sources), COUNT(saved_service, n_sources),
		.items = &source_table, .max = SOURCES_MAX_REMEMBERED, .since = 2,
		.may_lack = true},
	{"id_limit", TABLE_UINT64, FIELD(saved_service, id_limit)},
	{"n_accepted", TOTAL(n_accepted)},
	{"n_taken_over", TOTAL(n_taken_over), .since = 1},
	{"n_claimed", TOTAL(n_claimed)},
	{"n_released", TOTAL(n_released)},
	{"n_redispatched", TOTAL(n_redispatched)},
	{"n_declined", TOTAL(n_declined)},
	{"n_lost", TOTAL(n_lost)},
	{"n_touched", TOTAL(n_touched)},
	{"n_forwarded", TOTAL(n_forwarded), .since = 1},
	{"n_parked", TOTAL(n_parked), .since = 1},
	{"n_expired", TOTAL(n_expired), .since = 1},
	{"n_given_up", TOTAL(n_given_up)},
	{"waiting_time", TABLE_BYTES, FIELD(saved_service, totals.waiting_time), .since = 2,
		.may_lack = true},
	{"handoff_time", TABLE_BYTES, FIELD(saved_service, totals.handoff_time), .since = 2,
		.may_lack = true},
	{"listeners", TABLE_LIST, FIELD(saved_service, listeners),
		COUNT(saved_service, n_listeners), .items = &listener_table},
	{"lots", TABLE_LIST, FIELD(saved_service, lots), COUNT(saved_service, n_lots),
		.items = &lot_table, .since = 1},
	{"providers", TABLE_LIST, FIELD(saved_service, providers),
		COUNT(saved_service, n_providers), .items = &provider_table},
	{"strangers", TABLE_LIST, FIELD(saved_service, strangers),
		COUNT(saved_service, n_strangers), .items = &stranger_table},
	{"waiting", TABLE_LIST, FIELD(saved_service, waiting), COUNT(saved_service, n_waiting),
		.items = &handoff_table},
};
static const struct table service_table = TABLE(saved_service, service_members);

static const struct table_member denial_members[] = {
	{"network", TABLE_BYTES, FIELD(saved_denial, network)},
	{"until_usec", TABLE_UINT64, FIELD(saved_denial, until_usec)},
};
static const struct table denial_table = {
	.members = denial_members,
	.n_members = sizeof(denial_members) / sizeof(denial_members[0]),
	.size = sizeof(struct saved_denial),
	.is_row = true,
};

static const struct table_member succession_members[] = {
	{"format", TABLE_UINT32, FIELD(succession, format)},
	{"version", TABLE_TEXT, FIELD(succession, version)},
	{"config_path", TABLE_TEXT, FIELD(succession, config_path)},
	{"started_usec", TABLE_UINT64, FIELD(succession, started_usec)},
	{"n_upgrades", TABLE_UINT32, FIELD(succession, n_upgrades)},
	{"is_sandboxed", TABLE_BOOL, FIELD(succession, is_sandboxed), .since = 2, .may_lack = true},
	{"lock_fd", TABLE_FD, FIELD(succession, lock_fd)},
	{"control_fd", TABLE_FD, FIELD(succession, control_fd)},
	{"client_fd", TABLE_FD, FIELD(succession, client_fd)},
	{"services", TABLE_LIST, FIELD(succession, services), COUNT(succession, n_services),
		.items = &service_table},
	{"denials", TABLE_LIST, FIELD(succession, denials), COUNT(succession, n_denials),
		.items = &denial_table, .max = DENIED_MAX, .since = 2},
};
static const struct table succession_table = TABLE(succession, succession_members);

json_t *succession_json(const struct succession *succession)
{
	return table_write(&succession_table, succession);
}

/* The format stands in front of everything: it says how the rest is to be read. */
static int check_format(const json_t *json, char *why, size_t why_size)
{
	const json_t *format = json_object_get(json, "format");
	const char *version = json_string_value(json_object_get(json, "version"));
	json_int_t number = json_integer_value(format);

	if (!json_is_integer(format)) {
		(void)snprintf(
			why, why_size, "this is not the state of an usherd: it has no format");
		return -EINVAL;
	}
	if (number < 0 || number > SUCCESSION_FORMAT) {
		(void)snprintf(why, why_size,
			"the state of usherd %.32s has the format %lld, and this one reads 0 to %d: "
			"restart it instead of upgrading",
			version ? version : "(unknown)", (long long)number, SUCCESSION_FORMAT);
		return -EINVAL;
	}
	return (int)number;
}

int succession_parse(struct succession **ret, const json_t *json, char *why, size_t why_size)
{
	struct succession *succession = malloc(sizeof(*succession));
	int r = check_format(json, why, why_size);

	if (!succession)
		return -ENOMEM;
	if (r >= 0)
		r = table_read(&succession_table, (unsigned int)r, json, succession, why, why_size);
	if (r < 0) {
		free(succession);
		return r;
	}
	*ret = succession;
	return 0;
}

struct succession *succession_free(struct succession *succession)
{
	if (!succession)
		return NULL;
	table_done(&succession_table, succession);
	free(succession);
	return NULL;
}

static int visit_to_close(int *fd, void *unused)
{
	(void)unused;
	*fd = close_fd(*fd);
	return 0;
}

void succession_close(struct succession *succession)
{
	(void)table_visit_fds(&succession_table, succession, visit_to_close, NULL);
}

/* Jansson's own functions for descriptors write and read a byte at a time. */
static int write_json(const json_t *json, int fd)
{
	char *text = json_dumps(json, JSON_COMPACT);
	size_t length = text ? strlen(text) : 0;
	ssize_t n = text ? write(fd, text, length) : -1;
	int r = !text ? -ENOMEM : n < 0 ? -errno : (size_t)n < length ? -ENOSPC : 0;

	free(text);
	return r;
}

/* A sealed file with the state. Returns a negative errno, or 0 with *ret_fd. */
static int write_state(const struct succession *succession, int *ret_fd)
{
	_cleanup_close_ int fd = memfd_create("usherd-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	json_t *json = succession_json(succession);
	int r = fd < 0 ? -errno : json ? write_json(json, fd) : -ENOMEM;

	json_decref(json);
	if (r >= 0 && fcntl(fd, F_ADD_SEALS,
			      F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r >= 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int visit_to_pass_on(int *fd, void *unused)
{
	(void)unused;
	return fcntl(*fd, F_SETFD, 0) < 0 ? -errno : 0;
}

static int visit_to_keep(int *fd, void *unused)
{
	(void)unused;
	(void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int execute(
	struct succession *succession, int state_fd, const char *program, char *const *argv)
{
	char number[16];
	int r = visit_to_pass_on(&state_fd, NULL);

	(void)snprintf(number, sizeof(number), "%d", state_fd);
	if (r >= 0)
		r = table_visit_fds(&succession_table, succession, visit_to_pass_on, NULL);
	if (r >= 0 && setenv(SUCCESSION_VARIABLE, number, true) < 0)
		r = -errno;
	if (r >= 0) {
		(void)execve(program, argv, environ);
		r = -errno;
	}
	(void)unsetenv(SUCCESSION_VARIABLE);
	(void)table_visit_fds(&succession_table, succession, visit_to_keep, NULL);
	return r;
}

int succession_execute(struct succession *succession, const char *program, char *const *argv)
{
	_cleanup_close_ int fd = -EBADF;
	int r = write_state(succession, &fd);

	return r < 0 ? r : execute(succession, fd, program, argv);
}

/* The state's descriptor. Returns it, the caller's, or -ENOENT: there is none. */
static int take_state_fd(void)
{
	const char *text = getenv(SUCCESSION_VARIABLE);
	int fd = text ? atoi(text) : 0;

	(void)unsetenv(SUCCESSION_VARIABLE);
	return fd > STDERR_FILENO ? fd : -ENOENT;
}

/* A new reference, or NULL with *ret_error. */
static json_t *read_json(int fd, json_error_t *ret_error)
{
	FILE *file = fdopen(fd, "r");
	json_t *json;

	*ret_error = (json_error_t){.text = "out of memory"};
	if (!file) {
		close_fd(fd);
		return NULL;
	}
	rewind(file);
	json = json_loadf(file, JSON_REJECT_DUPLICATES, ret_error);
	(void)fclose(file);
	return json;
}

static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && seals & F_SEAL_WRITE;
}

/* Takes `fd`, also on failure. */
static int read_state(int fd, struct succession **ret, char *why, size_t why_size)
{
	json_error_t error;
	json_t *json;
	int r;

	if (!is_sealed(fd)) {
		(void)snprintf(why, why_size, SUCCESSION_VARIABLE " names no sealed file");
		close_fd(fd);
		return -EINVAL;
	}
	json = read_json(fd, &error);
	if (!json) {
		(void)snprintf(why, why_size, "%s", error.text);
		return -EINVAL;
	}
	r = succession_parse(ret, json, why, why_size);
	json_decref(json);
	return r;
}

struct complaint {
	char *why;
	size_t size;
};

/* What was passed on is not close-on-exec; what is by now was named before. */
static int visit_to_adopt(int *fd, void *userdata)
{
	const struct complaint *complaint = userdata;
	int flags = fcntl(*fd, F_GETFD);

	if (flags < 0 || flags & FD_CLOEXEC) {
		(void)snprintf(complaint->why, complaint->size,
			"the descriptor %d was not passed on, or is named twice", *fd);
		return -EINVAL;
	}
	(void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

int succession_receive(struct succession **ret, char *why, size_t why_size)
{
	struct succession *succession;
	int r, fd = take_state_fd();

	if (fd < 0)
		return 0;
	r = read_state(fd, &succession, why, why_size);
	if (r < 0)
		return r;
	r = table_visit_fds(&succession_table, succession, visit_to_adopt,
		&(struct complaint){.why = why, .size = why_size});
	if (r < 0) {
		succession_free(succession);
		return r;
	}
	*ret = succession;
	return 1;
}
