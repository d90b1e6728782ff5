# SPDX-License-Identifier: GPL-2.0-or-later
"""
bench/live's labs: a router per contender with the same LAN and links, the tools that send through
it, and what the kernel and the machine counted meanwhile.
"""

import contextlib
import glob
import json
import os
import subprocess
import time

from lab import contenders, world
from lab.host import wait_until
from lab.paths import BUILD, tool

HOSTS = 64  # hosts of the LAN that each sender plays: below nfq-balancer's limit for one source
RULES = 1000
FLOWS_APART = 4_000_000  # more than one run sends
FILL_RATE = 50_000
SPIN_US = 5000  # longer than the 2 ms between two of 500 connections: shorter ones spin in vain
EVENTS = "/proc/sys/net/netfilter/nf_conntrack_events"
BRIDGE_HOOKS = "/proc/sys/net/bridge/bridge-nf-call-iptables"
LATENCY = "/dev/cpu_dma_latency"  # holds while it is open
# counters at the first hook of the router and of the far side; there floods end
FIRST_HOOK = """table ip live {
counter first { }
counter syn { }
chain first {
type filter hook prerouting priority -450
ip dscp cs1 counter name first return
tcp flags & (syn|ack) == syn counter name syn
}
}
"""


def program(name):
    """One of bench/'s own programs"""
    return os.path.join(BUILD, "bench", name)


def mac_of(host, interface):
    """The address that frames to it carry"""
    return json.loads(host.run("ip", "-j", "link", "show", interface).stdout)[0]["address"]


def busy():
    """
    Seconds of all processors that were not idle, softirq included; only differences mean something. By idle
    time, which the kernel measures: the time of programs and softirqs it only samples, a few hundred times a second.
    """
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    _user, _nice, _system, idle, iowait, _irq, _softirq, steal = ticks
    return time.monotonic() * os.cpu_count() - (idle + iowait + steal) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def awake():
    """
    For a while, idle processors poll instead of halting, as for every measurement of latency: to wake one
    takes a virtual machine longer than a router has a packet for, and it is not the router's doing.
    """
    with contextlib.ExitStack() as stack:
        if os.path.exists(LATENCY):
            stack.enter_context(open(LATENCY, "wb", buffering=0)).write((0).to_bytes(4, "little"))
        yield


