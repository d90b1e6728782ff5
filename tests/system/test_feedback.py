# SPDX-License-Identifier: GPL-2.0-or-later
"""Feedback: the daemon's counts of flows against the kernel's table and what the senders do."""

import contextlib
import os
import re
import signal
import time

import pytest

import lab
from lab.host import wait_until

LEAST_LOAD = {"balanced": {"links": ["link1", "link2"], "scheduler": "least-load", "sticky": "none"}}
EVENTS = "net.netfilter.nf_conntrack_events"


def begin(world, **top):
    groups = {"balanced": {"links": [link.name for link in world.links], "scheduler": "least-load", "sticky": "none"}}
    top.setdefault("source_limit", 0)
    world.balancer.configure(world.links, groups, **top)
    world.balancer.start()
    return world


@pytest.fixture(name="world")
def started_world(make_world):
    return begin(make_world(links=2, clients=2))


def links(world, what):
    """{link: "sending", "known", ...} as the daemon has it"""
    return {link["link"]: link[what] for link in world.balancer.json("show links")["links"]}


def sending(world):
    return sum(links(world, "sending").values())


def stats(world):
    return world.balancer.json("show stats")["stats"]["feedback"]


def source(world):
    return world.balancer.json("status")["feedback"]["source"]


def kernel_known(world):
    """{link: entries of the kernel with its mark}"""
    listed = world.router.sh("conntrack -L 2>/dev/null; conntrack -f ipv6 -L 2>/dev/null", check=False)
    marks = [int(mark) & 0xff00 for mark in re.findall(r"mark=(\d+)", listed)]
    return {link.name: marks.count(0x8000 | link.id << 8) for link in world.links}


def agree(world, timeout=10):
    """Wait until the daemon knows as many flows of each link as the kernel; that many."""
    return wait_until(lambda: links(world, "known") == kernel_known(world) and (kernel_known(world) or True), timeout,
                      f"known to be the kernel's: {links(world, 'known')}, {kernel_known(world)}")


def counts(world, number, timeout=10):
    wait_until(lambda: sending(world) == number, timeout, f"{number} flows sending: {links(world, 'sending')}")


@contextlib.contextmanager
def held(world, flows, seconds=60, packets=600, **options):
    """Connections that send all the time (packets=2: nothing in between), until the block ends"""
    run = world.traffic(flows=flows, rate=500, packets=packets, spread=seconds, **options)
    counts(world, flows)
    try:
        yield run
    finally:
        run.process.kill()


def test_connections_count_while_they_send(world):
    run = world.traffic(flows=60, rate=600, packets=20, spread=3)
    wait_until(lambda: links(world, "sending") == {"link1": 30, "link2": 30}, what="30 flows on each link")
    assert agree(world) == {"link1": 30, "link2": 30}
    assert run.result()["completed"] == 60
    counts(world, 0)
    assert sum(agree(world).values()) == 60  # in TIME_WAIT
    totals = stats(world)
    assert totals["matched"] == 60 and totals["foreign"] == totals["ghosts"] == totals["swept"] == 0


def test_a_connection_cut_short_stops_counting(world):
    with held(world, 20):
        assert sending(world) == 20
    counts(world, 0)  # FIN or RST: the client was killed
    agree(world)


def test_exchanges_count_until_their_answer(world):
    server = lab.Server(world.internet, "53")
    run = world.traffic(udp=True, port="53", flows=40, rate=400)
    assert run.result()["completed"] == 40
    counts(world, 0)
    agree(world)
    # by their answers, not because their time was over
    assert stats(world)["idle"] == 0 and stats(world)["matched"] == 40
    server.process.stop()


def test_other_datagrams_count_for_a_while(world):
    run = world.traffic(udp=True, port="5000", flows=40, rate=4000)
    counts(world, 40, timeout=2)
    run.result()
    counts(world, 0)
    assert stats(world)["idle"] == 40
    assert sum(agree(world).values()) == 40


