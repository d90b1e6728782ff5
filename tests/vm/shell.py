# SPDX-License-Identifier: GPL-2.0-or-later
"""make shell-vm: the usual lab with rules and daemon, and a shell in its router."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import lab  # noqa: E402
from lab.paths import BUILD, ROOT  # noqa: E402

HELP = """
Three links (3:2:1), three clients, dual stack; you are in the router.
  nfqbctl show links           the daemon is running and answers
  nfq-balancer-rules status    the rules are in place
  on client1 curl ...          a command in client1 .. client3 or internet
  servers                      203.0.113.1 .. .8 and 2001:db8:ffff::1 .. ::8, ports 80, 5000-5019
  traffic 100                  open so many connections from client1, and say what became of them
`exit` ends the lab and powers the machine off.
"""

with lab.world(weights=[3, 2, 1], ipv6="nat66") as world:
    world.balancer.configure(world.links)
    world.balancer.start()
    assert world.server
    start = os.path.join(world.lab.directory, "shellrc")
    with open(start, "w", encoding="utf-8") as file:
        file.write(f"""
PS1='router# '
export NFQB_CONFIG={world.balancer.config_path} NFQB_BINARY={BUILD}/nfq-balancer/nfq-balancer
PATH={BUILD}/nfq-balancer:{BUILD}/tests/tools:{ROOT}/scripts:$PATH
nfqbctl() {{ command nfqbctl -s {world.balancer.socket_path} "$@"; }}
on() {{ _host=$1; shift; ip netns exec {world.lab.prefix}-"$_host" "$@"; }}
traffic() {{ on client1 traffic-client --to {",".join(world.servers)} --port 5000-5019 --rate 100 --flows "${{1:-100}}"; }}
""")
    print(HELP, flush=True)
    subprocess.run(["ip", "netns", "exec", world.router.netns, "bash", "--rcfile", start, "-i"], check=False)
