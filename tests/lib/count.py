#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Count single test cases in meson's logs: the last line of tests/run.

    count.py STEPS.tap TESTLOG.json...

STEPS.tap has a case for each step of tests/run itself: the builds, the quickstart. Each line of a
TESTLOG.json is a test program; one that does not speak TAP, but passed, is one case. A case that was announced and never reported (the program
crashed, or ran out of time) is a failure, and so is a program that failed although all its cases passed
(a leak that a sanitizer found at exit), and a log that is not there.
"""

import json
import re
import sys
from pathlib import Path

PLAN = re.compile(r"^1\.\.(\d+)")
CASE = re.compile(r"^(?P<result>ok|not ok)\b(?P<name>[^#]*)(?P<directive>#\s*SKIP)?", re.IGNORECASE)


def count_program(log):
    """The number of passed and skipped cases, and the names of the failed ones, of one program."""
    planned, n_passed, n_skipped, failed = 0, 0, 0, []
    for line in log.get("stdout", "").splitlines():
        if plan := PLAN.match(line):
            planned = int(plan[1])
        elif case := CASE.match(line):
            if case["result"] != "ok":
                failed.append(case["name"].strip(" -") or "unnamed")
            elif case["directive"]:
                n_skipped += 1
            else:
                n_passed += 1
    n_missing = planned - n_passed - n_skipped - len(failed)
    failed += ["not reported"] * n_missing
    if log["result"] not in ("OK", "SKIP") and not failed:
        failed.append(f"the program itself: {log['result']}, status {log['returncode']}")
    if not n_passed and not n_skipped and not failed:
        if log["result"] == "OK":  # meson's word for a silent one that should speak TAP is SKIP
            n_passed = 1
        else:
            failed.append("no case at all")
    return n_passed, n_skipped, failed


def read_logs(path):
    """The programs of a log, each with where it ran."""
    if path.suffix == ".tap":
        yield "tests/run", {"name": "step", "stdout": path.read_text(), "result": "OK"}
        return
    if not path.exists():
        yield "tests/run", {"name": str(path), "result": "MISSING", "returncode": None}
        return
    for line in path.read_text().splitlines():
        yield path.parts[-3], json.loads(line)


def main(paths):
    n_passed, n_skipped, failed = 0, 0, []
    for where, log in (pair for path in paths for pair in read_logs(Path(path))):
        passed, skipped, names = count_program(log)
        n_passed += passed
        n_skipped += skipped
        failed += [f"{where}: {log['name']}: {name}" for name in names]
    for name in failed:
        print(f"FAILED {name}")
    if n_skipped:
        print(f"{n_skipped} skipped")
    print(f"{n_passed} passed, {len(failed)} failed")
    return 1 if failed or not n_passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