def test_idle_connections_do_not_count(world):
    with held(world, 25):
        silent = world.traffic(world.clients[1], flows=15, rate=500, packets=2, spread=100)
        counts(world, 40)
        counts(world, 25, timeout=30)
        looks = stats(world)["looks"]
        wait_until(lambda: stats(world)["looks"] >= looks + 2, 30, "two more looks")
        assert sending(world) == 25
        assert sum(agree(world).values()) == 40
        silent.process.kill()


def test_dropped_packets_leave_no_ghost(world):
    world.router.run("nft", "-f", "-", stdin="table inet firewall {\nchain forward {\n"
                     "type filter hook forward priority 10\nudp dport 5001 drop\n}\n}\n")
    lab.flood(world.clients[0], world.servers[0], flows=100, rate=5000, port="5001")
    wait_until(lambda: stats(world)["ghosts"] == 100, 10, "100 ghosts retired")
    counts(world, 0)
    agree(world)


def test_fallback_counts_too(make_world):
    world = begin(make_world(links=2, clients=2), source_limit=10)
    run = world.traffic(flows=60, rate=600, packets=20, spread=3)
    counts(world, 60)
    agree(world)
    assert stats(world)["foreign"] >= 20
    run.result()
    counts(world, 0)


def test_a_burst_does_not_herd(make_world):
    """Of 1,000 SYNs at once, no link gets more than its share and one per worker."""
    world = begin(make_world(links=3, clients=2), queues=2)
    runs = [world.traffic(client, flows=500, parallel=500, packets=2, spread=60) for client in world.clients]
    counts(world, 1000, timeout=30)
    assert max(links(world, "known").values()) <= 1000 // 3 + 1 + 2
    assert agree(world)
    for run in runs:
        run.process.kill()
    counts(world, 0)


def processor_seconds(process):
    """What a process has used so far, all threads"""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_overrun(make_world, scale, figures):
    """More events than the kernel keeps for us, in a large table: counts are right again soon after the storm."""
    world = begin(make_world(links=2, clients=2), feedback_budget=100)
    world.router.sysctl({"net.netfilter.nf_conntrack_udp_timeout": 600})  # none ends meanwhile
    standing, storm = scale(160000), scale(60000)
    assert world.server
    lab.flood(world.clients[1], world.servers, flows=standing, rate=60000, port="5000-5019")
    wait_until(lambda: sum(links(world, "known").values()) == standing, 60, "the standing flows known")
    daemon = world.balancer.process
    daemon.send_signal(signal.SIGSTOP)
    lab.flood(world.clients[0], world.servers, flows=storm, rate=0, port="5000-5019")
    used, begun = processor_seconds(daemon), time.monotonic()
    daemon.send_signal(signal.SIGCONT)
    wait_until(lambda: sum(links(world, "known").values()) == standing + storm, 10, "all flows known")
    figures(entries=standing + storm, right_again_after=f"{time.monotonic() - begun:.2f} s",
            processor=f"{processor_seconds(daemon) - used:.2f} s")
    agree(world)
    assert stats(world)["overruns"] > 0 and stats(world)["resyncs"] > 0
    assert "the kernel dropped events" in daemon.log()
    counts(world, 0, timeout=30)  # the storm's own have gone quiet


def test_table_flushed_by_somebody_else(world):
    with held(world, 30):
        world.router.run("conntrack", "-F")
        counts(world, 30)  # their next packets make them known again
        assert sum(agree(world).values()) >= 30
    counts(world, 0)


def test_without_events(world):
    world.router.run("sysctl", "-qw", f"{EVENTS}=0")
    wait_until(lambda: source(world) == "samples", 10, "samples")
    status = world.balancer.json("status")
    assert status["status"] == "WARN"
    assert any("nf_conntrack_events is 0" in trouble for trouble in status["troubles"])
    assert "nf_conntrack_events is 0" in world.balancer.process.log()
    run = world.traffic(flows=30, rate=500, packets=300, spread=30)
    wait_until(lambda: sum(links(world, "known").values()) == 30, 20, "30 flows known")
    counts(world, 30)
    run.process.kill()
    counts(world, 0, timeout=20)
    world.router.run("sysctl", "-qw", f"{EVENTS}=1")
    wait_until(lambda: source(world) == "events", 10, "events again")
    assert world.balancer.json("status")["status"] == "OK"
    agree(world)


