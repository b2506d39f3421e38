/* SPDX-License-Identifier: MIT */
/*
 * What an earlier usherd has left: see inheritance.h.
 *
 * There may be tens of thousands, so they are sorted: by what they are asked for, that is listeners
 * by address and the others by service.
 */
#include "inheritance.h"

#include "closer.h"
#include "fd.h"
#include "log.h"
#include "unixsocket.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

struct entry {
	enum fdstore_kind kind;
	uint32_t number;
	int fd; /* -EBADF: taken */
	char service[WIRE_NAME_SIZE];
	struct address address; /* without is_wildcard, which sockets do not know of; may be zero */
	bool is_v6only;
	struct unixsocket_file file;
};

struct inheritance {
	struct entry *entries; /* never NULL */
	size_t n, n_allocated;
	bool is_sorted;
};

/* Returns false when out of memory. */
static bool add_room(struct inheritance *inheritance)
{
	size_t n_allocated = 2 * inheritance->n_allocated + 16;
	struct entry *entries = reallocarray(inheritance->entries, n_allocated, sizeof(*entries));

	if (!entries)
		return false;
	inheritance->entries = entries;
	inheritance->n_allocated = n_allocated;
	return true;
}

int inheritance_new(struct inheritance **ret)
{
	struct inheritance *inheritance = calloc(1, sizeof(*inheritance));

	if (!inheritance || !add_room(inheritance)) {
		free(inheritance);
		return -ENOMEM;
	}
	*ret = inheritance;
	return 0;
}

/* The path of an AF_UNIX address, NULL for others and for a socket without a name. */
static const char *path_of(const struct address *address)
{
	const struct sockaddr_un *sockaddr = (const struct sockaddr_un *)&address->storage;

	return sockaddr->sun_family == AF_UNIX && sockaddr->sun_path[0] != '\0' ? sockaddr->sun_path
										: NULL;
}

/* [::], which is the only address with which v6only means anything: for others bind(2) sets it. */
static bool is_any_ipv6(const struct address *address)
{
	return address->sockaddr.sa_family == AF_INET6 &&
	       address_takes_family(address, false, AF_INET);
}

static bool is_v6only(int fd, const struct address *address)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return is_any_ipv6(address) &&
	       getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &size) == 0 && value;
}

static void entry_init(
	struct entry *entry, enum fdstore_kind kind, const char *service, uint32_t number, int fd)
{
	const char *path;

	*entry = (struct entry){.kind = kind, .number = number, .fd = fd};
	(void)address_read(fd, &entry->address); /* else it is nobody's, and closed at the end */
	wire_set_text(entry->service, sizeof(entry->service), service);
	entry->is_v6only = is_v6only(fd, &entry->address);
	path = path_of(&entry->address);
	if (path)
		entry->file = unixsocket_identify(path);
}

int inheritance_add(struct inheritance *inheritance, enum fdstore_kind kind, const char *service,
	uint32_t number, int fd)
{
	_cleanup_close_ int owned_fd = fd;

	if (inheritance->n == inheritance->n_allocated && !add_room(inheritance))
		return -ENOMEM;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (kind != FDSTORE_LISTENER) /* somebody it is lent to may have it otherwise */
		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	fdstore_found(number);
	entry_init(
		&inheritance->entries[inheritance->n++], kind, service, number, take_fd(&owned_fd));
	inheritance->is_sorted = false;
	return 0;
}

/* What is no listener was meant for somebody else, or by a mistake for us. */
static void refuse(int fd, const char *name)
{
	log_write(LOG_WARNING, &(struct log_about){.reason = "unknown-socket"},
		"the service manager has passed a descriptor of the name '%s', which is no "
		"listening or datagram socket, and none that usherd has stored: closed",
		name);
	close_fd(fd);
}

