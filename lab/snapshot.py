# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a host's network as text, to be compared before and after."""

import difflib
import re

# One shell for all of it. What counts packets, seconds or handles is left out or cut off below;
# nf_conntrack_max is one for the whole machine, so somebody else's, too.
_SCRIPT = r"""
section() { printf '\001%s\n' "$1"; }
section nft; nft -s list ruleset
for save in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save; do
	section $save; command -v $save >/dev/null && $save 2>/dev/null
done
section "ip rule"; ip rule
section "ip -6 rule"; ip -6 rule
section "ip route"; ip route show table all
section "ip -6 route"; ip -6 route show table all
section "ip address"; ip -o address
section groups; ip -o -d link | sed -E 's/^[0-9]+: ([^:@]+).* group ([^ ]+).*/\1 \2/'
section sysctls; grep -r . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/fib_multipath_hash_policy \
	/proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/netfilter 2>/dev/null |
	grep -v -e nf_conntrack_count -e nf_conntrack_max -e stable_secret | sort
"""


def _without_empty_nft(text):
    """Base chains without rules that accept, and tables without anything, say nothing."""
    before = None
    while before != text:
        before = text
        text = re.sub(r"\tchain [^\n]* \{\n(\t\ttype [^\n]*policy accept;\n)?\t\}\n\n?", "", text)
        text = re.sub(r"table [^\n]* \{\n\}\n", "", text)
    return text.replace("\n\n", "\n")


def _without_empty_tables(text):
    """iptables-save without comments, counters, and tables that hold no rule."""
    kept = []
    for table in re.split(r"^(?=\*)", text, flags=re.M):
        lines = [line for line in table.split("\n") if line and not line.startswith("#")]
        chains = [re.sub(r" \[\d+:\d+\]$", "", line) for line in lines]
        if any(line.startswith("-A") or re.match(r":\S+ (DROP|-)$", line) for line in chains):
            kept += chains
    return "\n".join(kept) + "\n" if kept else ""


def _without_time(text):
    return re.sub(r" +(expires|valid_lft|preferred_lft) \S+| used \d+", "", text)


def snapshot(host):
    """{section: text} of everything that a rules script could change."""
    sections = {}
    for part in host.sh(_SCRIPT, check=False).split("\001")[1:]:
        name, text = part.split("\n", 1)
        if name == "nft":
            text = _without_empty_nft(text)
        elif name.endswith("-save"):
            text = _without_empty_tables(text)
        else:
            text = _without_time(text)
        sections[name] = text
    return sections


def differences(before, after):
    """A unified diff of two snapshots; empty when they are the same."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        lines += difflib.unified_diff(before.get(name, "").splitlines(), after.get(name, "").splitlines(),
                                      f"before: {name}", f"after: {name}", lineterm="", n=1)
    return "\n".join(lines)