class Contender:
    """A lab with one way to share connections; close() ends it."""

    fails_open = False  # with a queue, and a fallback behind it
    listens = False  # to the kernel's events of connections

    def __init__(self, name, options):
        self.name = name
        self.options = options
        self.used = 0  # flows
        self.answers = None  # the far side's server, once established flows are wanted
        self.process = None  # of the one in userspace
        self.world = world(links=2, clients=2)
        try:
            self._prepare()
            self.start()
            self._hush()
            self.idle = self.resident()
        except BaseException:
            self.close()
            raise

    def start(self):
        """Install what steers."""
        raise NotImplementedError

    def close(self):
        """End the lab."""
        self.world.close()

    def _prepare(self):
        w = self.world
        # where br_netfilter is there, a bridge would run the router's hooks itself: few routers have that
        if os.path.exists(BRIDGE_HOOKS):
            w.router.sysctl({"net.bridge.bridge-nf-call-iptables": 0, "net.bridge.bridge-nf-call-ip6tables": 0})
        w.router.run("nft", "-f", "-", stdin=FIRST_HOOK)
        arrivals = "".join(f"iifname {link.interface} ip dscp cs1 counter name {link.name} drop\n" for link in w.links)
        w.internet.run("nft", "-f", "-", stdin="table ip live {\n" + "".join(
            f"counter {link.name} {{ }}\n" for link in w.links)
            + f"chain first {{\ntype filter hook prerouting priority -450\n{arrivals}}}\n}}\n")
        self.sources = []
        for n, client in enumerate(w.clients, 1):
            self.sources.append([f"192.168.1.{HOSTS * n + host}" for host in range(HOSTS)])
            client.ip(*(f"addr add {address}/24 dev eth0" for address in self.sources[-1]))
        self._introduce()
        self.far = [w.internet.start(program("live_connect"), "serve", 80, stdin=subprocess.PIPE, name="accept"),
                    # bound: answers to datagrams would otherwise come from another of its addresses
                    w.internet.start("iperf3", "-s", "-B", w.servers[0], name="iperf3")]
        wait_until(lambda: "ready" in self.far[0].log(), 10, "the far side")

    def _hush(self):
        """
        Nobody else's events: with one listener on the machine, the kernel builds them in every network
        namespace. They take longer than anything that contenders differ by, and a router alone would not have them.
        """
        if not self.listens:
            self.world.router.sh(f"[ ! -e {EVENTS} ] || echo 0 > {EVENTS}")

    def _introduce(self):
        """Neighbours once and for all: the kernel's table of them, which all labs share, would be too small."""
        w = self.world
        self.mac = mac_of(w.router, "lan0")
        for client, sources in zip(w.clients, self.sources):
            mac = mac_of(client, "eth0")
            client.ip(f"neigh replace 192.168.1.1 lladdr {self.mac} dev eth0 nud permanent")
            w.router.ip(*(f"neigh replace {address} lladdr {mac} dev lan0 nud permanent" for address in sources))
        for link in w.links:
            for host, there, address in ((w.router, w.internet, link.gateway), (w.internet, w.router, link.address)):
                host.ip(f"neigh replace {address} lladdr {mac_of(there, link.interface)} dev {link.interface} nud permanent")

    # ---- counting ----

    def decisions(self, counters):
        """(decided in userspace, left to the fallback) so far, of all counters of the router"""
        return counters.get("decided", 0), counters.get("fallback", 0)

    def counts(self):
        """What was counted until now."""
        counters = {}
        for host in (self.world.router, self.world.internet):
            listed = json.loads(host.run("nft", "-j", "list", "counters").stdout)["nftables"]
            counters |= {(c := entry["counter"])["name"]: c["packets"] for entry in listed if "counter" in entry}
        decided, fallback = self.decisions(counters)
        return {"offered": counters["first"], "syn": counters["syn"], "decided": decided, "fallback": fallback,
                **{link.name: counters[link.name] for link in self.world.links}}

    def counts_settled(self):
        """The same once nothing moves any more."""
        last = None
        while (now := self.counts()) != last:
            last = now
            time.sleep(0.02)
        return now

    def far_packets(self):
        """Packets that came to the far side by all links so far"""
        listed = json.loads(self.world.internet.run("ip", "-j", "-s", "link").stdout)
        return sum(row["stats64"]["rx"]["packets"] for row in listed if row["ifname"] != "lo")

    def resident(self):
        """Resident bytes of what runs in userspace, or None"""
        if not self.process:
            return None
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))

    # ---- between measurements ----

    def used_processor(self):
        """Seconds of processor time that all threads in userspace had, verdicts' way on through the kernel included"""
        used = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat") if self.process else ():
            with open(path, encoding="ascii") as file:
                used += int(file.read().split()[0])
        return used / 1e9

    @contextlib.contextmanager
    def placed(self):
        """
        For a while, all stay on processor 0 but the control thread: how long it takes to wake another
        processor depends on what that one does.
        """
        others = set(range(1, os.cpu_count())) or {0}
        places = {process.pid: {0} for process in self.far}
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/comm") if self.process else ():
            with open(path, encoding="ascii") as file:
                places[int(path.split("/")[4])] = others if file.read().startswith("nfq-balancer") else {0}
        before = {task: os.sched_getaffinity(task) for task in places}
        try:
            for task, processors in places.items():
                os.sched_setaffinity(task, processors)
            yield
        finally:
            for task, processors in before.items():
                os.sched_setaffinity(task, processors)

    def forget(self):
        """Empty the connection table, and wait until userspace has heard of it."""
        self.world.router.run("conntrack", "-F", check=False)
        deadline = time.monotonic() + 3
        while self.process and time.monotonic() < deadline:
            before = self.used_processor()
            time.sleep(0.05)
            if self.used_processor() - before < 0.01:
                break

    # ---- sending ----

    def start_flood(self, sender, seconds, *more):
        """live_flood in a client: source addresses of its own, flows that were not there before."""
        w = self.world
        if "--first" not in more and "--cycle" not in more:
            more = (*more, "--first", self.used)
            self.used += FLOWS_APART
        return w.clients[sender].start(
            program("live_flood"), "--interface", "eth0", "--router", self.mac, "--from", ",".join(self.sources[sender]),
            "--to", ",".join(w.servers), "--seconds", seconds, "--cpu", sender % os.cpu_count(), *more, pipe=True)

    def start_connect(self, sender, how, seconds, *more):
        """live_connect in a client."""
        w = self.world
        return w.clients[sender].start(
            program("live_connect"), how, "--from", ",".join(self.sources[sender]), "--to", ",".join(w.servers),
            "--seconds", seconds, *more, pipe=True)


