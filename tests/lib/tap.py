# SPDX-License-Identifier: MIT
"""Run the unittest cases of a program and report each of them in TAP, which meson counts.

A test file ends with

    if __name__ == "__main__":
        tap.main()

and takes names of cases as arguments. Each case has a time limit, so that a hang is one failure.
"""

import signal
import sys
import unittest

CASE_SECONDS = 90


class OutOfTime(BaseException):
    """Not an Exception: no `except Exception` of a test may swallow it."""


def _on_alarm(*_):
    raise OutOfTime("the case took too long")


class TapResult(unittest.TestResult):
    """Prints one line a case; what went wrong follows it as comments."""

    def __init__(self, case_seconds):
        super().__init__()
        self.case_seconds = case_seconds
        self.n_reported = 0
        self.problems = []
        self.skip_reason = None

    def startTest(self, test):
        super().startTest(test)
        self.problems = []
        self.skip_reason = None
        signal.alarm(self.case_seconds)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        self.n_reported += 1
        name = test.id().split(".", 1)[1]
        directive = f" # SKIP {self.skip_reason}" if self.skip_reason and not self.problems else ""
        print(f"{'not ok' if self.problems else 'ok'} {self.n_reported} - {name}{directive}")
        for problem in self.problems:
            self.comment(problem)
        sys.stdout.flush()

    @staticmethod
    def comment(text):
        print("".join(f"# {line}\n" for line in text.splitlines()), end="", flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skip_reason = reason

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.problems.append(self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.problems.append(self.errors[-1][1])
        if not isinstance(test, unittest.TestCase):  # setUpClass: its cases stay unreported
            self.comment(self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.problems.append(f"{subtest}\n{self._exc_info_to_string(err, test)}")


class Loader(unittest.TestLoader):
    """Cases in the order in which they are written: a file reads like a story."""

    def getTestCaseNames(self, case_class):
        names = super().getTestCaseNames(case_class)
        order = [name for base in reversed(case_class.__mro__) for name in vars(base)]
        return sorted(names, key=order.index)


def list_cases(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from list_cases(test)
        else:
            yield test


def run(cases, case_seconds=CASE_SECONDS):
    """Run them one after the other; returns the exit status."""
    signal.signal(signal.SIGALRM, _on_alarm)
    print(f"1..{len(cases)}", flush=True)
    result = TapResult(case_seconds)
    unittest.TestSuite(cases).run(result)
    return 0 if result.wasSuccessful() else 1


def main():
    wanted = sys.argv[1:]
    cases = list(list_cases(Loader().loadTestsFromModule(sys.modules["__main__"])))
    if wanted:
        cases = [case for case in cases if any(word in case.id() for word in wanted)]
    sys.exit(run(cases))
