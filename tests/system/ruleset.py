# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the rules script share: backends, breakable tools, what is left over."""

import functools
import os
import re
import shutil
import subprocess

import lab
from lab.paths import RULES

BACKENDS = ["nft", "nft+iptables", "iptables-nft", "iptables-legacy"]
# A policy of two links in records, for asking the script without a daemon or a lab
_RECORDS = """version 1
mask 0xff00 8 0x8000 0x8000 0xff00 0xfe00
queue 0 1 1024
fallback yes
local no
feedback yes
ip-forward set
source-limit 10
preference 10000
run-directory /nonexistent
config-file -
checksum 0
checksum-weightless 0
lan lan0
link 1 one wan1 101 - 192.0.2.1 off masquerade none - 1 1 0x100 0x8100 -
"""


@functools.cache
def works(backend):
    """Does this backend work in the running kernel?"""
    with lab.Lab() as made:
        binary = os.path.join(made.directory, "records")
        with open(binary, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\ncat <<'END'\n{_RECORDS}END\n")
        os.chmod(binary, 0o755)
        return subprocess.run([RULES, "--backend", backend, "print"], env={**os.environ, "NFQB_BINARY": binary},
                              capture_output=True, check=False).returncode == 0


def settle_down(router):
    """What a router has before the rules come: nothing forwarded, strict filters, rules of others."""
    router.sysctl({
        "net.ipv4.ip_forward": 0, "net.ipv6.conf.all.forwarding": 0,
        # these are what turning forwarding on and off again would change
        "net.ipv4.conf.wan1.forwarding": 1, "net.ipv4.conf.all.accept_redirects": 0, "net.ipv6.conf.wan2.forwarding": 1,
        "net.ipv4.conf.wan1.rp_filter": 1, "net.ipv6.conf.wan1.accept_ra": 1,
    })
    router.ip("rule add pref 500 fwmark 0x70000/0xff0000 lookup 77", "route add 192.0.2.99 via 198.51.100.1 table 77")
    router.run("nft", "-f", "-", stdin="table inet others {\nchain forward {\ntype filter hook forward priority 0\n"
               "meta mark set meta mark | 0x10000\n}\n}\n")


def configured_site(make_world):
    """A world with both families, its router as other people left it, configured but not started"""
    w = make_world(links=2, clients=1, ipv6="prefix")
    settle_down(w.router)
    w.balancer.configure(w.links, local=True)
    return w


def state_path(w):
    return os.path.join(w.balancer.run_directory, "rules.state")


def traces(router):
    """What is ours in the kernel, as text; empty after a stop."""
    found = [line for family in ("-4", "-6") for what in ("rule", "route show table all")
             for line in router.ip_show(f"{family} {what}").splitlines() if "proto 157" in line]
    found += [line for line in router.run("nft", "list", "tables").stdout.splitlines() if "nfq_balancer" in line]
    for save in ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"):
        found += [line for line in router.run(save).stdout.splitlines() if "nfqb" in line]
    found += [line for line in router.ip_show("-o -N link").splitlines() if "group 28262" in line]
    return "\n".join(found)


def unordered(sections):
    """
    A snapshot without the order of its lines: what a restart adds stands behind what it keeps.
    Nothing depends on the order of chains, of set elements, or of ip rules of one preference.
    """
    return {name: "\n".join(sorted(re.sub(r"elements = .*", lambda m: str(sorted(re.split(r"[{},] ?", m[0]))), text)
                                   .splitlines())) for name, text in sections.items()}


class Shims:
    """
    Stands in front of tools in PATH. The `nth` call of `tool` whose words match `words`
    (a shell pattern) fails, or does something else first.
    """

    def __init__(self, host):
        self.directory = os.path.join(host.lab.directory, f"shims-{host.lab.count()}")
        os.mkdir(self.directory)
        self.count = os.path.join(self.directory, "calls")

    def put(self, tool, words, nth, action="exit 1"):
        real = shutil.which(tool)
        if os.path.exists(self.count):
            os.unlink(self.count)
        path = os.path.join(self.directory, tool)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"""#!/bin/sh
case "$*" in
{words})
	echo >>{self.count}
	if [ "$(wc -l <{self.count})" -eq {nth} ]; then echo "broken on purpose: {tool} $*" >&2; {action}; fi ;;
esac
exec {real} "$@"
""")
        os.chmod(path, 0o755)

    def reached(self, nth):
        """Was there an nth call?"""
        if not os.path.exists(self.count):
            return False
        with open(self.count, encoding="utf-8") as file:
            return len(file.readlines()) >= nth

    @property
    def env(self):
        return {"PATH": self.directory + ":" + os.environ["PATH"]}