def result_of(process, timeout=60):
    """The JSON that a tool prints at its end."""
    out, _ = process.popen.communicate(timeout=timeout)
    if process.popen.returncode:
        raise RuntimeError(f"{process.name} ended with {process.popen.returncode}: {process.log()}")
    return json.loads(out)


# ---- the contenders ----

class Kernel(Contender):
    """One of lab/contenders.py, or its function with some arguments"""

    def __init__(self, name, options, install):
        self.install = install
        super().__init__(name, options)

    def start(self):
        self.install(self.world)


class Bare(Contender):
    """The accept loop, the ceiling"""

    fails_open = True
    spin = 0

    def start(self):
        contenders.queued(self.world)
        self.run_loop("0", [link.id for link in self.world.links])

    def run_loop(self, queue, marks):
        """Start the loop on a queue."""
        self.process = self.world.router.start(program("bare"), "--queue", queue, "--marks", ",".join(map(str, marks)),
                                               "--spin", self.spin, name="bare")
        wait_until(lambda: "ready" in self.process.log(), 10, "the bare loop")


class BareSpinning(Bare):
    """It polls before it sleeps."""

    spin = SPIN_US


class Nfqlb(Contender):
    """Nordix' nfqlb on the bare loop's rules: new flows alone go through its queue, which fails closed."""

    def start(self):
        shared = f"nfqb-live-{os.getpid()}"
        # of the last one it chooses the name itself
        self.files = [f"/dev/shm/{name}" for name in (shared, f"{shared}-frag", "nfqlb-trace")
                      if not os.path.exists(f"/dev/shm/{name}")]
        router = self.world.router
        contenders.queued(self.world)
        router.run(self.options.nfqlb, "init", f"--shm={shared}")
        router.run(self.options.nfqlb, "activate", f"--shm={shared}", *(link.id for link in self.world.links))
        self.process = router.start(self.options.nfqlb, "lb", f"--tshm={shared}", f"--ft_shm={shared}-frag", "--queue=0",
                                    "--qlength=4096", "--hash_mode=0", name="nfqlb")
        wait_until(lambda: router.sh("cat /proc/net/netfilter/nfnetlink_queue"), 10, "nfqlb's queue")

    def close(self):
        super().close()
        for path in self.files:
            if os.path.exists(path):
                os.unlink(path)


def many_rules(n):
    """Rules of the kinds that people write, of which no benchmark's flow matches one."""
    rules = {}
    for i in range(n):
        network = f"198.18.{i // 4 % 256}.{64 * (i // 1024 % 4)}/26"
        rules[f"r{i}"] = ({"destination": [network], "use": "link1"},
                          {"protocol": ["tcp", "udp"], "destination_port": [10000 + i], "use": "link2"},
                          {"source": [f"10.{i % 256}.0.0/16"], "protocol": ["udp"], "use": "link2"},
                          {"dscp": ["EF"], "destination": [network], "use": "link1"})[i % 4]
    return rules


class Ours(Contender):
    """nfq-balancer as it is shipped, but for the keys given here"""

    fails_open = True
    scheduler = "least-load"
    rules = 0
    keys = {}

    @property
    def listens(self):
        return self.keys.get("feedback", True)

    def start(self):
        balancer, links = self.world.balancer, self.world.links
        balancer.configure(links, {"balanced": {"links": [link.name for link in links], "scheduler": self.scheduler,
                                                "sticky": "none"}},
                           {**many_rules(self.rules), "rest": {"use": "balanced"}}, **self.keys)
        balancer.start()
        self.process = balancer.process

    def decisions(self, counters):
        return tuple(sum(packets for name, packets in counters.items() if name.startswith(kind))
                     for kind in ("decided_", "fallback_"))


