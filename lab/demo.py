# SPDX-License-Identifier: GPL-2.0-or-later
"""
The demonstration: python3 -m lab.demo PICTURE

A small office with three links, real clients and real servers; what nfq-balancer does for
it, step by step, each with the numbers that the far side of the links counted.
"""

import collections
import json
import os
import re
import signal
import sys
import textwrap
import time

from lab import picture
from lab.lab import unusable
from lab.services import Browser, NameServer, Resolver, WebServer
from lab.snapshot import differences, snapshot
from lab.topology import Link, World
from lab.traffic import Client, Server

LINKS = (("fibre", 3, 60), ("cable", 2, 40), ("lte", 1, 20))  # name, weight, Mbit/s
NEW_LTE = 4  # the weight that it gets later
PORTS = "5000-5019"
PAGE = 8192  # bytes of each answer
RATE = 100  # new connections per second and client, beside curl and dig

Event = collections.namedtuple("Event", "time link")


class Terminal:
    """Words for people; colours only where they are seen."""

    def __init__(self):
        self.colours = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.start = time.monotonic()

    def paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.colours else text

    def step(self, title):
        seconds = int(time.monotonic() - self.start)
        print("\n" + self.paint(f"{seconds // 60}:{seconds % 60:02d}  {title}", "1;36"), flush=True)

    def say(self, text):
        print(textwrap.fill(text, 100, initial_indent="      ", subsequent_indent="      "), flush=True)

    def command(self, text):
        print("      " + self.paint("# " + text, "1"), flush=True)

    def block(self, text):
        print(textwrap.indent(text.rstrip("\n"), "      "), flush=True)

    def check(self, good, text):
        mark = self.paint("ok ", "1;32") if good else self.paint("BAD", "1;31")
        print(f"      {mark} {text}", flush=True)


