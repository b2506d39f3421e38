# SPDX-License-Identifier: MIT
"""The checks are able to fail: each is shown a small tree with the mistake it is there to find."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import check_documents
import check_includes
import check_manuals
import check_messages
import check_sources
import tree
import tap


class SmallTree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def check_found(self, offences, *words):
        offences = list(offences)
        self.assertEqual(len(offences), 1, offences)
        for word in words:
            self.assertIn(word, offences[0])


class Sources(SmallTree):
    def test_bad_format_is_found(self):
        formatter = check_sources.find_formatter()
        if not formatter:
            self.skipTest("there is no clang-format")
        self.write("a.c", "int a;\n")
        self.assertEqual(list(check_sources.find_badly_formatted(self.root, formatter)), [])
        self.write("b.c", "int  b;\n")
        self.check_found(check_sources.find_badly_formatted(self.root, formatter), "b.c")

    def test_missing_licence_is_found(self):
        self.write("good.h", f"/* {check_sources.SPDX} */\n")
        self.write("script", f"#!/bin/sh\n# {check_sources.SPDX}\n")
        self.write("bad.c", "/* Mine. */\n")
        self.check_found(check_sources.find_without_licence(self.root), "bad.c")

    def test_sleeping_test_is_found(self):
        self.write("tests/good.c", "/* does not sleep */\n")
        self.write("tests/bad.py", "\ntime.sl" "eep(1)\n")
        self.check_found(check_sources.find_sleeps(self.root), "tests/bad.py:2")


class Includes(SmallTree):
    def check_include(self, path, header, is_allowed):
        self.write(header, "")
        self.write(path, f'#include "{Path(header).name}"\n')
        offences = list(check_includes.find_wrong_directions(self.root))
        self.assertEqual(not offences, is_allowed, offences)
        (self.root / path).unlink()

    def test_upward_include_is_found(self):
        self.check_include("inetd/service.c", "inetd/listener.h", True)
        self.check_include("inetd/listener.c", "inetd/service.h", False)

    def test_include_of_a_neighbour_is_found(self):
        self.check_include("inetd/rendezvous.c", "inetd/control.h", False)

    def test_room_without_a_floor_is_found(self):
        self.write("inetd/cellar.c", "")
        self.check_found(check_includes.find_wrong_directions(self.root), "cellar.c", "floor")

    def test_include_across_the_rendezvous_is_found(self):
        self.check_include("services/basic/basic.c", "services/libusher/usher.h", True)
        self.check_include("services/basic/basic.c", "services/libusher/wire.h", False)
        self.check_include("services/libusher/usher.c", "inetd/log.h", False)
        self.check_include("inetd/provider.c", "services/libusher/wire.h", True)
        self.check_include("inetd/provider.c", "services/libusher/usher.h", False)

    def test_include_of_another_service_is_found(self):
        self.check_include("services/basic/basic.c", "services/common/loop.h", True)
        self.check_include("services/basic/basic.c", "services/tcpmux/request.h", False)
        self.check_include("services/common/loop.c", "services/basic/protocol.h", False)
        self.check_include("services/libusher/usher.c", "services/common/loop.h", False)
        self.check_include("inetd/service.c", "services/common/say.h", False)

    def test_impure_dispatch_is_found(self):
        self.write("inetd/dispatch.c", "#include <stdlib.h>\n#include <unistd.h>\n")
        self.check_found(check_includes.find_impurities(self.root), "unistd.h")

    def test_cycle_is_found(self):
        self.write("inetd/a.h", '#include "b.h"\n')
        self.write("inetd/b.h", '#include "c.h"\n')
        self.write("inetd/c.h", '#include "b.h"\n')
        self.check_found(check_includes.find_cycles(self.root), "inetd/b -> inetd/c -> inetd/b")

    def test_cycle_through_a_file_is_found(self):
        self.write("inetd/a.h", "")
        self.write("inetd/a.c", '#include "a-private.h"\n')
        self.write("inetd/a-private.h", '#include "a.h"\n#include "b.h"\n')
        self.assertEqual(list(check_includes.find_cycles(self.root)), [])
        self.write("inetd/b.h", '#include "a.h"\n')
        self.check_found(check_includes.find_cycles(self.root), "inetd/a -> inetd/b -> inetd/a")

    def test_cycle_of_a_header_and_its_private_one_is_found(self):
        self.write("inetd/a.h", '#include "a-private.h"\n')
        self.write("inetd/a-private.h", '#include "a.h"\n')
        self.check_found(check_includes.find_cycles(self.root), "a-private.h -> inetd/a.h -> inetd/a-private.h")


class Manuals(SmallTree):
    def test_lint_is_found(self):
        self.write("man/bad.8", ".Dd November 21, 2026\n.Dt BAD 8\n.Os\n.Xx\n")
        self.assertIn("Xx", "\n".join(check_manuals.find_lint(self.root)))

    def test_option_that_only_one_side_has_is_found(self):
        help_text = "usage: x [-c FILE]\n\n  -c, --config FILE  not --that\n  -V, --version  its own\n"
        page = ".It Fl c Ar file , Fl -config Ar file\n.It Fl V , Fl -version\nsee\n.Fl x\n"
        self.assertEqual(list(check_manuals.find_option_differences("x", help_text, page)), [])
        self.check_found(check_manuals.find_option_differences(
            "x", help_text + "  -n, --config\n", page), "-n", "--help has it")
        self.check_found(check_manuals.find_option_differences(
            "x", help_text, page + ".It Fl q\n"), "-q", "the manual has it")

    def test_undocumented_function_is_found(self):
        self.write("services/libusher/usher.sym", "LIBUSHER_0 {\n\tusher_new;\n\tusher_fd;\n};\n")
        self.write("man/libusher.3", ".Fo usher_new\n")
        self.check_found(check_manuals.find_undocumented_functions(self.root), "usher_fd")


class Messages(SmallTree):
    GONE, END = "a" * 32, "b" * 32

    def setUp(self):
        super().setUp()
        self.write_table(f'\t{{"gone", "{self.GONE}"}},\n')
        self.write("packaging/systemd/usher.catalog",
                   "".join(f"# {word}\n-- {identifier}\nSubject: It\nDefined-By: usher\n"
                           "Documentation: man:usherd(8)\n\nIt is.\n\n"
                           for word, identifier in (("gone", self.GONE), ("event end", self.END))))
        self.write("man/usherd.8", "\nThe reasons are:\n.It Cm gone\nit is\n.El\n"
                   ".Ss Log of connections\n.Cm end :\n.Cm released ,\n.Ss Next\n.Cm drained\n")

    def write_table(self, rows):
        self.write("inetd/log-messages.c", f'reasons[] = {{\n{rows}}};\nstruct kind events[] = {{\n'
                   f'\t{{"end", "{self.END}"}},\n}};\n')

    def sources(self, text):
        self.write("inetd/provider.h", "void provider_log(struct provider *p, const char *reason,\n\tint error);\n")
        self.write("inetd/provider.c", text)
        return check_messages.read_sources(self.root)

    def test_message_without_a_reason_is_found(self):
        self.assertEqual(list(check_messages.find_without_reason(
            self.sources('log_write(LOG_ERR, &(struct log_about){.reason = "gone"}, "x");'))), [])
        for about in ("NULL", "&(struct log_about){.error = f(1, 2)}"):
            self.check_found(check_messages.find_without_reason(
                self.sources(f'\nlog_write(LOG_ERR, {about}, "x");')), "provider.c:2")

    def test_reason_that_is_no_kind_is_found(self):
        good = '{.reason = is ? "gone" : "released"}; provider_log(f(p, 1), "gone", 2);'
        self.assertEqual(list(check_messages.find_unlisted(self.root, self.sources(good))), [])
        for bad in ('{.reason = is ? "gone" : "drained"}', 'provider_log(f(p, 1), "drained", 2);'):
            self.check_found(check_messages.find_unlisted(self.root, self.sources(bad)), "drained", "provider.c")

    def test_kind_that_nothing_says_is_found(self):
        self.assertEqual(list(check_messages.find_unused(self.root, self.sources('"gone" "end"'))), [])
        self.check_found(check_messages.find_unused(self.root, self.sources('"end"')), "gone")

    def test_unknown_field_of_the_catalog_is_found(self):
        self.write("inetd/log-record.c", '\t[LOG_FIELD_PEER] = {"USHER_PEER", "peer"},\n')
        self.write("packaging/systemd/usher.catalog", "@USHER_PEER@\n")
        self.assertEqual(list(check_messages.find_unknown_fields(self.root)), [])
        self.write("packaging/systemd/usher.catalog", "@USHER_PEERS@\n")
        self.check_found(check_messages.find_unknown_fields(self.root), "USHER_PEERS")

    def test_difference_of_table_catalog_and_manual_is_found(self):
        self.assertEqual(list(check_messages.find_differences(self.root)), [])
        self.write_table("")
        self.assertEqual(len(list(check_messages.find_differences(self.root))), 2)
        self.write_table(f'\t{{"gone", "{"c" * 32}"}},\n')
        self.assertEqual(len(list(check_messages.find_differences(self.root))), 2)
        self.write_table(f'\t{{"gone", "{self.GONE}"}},\n')
        self.write("man/usherd.8", "\nThe reasons are:\n.El\n.Ss Log of connections\n.Cm end :\n")
        self.check_found(check_messages.find_differences(self.root), "gone", "does not explain")


class Documents(SmallTree):
    def test_reference_to_nothing_is_found(self):
        self.write("man/x.8", "")
        self.write("README.md", "`man/x.8`, [HACKING](HACKING.md), `make install/x`\n")
        self.check_found(check_documents.find_broken_references(self.root, "README.md"), "HACKING.md")

    def test_function_that_is_gone_is_found(self):
        self.write("inetd/listener.h", "int listener_new(void);\nint take_fd(int *fd);\n")
        self.write("README.md", "`listener_new`, `take_fd()`, `noun_verb`, `listener_pause`\n")
        self.check_found(check_documents.find_missing_functions(self.root, "README.md"), "listener_pause")
        self.write("README.md", "`give_fd()`\n")
        self.check_found(check_documents.find_missing_functions(self.root, "README.md"), "give_fd")

    def test_missing_command_is_found(self):
        self.write("README.md", "Do\n\n    packaging/quickstart --once\n")
        self.check_found(check_documents.find_missing_commands(self.root, "README.md"), "quickstart")

    def test_picture_that_was_not_drawn_anew_is_found(self):
        self.write("man/way.py", "print('<svg/>')\n")
        self.check_found(check_documents.find_stale_pictures(self.root), "man/way.svg")
        self.write("man/way.svg", "<svg/>\n")
        self.assertEqual(list(check_documents.find_stale_pictures(self.root)), [])
        self.write("man/way.svg", "<svg>\n")
        self.check_found(check_documents.find_stale_pictures(self.root), "man/way.py >man/way.svg")


class Count(SmallTree):
    """tests/lib/count.py, which says what the whole run was worth."""

    def count(self, *programs, steps="", logs=("gcc/meson-logs/testlog.json",)):
        """The last line and the exit status; what comes before is in self.lines."""
        paths = [self.root / log for log in logs]
        if steps:
            self.write("steps.tap", steps)
            paths.append(self.root / "steps.tap")
        self.write("gcc/meson-logs/testlog.json", "\n".join(map(json.dumps, programs)))
        result = subprocess.run(
            [sys.executable, tree.ROOT / "tests/lib/count.py", *paths],
            capture_output=True, text=True, check=False)
        self.lines = result.stdout.splitlines()
        return self.lines[-1], result.returncode

    @staticmethod
    def program(stdout, result="OK", returncode=0):
        return {"name": "x", "stdout": stdout, "result": result, "returncode": returncode}

    def test_all_passed(self):
        self.assertEqual(self.count(self.program("1..2\nok 1 - a\nok 2 - b\n")), ("2 passed, 0 failed", 0))

    def test_one_failed(self):
        self.assertEqual(self.count(self.program("1..2\nok 1 - a\nnot ok 2 - b\n", "ERROR", 1)),
                         ("1 passed, 1 failed", 1))

    def test_skipped_are_on_a_line_of_their_own(self):
        self.assertEqual(self.count(self.program("1..3\nok 1 - a # SKIP no\nok 2 - b # SKIP\nok 3 - c\n")),
                         ("1 passed, 0 failed", 0))
        self.assertEqual(self.lines, ["2 skipped", "1 passed, 0 failed"])

    def test_program_that_only_skipped_is_no_failure(self):
        self.assertEqual(self.count(self.program("1..1\nok 1 - a # SKIP no\n", "SKIP"), steps="ok - build"),
                         ("1 passed, 0 failed", 0))

    def test_missing_log_is_a_failure(self):
        self.assertEqual(self.count(steps="ok - build", logs=["none.json"]), ("1 passed, 1 failed", 1))

    def test_crash_counts_what_was_not_reported(self):
        self.assertEqual(self.count(self.program("1..3\nok 1 - a\n", "ERROR", -6)), ("1 passed, 2 failed", 1))

    def test_bad_exit_status_after_passed_cases_is_a_failure(self):
        self.assertEqual(self.count(self.program("1..1\nok 1 - a\n", "ERROR", 1)), ("1 passed, 1 failed", 1))

    def test_silent_program_is_a_failure(self):
        self.assertEqual(self.count(self.program("", "SKIP"), steps="ok - build"), ("1 passed, 1 failed", 1))

    def test_program_without_tap_is_one_case(self):
        self.assertEqual(self.count(self.program("hello\n")), ("1 passed, 0 failed", 0))
        self.assertEqual(self.count(self.program("hello\n", "FAIL", 1)), ("0 passed, 1 failed", 1))

    def test_failed_build_is_a_failure(self):
        self.assertEqual(self.count(self.program("1..1\nok 1 - a\n"), steps="ok - gcc\nnot ok - clang\n"),
                         ("2 passed, 1 failed", 1))


if __name__ == "__main__":
    tap.main()