/* One with a peer is a client's, from a unit with Accept=yes (systemd.socket(5)). */
static bool has_peer(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

static bool is_listener(int fd)
{
	struct address address;

	if (address_read(fd, &address) < 0 || address.type == SOCK_RAW || has_peer(fd))
		return false;
	switch (address.sockaddr.sa_family) {
	case AF_INET:
	case AF_INET6:
	case AF_UNIX:
	case AF_VSOCK:
		return true;
	default:
		return false;
	}
}

static int add_named(struct inheritance *inheritance, int fd, const char *name)
{
	char service[WIRE_NAME_SIZE];
	enum fdstore_kind kind;
	uint32_t number;

	if (fdstore_parse_name(name, &kind, &number, service))
		return inheritance_add(inheritance, kind, service, number, fd);
	if (is_listener(fd))
		return inheritance_add(inheritance, FDSTORE_LISTENER, "", FDSTORE_OF_UNIT, fd);
	refuse(fd, name);
	return 0;
}

/* Listeners by address, others by service, then by number: 0 for those that were asked for, the
 * highest one for those of units. */
static int compare_subjects(const struct entry *a, const struct entry *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->kind == FDSTORE_LISTENER ? address_compare(&a->address, &b->address)
					   : strcmp(a->service, b->service);
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *one = a, *other = b;
	int r = compare_subjects(one, other);

	return r != 0 || one->number == other->number ? r : one->number < other->number ? -1 : 1;
}

static void sort(struct inheritance *inheritance)
{
	if (!inheritance->is_sorted)
		qsort(inheritance->entries, inheritance->n, sizeof(*inheritance->entries),
			compare_entries);
	inheritance->is_sorted = true;
}

/* The first that is not before `key`. */
static struct entry *find_first(struct inheritance *inheritance, const struct entry *key)
{
	size_t low = 0, high = inheritance->n;

	sort(inheritance);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_subjects(&inheritance->entries[middle], key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return &inheritance->entries[low];
}

static bool is_asked_for(
	const struct inheritance *inheritance, const struct entry *entry, const struct entry *key)
{
	return entry < inheritance->entries + inheritance->n && compare_subjects(entry, key) == 0;
}

static bool is_same_socket(int fd, int other_fd)
{
	struct stat status, other;

	return fstat(fd, &status) == 0 && fstat(other_fd, &other) == 0 &&
	       status.st_ino == other.st_ino && status.st_dev == other.st_dev;
}

/* What a unit has bound and an earlier usherd has stored is passed twice: its name in the store
 * counts. */
static void close_twins(struct inheritance *inheritance)
{
	sort(inheritance);
	for (size_t i = 0; i < inheritance->n; i++) {
		struct entry *twin = &inheritance->entries[i];

		if (twin->number != FDSTORE_OF_UNIT)
			continue;
		for (const struct entry *e = find_first(inheritance, twin); e < twin; e++)
			if (twin->fd >= 0 && is_same_socket(e->fd, twin->fd))
				twin->fd = close_fd(twin->fd);
	}
}

int inheritance_from_manager(struct inheritance **ret)
{
	struct inheritance *inheritance;
	char **names = NULL;
	int r = inheritance_new(&inheritance), n;

	if (r < 0)
		return r;
	n = sd_listen_fds_with_names(true, &names);
	if (n < 0)
		log_write(LOG_WARNING, &(struct log_about){.reason = "unknown-socket", .error = n},
			"cannot tell what the service manager has passed: %s", strerror(-n));
	for (int i = 0; i < n; i++) {
		if (r >= 0)
			r = add_named(inheritance, SD_LISTEN_FDS_START + i, names[i]);
		else
			close_fd(SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	if (r < 0) {
		inheritance_free(inheritance);
		return r;
	}
	close_twins(inheritance);
	*ret = inheritance;
	return 0;
}

/* Clients must not wait where nobody will come, for as long as somebody has a copy. */
static void stop_listening(const struct entry *entry)
{
	static const int yes = 1;
	const char *path = path_of(&entry->address);

	if (path)
		unixsocket_unlink(path, &entry->file);
	/* Datagrams are left to who may have been lent them, as by listener_free(). */
	if (entry->kind == FDSTORE_LISTENER && entry->address.type == SOCK_DGRAM)
		return;
	/* Two sockets may share a port if both have this and one of them does not listen. */
	(void)setsockopt(entry->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	(void)shutdown(entry->fd, SHUT_RDWR);
}

static void warn_of_unit(const struct entry *entry)
{
	char text[ADDRESS_TEXT_MAX];

	log_write(LOG_WARNING, &(struct log_about){.reason = "unknown-socket"},
		"the service manager has passed a socket bound to %s, where no service listens: closed; "
		"configure it, or take it out of the socket unit",
		address_format(&entry->address, text));
}

static void end_entry(struct entry *entry)
{
	if (!fdstore_remove(entry->kind, entry->service, entry->number)) {
		if (entry->number == FDSTORE_OF_UNIT)
			warn_of_unit(entry);
		stop_listening(entry);
	}
	entry->fd = closer_close(entry->fd);
}

struct inheritance *inheritance_free(struct inheritance *inheritance)
{
	if (!inheritance)
		return NULL;
	for (size_t i = 0; i < inheritance->n; i++)
		if (inheritance->entries[i].fd >= 0)
			end_entry(&inheritance->entries[i]);
	free(inheritance->entries);
	free(inheritance);
	return NULL;
}

static void take(struct entry *entry, struct inherited *ret)
{
	*ret = (struct inherited){.fd = take_fd(&entry->fd), .number = entry->number};
	memcpy(ret->service, entry->service, sizeof(ret->service));
}

static bool has_its_file(const struct entry *entry)
{
	const char *path = path_of(&entry->address);

	return path && unixsocket_is_there(path, &entry->file);
}

/* The listener that is bound to exactly this address, or NULL. */
static struct entry *find_bound(
	struct inheritance *inheritance, const struct address *address, bool is_v6only)
{
	const struct entry key = {.kind = FDSTORE_LISTENER, .address = *address};
	bool is_unix = address->sockaddr.sa_family == AF_UNIX;

	for (struct entry *e = find_first(inheritance, &key); is_asked_for(inheritance, e, &key);
		e++)
		if (e->fd >= 0 && e->is_v6only == is_v6only && (!is_unix || has_its_file(e)))
			return e;
	return NULL;
}

static struct address with_port(const struct address *address, unsigned int port)
{
	struct address other = *address;

	if (other.sockaddr.sa_family == AF_INET6)
		((struct sockaddr_in6 *)&other.storage)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&other.storage)->sin_port = htons((uint16_t)port);
	return other;
}

/* One of this service on that host, whatever its port. */
static struct entry *find_unnumbered(struct inheritance *inheritance, const char *service,
	const struct address *address, bool is_v6only)
{
	for (size_t i = 0; i < inheritance->n; i++) {
		struct entry *e = &inheritance->entries[i];
		struct address host = with_port(&e->address, 0);

		if (e->fd >= 0 && e->kind == FDSTORE_LISTENER && e->is_v6only == is_v6only &&
			strcmp(e->service, service) == 0 && address_equal(&host, address))
			return e;
	}
	return NULL;
}

static struct entry *find_listener(struct inheritance *inheritance, const char *service,
	const struct address *address, bool is_v6only)
{
	if (address->sockaddr.sa_family != AF_UNIX && address_port(address) == 0)
		return find_unnumbered(inheritance, service, address, is_v6only);
	return find_bound(inheritance, address, is_v6only);
}

/* All that share a port come one after the other. */
static void make_way(struct inheritance *inheritance, const struct address *address, bool is_v6only)
{
	const struct entry key = {
		.kind = FDSTORE_LISTENER, .address = address_first_of_port(address)};
	const struct entry *end = inheritance->entries + inheritance->n;

	for (struct entry *e = find_first(inheritance, &key);
		e < end && e->kind == FDSTORE_LISTENER && address_shares_port(&e->address, address);
		e++)
		if (e->fd >= 0 && address_conflicts(&e->address, e->is_v6only, address, is_v6only))
			stop_listening(e);
}

static bool has_nothing(const struct inheritance *inheritance)
{
	return !inheritance || inheritance->n == 0;
}

bool inheritance_take_listener(struct inheritance *inheritance, const char *service,
	const struct address *configured, bool is_v6only, struct inherited *ret,
	struct address *ret_bound)
{
	struct address address = *configured, v4;
	struct entry *e;

	if (has_nothing(inheritance))
		return false;
	address.is_wildcard = false;
	e = find_listener(inheritance, service, &address, is_any_ipv6(&address) && is_v6only);
	if (!e && configured->is_wildcard && !is_v6only) { /* it was bound without IPv6 */
		v4 = address_ipv4_any(&address);
		e = find_listener(inheritance, service, &v4, false);
	}
	if (!e) {
		make_way(inheritance, &address, is_v6only);
		return false;
	}
	*ret_bound = e->address;
	ret_bound->is_wildcard = configured->is_wildcard;
	take(e, ret);
	return true;
}

/* The first that is left of this kind and service, or NULL. */
static struct entry *find_of_service(
	struct inheritance *inheritance, enum fdstore_kind kind, const char *service)
{
	struct entry key = {.kind = kind};

	if (has_nothing(inheritance))
		return NULL;
	wire_set_text(key.service, sizeof(key.service), service);
	for (struct entry *e = find_first(inheritance, &key); is_asked_for(inheritance, e, &key);
		e++)
		if (e->fd >= 0)
			return e;
	return NULL;
}

bool inheritance_take_rendezvous(struct inheritance *inheritance, const char *service,
	const char *path, struct inherited *ret)
{
	struct entry *e = find_of_service(inheritance, FDSTORE_RENDEZVOUS, service);

	if (!e || !has_its_file(e) || strcmp(path_of(&e->address), path) != 0)
		return false;
	take(e, ret);
	return true;
}

bool inheritance_take_parking(
	struct inheritance *inheritance, const char *service, struct inherited *ret)
{
	struct entry *e = find_of_service(inheritance, FDSTORE_PARKING, service);

	if (e)
		take(e, ret);
	return e != NULL;
}

bool inheritance_has_rendezvous(struct inheritance *inheritance, const char *service)
{
	return find_of_service(inheritance, FDSTORE_RENDEZVOUS, service);
}
