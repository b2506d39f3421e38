/* SPDX-License-Identifier: MIT */
/*
 * Finding the process behind a listening socket: see occupant.h, proc(5).
 *
 * /proc/net gives the socket's inode and, for TCP and UDP, its uid; the process is the first one
 * with a descriptor "socket:[INODE]".
 */
#include "occupant.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_LINES     100000
#define MAX_FDS	      200000
#define NAME_SIZE     17 /* 15 bytes, a newline, a NUL */
#define TCP_LISTENING 0x0a
#define UNIX_ACCEPTS  0x10000 /* __SO_ACCEPTCON */

/* A socket of /proc/net. */
struct holder {
	uint64_t inode;
	bool is_uid_known;
	unsigned int uid;
};

/* Is this line of /proc/net/... what is sought? Then fills *ret. */
typedef bool (*match_line)(const char *line, const struct address *address, struct holder *ret);

static struct in6_addr mapped(uint32_t ipv4)
{
	struct in6_addr mapped_address = {.s6_addr32 = {0, 0, htonl(0xffff), ipv4}};

	return mapped_address;
}

static struct in6_addr host_of(const struct address *address)
{
	if (address->sockaddr.sa_family == AF_INET)
		return mapped(((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr);
	return ((const struct sockaddr_in6 *)&address->storage)->sin6_addr;
}

static bool is_any(const struct in6_addr *host)
{
	const struct in6_addr mapped_any = mapped(INADDR_ANY);

	return IN6_IS_ADDR_UNSPECIFIED(host) || IN6_ARE_ADDR_EQUAL(host, &mapped_any);
}

/* The kernel writes an address as words of 8 hexadecimal digits, each in the host's byte order. */
static struct in6_addr parse_host(const char *hex)
{
	struct in6_addr host = {0};

	if (strlen(hex) == 8)
		return mapped((uint32_t)strtoul(hex, NULL, 16));
	for (size_t i = 0; i < 4 && strlen(hex) == 32; i++) {
		char word[9] = "";

		memcpy(word, hex + 8 * i, 8);
		host.s6_addr32[i] = (uint32_t)strtoul(word, NULL, 16);
	}
	return host;
}

/* TCP listens, UDP has a port as soon as it is bound. */
static bool match_inet(const char *line, const struct address *address, struct holder *ret)
{
	struct in6_addr sought = host_of(address), host;
	unsigned int port, state, uid;
	unsigned long inode;
	char hex[33];

	if (sscanf(line, " %*d: %32[0-9A-F]:%x %*32[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %u %*d %lu",
		    hex, &port, &state, &uid, &inode) != 5)
		return false;
	host = parse_host(hex);
	if ((address->type == SOCK_STREAM && state != TCP_LISTENING) ||
		port != address_port(address))
		return false;
	if (!is_any(&host) && !is_any(&sought) && !IN6_ARE_ADDR_EQUAL(&host, &sought))
		return false;
	*ret = (struct holder){.inode = inode, .is_uid_known = true, .uid = uid};
	return true;
}

static bool match_unix(const char *line, const struct address *address, struct holder *ret)
{
	const char *path = ((const struct sockaddr_un *)&address->storage)->sun_path;
	unsigned int flags, type;
	unsigned long inode;
	int path_start = 0;

	if (sscanf(line, "%*x: %*x %*x %x %x %*x %lu %n", &flags, &type, &inode, &path_start) != 3)
		return false;
	if (path_start == 0 || strcmp(line + path_start, path) != 0)
		return false;
	if (!(flags & UNIX_ACCEPTS) && type != SOCK_DGRAM) /* an accepted one has the path too */
		return false;
	*ret = (struct holder){.inode = inode};
	return true;
}

static bool find_holder(
	const char *table, match_line match, const struct address *address, struct holder *ret)
{
	FILE *file = fopen(table, "re");
	bool is_found = false;
	char *line = NULL;
	size_t size = 0;

	for (int i = 0; file && !is_found && i < MAX_LINES && getline(&line, &size, file) > 0;
		i++) {
		line[strcspn(line, "\n")] = '\0';
		is_found = match(line, address, ret);
	}
	free(line);
	if (file)
		fclose(file);
	return is_found;
}

static bool find_holder_of(const struct address *address, struct holder *ret)
{
	static const char *const tcp[] = {"/proc/net/tcp", "/proc/net/tcp6"};
	static const char *const udp[] = {"/proc/net/udp", "/proc/net/udp6"};
	const char *const *tables = address->type == SOCK_DGRAM ? udp : tcp;

	switch (address->sockaddr.sa_family) {
	case AF_INET:
		return find_holder(tables[0], match_inet, address, ret) ||
		       find_holder(tables[1], match_inet, address, ret);
	case AF_INET6:
		return find_holder(tables[1], match_inet, address, ret) ||
		       find_holder(tables[0], match_inet, address, ret);
	case AF_UNIX:
		return find_holder("/proc/net/unix", match_unix, address, ret);
	default:
		return false;
	}
}

/* Open the folder "descriptors of this process", or NULL if we may not. */
static DIR *open_fds(const char *pid)
{
	char path[sizeof("/proc//fd") + NAME_MAX];

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	return opendir(path);
}

/* Has the process a descriptor whose link reads `link`? Counts what it looks at down from *budget.
 */
static bool has_fd(const char *pid, const char *link, int *budget)
{
	DIR *fds = open_fds(pid);
	bool is_found = false;

	if (!fds)
		return false;
	for (struct dirent *entry; !is_found && *budget > 0 && (entry = readdir(fds)); --*budget) {
		char target[64];
		ssize_t n = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		is_found =
			n > 0 && (size_t)n == strlen(link) && memcmp(target, link, (size_t)n) == 0;
	}
	closedir(fds);
	return is_found;
}

/* Returns the pid, or 0. */
static int find_process(uint64_t inode)
{
	DIR *processes = opendir("/proc");
	int budget = MAX_FDS, pid = 0;
	char link[64];

	if (!processes)
		return 0;
	snprintf(link, sizeof(link), "socket:[%ju]", (uintmax_t)inode);
	for (struct dirent *entry; pid == 0 && (entry = readdir(processes));)
		if (isdigit((unsigned char)entry->d_name[0]) &&
			has_fd(entry->d_name, link, &budget))
			pid = atoi(entry->d_name);
	closedir(processes);
	return pid;
}

/* The name that a process gives itself may hold anything: it shall not disturb a line of text. */
static void read_name(int pid, char name[NAME_SIZE])
{
	char path[32];
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	strcpy(name, "?");
	file = fopen(path, "re");
	if (!file)
		return;
	length = fread(name, 1, NAME_SIZE - 1, file);
	fclose(file);
	name[length > 0 ? length - 1 : 0] = '\0'; /* the kernel's newline */
	for (char *c = name; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

int occupant_find(const struct address *address, char *text, size_t size)
{
	struct holder holder;
	char name[NAME_SIZE];
	int pid;

	if (!find_holder_of(address, &holder)) {
		snprintf(text, size, "another process");
		return -ENOENT;
	}
	pid = find_process(holder.inode);
	if (pid > 0) {
		read_name(pid, name);
		snprintf(text, size, "pid %d (%s)", pid, name);
		return 0;
	}
	if (holder.is_uid_known)
		snprintf(text, size, "a process of uid %u", holder.uid);
	else
		snprintf(text, size, "another process");
	return -ENOENT;
}
