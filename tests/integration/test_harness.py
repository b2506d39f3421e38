# SPDX-License-Identifier: MIT
"""The harness is able to fail: what usherd does wrong while nobody looks is found when a test is over."""

import os
import signal
import unittest
from unittest import mock

import harness
import processes
import tap

ONE = 'service one { listen = {"tcp:127.0.0.1:0"} }\n'


class Endings(unittest.TestCase):
    def problems(self, act):
        """What is found wrong after a test in which `act` does something to a running usherd."""
        class Case(harness.UsherTest):
            def runTest(self):
                act(self, self.start_usherd(ONE))

        result = unittest.TestResult()
        Case().run(result)
        return [text for _, text in result.errors + result.failures]

    def check_problem(self, act, pattern):
        problem, = self.problems(act)
        self.assertRegex(problem, pattern)

    def test_nothing_wrong(self):
        self.assertEqual(self.problems(lambda case, usherd: None), [])
        self.assertEqual(self.problems(lambda case, usherd: usherd.stop()), [])
        self.assertEqual(self.problems(lambda case, usherd: usherd.kill()), [])

    def test_crash_after_the_test(self):
        """With its log, from which a sanitizer's report tells more than the status."""
        self.check_problem(
            lambda case, usherd: case.endings.callback(os.kill, usherd.pid, signal.SIGSEGV),
            r"(?s)(ended .*with status -11|sanitizer complained|with status 1):\n.+")

    def test_end_that_nobody_waited_for(self):
        def end(case, usherd):
            case.endings.callback(usherd.process.wait, processes.DEADLINE)
            case.endings.callback(os.kill, usherd.pid, signal.SIGTERM)
        self.check_problem(end, r"usherd ended by itself with status 0")

    @harness.needs_sight
    def test_descriptor_that_is_kept(self):
        def keep(case, usherd):
            usherd.fds_ready.remove("socket:[N]")
        with mock.patch.object(processes.Deadline.__init__, "__defaults__", (1.0,)):
            self.check_problem(keep, r"usherd keeps {'socket:\[N\]': 1}")


if __name__ == "__main__":
    tap.main()
