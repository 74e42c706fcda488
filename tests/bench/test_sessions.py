#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench-sessions as a whole: it exits with 0, its JSON has what was promised, and wrong options are refused in one line.
Times are not looked at, except that there are some; what an idle connection takes is."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv[1]
FEW = ["--rounds", "2", "--sizes", "1,1400", "--batch", "1,3"]
SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
          "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=500, check=False)


def spread_is_right(spread):
    return 0 < spread["p10"] <= spread["median"] <= spread["p90"]


class Sessions(unittest.TestCase):
    def test_json_has_what_was_promised(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "all.json")
            done = run(*FEW, "--json", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                report = json.load(file)
        self.assertEqual((report["program"], report["rounds"]), ("bench-sessions", 2))
        self.assertTrue(report["machine"]["cpu"] and report["build"]["openssl"])
        self.assertEqual([(r["suite"], r["batch"], r["size"]) for r in report["records"]],
                         [(suite, b, s) for suite in SUITES for b in (1, 3) for s in (1, 1400)])
        for case in report["records"]:
            for name in ("libssl_ns", "session_ns", "times_libssl"):
                self.assertTrue(spread_is_right(case[name]), case)
        self.assertEqual([m["suite"] for m in report["memory"]], SUITES)
        for case in report["memory"]:
            self.assertLess(500, case["session_bytes"])
            self.assertLess(case["session_bytes"], case["libssl_released_bytes"])
            self.assertLess(case["libssl_released_bytes"], case["libssl_bytes"])
        self.assertEqual([(t["suite"], t["side"]) for t in report["takeover"]],
                         [(suite, side) for suite in SUITES for side in ("client", "server")])
        for case in report["takeover"]:
            self.assertTrue(spread_is_right(case["takeover_us"]) and spread_is_right(case["ssl_free_us"]), case)
        for suite in SUITES:
            self.assertIn(suite, done.stdout)

    def test_only_what_was_asked_for(self):
        report = json.loads(run("--suite", "CHACHA20", "--records", *FEW, "--json", "-").stdout)
        self.assertEqual({r["suite"] for r in report["records"]}, {"TLS_CHACHA20_POLY1305_SHA256"})
        self.assertEqual((report["memory"], report["takeover"]), ([], []))

    def test_check_says_by_its_status_whether_all_was_reached(self):
        done = run("--suite", "TLS_AES_128", "--rounds", "2", "--sizes", "64,16384", "--batch", "64", "--check", "--json", "-")
        targets = json.loads(done.stdout)["targets"]
        self.assertEqual(len(targets), 4)
        self.assertTrue(all(t["measured"] and t["what"] and t["where"] for t in targets))
        for target in targets:
            figure = target["figure"]["median"]
            reached = figure >= target["at_least"] if "at_least" in target else figure <= target["at_most"]
            self.assertEqual(target["reached"], reached, target)
        reached = all(t["reached"] for t in targets)
        self.assertEqual(done.returncode, 0 if reached else 1, done.stderr)
        # What was not measured is not reached.
        done = run("--suite", "TLS_AES_128", "--records", *FEW, "--check", "--json", "-")
        self.assertEqual([t["measured"] for t in json.loads(done.stdout)["targets"]], [False] * 4)
        self.assertEqual(done.returncode, 1)

    def test_wrong_options_are_refused_in_one_line(self):
        for wrong in (["--sizes", "0"], ["--sizes", "64,,65"], ["--sizes", "16385"], ["--batch", "0"], ["--batch", "65"],
                      ["--suite", "ROT13"], ["--rounds", "0"], ["--rounds", "many"], ["--cpu", "4095"], ["extra"],
                      ["--no-such-option"]):
            done = run(*wrong)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertEqual(len(done.stderr.splitlines()), 1, (wrong, done.stderr))
            self.assertEqual(done.stdout, "", wrong)

    def test_json_that_cannot_be_written_is_said(self):
        done = run("--suite", "TLS_AES_128", "--records", *FEW, "--json", "/nonexistent/sessions.json")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent/sessions.json", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
