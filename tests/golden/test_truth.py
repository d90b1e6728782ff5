# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures that nobody here made: do we see the flows that another program sees?

../shared/pcaps beside the project (or NFQB_CAPTURES) holds public captures and, from
tshark, every outermost bidirectional TCP, UDP and SCTP tuple of each with its packets.
`replay --flows` must list the same tuples with the same packets. Where the captures
are absent, every test here is skipped and says so.
"""

import gzip
import ipaddress
import os
import pathlib

import pytest

from test_golden import ROOT, replay

CAPTURES = pathlib.Path(os.environ.get("NFQB_CAPTURES", ROOT.parent / "shared" / "pcaps"))
TRUTH = CAPTURES / "truth"
PROTOCOLS = ("tcp", "udp", "sctp")

pytestmark = pytest.mark.skipif(
    not TRUTH.is_dir(), reason=f"SKIPPED WITHOUT A CHECK: no captures of others in {CAPTURES} (set NFQB_CAPTURES)")

# Files that libpcap cannot read to the end: what it says, and after how many packets.
# The flows of what was read before count; tshark reads on (or starts at all) in some.
BROKEN = {
    "c-file__PcapPlusPlus__bogus-content.txt": "unknown file format",
    "c-file__PcapPlusPlus__crash-pcapng-epb-unbounded-length.pcap": "packet 1: invalid packet capture length 65536",
    "c-file__PcapPlusPlus__many_interfaces-1.pcapng": "packet 1: an interface has a type 0 different",
    "c-file__fpcap__RICS2021_787__fwscada_20200625_160926.pcap": "packet 6719: truncated dump file",
    "c-file__gopacket__test202.pcapng": "packet 1: an interface has a type 0 different",
    "c-file__libpcap__pcap-invalid-version-2.pcap": "unsupported pcap savefile version 2.5",
    "c-file__libpcap__shb-option-too-long.pcapng": "block total length in header and trailer don't match",
}

# Where libpcap stops before tshark does, and so our list is shorter
SHORTER = {
    "c-file__PcapPlusPlus__many_interfaces-1.pcapng": "interfaces of several link types in one file",
    "c-file__gopacket__test202.pcapng": "interfaces of several link types in one file",
    "c-file__libpcap__pcap-invalid-version-2.pcap": "a version that the format does not have",
}


def names():
    if not CAPTURES.is_dir():
        return []
    return sorted(path.name for path in CAPTURES.iterdir()
                  if path.suffix in (".pcap", ".pcapng") or path.name in BROKEN)


def tuple_of(protocol, one, one_port, other, other_port):
    ends = sorted((ipaddress.ip_address(a).packed, int(p)) for a, p in ((one, one_port), (other, other_port)))
    return protocol, *ends


def truth(name):
    path = TRUTH / f"{name}.flows.tsv.gz"
    if not path.exists():
        return {}
    with gzip.open(path, "rt") as file:
        rows = [line.split("\t") for line in file.read().splitlines()[1:]]
    return {tuple_of(*row[:5]): int(row[5]) for row in rows}


def ours(run):
    rows = [line.split(" ") for line in run.stdout.splitlines()]
    return {tuple_of(*row[:5]): int(row[5]) + int(row[6]) for row in rows if row[0] in PROTOCOLS}


@pytest.mark.parametrize("name", names())
def test_flows(name):
    run = replay("--flows", "--quiet", str(CAPTURES / name))
    said = run.stderr.replace(f"{CAPTURES / name}: ", "")
    if name in BROKEN:
        assert run.returncode == 1
        assert said.startswith(f"nfqb-replay: {BROKEN[name]}") and said.count("\n") == 1, said
    else:
        assert (run.returncode, said) == (0, "")
    if name in SHORTER:
        assert ours(run).items() <= truth(name).items()
    else:
        assert ours(run) == truth(name)


def test_there_are_captures():
    assert len(names()) > 60
