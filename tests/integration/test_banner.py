# SPDX-License-Identifier: MIT
"""Banners with the real programs: a text and the end, or a text and then another service."""

import os

import harness
import network
import processes
import tap

SERVICES = """
service closed { listen = {"tcp:127.0.0.1:0"} }
service hello {
    listen = {"tcp:127.0.0.1:0"}
    providers { forward = {"echo"} }
}
service echo { listen = {} }
"""

TEXT = b"Closed on Sundays.\nUntil Monday!\n"


class Banner(harness.UsherTest):
    def setUp(self):
        super().setUp()
        self.usherd = self.start_usherd(SERVICES)
        self.file = self.folder / "text"
        self.file.write_bytes(TEXT)

    def begin(self, *arguments):
        return self.start_program(self.usherd, harness.USHER_BANNER, *arguments)

    def client(self, service):
        return self.connect(self.usherd.addresses(service)[0])

    def test_client_gets_the_text_and_the_end(self):
        self.begin(f"closed={self.file}")
        client = self.client("closed")
        client.sendall(b"please")
        self.assertEqual(network.read_all(client), TEXT)
        client.close()
        self.usherd.wait_service("closed", released=1, in_service=0)

    def test_client_is_given_on(self):
        self.begin(f"hello+echo={self.file}")
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        client = self.client("hello")
        client.sendall(b"early")
        self.assertEqual(network.read_exactly(client, len(TEXT) + 5), TEXT + b"early")
        client.sendall(b"late")
        self.assertEqual(network.read_exactly(client, 4), b"late")
        self.usherd.wait_service("hello", forwarded=1, in_service=0)

    def test_several_in_one_program(self):
        other = self.folder / "other"
        other.write_bytes(b"Hello!\r\n")
        self.begin(f"closed={self.file}", f"hello+echo={other}")
        self.start_program(self.usherd, harness.USHER_BASIC, "echo")
        self.assertEqual(network.read_all(self.client("closed")), TEXT)
        client = self.client("hello")
        self.assertEqual(network.read_exactly(client, 8), b"Hello!\r\n")
        client.sendall(b"x")
        self.assertEqual(network.read_exactly(client, 1), b"x")

    def test_changed_file_is_sent(self):
        self.begin(f"closed={self.file}")
        self.assertEqual(network.read_all(self.client("closed")), TEXT)
        new = self.folder / "new"
        new.write_bytes(b"new\n")
        os.rename(new, self.file)
        self.assertEqual(network.read_all(self.client("closed")), b"new\n")

    def test_sigterm_ends_it(self):
        program = self.begin(f"closed={self.file}")
        network.read_all(self.client("closed"))
        self.assertEqual(self.end_program(program), 0)

    def test_wrong_arguments_are_refused(self):
        for arguments, status in (([], 64), (["closed"], 64), (["=x"], 64), (["closed="], 64),
                                  (["closed+=x"], 64), (["-t", "0"], 64),
                                  (["closed=/nonexistent"], 66), (["closed=/"], 66)):
            self.assertEqual(self.begin(*arguments).wait(processes.DEADLINE), status)


if __name__ == "__main__":
    tap.main()
