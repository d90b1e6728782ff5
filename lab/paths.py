# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the project's programs are. NFQB_BUILD names another build directory than build/."""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("NFQB_BUILD", "build"))
DAEMON = os.path.join(BUILD, "nfq-balancer", "nfq-balancer")
CLIENT = os.path.join(BUILD, "nfq-balancer", "nfqbctl")
RULES = os.path.join(ROOT, "scripts", "nfq-balancer-rules")


def tool(name):
    """One of tests/tools/"""
    return os.path.join(BUILD, "tests", "tools", name)
