#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench-handshakes with each kind of token that this machine has: SoftHSM2, SoftHSM2 in another process behind p11-kit
server, NSS's softokn, and a TPM 2 (swtpm with tpm2-pkcs11 and tpm2-abrmd). The tokens are made as the tests make them, in folders
that go away. One table for each goes to the terminal.

usage: bench/handshakes_tokens.py [BUILD] [OPTION OF bench-handshakes...]     BUILD: build/release
"""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def tokens_of(build):
    """The classes of tests/provider/test_tokens.py, which know how to make a token each."""
    sys.path.insert(0, str(TOP / "tests/provider"))
    sys.argv[1:] = [str(build / "provider/sealane.so"), str(build / "tests/provider/token_load"),
                    str(build / "tests/modules/sealane-fault.so")]
    import test_tokens
    return test_tokens.PIN, [test_tokens.SoftHSM, test_tokens.SoftHSMBehindP11Kit, test_tokens.NSSSoftokn, test_tokens.TPM]


def measure(build, kind, pin, options):
    label = kind.token.removeprefix("pkcs11:token=").replace("%20", " ")
    args = kind.settings.partition("pkcs11-module-init-args = ")[2]
    command = [build / "bench/bench-handshakes", "--module", kind.module, "--token", label, "--pin", pin, "--ec", "ec", "--rsa", "rsa",
               *(["--init-args", args] if args else []), *options]
    return subprocess.run([str(c) for c in command], env=kind.plain, cwd=kind.machine.dir, check=False).returncode


def main():
    options = sys.argv[1:]
    if options and options[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    build = Path(options.pop(0)).resolve() if options and not options[0].startswith("-") else TOP / "build/release"
    worst = 0
    pin, kinds = tokens_of(build)
    for kind in kinds:
        if getattr(kind, "__unittest_skip__", False):
            print(f"\n==== {kind.__name__}: left out: {kind.__unittest_skip_why__}", flush=True)
            continue
        print(f"\n==== {kind.__name__}", flush=True)
        try:
            kind.setUpClass()
            worst = max(worst, measure(build, kind, pin, options))
        finally:
            kind.tearDownClass()
    return worst


if __name__ == "__main__":
    sys.exit(main())
