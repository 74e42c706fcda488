# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that must be told one."""
import random
import socket
from pathlib import Path

LOWEST = 10000


def free_port():
    """
    A port of 127.0.0.1 that nobody has. Not one of those that the kernel gives to whoever connects: between this answer and
    the server's start one of the many connections of the tests beside would sooner or later be given it.
    """
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(LOWEST, end) if end > 2 * LOWEST else 0))
            except OSError:
                continue
            return probe.getsockname()[1]
