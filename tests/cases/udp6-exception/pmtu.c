// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * "pmtu SOURCE DESTINATION": receives "packet too big, MTU 1400" for a datagram from SOURCE to DESTINATION of which no socket knows,
 * and prints the path MTU to DESTINATION before and after.
 */
#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int path_mtu(const struct sockaddr_in6 *to)
{
	int mtu = -1, sock = socket(AF_INET6, SOCK_DGRAM, 0);
	socklen_t size = sizeof(mtu);

	if (sock < 0 || connect(sock, (const struct sockaddr *)to, sizeof(*to)) ||
	    getsockopt(sock, IPPROTO_IPV6, IPV6_MTU, &mtu, &size))
		perror("path MTU");
	close(sock);
	return mtu;
}

int main(int count, char **arguments)
{
	struct {
		struct icmp6_hdr icmp;
		struct ip6_hdr ip;
		struct udphdr udp;
	} packet;
	struct sockaddr_in6 from = { .sin6_family = AF_INET6 }, to = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	int before, sock;

	if (count != 3 || inet_pton(AF_INET6, arguments[1], &from.sin6_addr) != 1 ||
	    inet_pton(AF_INET6, arguments[2], &to.sin6_addr) != 1)
		return 2;
	memset(&packet, 0, sizeof(packet));
	packet.icmp.icmp6_type = ICMP6_PACKET_TOO_BIG;
	packet.icmp.icmp6_mtu = htonl(1400);
	packet.ip.ip6_vfc = 0x60;
	packet.ip.ip6_plen = htons(sizeof(packet.udp));
	packet.ip.ip6_nxt = IPPROTO_UDP;
	packet.ip.ip6_hlim = 64;
	packet.ip.ip6_src = from.sin6_addr;
	packet.ip.ip6_dst = to.sin6_addr;
	packet.udp.uh_sport = htons(4242);
	packet.udp.uh_dport = htons(9);
	packet.udp.uh_ulen = htons(sizeof(packet.udp));

	before = path_mtu(&to);
	sock = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	if (sock < 0 || sendto(sock, &packet, sizeof(packet), 0, (struct sockaddr *)&from, sizeof(from)) != sizeof(packet)) {
		perror("packet");
		return 1;
	}
	/* The packet came over the loopback device before sendto() returned. */
	printf("%d, then %d\n", before, path_mtu(&to));
	return 0;
}