def amount(number):
    """1234567 -> 1.2 MB"""
    for unit in ("B", "kB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} MB"


class Demo:
    """The lab, its traffic, and the story."""

    def __init__(self, world, path):
        self.world = world
        self.path = path
        self.balancer = world.balancer
        self.terminal = Terminal()
        self.clients = []  # (traffic client, its log)
        self.browsers = []
        self.resolvers = []
        self.phases = []  # (time, caption, background) for the picture
        self.bad = 0
        self.began = None

    # ---- the lab ----

    def build(self):
        """The router as it was: forwarding, and masquerading on its one default link."""
        world = self.world
        world.router.forward()
        world.router.run("nft", "-f", "-", stdin=(
            "table inet office { chain nat { type nat hook postrouting priority srcnat;"
            ' oifname "wan1" masquerade; }; }'))
        self.balancer.configure(
            world.links,
            groups={"balanced": {"links": [link.name for link in world.links], "scheduler": "wrr", "sticky": "none"}},
            rules={"rest": {"use": "balanced"}})
        self.web = WebServer(world.internet, world.servers[0], PAGE)
        self.names = NameServer(world.internet, world.servers + world.servers6)
        self.far = Server(world.internet, PORTS)

    def open_traffic(self):
        """From each LAN client: the traffic tool, curl over both families, dig."""
        world = self.world
        for host in world.clients:
            log = os.path.join(world.lab.directory, f"flows-{len(self.clients)}")
            self.clients.append((Client(host, world.servers + world.servers6, port=PORTS, rate=RATE, flows=0,
                                        source_port=None, want=PAGE, log=log), log))
            self.browsers += [Browser(host, world.servers, 5), Browser(host, world.servers6, 5)]
            self.resolvers.append(Resolver(host, [world.servers[0], world.servers6[0]], 0.4))

    def close_traffic(self):
        """Open no more; (how many were opened, what went wrong)"""
        for process in self.browsers + self.resolvers:
            process.process.stop()
        results = [client.stop().result() for client, _ in self.clients]
        opened = sum(r["flows"] for r in results)
        failures = [f"traffic, opened at {float(start) - self.began:.2f} s: {what}"
                    for start, _, what, _, _ in self.flows() if what != "ok"]
        for process in self.browsers + self.resolvers:
            good, wrong = process.failures()
            opened += good + len(wrong)
            failures += wrong
        self.browsers, self.resolvers = [], []
        return opened, failures

    # ---- counting, always on the far side ----

    def flows(self):
        """The rows of the traffic tools' logs: [start, flow, result, peer, microseconds]"""
        for _, log in self.clients:
            with open(log, encoding="ascii") as rows:
                for row in rows:
                    if row.endswith("\n"):
                        yield row.rstrip("\n").split("\t")

    def events(self):
        """Every TCP connection so far: when it was opened, and the link it came through."""
        events = [Event(request.time, self.world.link_of(request.peer)) for request in self.web.requests()]
        events += [Event(float(start), self.world.link_of(peer))
                   for start, _, _, peer, _ in self.flows() if peer != "-"]
        return events

    def bytes(self):
        """{link: bytes in both directions}"""
        listed = json.loads(self.world.internet.run("ip", "-j", "-s", "link").stdout)
        counts = {row["ifname"]: row["stats64"]["rx"]["bytes"] + row["stats64"]["tx"]["bytes"] for row in listed}
        return {link.name: counts[link.interface] for link in self.world.links}

    def watch(self, seconds, caption=None, background=None, weights=None):
        """Let the traffic run for a while, then show what came through which link."""
        begin = time.time()
        if caption:
            self.phases.append((begin - self.began, caption, background))
        before, asked = self.bytes(), len(self.names.queries())
        # the window starts a little later: what was opened before has been steered before
        time.sleep(seconds)
        end = time.time() - 0.3  # logs are written every 0.1 s
        counts = collections.Counter(event.link for event in self.events() if begin + 0.2 <= event.time < end)
        queries = collections.Counter(map(self.world.link_of, self.names.queries()[asked:]))
        moved = {name: count - before[name] for name, count in self.bytes().items()}
        self.table(counts, queries, moved, weights)
        if weights:
            total = sum(counts.values()) or 1
            off = max(abs(counts[name] / total - weight / sum(weights.values())) for name, weight in weights.items())
            self.check(off < 0.03, f"every link within {100 * off:.1f} % of its share")

    def table(self, counts, queries, moved, weights):
        """Connections and bytes per link beside the weights."""
        total = sum(counts.values()) or 1
        weight_sum = sum(weights.values()) if weights else 0
        lines = ["LINK   CAPACITY   WEIGHT  EXPECTED     TCP CONNECTIONS      DNS      BYTES"]
        for (name, _, capacity) in LINKS:
            weight = weights[name] if weights else "-"
            expected = f"{100 * weights[name] / weight_sum:.1f} %" if weights else "-"
            lines.append(f"{name:<6} {capacity} Mbit/s  {weight:>6} {expected:>9}  {counts[name]:>8}  "
                         f"{100 * counts[name] / total:>5.1f} %  {queries[name]:>7}  {amount(moved[name]):>9}")
        self.terminal.block("\n".join(lines))

    def check(self, good, text):
        self.bad += not good
        self.terminal.check(good, text)

    def marks(self):
        """{connection: mark} as the router's kernel knows them, TCP in flight or just over. With the
        entry's id: ports come back, and a new connection with old ports is another connection."""
        pattern = re.compile(r"^tcp .*?(src=\S+ dst=\S+ sport=\d+ dport=\d+).* mark=(\d+) .*?(id=\d+)", re.M)
        conntrack = self.world.router.conntrack
        text = conntrack("-p", "tcp", "-o", "id") + conntrack("-f", "ipv6", "-p", "tcp", "-o", "id")
        return {(flow, entry): mark for flow, mark, entry in pattern.findall(text)}

    # ---- the story ----

    def introduce(self):
        say = self.terminal
        print(say.paint("nfq-balancer: one router, three links, real traffic", "1"))
        say.block("\n" + textwrap.dedent("""\
            client1 ---+                     +--- fibre  60 Mbit/s  weight 3 ---+
            client2 ---+--- LAN --- router --+--- cable  40 Mbit/s  weight 2 ---+--- apache2, dnsmasq,
            client3 ---+                     +--- lte    20 Mbit/s  weight 1 ---+    traffic server
            """))
        say.say("Each box is a network namespace, each line a real interface of this machine's kernel. The clients open "
                "connections with curl, dig and a traffic tool over IPv4 and IPv6; what a table shows was "
                "counted on the far side of the links.")

    def act_before(self):
        self.terminal.step("The router as it was: one default route, the other links idle")
        self.open_traffic()
        self.watch(4, "as it was:\none default\nroute")

    def act_rules(self, weights):
        say = self.terminal
        say.step("The rules script starts, once; no daemon yet")
        say.command("nfq-balancer-rules start")
        self.phases.append((time.time() - self.began, "rules start:\nthe kernel alone\n3 : 2 : 1", None))
        say.block(self.balancer.rules("start").stdout)
        say.say("From here the kernel balances by weight on its own: this is the fallback, and the floor that nothing "
                "below falls through.")
        self.watch(5, weights=weights)

    def act_daemon(self, weights):
        say = self.terminal
        say.step("The daemon starts, and decides each new connection")
        say.command("nfq-balancer &")
        self.balancer.start_daemon()
        world = self.world
        self.steady = Client(world.clients[0], world.servers + world.servers6, port=PORTS, flows=100, rate=50,
                             packets=300, spread=26, source_port=None)
        self.watch(8, "daemon starts\n3 : 2 : 1", weights=weights)
        decided = self.balancer.decided()
        self.check(decided > 0, f"{decided} new connections decided by the daemon so far")
        say.command("nfqbctl")
        say.block(self.balancer.nfqbctl(check=False))  # its exit status is the screen's first word

    def act_weight(self, weights):
        say = self.terminal
        world = self.world
        say.step(f"A weight changes: lte from 1 to {NEW_LTE}; the next connections follow")
        say.command(f"nfqbctl set weight lte {NEW_LTE} && nfqbctl save")
        self.balancer.nfqbctl("set", "weight", "lte", str(NEW_LTE))
        self.balancer.nfqbctl("save")
        self.watch(8, f"set weight lte {NEW_LTE}\n3 : 2 : {NEW_LTE}", weights=weights)
        words = ("explain", "tcp", world.client_address(1), "50000", world.servers[0], "443")
        say.command("nfqbctl " + " ".join(words))
        say.block(self.balancer.nfqbctl(*words))

    def act_kill(self, weights):
        say = self.terminal
        say.step("The daemon is killed in full flight")
        say.command("kill -KILL <the daemon>")
        before = self.balancer.fallback()
        self.balancer.kill_daemon()
        say.say("The kernel carries on alone, with the weights of now and not with those of the file: "
                "the daemon had told it.")
        self.watch(7, f"SIGKILL:\nthe kernel carries on\n3 : 2 : {NEW_LTE}", "#fdecea", weights)
        fallen = self.balancer.fallback() - before
        self.check(fallen > 0, f"{fallen} new connections placed by the kernel alone")

    def act_return(self, weights):
        say = self.terminal
        say.step("It starts again, and takes over")
        before = self.marks()
        say.command("nfq-balancer &")
        self.balancer.start_daemon()
        self.watch(7, f"daemon is back:\nno connection moved\n3 : 2 : {NEW_LTE}", weights=weights)
        after = self.marks()
        both = before.keys() & after.keys()
        moved = sum(before[flow] != after[flow] for flow in both)
        self.check(both and not moved,
                   f"{len(both)} connections that the kernel knew before and still knows: {moved} changed their link")
        steady = self.steady.result()
        self.check(steady["failed"] == 0 and steady["moved"] == 0 and steady["answers"] == steady["requests"],
                   f"{steady['flows']} long connections from before the weight, the kill and the start: "
                   f"{steady['failed']} broken, {steady['moved']} seen to move, "
                   f"{steady['answers']} of {steady['requests']} answers")

    def act_stop(self, router_before):
        say = self.terminal
        say.step("Everything stops, and the router is as it was")
        opened, failures = self.close_traffic()
        self.check(not failures, f"{opened} connections and queries opened since the beginning, {len(failures)} failed")
        for failure in failures[:10]:
            say.block(failure)
        say.command("kill -TERM <the daemon>; nfq-balancer-rules stop")
        self.balancer.stop_daemon()
        say.block(self.balancer.rules("stop").stdout)
        self.phases.append((time.time() - self.began, "rules stop:\nas it was", None))
        left = differences(router_before, snapshot(self.world.router))
        self.check(not left, "rulesets, ip rules, routes, addresses and sysctls compared with before: "
                   + ("no difference" if not left else "different"))
        if left:
            say.block(left)
        self.open_traffic()
        self.watch(4)
        self.close_traffic()

    def draw(self):
        end = time.time() - self.began
        starts = {link.name: [] for link in self.world.links}
        for event in self.events():
            if event.link:
                starts[event.link].append(event.time - self.began)
        picture.draw(self.path, list(starts), starts, self.phases, end)

    def run(self):
        self.introduce()
        self.build()
        router_before = snapshot(self.world.router)
        first = {name: weight for name, weight, _ in LINKS}
        second = first | {"lte": NEW_LTE}
        self.began = time.time()
        self.terminal.start = time.monotonic()
        self.act_before()
        self.act_rules(first)
        self.act_daemon(first)
        self.act_weight(second)
        self.act_kill(second)
        self.act_return(second)
        self.act_stop(router_before)
        self.draw()


def main():
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    reason = unusable()
    if reason:
        print(f"demo: {reason}", file=sys.stderr)
        return 1
    # an end by signal is an end like any other: the lab is taken down
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    links = [Link(name, n, weight, f"{capacity}mbit", "masquerade", {"download": f"{capacity}Mbit"})
             for n, (name, weight, capacity) in enumerate(LINKS, 1)]
    with World(links, 3, "nat66", True, 4) as world:
        demo = Demo(world, sys.argv[1])
        demo.run()
    print()
    if demo.bad:
        print(f"demo: {demo.bad} of its claims did not hold (BAD above)", file=sys.stderr)
        return 1
    print(demo.terminal.paint("The picture: ", "1") + sys.argv[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
