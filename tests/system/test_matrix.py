# SPDX-License-Identifier: GPL-2.0-or-later
"""
Every combination of rules backend, commit path and family steers alike. What the running
kernel cannot do is skipped with the reason; a line per combination goes to NFQB_MATRIX,
from which tests/vm/run makes its table. NFQB_MATRIX_COMPLETE=1: nothing may be missing.
"""

import contextlib
import json
import os
import re

import lab
import pytest
from ruleset import BACKENDS, works
from steering import all_well, shares

WEIGHTS = [3, 2, 1]
MASK = 0xFF00
SETTLED = 0x8000
# bits of others, in the packet mark and in the conntrack mark
FOREIGN = 0x30000
FOREIGN_CT = 0x50000
OTHERS = f"""table inet others {{
	counter lost {{}}
	chain before {{
		type filter hook prerouting priority -200
		iifname lan0 meta mark set meta mark | {FOREIGN:#x}
		iifname lan0 ct state new ct mark set ct mark | {FOREIGN_CT:#x}
	}}
	chain after {{
		type filter hook postrouting priority 90
		iifname lan0 meta l4proto {{ tcp, udp }} meta mark & {FOREIGN:#x} != {FOREIGN:#x} counter name lost
	}}
}}"""


def kernel_name():
    """The version, without what a machine's owner called it; Debian tells the full one in the build's name."""
    full = re.search(r"Debian ([0-9.]+)", os.uname().version)
    return f"{full[1]} (Debian)" if full else re.match(r"[0-9.]+", os.uname().release)[0]


def unavailable(why):
    if os.environ.get("NFQB_MATRIX_COMPLETE") == "1":
        pytest.fail(f"this kernel must be able to do it: {why}")
    pytest.skip(why)


def record(cell, result, why=""):
    if os.environ.get("NFQB_MATRIX"):
        with open(os.environ["NFQB_MATRIX"], "a", encoding="utf-8") as file:
            json.dump({**cell, "kernel": kernel_name(), "result": result, "why": why}, file)
            file.write("\n")


@contextlib.contextmanager
def recorded(cell):
    """Write down how the block ended."""
    try:
        yield
    except pytest.skip.Exception as skipped:
        record(cell, "n/a", skipped.msg)
        raise
    except BaseException:
        record(cell, "FAILED")
        raise
    record(cell, "passed")


class Bench:
    """A world with the rules of one backend; the daemon is started again for another commit path."""

    def __init__(self, backend):
        self.backend = backend
        self.world = None
        self.commit = None

    def use(self, commit):
        if not works(self.backend):
            unavailable("no queue expression in this kernel's nftables" if self.backend == "nft" else
                        "this kernel lacks what the backend needs")
        if self.world is None:
            self._build()
        if self.commit == commit:
            return
        daemon = self.world.balancer
        if daemon.process:
            daemon.stop_daemon()
        self.commit = None
        daemon.start_daemon(f"--commit={commit}", wait=False)
        try:
            daemon.wait_ready()
        except RuntimeError:
            if commit == "verdict" and "ignores the conntrack mark" in daemon.process.log():
                unavailable("the kernel ignores the conntrack mark in verdicts (CONFIG_NETFILTER_NETLINK_GLUE_CT)")
            raise
        self.commit = commit

    def _build(self):
        self.world = lab.world(weights=WEIGHTS, clients=1, ipv6="nat66")
        for link, weight in zip(self.world.links, (1, 1, 8)):  # the fallback would show in the shares
            link.keys["fallback_weight"] = weight
        self.world.router.run("nft", "-f", "-", stdin=OTHERS)
        # however long a slow machine takes until it counts the entries
        self.world.router.sysctl({"net.netfilter.nf_conntrack_udp_timeout": 600})
        self.world.balancer.configure(self.world.links, source_limit=0)
        self.world.balancer.rules("start", env={"NFQB_BACKEND": self.backend})

    def traffic(self, family, flows, **options):
        return self.world.traffic(to=self.world.servers6 if family == "IPv6" else None, flows=flows, rate=200, **options)

    def marks(self, family):
        """[(link that the entry's answers come by, conntrack mark), ...] of what passed to the servers"""
        words = ["-f", "ipv6"] if family == "IPv6" else []
        entries = [(re.findall(r" dst=(\S+)", line), int(re.search(r" mark=(\d+)", line)[1]))
                   for line in self.world.router.conntrack(*words).splitlines()]
        servers = set(self.world.servers + self.world.servers6)
        return [(self.world.link_of(dst[1]), mark) for dst, mark in entries if dst[0] in servers]

    def forget(self):
        self.world.router.run("conntrack", "-F")

    def expected(self, name):
        return FOREIGN_CT | SETTLED | self.world.link(name).id << 8

    def without_commit_chain(self):
        """Take the rules out of the commit chain: what is in the conntrack mark then, the verdict wrote."""
        if self.backend.startswith("nft"):
            self.world.router.run("nft", "flush", "chain", "inet", "nfq_balancer", "commit")
        else:
            kind = self.backend.partition("-")[2]
            for program in ("iptables", "ip6tables"):
                self.world.router.run(f"{program}-{kind}", "-t", "nat", "-F", "nfqb_commit")

    def close(self):
        if self.world:
            self.world.close()


@pytest.fixture(scope="module", params=BACKENDS)
def bench(request):
    made = Bench(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("commit", ["chain", "verdict"])
def test_cell(bench, commit, family, scale):
    """TCP and UDP over 3:2:1 in their shares; every entry carries its link's mark, and foreign bits survive in both marks."""
    with recorded({"backend": bench.backend, "commit": commit, "family": family}):
        bench.use(commit)
        bench.forget()
        flows = max(scale(600) // 6, 6) * 6
        runs = [bench.traffic(family, flows, udp=udp) for udp in (False, True)]
        for run in runs:
            all_well(run.result(), flows)
        shares(bench.world.split(*(run.run for run in runs)), WEIGHTS)
        marks = bench.marks(family)
        assert len(marks) == 2 * flows
        assert [(link, hex(mark)) for link, mark in marks if mark != bench.expected(link)] == []
        assert bench.world.leaked() == 0
        listed = bench.world.router.run("nft", "list", "counter", "inet", "others", "lost").stdout
        assert "packets 0 " in listed


def test_verdict_writes_the_mark(bench, scale):
    """Without the rules of the commit chain the mark is right if the verdict carries it, and absent if it does not."""
    bench.use("verdict")
    bench.without_commit_chain()
    flows = max(scale(300), 6)
    for family in ("IPv4", "IPv6"):
        bench.forget()
        all_well(bench.traffic(family, flows).result(), flows)
        marks = bench.marks(family)
        assert len(marks) == flows
        assert [(link, hex(mark)) for link, mark in marks if mark != bench.expected(link)] == []
    bench.use("chain")
    bench.forget()
    bench.traffic("IPv4", 6, udp=True).result()
    assert {mark & MASK & SETTLED for _, mark in bench.marks("IPv4")} == {0}
