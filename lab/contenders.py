# SPDX-License-Identifier: GPL-2.0-or-later
"""
Other ways to share connections among links, on a lab's router: what the benchmarks compare with.

Each takes a world and, where the way knows them, a weight per link; link1's default route is there.
Numbers of links serve as marks and as routing tables.

    none     one default route: no steering at all
    ecmp     one multipath route; layer4=False: hashed by addresses only, as people type it
    nth      the connmark how-to: iptables statistic nth and CONNMARK
    numgen   its twin in nftables
    mwan3    what OpenWrt's mwan3 (net/mwan3/files/lib/mwan3/mwan3.sh) makes of a balanced policy
    queued   a queue, and a chain behind it that commits marks or falls back: for the bare loop
"""

from lab.host import CommandError

MASK = 0x3F00  # mwan3's default
DEFAULT, BLACKHOLE, UNREACHABLE = 0x3F00, 0x3D00, 0x3E00


def link_tables(w):
    """A routing table for each link, chosen by mark."""
    return "".join(f"ip route add default via {link.gateway} dev {link.interface} table {link.id}\n"
                   f"ip rule add fwmark {link.id} table {link.id}\n" for link in w.links)


def source_nat(w):
    """NAT as the how-tos write it."""
    return "".join(f"iptables -t nat -A POSTROUTING -o {link.interface} -j SNAT --to-source {link.address}\n"
                   for link in w.links)


def masquerade(w):
    """The same in nftables, as firewalls do it now."""
    interfaces = ", ".join(link.interface for link in w.links)
    w.router.run("nft", "-f", "-", stdin="table ip provider_nat { chain nat { type nat hook postrouting priority srcnat\n"
                 f"oifname {{ {interfaces} }} masquerade\n}}\n}}\n")


def none(w):
    """Everything by the first link."""
    w.router.forward()
    masquerade(w)


def ecmp(w, weights=None, layer4=True):
    """`ip route ... nexthop`"""
    hops = " ".join(f"nexthop via {link.gateway} dev {link.interface} weight {weight}"
                    for link, weight in zip(w.links, weights or [1] * len(w.links)))
    w.router.forward()
    w.router.sysctl({"net.ipv4.fib_multipath_hash_policy": int(layer4)})
    w.router.sh(f"set -e\nip route replace default {hops}\n")
    masquerade(w)


def nth(w, weights=None, only_tcp=True):
    """The how-to's rules without its LOG targets; a link of weight three gets three of the turns."""
    turns = [link for link, weight in zip(w.links, weights or [1] * len(w.links)) for _ in range(weight)]
    script = "set -e\n" + link_tables(w)
    for link in w.links:
        script += (f"iptables -t mangle -N LINE{link.id}\n"
                   f"iptables -t mangle -A LINE{link.id} -j MARK --set-mark {link.id}\n"
                   f"iptables -t mangle -A LINE{link.id} -j CONNMARK --save-mark\n")
    script += "iptables -t mangle -A PREROUTING -i lan0 -j CONNMARK --restore-mark\n"
    protocol = "-p tcp" if only_tcp else "-i lan0"
    for n, link in enumerate(turns):
        script += (f"iptables -t mangle -A PREROUTING {protocol} -m conntrack --ctstate NEW -m statistic "
                   f"--mode nth --every {len(turns)} --packet {n} -j LINE{link.id}\n")
    w.router.forward()
    w.router.sh(script + source_nat(w))


def turns_map(w):
    """numgen's map over links of equal weights"""
    pairs = ", ".join(f"{n} : {link.id}" for n, link in enumerate(w.links))
    return f"numgen inc mod {len(w.links)} map {{ {pairs} }}"


def numgen(w):
    """nth's rules, said in nftables."""
    w.router.forward()
    w.router.sh("set -e\n" + link_tables(w))
    w.router.run("nft", "-f", "-", stdin=(
        "table ip connmark { chain steer { type filter hook prerouting priority mangle\n"
        f"iifname lan0 ct state new ct mark 0 ct mark set {turns_map(w)}\n"
        "iifname lan0 meta mark set ct mark\n}\n}\n"))
    masquerade(w)


