# SPDX-License-Identifier: GPL-2.0-or-later
"""Feedback: the daemon's counts of flows against the kernel's table and what the senders do."""

import contextlib
import os
import re
import signal
import time

import pytest

import counts as counting
import lab
from lab.host import wait_until

LEAST_LOAD = {"balanced": {"links": ["link1", "link2"], "scheduler": "least-load", "sticky": "none"}}
KERNEL = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
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
    return counting.links(world.balancer, what)


def sending(world):
    return sum(links(world, "sending").values())


def stats(world):
    return world.balancer.json("show stats")["stats"]["feedback"]


def source(world):
    return world.balancer.json("status")["feedback"]["source"]


def kernel_known(world):
    return counting.kernel_known(world.balancer)


def agree(world, timeout=10):
    return counting.agree(world.balancer, timeout)


def counts(world, number, timeout=10):
    counting.sending(world.balancer, number, timeout)


@contextlib.contextmanager
def held(world, flows, seconds=60, packets=600, **options):
    """Connections that send all the time (packets=2: nothing in between), until the block ends"""
    run = world.traffic(flows=flows, rate=500, packets=packets, spread=seconds, **options)
    counts(world, flows)
    try:
        yield run
    finally:
        run.process.kill()


def test_reloaded_capacities_count(make_world):
    """Capacities of 1:1 become 3:1 in the file: so do the flows that are sending."""
    world = make_world(links=2, keys={"download": "10Mbit"})
    begin(world)
    with held(world, 12):
        assert links(world, "sending") == {"link1": 6, "link2": 6}
        world.links[0].keys = {"download": "30Mbit"}
        world.balancer.configure(world.links, LEAST_LOAD, source_limit=0)
        world.balancer.json("reload")
        with_more = world.traffic(flows=12, rate=500, packets=600, spread=60)
        wait_until(lambda: links(world, "sending") == {"link1": 18, "link2": 6}, what="18 flows on the larger link")
        with_more.process.kill()


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


def places(world, name):
    """Of the kernel's table: "max" or "count" """
    return int(world.router.sh(f"cat /proc/sys/net/netfilter/nf_conntrack_{name}"))


