#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench-handshakes as a whole, with a token of its own (with_token): its JSON has what was promised, handshakes that
cannot be made are failures with a reason and an exit status, wrong options are refused in one line. Times are not
looked at, except that there are some."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM, SEALANE, SHIM = sys.argv[1:4]
TOKEN = ["--module", os.environ["SEALANE_COUNT_MODULE"], "--token", "sealane", "--provider", SEALANE, "--shim", SHIM,
         "--pin", "file:" + os.environ["SEALANE_TEST_DIR"] + "/pin"]
FEW = ["--rounds", "2", "--stretch", "20"]


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=200, check=False)


class Handshakes(unittest.TestCase):
    def test_json_has_what_was_promised(self):
        done = run(*TOKEN, *FEW, "--ec", "ec", "--at-once", "1,4", "--latency", "0,2", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertTrue(report["machine"]["cpu"] and report["build"]["openssl"])
        cases = [(r["key"], r["tls"], r["latency_ms"], r["at_once"]) for r in report["results"]]
        self.assertEqual(cases, [("P-256", v, l, n) for v in ("1.2", "1.3") for l in (0, 2) for n in (1, 4)
                                 if v == "1.3" or (l, n) == (0, 1)])
        for case in report["results"]:
            measured = {m["contestant"]: m for m in case["measured"]}
            for name, m in measured.items():
                if "pkcs11prov" in name:
                    continue
                self.assertTrue(m["took_part"] and m["done"] > 0 and m["failed"] == 0, (case, m))
                self.assertGreater(m["cpu_us"]["median"], 0)
                self.assertGreater(m["per_second"]["median"], 0)
            for name in ("sealane", "sealane-async", "sign-token"):
                self.assertIn(name, measured)
            self.assertIn("share_of_c_sign", measured["sealane"])
            alone = case["latency_ms"] == 0 and case["at_once"] == 1
            self.assertEqual(alone, "sign-software" in measured)
            self.assertEqual(alone, "added_cpu_us" in measured["sealane"])
            if case["latency_ms"] and case["at_once"] == 1:
                self.assertLess(measured["sealane"]["per_second"]["median"], 1000 / case["latency_ms"])

    def test_many_more_at_once_than_sessions(self):
        done = run(*TOKEN, *FEW, "--rsa", "rsa", "--at-once", "40", "--sessions", "2", "--latency", "1", "--tls", "1.2",
                   "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        for m in json.loads(done.stdout)["results"][0]["measured"]:
            self.assertTrue(m["done"] > 0 and m["failed"] == 0, m)

    def test_what_cannot_be_measured_is_said(self):
        done = run(*TOKEN, *FEW, "--ec", "no such key", "--at-once", "1", "--latency", "0", "--tls", "1.3", "--check",
                   "--only", "sealane,sign-token", "--json", "-")
        self.assertEqual(done.returncode, 1, done.stderr)
        report = json.loads(done.stdout)
        for m in report["results"][0]["measured"]:
            self.assertFalse(m["took_part"])
            self.assertTrue(m["failure"])
        self.assertIn("the key cannot be found", done.stderr)
        self.assertIn("SHORT  handshakes that failed", done.stderr)

    def test_targets_are_judged(self):
        done = run(*TOKEN, *FEW, "--ec", "ec", "--at-once", "1,32", "--latency", "0,20", "--tls", "1.3", "--check",
                   "--json", "-")
        targets = json.loads(done.stdout)["targets"]
        reached = all(t["measured"] and t["reached"] for t in targets)
        self.assertEqual(done.returncode, 0 if reached else 1, done.stderr)
        self.assertTrue(all(t["measured"] for t in targets), targets)

    def test_wrong_options_are_refused_in_one_line(self):
        for wrong in ([], ["--ec", "ec"], ["--module", "/nonexistent", "--ec", "ec"], [*TOKEN], [*TOKEN, "--tls", "1.1"],
                      [*TOKEN, "--ec", "ec", "--at-once", "0"], [*TOKEN, "--ec", "ec", "--only", "nobody"],
                      [*TOKEN, "--ec", "ec", "--latency", "-1"], [*TOKEN, "--ec", "ec", "extra"],
                      [*TOKEN, "--ec", "ec", "--sessions", "0"], [*TOKEN, "--ec", "ec", "--no-such-option"]):
            done = run(*wrong)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertEqual(len(done.stderr.splitlines()), 1, (wrong, done.stderr))
            self.assertEqual(done.stdout, "", wrong)

    def test_no_folder_is_left_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TMPDIR"] = folder
            done = run(*TOKEN, *FEW, "--ec", "ec", "--at-once", "1", "--latency", "0", "--tls", "1.3")
            del os.environ["TMPDIR"]
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
