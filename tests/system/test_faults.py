# SPDX-License-Identifier: GPL-2.0-or-later
"""
The daemon dies, leaves, comes back, is flooded; rules and policy are renewed under load.

In all of these the fallback has other weights than the policy (steering.FALLBACK),
flows are counted at the far side, and every flow that arrived was either decided by
the daemon or by the kernel's fallback: decided + fallback = sent.
"""

import signal
import time

import pytest
from lab import Balancer, flood, wait_until
from lab.host import PATIENCE
from lab.paths import DAEMON
from lab.traffic import arrived, total
from steering import FALLBACK, ROOM, all_well, shares, steer

WEIGHTS = [3, 2, 1]


class Load:
    """2,000 new connections a second: TCP from two clients, UDP exchanges from the third on top."""

    def __init__(self, world, scale, udp_rate=500, **options):
        self.world = world
        # however long a slow machine takes for a test, what has ended must not fill the table
        world.router.sysctl({"net.netfilter.nf_conntrack_tcp_timeout_time_wait": int(10 * PATIENCE),
                             "net.netfilter.nf_conntrack_tcp_timeout_close": int(10 * PATIENCE),
                             "net.netfilter.nf_conntrack_udp_timeout_stream": 20})
        rate = scale(1000)
        self.tcp = [world.traffic(client, flows=0, rate=rate, **options) for client in world.clients[:2]]
        self.udp = world.traffic(world.clients[2], flows=0, rate=scale(udp_rate), udp=True, timeout=3, **options)
        self.all = [*self.tcp, self.udp]
        self.wait_for(scale(1000))

    def counted(self):
        runs = self.world.server.report()["runs"]
        return sum(runs.get(str(run.run), {"flows": 0})["flows"] for run in self.all)

    def wait_for(self, flows):
        """Go on until so many more flows came through."""
        goal = self.counted() + flows
        wait_until(lambda: self.counted() >= goal, 60, f"{flows} more flows")

    def pause(self, yes):
        """Stop the clients, or let them go on."""
        for run in self.all:
            run.process.send_signal(signal.SIGSTOP if yes else signal.SIGCONT)

    def kill_daemon(self):
        """SIGKILL with packets in the queues; how many there were."""
        balancer = self.world.balancer
        # a daemon that does not answer: packets wait. Then hold the clients, so that their number is known.
        balancer.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: balancer.queues()["waiting"] >= 50, 10, "50 packets in the queues")
        self.pause(True)
        queued = balancer.queues()["waiting"]
        balancer.kill_daemon()
        self.pause(False)
        return queued

    def end(self):
        """Open no more, finish what is open: (TCP's result, UDP's result)"""
        for run in self.all:
            run.stop()
        return total(run.result() for run in self.tcp), self.udp.result()


def sums_up(world, load):
    """decided + fallback = what arrived at the far side"""
    counted = load.counted()
    assert world.balancer.decided() + world.balancer.fallback() == counted
    return counted


def test_killed_with_packets_in_the_queue(make_world, figures, scale):
    """SIGKILL: every TCP connect succeeds; UDP loses at most what was queued; the fallback carries on."""
    w = steer(make_world(weights=WEIGHTS))
    load = Load(w, scale)
    assert w.balancer.fallback() == 0
    queued = load.kill_daemon()
    load.wait_for(scale(4000))
    fallback = w.balancer.fallback()
    load.wait_for(scale(2000))
    w.balancer.start_daemon()
    load.wait_for(scale(2000))
    tcp, udp = load.end()
    flows = sums_up(w, load)
    lost = udp["flows"] - w.server.run(load.udp.run)["flows"]
    figures(flows=flows, queued_at_kill=queued, tcp_failed=tcp["failed"], udp_lost=lost,
            decided=w.balancer.decided(), fallback=w.balancer.fallback(), connect_us=tcp["connect_us"])
    assert tcp["failures"] == {}
    assert tcp["completed"] == tcp["flows"]
    assert 0 <= lost <= queued
    assert udp["failed"] == lost
    assert fallback > scale(3000)
    # what arrived and was not decided; before the end some of it may still be on its way
    decided = w.balancer.counters()["decided"]
    split = w.split(*(run.run for run in load.all))
    shares({name: split[name] - decided[name] for name in split}, FALLBACK, 0.05)
    assert tcp["moved"] == udp["moved"] == 0


