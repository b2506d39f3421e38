# SPDX-License-Identifier: MIT
"""Where usherd listens: IPv4, IPv6, both, neither, unix sockets, ranges. In a network of its own."""

import os
import re
import socket
import stat

import harness
import kernels
import network
import tap


class Addresses(harness.UsherTest):
    def setUp(self):
        super().setUp()
        network.enter_network_namespace()

    def check_serves(self, usherd, *addresses):
        self.serving_child(usherd, "x", "x", credit=100)
        for address in addresses:
            self.assertEqual(network.read_all(self.connect(address)), b"x\n", address)

    def start(self, *addresses, more="", **options):
        text = ", ".join(f'"{address}"' for address in addresses)
        return self.start_usherd(f"service x {{ listen = {{{text}}} {more} }}\n", **options)

    def test_ipv4(self):
        self.check_serves(self.start("tcp:127.0.0.1:80"), "tcp:127.0.0.1:80")

    def test_ipv6(self):
        self.check_serves(self.start("tcp:[::1]:80"), "tcp:[::1]:80")

    def test_wildcard_is_dual_stack(self):
        usherd = self.start("tcp:80")
        self.assertEqual(usherd.addresses("x"), ["tcp:80"])
        self.check_serves(usherd, "tcp:127.0.0.1:80", "tcp:[::1]:80")

    def test_ipv4_peer_of_a_dual_stack_listener_is_told_as_ipv4(self):
        usherd = self.start("tcp:80")
        provider = self.provider(usherd, "x")
        client = self.connect("tcp:127.0.0.1:80")
        connection, = provider.take_and_claim(1)
        self.assertEqual(connection.peer, client.getsockname())

    def test_v6only_leaves_ipv4_alone(self):
        usherd = self.start("tcp:[::]:80", more="socket { v6only = true }")
        self.check_serves(usherd, "tcp:[::1]:80")
        with self.assertRaises(ConnectionRefusedError):
            network.connect("tcp:127.0.0.1:80")

    def test_port_by_name(self):
        self.check_serves(self.start("tcp:127.0.0.1:finger"), "tcp:127.0.0.1:79")

    def test_range_of_ports(self):
        usherd = self.start("tcp:127.0.0.1:8000-8010")
        self.check_serves(usherd, *(f"tcp:127.0.0.1:{port}" for port in range(8000, 8011)))

    def test_freebind_takes_an_address_that_is_not_there_yet(self):
        usherd = self.start("tcp:192.0.2.7:80", more="socket { freebind = true }")
        self.assertEqual(usherd.addresses("x"), ["tcp:192.0.2.7:80"])

    def test_address_that_is_not_there_is_an_error_that_says_so(self):
        usherd = self.make_usherd('service x { listen = {"tcp:192.0.2.7:80"} }\n')
        self.check_start_fails(usherd, r"192\.0\.2\.7:80")

    def test_options_of_the_socket_reach_the_provider(self):
        usherd = self.start("tcp:127.0.0.1:80", more="socket { nodelay = true  keepalive = true }")
        provider = self.provider(usherd, "x")
        self.connect("tcp:127.0.0.1:80")
        connection, = provider.take_and_claim(1)
        self.assertTrue(connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.assertTrue(connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def test_backlog_is_as_configured(self):
        self.start("tcp:127.0.0.1:80", more="socket { backlog = 17 }")
        self.assertRegex(network.list_listeners(), r"LISTEN\s+0\s+17\s+127\.0\.0\.1:80\b")

    def test_unix_socket(self):
        path = self.folder / "x.sock"
        self.folder.chmod(0o777)
        usherd = self.start(f"unix:{path}")
        self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode))
        self.check_serves(usherd, f"unix:{path}")
        usherd.stop()
        self.assertFalse(path.exists())

    def test_unix_socket_does_not_replace_a_file(self):
        path = self.folder / "precious"
        path.write_text("data")
        self.folder.chmod(0o777)
        usherd = self.make_usherd(f'service x {{ listen = {{"unix:{path}"}} }}\n')
        self.check_start_fails(usherd, re.escape(str(path)))
        self.assertEqual(path.read_text(), "data")

    def test_wildcard_where_the_kernel_has_no_ipv6(self):
        usherd = self.start("tcp:80", before_exec=kernels.without_ipv6)
        self.check_serves(usherd, "tcp:127.0.0.1:80")

    def test_explicit_ipv6_where_the_kernel_has_none_says_so(self):
        usherd = self.make_usherd('service x { listen = {"tcp:[::1]:80"} }\n',
                                  before_exec=kernels.without_ipv6)
        self.check_start_fails(usherd, r"\[::1\]:80")


