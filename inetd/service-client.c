/* SPDX-License-Identifier: MIT */
/*
 * Who a client is, for balance = "source": a hash that is the same for all of its connections, in
 * every usherd.
 */
#include "service-private.h"

#include "siphash.h"
#include <linux/vm_sockets.h>
#include <string.h>
#include <sys/socket.h>

/* One without a network: the user who has connected to a unix socket, or the guest. */
static uint32_t number_of(int fd, uint16_t family)
{
	struct ucred user = {0};
	struct sockaddr_vm guest = {0};
	socklen_t size = sizeof(user);

	if (family == AF_UNIX) {
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size);
		return user.uid;
	}
	size = sizeof(guest);
	if (family == AF_VSOCK)
		(void)getpeername(fd, (struct sockaddr *)&guest, &size);
	return guest.svm_cid;
}

uint64_t service_client(const struct service *s, int fd, const struct wire_address *peer)
{
	static const uint8_t key[SIPHASH_KEY_SIZE]; /* no secret: credit is the limit of who aims */
	struct network network;
	uint32_t number;

	if (s->config.providers.balance != CONFIG_BALANCE_SOURCE)
		return 0;
	if (!admission_network(s->admission, peer, &network)) {
		number = number_of(fd, peer->family);
		network = (struct network){.family = peer->family};
		memcpy(network.address, &number, sizeof(number));
	}
	return siphash_of(key, &network, sizeof(network));
}

static void identify(struct handoff *h, void *userdata)
{
	h->client = service_client(userdata, h->fd, &h->peer);
}

void service_identify_clients(struct service *s)
{
	dispatch_visit_unclaimed(s->dispatch, identify, s);
}