def test_beyond_its_budget(make_world, scale):
    """Events are given up for a while, and taken up again; the counts stay right."""
    world = begin(make_world(links=2, clients=2), feedback_budget=1)
    run = world.traffic(flows=scale(30000), rate=3000)
    wait_until(lambda: source(world) == "samples", 30, "samples")
    assert "feedback-budget is, 1 %" in world.balancer.process.log()
    assert any("more than feedback-budget" in trouble for trouble in world.balancer.json("status")["troubles"])
    run.stop()
    assert run.result()["failures"] == {}
    wait_until(lambda: source(world) == "events", 30, "events again")
    assert stats(world)["over budget"] == 1
    counts(world, 0)
    agree(world)


def test_stopped_and_continued(world):
    daemon = world.balancer.process
    run = world.traffic(flows=600, rate=100)
    counts_before = wait_until(lambda: stats(world)["matched"] > 50, what="traffic")
    assert counts_before
    daemon.send_signal(signal.SIGSTOP)
    during = world.traffic(world.clients[1], flows=400, rate=100)
    wait_until(lambda: sum(kernel_known(world).values()) > 500, 20, "flows while the daemon is stopped")
    daemon.send_signal(signal.SIGCONT)
    assert run.result()["failures"] == {} and during.result()["failures"] == {}
    counts(world, 0)
    agree(world)


def test_interface_made_again(world):
    link = world.links[0]
    with held(world, 20):
        world.router.ip(f"link del {link.interface}")
        wait_until(lambda: world.balancer.link_state(link.name) == "down", what="link1 down")
        agree(world)
        world.lab.wire(world.router, link.interface, world.internet, link.interface)
        world.router.address(link.interface, f"{link.address}/28", f"{link.address6}/64")
        world.internet.address(link.interface, f"{link.gateway}/28", f"{link.gateway6}/64")
        wait_until(lambda: world.balancer.link_state(link.name) == "up", what="link1 up")
        # no byte was lost from the totals, none came from nowhere
        down = [one["down_bits"] for one in world.balancer.json("status")["links"]]
        assert all(bits < 10**9 for bits in down)
    counts(world, 0, timeout=30)
    run = world.traffic(flows=20, rate=200)
    assert run.result()["completed"] == 20
    counts(world, 0, timeout=30)
    agree(world)


def test_restart_counts_what_is_there(world):
    with held(world, 30):
        before = links(world, "sending")
        world.balancer.kill_daemon()
        with_fallback = world.traffic(world.clients[1], flows=10, rate=500, packets=300, spread=60)
        wait_until(lambda: sum(kernel_known(world).values()) == 40, what="40 connections")
        world.balancer.start_daemon()
        counts(world, 40)
        assert all(links(world, "sending")[name] >= before[name] for name in before)
        assert sum(agree(world).values()) == 40
        with_fallback.process.kill()
    counts(world, 0)


def test_off(make_world):
    world = make_world(links=2)
    world.router.sysctl({EVENTS: 2, "net.netfilter.nf_conntrack_acct": 0})
    begin(world, feedback=False)
    assert source(world) == "off"
    assert world.router.sh(f"sysctl -n {EVENTS} net.netfilter.nf_conntrack_acct").split() == ["2", "0"]
    assert "ct event set" not in world.router.run("nft", "list", "table", "inet", "nfq_balancer").stdout
    run = world.traffic(flows=30, rate=500, packets=50, spread=20)
    wait_until(lambda: stats(world)["ghosts"] == 30, what="decisions alone are known, for two seconds")
    assert sending(world) == 0 and set(links(world, "known").values()) == {0}
    run.process.kill()


def test_settings_go_back(make_world):
    world = make_world(links=2)
    names = [EVENTS, "net.netfilter.nf_conntrack_acct", "net.netfilter.nf_conntrack_timestamp"]
    world.router.sysctl(dict(zip(names, (2, 0, 0))))
    begin(world)
    assert world.router.sh("sysctl -n " + " ".join(names)).split() == ["1", "1", "1"]
    world.balancer.stop()
    assert world.router.sh("sysctl -n " + " ".join(names)).split() == ["2", "0", "0"]
