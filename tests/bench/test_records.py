#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""bench-records as a whole: it exits with 0, its JSON has what was promised, its table of calibration compiles,
and wrong options are refused in one line. Times are not looked at, except that there are some."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM, COMPILER, ENGINE = sys.argv[1:4]
FEW = ["--rounds", "2", "--sizes", "64,1400", "--batch", "1,4"]


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=500, check=False)


def spread_is_right(spread):
    return 0 < spread["p10"] <= spread["median"] <= spread["p90"]


class Records(unittest.TestCase):
    def test_json_has_what_was_promised(self):
        done = run("--quick", "--suite", "AES-128-GCM", *FEW, "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertTrue(report["machine"]["cpu"] and report["machine"]["cpu_class"])
        for name in ("type", "compiler", "flags", "openssl", "ipsec_mb"):
            self.assertIn(name, report["build"])
        self.assertIn("openssl", [b["name"] for b in report["backends"] if b["usable"]])
        self.assertEqual(report["rounds"], 2)
        cases = [(r["direction"], r["batch"], r["size"]) for r in report["results"]]
        self.assertEqual(cases, [(d, b, s) for d in ("seal", "open") for b in (1, 4) for s in (64, 1400)])
        for case in report["results"]:
            self.assertEqual(case["cipher"], "AES-128-GCM")
            self.assertEqual(case["ours"], "aead" if case["batch"] == 1 else "batch")
            names = [m["contestant"] for m in case["measured"]]
            for name in ("aead", "record", "evp-tls13", "evp-tls12", "libssl", "ipsec-mb", "backend-openssl"):
                self.assertIn(name, names)
            self.assertEqual("batch" in names, case["batch"] > 1)
            for one in case["measured"]:
                self.assertTrue(spread_is_right(one["ns_per_record"]), one)
                self.assertTrue(spread_is_right(one["times_evp"]), one)
                self.assertGreater(one["gb_per_s"], 0)
                self.assertEqual("share_of_bound" in one, report["bound"]["vector_bits"] > 0)

    def test_every_cipher_and_contestant_works(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "all.json")
            done = run("--suite", "all", *FEW, "--details", "--json", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                ciphers = {r["cipher"] for r in json.load(file)["results"]}
        for cipher in ("AES-256-GCM", "ChaCha20-Poly1305", "AES-128-CCM", "AES-128-CBC-HMAC-SHA1"):
            self.assertIn(cipher, ciphers)
            self.assertIn(cipher, done.stdout)

    def test_check_says_by_its_status_whether_all_was_reached(self):
        done = run("--suite", "GCM", *FEW, "--check", "--json", "-")
        targets = json.loads(done.stdout)["targets"]
        self.assertGreater(len(targets), 10)
        for target in targets:
            self.assertTrue(target["what"] and target["where"])
            self.assertEqual(("at_least" in target) + ("at_most" in target), 1)
            self.assertTrue(target["measured"] or not target["reached"])
        reached = all(t["measured"] and t["reached"] for t in targets)
        self.assertEqual(done.returncode, 0 if reached else 1, done.stderr)
        self.assertEqual("SHORT" in done.stderr or "ABSENT" in done.stderr, not reached)

    def test_calibration_compiles(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "calibration.c")
            done = run("--calibrate", path, "--rounds", "1")
            self.assertEqual(done.returncode, 0, done.stderr)
            compiled = subprocess.run([COMPILER, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                                       "-I" + ENGINE, "-I" + os.path.join(ENGINE, "include"), path],
                                      capture_output=True, text=True, check=False)
            self.assertEqual(compiled.returncode, 0, compiled.stderr)
            with open(path, encoding="utf-8") as file:
                text = file.read()
        with open(os.path.join(ENGINE, "calibration.c"), encoding="utf-8") as file:
            present = file.read()
        self.assertIn("measured fastest on", text)
        # Whatever other classes of CPU have is kept.
        for cpu in ("CPU_VAES_AVX512", "CPU_VAES_AVX2", "CPU_AES", "CPU_OTHER"):
            self.assertEqual(cpu + "," in present, cpu + "," in text)

    def test_list_names_choice_and_reason(self):
        done = run("--list", "--rounds", "1", "--suite", "AES-128-GCM")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line for line in done.stdout.splitlines() if line.startswith("AES-128-GCM")]
        self.assertEqual(len(lines), 4 * 8)
        for line in lines:
            self.assertIn("openssl", line)

    def test_wrong_options_are_refused_in_one_line(self):
        for wrong in (["--sizes", "1"], ["--sizes", "64,,65"], ["--sizes", "16385"], ["--batch", "0"],
                      ["--batch", "65"], ["--batch", "-1"], ["--suite", "ROT13"], ["--suite", "GCM,ROT13"],
                      ["--only", "nobody"], ["--rounds", "0"], ["--rounds", "many"], ["--direction", "up"],
                      ["--cpu", "4095"], ["--list", "--json", "x"], ["extra"], ["--no-such-option"]):
            done = run(*wrong)
            self.assertEqual(done.returncode, 2, wrong)
            self.assertEqual(len(done.stderr.splitlines()), 1, (wrong, done.stderr))
            self.assertEqual(done.stdout, "", wrong)

    def test_json_that_cannot_be_written_is_said(self):
        done = run("--suite", "AES-128-GCM", "--only", "aead", *FEW, "--json", "/nonexistent/records.json")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent/records.json", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