def test_term_and_start_lose_nothing(make_world, figures, scale):
    """An orderly exit empties the queue first; a start takes over: three times, nothing lost, not one segment twice."""
    w = steer(make_world(weights=WEIGHTS))
    load = Load(w, scale)
    for _ in range(3):
        fallback = w.balancer.fallback()
        assert w.balancer.stop_daemon() == 0
        wait_until(lambda before=fallback: w.balancer.fallback() >= before + scale(500), 10, "the fallback's flows")
        decided = w.balancer.decided()
        w.balancer.start_daemon()
        wait_until(lambda before=decided: w.balancer.decided() >= before + scale(1000), 10, "the daemon's flows")
    tcp, udp = load.end()
    flows = sums_up(w, load)
    figures(flows=flows, tcp_failed=tcp["failed"], retransmits=tcp["retransmits"], udp_lost=udp["failed"],
            decided=w.balancer.decided(), fallback=w.balancer.fallback(), connect_us=tcp["connect_us"])
    all_well(tcp, tcp["flows"])
    all_well(udp, udp["flows"])
    assert flows == tcp["flows"] + udp["flows"]


def test_rules_restart_loses_nothing(make_world, figures, scale):
    """`restart` under load: no packet lost, no flow on another link, the daemon goes on deciding."""
    w = steer(make_world(weights=WEIGHTS))
    load = Load(w, scale, packets=5, spread=2)
    restarts = 3
    for _ in range(restarts):
        w.balancer.rules("restart")
        load.wait_for(scale(1000))
    before = w.balancer.decided()
    load.wait_for(scale(1000))
    assert w.balancer.decided() > before
    tcp, udp = load.end()
    moved = sum(w.server.run(run.run)["moved"] + w.server.run(run.run)["rebound"] for run in load.all)
    figures(restarts=restarts, flows=load.counted(), tcp_failed=tcp["failed"], retransmits=tcp["retransmits"],
            udp_unanswered=udp["requests"] - udp["answers"], moved=moved)
    all_well(tcp, tcp["flows"])
    all_well(udp, udp["flows"])
    assert load.counted() == tcp["flows"] + udp["flows"]
    assert moved == 0
    assert w.balancer.queues()["dropped"] == w.balancer.queues()["user_dropped"] == 0


def test_a_thousand_reloads_lose_nothing(make_world, figures, scale):
    """Reloads of changing weights, over the socket and by SIGHUP: 0 lost, no flow changes its link."""
    w = steer(make_world(weights=WEIGHTS))
    reloads = scale(1000)
    load = Load(w, scale, packets=5, spread=2)
    started = time.monotonic()
    for number in range(reloads):
        if number % 10 == 0:
            load.wait_for(scale(50))  # a thousand reloads take less than a second: spread them over the load
            w.links[0].weight = 3 + number // 10 % 2
            w.balancer.configure(w.links, **ROOM)
        if number % 100 == 99:
            done = w.balancer.json("show stats")["stats"]["control"]["reloads"]
            w.balancer.process.send_signal(signal.SIGHUP)
            wait_until(lambda: w.balancer.json("show stats")["stats"]["control"]["reloads"] == done + 1, 5, "SIGHUP")
        else:
            w.balancer.command("reload")
    seconds = time.monotonic() - started
    load.wait_for(scale(1000))
    tcp, udp = load.end()
    flows = sums_up(w, load)
    moved = sum(w.server.run(run.run)["moved"] + w.server.run(run.run)["rebound"] for run in load.all)
    figures(reloads=reloads, seconds=round(seconds, 1), flows=flows, tcp_failed=tcp["failed"],
            retransmits=tcp["retransmits"], udp_unanswered=udp["requests"] - udp["answers"], moved=moved,
            fallback=w.balancer.fallback())
    assert w.balancer.json("show stats")["stats"]["control"]["reloads"] == reloads
    all_well(tcp, tcp["flows"])
    all_well(udp, udp["flows"])
    assert flows == tcp["flows"] + udp["flows"]
    assert moved == 0
    assert w.balancer.fallback() == 0