def processor_seconds(process):
    """What a process has used so far, all threads"""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_overrun(make_world, scale, figures):
    """More events than the kernel keeps for us, in a large table: counts are right again soon after the storm."""
    world = begin(make_world(links=2, clients=2), feedback_budget=100)
    world.router.sysctl({"net.netfilter.nf_conntrack_udp_timeout": 600})  # none ends meanwhile

    def known_are_all():
        # quicker than a list; the router has a few entries of its own (IGMP)
        return 0 <= places(world, "count") - sum(links(world, "known").values()) < 5

    assert world.server
    lab.flood(world.clients[1], world.servers, flows=scale(160000), rate=60000, port="5000-5019")
    wait_until(lambda: places(world, "count") > scale(150000) and known_are_all(), 60, "the standing flows known")
    daemon = world.balancer.process
    daemon.send_signal(signal.SIGSTOP)
    lab.flood(world.clients[0], world.servers, flows=scale(60000), rate=0, port="5000-5019")
    used, begun = processor_seconds(daemon), time.monotonic()
    daemon.send_signal(signal.SIGCONT)
    wait_until(known_are_all, 10, "all flows known")
    figures(entries=places(world, "count"), right_again_after=f"{time.monotonic() - begun:.2f} s",
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


def fill_table(world, entries):
    """Other people's connections, so well established that the kernel evicts none of them"""
    path = os.path.join(world.lab.directory, "entries")
    with open(path, "w", encoding="ascii") as file:
        for n in range(entries):
            client = f"198.18.{n >> 16 & 255}.{n >> 8 & 255}"
            server = f"198.19.0.{n & 255}"
            file.write(f"-I -p udp -s {client} -d {server} --sport 1000 --dport 9 -r {server} -q {client} "
                       "--reply-port-src 9 --reply-port-dst 1000 -t 3600 -u ASSURED,SEEN_REPLY\n")
    world.router.run("conntrack", "-R", path, timeout=120, check=False)  # the last ones may find no place


def seen_entries(world):
    return world.balancer.json("status")["feedback"]["entries"]


def test_table_full(world):
    """The kernel drops what begins while its table is full; what goes on and what begins later is counted right."""
    limit = places(world, "max")
    if limit > 1 << 19:
        pytest.skip(f"the kernel's table has {limit} places, too many to fill")
    with held(world, 20):
        lab.flood(world.clients[1], world.servers, flows=100, rate=5000, port="5000-5019")
        agree(world)
        fill_table(world, limit - places(world, "count"))
        wait_until(lambda: places(world, "max") != limit or seen_entries(world) >= 0.99 * limit, 20,
                   "the daemon to see a full table")
        if places(world, "max") != limit:
            pytest.skip("somebody else changed nf_conntrack_max, which is one for all namespaces")
        assert any("nearly full" in trouble for trouble in world.balancer.json("status")["troubles"])
        feedback = world.balancer.json("status")["feedback"]
        assert feedback["entries_max"] == limit
        assert world.balancer.process.log().count("nearly full") == 1
        # the datagrams' entries make room for some, then there is none; TCP tries again later
        lab.flood(world.clients[1], world.servers, flows=2000, rate=5000, port="5000-5019")
        waiting = world.traffic(world.clients[1], flows=50, rate=500, timeout=60)
        wait_until(lambda: dropped(world) > 1000, 10, "connections dropped by the kernel")
        assert sum(agree(world, 60).values()) < 200
        world.router.run("conntrack", "-D", "-d", "198.19.0.0/24", timeout=120)
        result = waiting.result()
        assert result["completed"] == 50 and result["retransmits"] > 0
        counts(world, 20)
        agree(world)
        # how full the table is is looked at once a second
        wait_until(lambda: world.balancer.json("status")["status"] == "OK", 10, "no trouble any more")
    counts(world, 0)


def dropped(world):
    """New connections that the kernel had no place for"""
    listed = world.router.run("conntrack", "-S").stdout
    return sum(int(number) for number in re.findall(r" drop=(\d+)", listed))


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
    """Its counters begin anew, and so do the other's when its driver is reset: never a rate that was not there."""
    link = world.links[0]
    rates, totals = [], [[], []]

    def look():
        shown = world.balancer.json("status")["links"]
        rates.extend(one[way] for one in shown for way in ("down_bits", "up_bits"))
        for kept, one in zip(totals, shown):
            kept.append(one["rx_bytes"])
        return shown

    with held(world, 20, want=50000):
        wait_until(lambda: all(one["rx_bytes"] > 10**6 for one in look()), 20, "some traffic")
        world.router.ip(f"link del {link.interface}")
        wait_until(lambda: world.balancer.link_state(link.name) == "down", what="link1 down")
        agree(world)
        world.lab.wire(world.router, link.interface, world.internet, link.interface)
        world.router.address(link.interface, f"{link.address}/28", f"{link.address6}/64")
        world.internet.address(link.interface, f"{link.gateway}/28", f"{link.gateway6}/64")
        wait_until(lambda: world.balancer.link_state(link.name) == "up", what="link1 up")
        more = world.traffic(flows=20, rate=500, packets=600, spread=60, want=50000)
        seen = len(totals[0])
        wait_until(lambda: look()[0]["rx_bytes"] > totals[0][seen - 1] + 10**6, 30, "traffic through the new interface")
        more.process.kill()
    # 40 connections, 10 answers of 50 kB a second each
    assert 0 < max(rates) < 2 * 40 * 10 * 8 * 51000
    assert all(kept == sorted(kept) for kept in totals)
    counts(world, 0, timeout=30)
    run = world.traffic(flows=20, rate=200)
    assert run.result()["completed"] == 20
    counts(world, 0, timeout=30)
    agree(world)


def test_interface_renamed(world):
    """A link is down while its interface has another name. The kernel forgets what it masqueraded there; so do we."""
    link = world.links[0]

    def rename(old, new):
        world.router.ip(f"link set {old} down", f"link set {old} name {new}", f"link set {new} up")

    def new_connections():
        run = world.traffic(world.clients[1], flows=10, rate=500)
        assert run.result()["completed"] == 10
        return world.split(run.run)

    with held(world, 20):
        before = agree(world)
        rename(link.interface, "other0")
        wait_until(lambda: world.balancer.link_state(link.name) == "down", what="link1 down")
        assert agree(world)["link2"] >= before["link2"]
        assert new_connections() == {"link1": 0, "link2": 10}
        rename("other0", link.interface)
        wait_until(lambda: world.balancer.link_state(link.name) == "up", what="link1 up")
        shown = world.balancer.json("status")["links"]
        assert max(one["down_bits"] for one in shown) < 10**7  # small answers, ten a second for each connection
        wait_until(lambda: new_connections()["link1"], 30, "connections through link1 again")
        agree(world)
    counts(world, 0, timeout=30)


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


def switches(world):
    """How often the control thread has gone to sleep"""
    pid = world.balancer.process.pid
    with open(f"/proc/{pid}/task/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))


def sleeps_per_second(world, function):
    """(what `function` gives, how often per second the control thread went to sleep meanwhile)"""
    before, begun = switches(world), time.monotonic()
    result = function()
    return result, (switches(world) - before) / (time.monotonic() - begun)


TICKS = 50  # per second, whatever happens


def test_events_gather(make_world):
    """Connections do not wake the daemon: a timer does, while they come"""
    world = begin(make_world(links=2), feedback_interval=10000)
    events = stats(world)["events"]
    done, rate = sleeps_per_second(world, lambda: world.traffic(flows=1000, rate=500).result())
    assert done["completed"] == 1000
    counts(world, 0)
    assert agree(world)
    # 4 and more of a connection; half as many switches again for what else there is to do
    assert stats(world)["events"] - events >= 4000
    assert rate < 1.5 * (100 + TICKS)
    _, rate = sleeps_per_second(world, lambda: time.sleep(1))
    assert rate < 1.5 * TICKS, "no events, no timer"
    if KERNEL >= (6, 14):  # events have a time of their own: handshakes are measured as if they were heard at once
        assert all(us > 1 for us in links(world, "rtt_us").values())


def test_few_events_are_looked_for_less_often(make_world):
    """A look in vain doubles the time to the next: after a connection come 25 looks until the socket is polled again, not 100"""
    world = begin(make_world(links=2))
    done, rate = sleeps_per_second(world, lambda: world.traffic(flows=60, rate=20).result())
    assert done["completed"] == 60
    assert rate < 20 * 50 + 1.5 * TICKS
    counts(world, 0)


def test_events_at_once(make_world):
    world = begin(make_world(links=2), feedback_interval=0)
    done, rate = sleeps_per_second(world, lambda: world.traffic(flows=500, rate=250).result())
    assert done["completed"] == 500 and rate > 1.5 * TICKS
    counts(world, 0)
    # and changed while it runs
    world.balancer.configure(world.links, LEAST_LOAD, source_limit=0, feedback_interval=10000)
    world.balancer.json("reload")
    done, rate = sleeps_per_second(world, lambda: world.traffic(flows=1000, rate=500).result())
    assert done["completed"] == 1000 and rate < 1.5 * (100 + TICKS)
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
