/* SPDX-License-Identifier: MIT */
/* See datagrams.h. */
#include "datagrams.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct datagram_socket {
	struct watch watch;
	TAILQ_ENTRY(datagram_socket) link;
	struct datagrams *datagrams;
	int fd;
	uint16_t port; /* 0: it has none */
};

/* One that has come, and then its answer. */
struct datagram {
	struct sockaddr_storage sender;
	socklen_t sender_length;
	struct reply_destination destination;
	size_t size;
};

/* One at a time. */
static char data[DATAGRAM_MAX];

/* Room for both kinds; the kernel sends one. */
union control {
	struct cmsghdr alignment;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

void postbox_init(struct postbox *postbox)
{
	*postbox = (struct postbox){0};
	TAILQ_INIT(&postbox->sockets);
}

/* IPv4 datagrams to an IPv6 socket may have both; IPv4 says more. */
static void read_control(struct reply_destination *ret, struct msghdr *message)
{
	struct cmsghdr *c;

	ret->type = REPLY_UNKNOWN;
	for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			ret->type = REPLY_IPV4;
			memcpy(&ret->ipv4, CMSG_DATA(c), sizeof(ret->ipv4));
			return;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			ret->type = REPLY_IPV6;
			memcpy(&ret->ipv6, CMSG_DATA(c), sizeof(ret->ipv6));
		}
	}
}