def test_flood_spills_into_the_fallback(make_world, figures, scale):
    """More new flows than userspace decides: the excess takes the fallback, and nothing is lost."""
    w = steer(make_world(weights=WEIGHTS), queue_length=64)
    room = int(w.router.sh("cat /proc/sys/net/netfilter/nf_conntrack_max"))
    flows = scale(200_000)
    assert flows < room, f"nf_conntrack_max is {room}: too small for {flows} flows (NFQB_SCALE makes it fewer)"
    assert w.server
    sent = flood(w.clients[0], w.servers, port="5000-5019", flows=flows)
    report = arrived(w.server, flows)
    far, drops = report["runs"][str(sent["run"])], report["drops"]
    counts = w.balancer.counters()
    decided, fallback = w.balancer.decided(), w.balancer.fallback()
    queues = w.balancer.queues()
    figures(sent=sent["sent"], per_second=int(sent["sent"] / sent["seconds"]), decided=decided, fallback=fallback,
            lost=sent["sent"] - far["flows"] - drops, split=w.split(sent["run"]))
    assert sent["sent"] == flows
    assert decided > 0
    assert fallback > 0
    assert decided + fallback == flows
    assert far["flows"] + drops == flows
    assert far["duplicates"] == far["moved"] == 0
    assert queues["dropped"] == queues["user_dropped"] == 0
    shares(counts["decided"], WEIGHTS)
    shares(counts["fallback"], FALLBACK)


def test_one_source_cannot_take_the_queue(make_world, scale):
    """source-limit: what one client opens beyond it goes to the fallback; the others are still decided."""
    w = steer(make_world(weights=WEIGHTS), source_limit=100)
    greedy = w.traffic(w.clients[0], flows=scale(4000), rate=scale(2000))
    modest = w.traffic(w.clients[1], flows=60, rate=30)
    all_well(greedy.result(), scale(4000))
    all_well(modest.result(), 60)
    # the limit for each second, and as much at once before
    assert w.balancer.fallback() >= scale(4000) - 100 * (greedy.result()["seconds"] + 2)
    # the fallback would send 8 of 10 through link3, the policy sends 1 of 6
    assert w.split(modest.run)["link3"] <= 20
    assert w.balancer.decided() + w.balancer.fallback() == scale(4000) + 60


# ---- a daemon that cannot work says so, in one line ----

def refusal(process):
    """The one line a daemon leaves with"""
    status = process.wait(10)
    lines = [line for line in process.log().splitlines() if line]
    assert status not in (0, None)
    assert status > 0, f"ended by signal {-status}"
    assert len(lines) == 1, lines
    return lines[0]


def test_second_instance_refuses(make_world):
    w = steer(make_world())
    first = w.balancer.process
    line = refusal(w.balancer.start_daemon(wait=False))
    assert f"another nfq-balancer (pid {first.pid}) answers" in line, line
    w.balancer.process = first
    assert w.balancer.ready()


def test_occupied_queue(make_world):
    """Another program has our queue: one line with its number."""
    w = steer(make_world())
    other = Balancer(w.router)
    other.configure(w.links)
    line = refusal(other.start_daemon(wait=False))
    assert f"queue 0 is held by another program (netlink port {w.balancer.process.pid}," in line, line
    assert w.balancer.ready()


@pytest.mark.parametrize("who", ["nobody", "root without CAP_NET_ADMIN"])
def test_missing_permission(make_world, who):
    w = make_world()
    w.balancer.configure(w.links)
    drop = ["--reuid=65534", "--regid=65534", "--clear-groups"] if who == "nobody" \
        else ["--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    process = w.router.start("setpriv", *drop, DAEMON, "-c", w.balancer.config_path, name="daemon")
    line = refusal(process)
    assert any(word in line for word in ("permi", "CAP_NET_ADMIN", "root")), line
