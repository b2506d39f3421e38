/* SPDX-License-Identifier: MIT */
/*
 * Names of hosts and networks: see names.h.
 *
 * What the threads work on is counted by references: the owner's, and one of each thread. Whoever
 * is last frees it.
 */
#include "names.h"

#include "fd.h"
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Asking is waiting: so many names are asked for at once. */
#define N_THREADS  8u
#define STACK_SIZE (512u << 10)

#define NO_ANSWER  "no answer within the time that there is"

struct names {
	pthread_mutex_t lock;
	unsigned int n_references;
	size_t n_next;	   /* the first that nobody has begun to ask for */
	size_t n_answered; /* not more than that */
	bool is_closed;
	int fd;
	size_t n;
	struct names_answer answers[NAMES_MAX];
};

int names_new(struct names **ret)
{
	struct names *names = calloc(1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	names->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (names->fd < 0) {
		free(names);
		return -errno;
	}
	names->n_references = 1;
	pthread_mutex_init(&names->lock, NULL);
	*ret = names;
	return 0;
}

static struct names_answer *find(struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->answers[i].name, name) == 0)
			return &names->answers[i];
	return NULL;
}

int names_add(struct names *names, const char *name)
{
	char *copy;

	if (find(names, name))
		return 0;
	if (names->n == NAMES_MAX)
		return -E2BIG;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	names->answers[names->n++].name = copy;
	return 0;
}

size_t names_count(const struct names *names)
{
	return names->n;
}

static void add_network(struct names_answer *answer, const struct network *network)
{
	for (size_t i = 0; i < answer->n_networks; i++)
		if (network_compare(&answer->networks[i], network) == 0)
			return;
	if (answer->n_networks == NAMES_MAX_ADDRESSES)
		answer->has_more = true;
	else
		answer->networks[answer->n_networks++] = *network;
}

/* networks(5) has numbers, of which those at the end can be missing, and no lengths. */
static bool ask_networks(struct names_answer *answer)
{
	struct wire_address address = {.family = AF_INET};
	struct netent entry, *found = NULL;
	unsigned int n_bits = 32;
	char buffer[4096];
	struct network network;
	uint32_t number;
	int error;

	if (getnetbyname_r(answer->name, &entry, buffer, sizeof(buffer), &found, &error) != 0 ||
		!found || found->n_addrtype != AF_INET || found->n_net == 0)
		return false;
	for (number = found->n_net; number >> 24 == 0; number <<= 8)
		;
	while ((number >> (32 - n_bits) & 0xff) == 0)
		n_bits -= 8;
	number = htonl(number);
	memcpy(address.address, &number, sizeof(number));
	network = network_of(&address, n_bits);
	add_network(answer, &network);
	return true;
}

static void ask_hosts(struct names_answer *answer)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int r = getaddrinfo(answer->name, NULL, &hints, &found);

	for (struct addrinfo *at = r == 0 ? found : NULL; at; at = at->ai_next) {
		struct wire_address address;
		struct network network;

		if (at->ai_family != AF_INET && at->ai_family != AF_INET6)
			continue;
		wire_address_from_sockaddr(&address, at->ai_addr);
		network = network_of(&address, address.family == AF_INET ? 32 : 128);
		add_network(answer, &network);
	}
	if (r == 0)
		freeaddrinfo(found);
	if (answer->n_networks == 0)
		answer->why = gai_strerror(r != 0 ? r : EAI_NONAME);
}

static void unref(struct names *names)
{
	bool is_last;

	pthread_mutex_lock(&names->lock);
	is_last = --names->n_references == 0;
	pthread_mutex_unlock(&names->lock);
	if (!is_last)
		return;
	for (size_t i = 0; i < names->n; i++)
		free((char *)(uintptr_t)names->answers[i].name);
	pthread_mutex_destroy(&names->lock);
	free(names);
}

/* Under the lock. */
static void note_answer(struct names *names, size_t i, const struct names_answer *answer)
{
	if (names->is_closed)
		return;
	names->answers[i] = *answer;
	if (++names->n_answered == names->n)
		(void)eventfd_write(names->fd, 1);
}

static void *run(void *userdata)
{
	struct names *names = userdata;

	(void)pthread_setname_np(pthread_self(), "names");
	pthread_mutex_lock(&names->lock);
	while (!names->is_closed && names->n_next < names->n) {
		size_t i = names->n_next++;
		struct names_answer answer = {.name = names->answers[i].name};

		pthread_mutex_unlock(&names->lock);
		if (!ask_networks(&answer))
			ask_hosts(&answer);
		pthread_mutex_lock(&names->lock);
		note_answer(names, i, &answer);
	}
	pthread_mutex_unlock(&names->lock);
	unref(names);
	return NULL;
}

/* Returns whether there is one more thread, which has a reference then. */
static bool start_thread(struct names *names, const pthread_attr_t *attributes)
{
	pthread_t thread;

	pthread_mutex_lock(&names->lock);
	names->n_references++;
	pthread_mutex_unlock(&names->lock);
	if (pthread_create(&thread, attributes, run, names) == 0)
		return true;
	unref(names);
	return false;
}

void names_start(struct names *names)
{
	pthread_attr_t attributes;
	sigset_t all, old;

	if (names->n == 0)
		(void)eventfd_write(names->fd, 1);
	if (names->n == 0 || pthread_attr_init(&attributes) != 0)
		return;
	(void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < N_THREADS && i < names->n; i++)
		if (!start_thread(names, &attributes))
			break;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
}

int names_fd(const struct names *names)
{
	return names->fd;
}

void names_wait(struct names *names, uint64_t timeout_usec)
{
	struct pollfd poll_fd = {.fd = names->fd, .events = POLLIN};
	const struct timespec timeout = {
		.tv_sec = (time_t)(timeout_usec / 1000000),
		.tv_nsec = (long)(timeout_usec % 1000000) * 1000,
	};

	(void)ppoll(&poll_fd, 1, &timeout, NULL); /* who is interrupted has waited long enough */
}

void names_close(struct names *names)
{
	pthread_mutex_lock(&names->lock);
	names->is_closed = true;
	pthread_mutex_unlock(&names->lock);
	for (size_t i = 0; i < names->n; i++)
		if (names->answers[i].n_networks == 0 && !names->answers[i].why)
			names->answers[i].why = NO_ANSWER;
}

struct names_answer *names_find(struct names *names, const char *name)
{
	struct names_answer *answer = find(names, name);

	assert(names->is_closed && answer);
	return answer;
}

struct names *names_free(struct names *names)
{
	if (!names)
		return NULL;
	names_close(names); /* from here on no thread writes to it */
	names->fd = close_fd(names->fd);
	unref(names);
	return NULL;
}