class Wrr(Ours):
    """Turns by weight, nothing to learn"""

    scheduler = "wrr"
    keys = {"feedback": False}


class LeastLoad(Ours):
    """The default"""


class ManyRules(Ours):
    """The default, and rules to look through"""

    rules = RULES


class Spinning(Wrr):
    """Workers poll before they sleep."""

    keys = {"feedback": False, "spin": SPIN_US}


class Offloading(Wrr):
    """Established flows past all hooks"""

    keys = {"feedback": False, "offload": True}


def flowtables():
    """Does the kernel have them?"""
    table = "table inet t {\nflowtable f { hook ingress priority 0; devices = { lo }; }\n" \
            "chain c { type filter hook forward priority 0; flow add @f; }\n}\n"
    return subprocess.run(["unshare", "-n", "nft", "-f", "-"], input=table.encode(), capture_output=True, check=False).returncode == 0


class OurRules(Bare):
    """The bare loop behind nfq-balancer's rules: what these cost"""

    def start(self):
        balancer = self.world.balancer
        balancer.configure(self.world.links, feedback=False)
        balancer.rules("start")
        self.run_loop("0", [link.id << 8 for link in self.world.links])

    decisions = Ours.decisions


class Dropping(Contender):
    """No router at all: what the sender costs"""

    def start(self):
        self.world.router.run("nft", "-f", "-", stdin="flush chain ip live first\n"
                              "add rule ip live first ip dscp cs1 counter name first drop\n")


class Crowd(Kernel):
    """Connections of somebody else: the kernel has one table for all network namespaces"""

    def __init__(self, connections, options):
        super().__init__("crowd", options, contenders.numgen)
        try:
            self.world.router.sysctl({"net.netfilter.nf_conntrack_udp_timeout": 6 * 3600})
            if connections:
                result_of(self.start_flood(0, 600, "--rate", FILL_RATE, "--burst", 8, "--flows", connections), 600)
                found = int(self.world.router.sh("cat /proc/sys/net/netfilter/nf_conntrack_count"))
                if found < connections:
                    raise RuntimeError(f"{connections} connections were opened, the kernel has {found}")
            for client in self.world.clients:
                client.ip("link set eth0 down")
        except BaseException:
            self.close()
            raise


# name: (class, arguments)
CONTENDERS = {
    "none": (Kernel, contenders.none),
    "ecmp-l3": (Kernel, lambda w: contenders.ecmp(w, layer4=False)),
    "ecmp-l4": (Kernel, contenders.ecmp),
    "nth": (Kernel, lambda w: contenders.nth(w, only_tcp=False)),
    "nth-nft": (Kernel, contenders.numgen),
    "mwan3": (Kernel, contenders.mwan3),
    "nfqlb": (Nfqlb,),
    "bare": (Bare,),
    "bare-spin": (BareSpinning,),
    "bare-rules": (OurRules,),
    "wrr": (Wrr,),
    "least-load": (LeastLoad,),
    "1000-rules": (ManyRules,),
    "spin": (Spinning,),
    "offload": (Offloading,),
}


def build(name, options):
    """A contender by its name, started."""
    kind, *arguments = CONTENDERS[name]
    return kind(name, options, *arguments)


def sender_alone(options):
    """The lab that drops everything at once."""
    return Dropping("sender", options)


def missing_programs(nfqlb):
    """Of what is needed, the first that is not there, or None"""
    for path in (program("bare"), program("live_flood"), program("live_connect"), tool("traffic-server")):
        if not os.access(path, os.X_OK):
            return f"{path} is not built: make all tools"
    for name in ("iperf3", "conntrack", "nft", "iptables", "ipset"):
        if subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, check=False).returncode:
            return f"no {name}: scripts/install-deps --bench"
    if nfqlb and not os.access(nfqlb, os.X_OK):
        return f"{nfqlb}: not a program"
    return None