def mwan3(w):
    """
    Two or more links of one metric and weight 1 in a policy "balanced", used by the rules of its
    example configuration: https (sticky, where the kernel has the set type) and the rest.
    """
    marks = {link.name: link.id << 8 for link in w.links}
    unmarked = f"-m mark --mark 0x0/{MASK:#x}"
    kinds = ("custom", "connected", "dynamic")

    def mark(value):
        return f"-j MARK --set-xmark {value:#x}/{MASK:#x}"

    networks = ["192.168.1.0/24", "224.0.0.0/3", *(str(link.network) for link in w.links)]
    sets = "create mwan3_connected_ipv4 hash:net\ncreate mwan3_custom_ipv4 hash:net\ncreate mwan3_dynamic_ipv4 list:set\n"
    sets += "".join(f"add mwan3_connected_ipv4 {network}\n" for network in networks)
    chains, rules = ["mwan3_hook", "mwan3_ifaces_in", "mwan3_rules", "mwan3_policy_balanced"], []
    for kind in kinds:
        chains.append(f"mwan3_{kind}_ipv4")
        rules.append(f"-A mwan3_{kind}_ipv4 -m set --match-set mwan3_{kind}_ipv4 dst {mark(DEFAULT)}")
    for link in w.links:
        chain = f"mwan3_iface_in_{link.name}"
        chains.append(chain)
        rules += [f"-A {chain} -i {link.interface} -m set --match-set mwan3_{kind}_ipv4 src {unmarked} "
                  f"-m comment --comment default {mark(DEFAULT)}" for kind in kinds]
        rules += [f"-A {chain} -i {link.interface} {unmarked} -m comment --comment {link.name} {mark(marks[link.name])}",
                  f"-A mwan3_ifaces_in {unmarked} -j {chain}"]
    # each member goes in front of those before it, and takes its share of what comes by
    for n, link in enumerate(w.links, 1):
        share = f"-m statistic --mode random --probability {1 / n:.3f} " if n > 1 else ""
        rules.append(f"-I mwan3_policy_balanced {unmarked} {share}-m comment --comment \"{link.name} 1 {n}\" "
                     f"{mark(marks[link.name])}")
    https, sticky = _mwan3_sticky(w, marks, mark)
    rules += sticky
    rules += [f"-A mwan3_rules -p tcp -m multiport --dports 443 -m mark --mark 0/{MASK:#x} -j {https}",
              f"-A mwan3_rules -d 0.0.0.0/0 -m mark --mark 0/{MASK:#x} -j mwan3_policy_balanced"]
    masks = f"--nfmask {MASK:#x} --ctmask {MASK:#x}"
    rules += [f"-A mwan3_hook {unmarked} -j CONNMARK --restore-mark {masks}",
              *(f"-A mwan3_hook {unmarked} -j mwan3_{name}"
                for name in ("ifaces_in", *(f"{kind}_ipv4" for kind in kinds), "rules")),
              f"-A mwan3_hook -j CONNMARK --save-mark {masks}",
              *(f"-A mwan3_hook -m mark ! --mark {DEFAULT:#x}/{MASK:#x} -j mwan3_{kind}_ipv4" for kind in kinds),
              "-A PREROUTING -j mwan3_hook", "-A OUTPUT -j mwan3_hook"]
    w.router.forward()
    w.router.run("ipset", "restore", stdin=sets)
    w.router.run("iptables-restore", "-n", stdin="\n".join(
        ["*mangle", *(f"-N {chain}" for chain in chains), *(["-N " + https] if sticky else []), *rules, "COMMIT", ""]))
    w.router.ip(*_mwan3_routes(w, marks))
    masquerade(w)


def _mwan3_sticky(w, marks, mark):
    """The chain that the https rule jumps to, and its rules; the policy itself without the set type."""
    name, chain = "mwan3_rule_ipv4_https", "mwan3_rule_https"
    try:
        w.router.run("ipset", "create", name, "hash:ip,mark", "markmask", f"{MASK:#x}", "timeout", "600")
    except CommandError:
        return "mwan3_policy_balanced", []
    rules = []
    for link in w.links:
        rules[:0] = [f"-A {chain} -m mark --mark 0/{MASK:#x} {mark(marks[link.name])}",
                     f"-A {chain} -m mark --mark {marks[link.name]:#x}/{MASK:#x} -m set ! --match-set {name} src,src {mark(0)}"]
    kept = "-m mark ! --mark 0xfc00/0xfc00 -j SET"
    return chain, [*rules, f"-A {chain} -m mark --mark 0/{MASK:#x} -j mwan3_policy_balanced",
                   f"-A {chain} {kept} --del-set {name} src,src", f"-A {chain} {kept} --add-set {name} src,src"]


def _mwan3_routes(w, marks):
    """`ip` commands: a table per link with the connected networks, three rules per link, two for all."""
    lines = [f"rule add pref {(BLACKHOLE >> 8) + 2000} fwmark {BLACKHOLE:#x}/{MASK:#x} blackhole",
             f"rule add pref {(UNREACHABLE >> 8) + 2000} fwmark {UNREACHABLE:#x}/{MASK:#x} unreachable"]
    for link in w.links:
        used = f"fwmark {marks[link.name]:#x}/{MASK:#x}"
        lines += [f"route add default via {link.gateway} dev {link.interface} table {link.id}",
                  f"route add 192.168.1.0/24 dev lan0 table {link.id}",
                  f"route add {link.network} dev {link.interface} table {link.id}",
                  f"rule add pref {link.id + 1000} iif {link.interface} lookup {link.id}",
                  f"rule add pref {link.id + 2000} {used} lookup {link.id}",
                  f"rule add pref {link.id + 3000} {used} unreachable"]
    return lines


def queued(w, number=0):
    """
    The least that is right around a queue: known flows past it, the decision committed one chain later,
    undecided flows to numgen. Counters decided and fallback.
    """
    waiting = "iifname lan0 ct state new ct mark 0 meta mark 0"
    w.router.forward()
    w.router.sh("set -e\n" + link_tables(w))
    w.router.run("nft", "-f", "-", stdin=(
        "table ip queued_flows {\ncounter decided { }\ncounter fallback { }\n"
        "chain restore { type filter hook prerouting priority -151; iifname lan0 ct mark != 0 meta mark set ct mark; }\n"
        "chain commit { type filter hook prerouting priority -149\n"
        "iifname lan0 ct state new ct mark 0 goto new_flow\n}\n"
        "chain new_flow {\nmeta mark != 0 counter name decided ct mark set meta mark return\n"
        f"counter name fallback ct mark set {turns_map(w)} meta mark set ct mark\n}}\n}}\n"))
    try:
        w.router.run("nft", "-f", "-", stdin="table ip queued_flows { chain queue { type filter hook prerouting priority -150\n"
                     f"{waiting} queue flags bypass to {number}\n}}\n}}\n")
    except CommandError:  # a kernel without nftables' queue expression
        w.router.sh("iptables -t mangle -A PREROUTING -i lan0 -m conntrack --ctstate NEW -m connmark --mark 0 "
                    f"-m mark --mark 0 -j NFQUEUE --queue-num {number} --queue-bypass")
    masquerade(w)