class OtherProtocols(harness.UsherTest):
    """MPTCP, vsock, one interface, sockets in the file system."""

    def setUp(self):
        super().setUp()
        network.enter_network_namespace()

    def start(self, *addresses, more=""):
        text = ", ".join(f'"{address}"' for address in addresses)
        return self.start_usherd(f"service x {{ listen = {{{text}}} {more} }}\n")

    def check_served(self, client):
        client.settimeout(harness.DEADLINE)
        self.addCleanup(client.close)
        self.assertEqual(network.read_all(client), b"x\n")

    def test_mptcp_serves_clients_with_and_without(self):
        network.needs_mptcp()
        usherd = self.start("mptcp:80", more="unavailable = refuse")
        with self.assertRaises(ConnectionRefusedError):
            network.connect("tcp:127.0.0.1:80")
        self.serving_child(usherd, "x", "x", credit=100)
        usherd.wait_service("x", state="serving")
        for protocol in 0, network.IPPROTO_MPTCP:
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
            client.connect(("127.0.0.1", 80))
            self.check_served(client)

    def test_one_interface_leaves_the_others_alone(self):
        with network.neighbour("one") as make_socket:
            usherd = self.start("tcp:%one:80")
            self.assertEqual(usherd.addresses("x"), ["tcp:%one:80"])
            self.serving_child(usherd, "x", "x", credit=100)
            client = make_socket()
            client.connect((network.ADDRESS_OF_ONE, 80))
            self.check_served(client)
            with self.assertRaises(ConnectionRefusedError):
                network.connect("tcp:127.0.0.1:80")

    def test_two_interfaces_have_a_service_each(self):
        network.add_interfaces("one", "two")
        self.start_usherd('service x { listen = {"tcp:%one:80"} }\n'
                          'service y { listen = {"tcp:%two:80"} }\n')

    def test_interface_that_is_not_there_says_so(self):
        usherd = self.make_usherd('service x { listen = {"tcp:%nosuch0:80"} }\n')
        self.check_start_fails(usherd, r"tcp:%nosuch0:80: No such device; there is no such interface")

    def test_unix_seqpacket(self):
        path = self.folder / "x.sock"
        self.folder.chmod(0o777)
        usherd = self.start(f"unix-seqpacket:{path}")
        self.serving_child(usherd, "x", "x", credit=100)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(path))
        self.check_served(client)

    def test_vsock_is_bound(self):
        network.needs_vsock()
        usherd = self.start("vsock:70080")
        self.assertEqual(usherd.addresses("x"), ["vsock:70080"])
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as other:
            self.assertRaises(OSError, other.bind, (socket.VMADDR_CID_ANY, 70080))

    def test_datagram_port_that_is_taken_names_who_has_it(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 69))
            usherd = self.make_usherd('service x { listen = {"udp:69"} }\n')
            self.check_start_fails(usherd, rf"udp:69: the address is in use by pid {os.getpid()} ")

    def test_datagrams_do_not_wake_usherd(self):
        usherd = self.start("tcp:80", "udp:127.0.0.1:69")
        self.serving_child(usherd, "x", "x", credit=100)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", ("127.0.0.1", 69))
            self.assertEqual(network.read_all(self.connect("tcp:127.0.0.1:80")), b"x\n")
            self.assertEqual(network.n_unread_datagrams(69), 1)


class WithoutIPv6(harness.UsherTest):
    """net.ipv6.conf.*.disable_ipv6 = 1: sockets can be made, addresses are not there."""

    def setUp(self):
        super().setUp()
        network.enter_network_namespace(ipv6=False)

    def test_wildcard_serves_ipv4(self):
        usherd = self.start_usherd('service x { listen = {"tcp:80"} }\n')
        self.serving_child(usherd, "x", "x")
        self.assertEqual(network.read_all(self.connect("tcp:127.0.0.1:80")), b"x\n")

    def test_explicit_ipv6_is_an_error_that_says_so(self):
        usherd = self.make_usherd('service x { listen = {"tcp:[::1]:80"} }\n')
        self.check_start_fails(usherd, r"\[::1\]:80")


if __name__ == "__main__":
    tap.main()