/* Returns 0 with the datagram, its bytes in `data`, or a negative errno. */
static int receive(int fd, struct datagram *ret)
{
	struct iovec bytes = {.iov_base = data, .iov_len = sizeof(data)};
	union control control;
	struct msghdr message = {
		.msg_name = &ret->sender,
		.msg_namelen = sizeof(ret->sender),
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	ret->sender_length = message.msg_namelen;
	ret->size = (size_t)n;
	read_control(&ret->destination, &message);
	return 0;
}

static void add_control(struct msghdr *message, int level, int type, const void *info, size_t size)
{
	struct cmsghdr *c;

	message->msg_controllen = CMSG_SPACE(size);
	c = CMSG_FIRSTHDR(message);
	*c = (struct cmsghdr){.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(size)};
	memcpy(CMSG_DATA(c), info, size);
}

/* From the address that the question went to: a client that has several of ours looks for that. */
static void write_control(struct msghdr *message, const struct reply_destination *destination)
{
	struct in_pktinfo ipv4 = {0};
	struct in6_pktinfo ipv6 = {0};

	switch (destination->type) {
	case REPLY_IPV4:
		ipv4.ipi_spec_dst = destination->ipv4.ipi_addr; /* or it is refused: reply.c */
		add_control(message, IPPROTO_IP, IP_PKTINFO, &ipv4, sizeof(ipv4));
		break;
	case REPLY_IPV6:
		ipv6.ipi6_addr = destination->ipv6.ipi6_addr;
		add_control(message, IPPROTO_IPV6, IPV6_PKTINFO, &ipv6, sizeof(ipv6));
		break;
	default:
		message->msg_control = NULL;
		message->msg_controllen = 0;
	}
}

/* `size` bytes of `data`. Returns whether the kernel has taken them. */
static bool answer(int fd, struct datagram *datagram, size_t size)
{
	struct iovec bytes = {.iov_base = data, .iov_len = size};
	union control control = {.bytes = {0}};
	struct msghdr message = {
		.msg_name = &datagram->sender,
		.msg_namelen = datagram->sender_length,
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = &control,
	};

	write_control(&message, &datagram->destination);
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void serve(struct datagram_socket *s, struct datagram *datagram)
{
	struct datagrams *d = s->datagrams;

	if (!d->protocol->answer)
		return;
	if (!reply_is_allowed((struct sockaddr *)&datagram->sender, datagram->sender_length,
		    &datagram->destination, &d->postbox->own))
		d->n_ignored++;
	else if (answer(s->fd, datagram, d->protocol->answer(data, datagram->size)))
		d->n_answered++;
	else
		d->n_dropped++;
}

/* By somebody else who has it: nothing can be read, and epoll would tell it without end. */
static void leave_shut_down(struct datagram_socket *s)
{
	struct enrolment *e = s->datagrams->tally.enrolment;

	enrolment_say(e, "cannot serve a socket that is lent any longer",
		"somebody who had it has shut it down, see usher-basic(8)");
	loop_unwatch(e->loop, &s->watch, s->fd);
}

/* There are some if somebody else who has the socket has asked for them (ip(7), IP_RECVERR). */
static void discard_errors(int fd)
{
	for (int i = 0; i < DATAGRAMS_BUDGET; i++)
		if (recv(fd, NULL, 0, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
}

/* An error belongs to an earlier answer, whose receiver is not there, and to nobody else. */
static void socket_on_event(struct watch *watch, uint32_t events)
{
	struct datagram_socket *s = (struct datagram_socket *)watch;
	struct datagram datagram;

	if (events & (EPOLLHUP | EPOLLRDHUP)) {
		leave_shut_down(s);
		return;
	}
	if (events & EPOLLERR)
		discard_errors(s->fd);
	tally_touch(&s->datagrams->tally);
	for (int i = 0; i < DATAGRAMS_BUDGET; i++) {
		int r = receive(s->fd, &datagram);

		if (r == -EAGAIN)
			return;
		if (r == 0)
			serve(s, &datagram);
	}
}

/* Whom datagrams were sent to is told with them. It does not matter to who has the socket next. */
static int ask_for_destinations(const struct usher_lent *lent)
{
	int yes = 1;
	int family = lent->address.ss_family;

	if ((family == AF_INET || family == AF_INET6) &&
		setsockopt(lent->fd, IPPROTO_IP, IP_PKTINFO, &yes, sizeof(yes)) < 0)
		return -errno;
	if (family == AF_INET6 &&
		setsockopt(lent->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &yes, sizeof(yes)) < 0)
		return -errno;
	return 0;
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
	struct sockaddr_in in; /* IPv6 has the port at the same place */

	if (address->ss_family != AF_INET && address->ss_family != AF_INET6)
		return 0;
	memcpy(&in, address, sizeof(in));
	return ntohs(in.sin_port);
}

static int add_socket(struct datagrams *d, const struct usher_lent *lent)
{
	struct datagram_socket *s;
	int r;

	if (lent->type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	r = ask_for_destinations(lent);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct datagram_socket){
		.watch.on_event = socket_on_event,
		.datagrams = d,
		.fd = lent->fd,
		.port = port_of(&lent->address),
	};
	r = loop_watch(d->tally.enrolment->loop, &s->watch, s->fd, EPOLLIN | EPOLLRDHUP);
	if (r < 0)
		free(s);
	else
		TAILQ_INSERT_TAIL(&d->postbox->sockets, s, link);
	return r;
}

static void remove_sockets(struct datagrams *d)
{
	struct datagram_socket *s, *next;

	for (s = TAILQ_FIRST(&d->postbox->sockets); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (s->datagrams != d)
			continue;
		TAILQ_REMOVE(&d->postbox->sockets, s, link);
		loop_unwatch(d->tally.enrolment->loop, &s->watch, s->fd);
		free(s);
	}
}

static void note_ports(struct postbox *postbox)
{
	const struct datagram_socket *s;

	postbox->own = (struct reply_ports){0};
	TAILQ_FOREACH(s, &postbox->sockets, link)
	reply_ports_add(&postbox->own, s->port);
}

static bool format_tally(struct tally *t, char *text, size_t size)
{
	struct datagrams *d = (struct datagrams *)t;

	(void)snprintf(text, size,
		"datagrams: %" PRIu64 " answered, %" PRIu64 " ignored, %" PRIu64 " answers dropped",
		d->n_answered, d->n_ignored, d->n_dropped);
	return false;
}

void datagrams_init(struct datagrams *d, struct postbox *postbox, struct enrolment *enrolment,
	const struct protocol *protocol)
{
	*d = (struct datagrams){.postbox = postbox, .protocol = protocol};
	tally_init(&d->tally, enrolment, format_tally);
}

void datagrams_on_lent(struct datagrams *d)
{
	struct enrolment *e = d->tally.enrolment;
	struct usher_lent lent;

	remove_sockets(d);
	for (size_t i = 0; usher_lent(e->usher, i, &lent) == 0; i++) {
		int r = add_socket(d, &lent);

		if (r == -ESOCKTNOSUPPORT)
			enrolment_say(e, "cannot serve a listening socket that is lent",
				"take `deliver` out of the service, see usher.conf(5)");
		else if (r < 0)
			enrolment_say(e, "cannot serve a socket that is lent", strerror(-r));
	}
	note_ports(d->postbox);
}

void datagrams_done(struct datagrams *d)
{
	remove_sockets(d);
	note_ports(d->postbox);
	tally_done(&d->tally);
}
