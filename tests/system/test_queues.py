# SPDX-License-Identifier: GPL-2.0-or-later
"""
Several queues, each with a worker of its own; workers that spin and that are pinned.

The kernel chooses the queue by a hash of addresses and protocol: clients with many
addresses and eight servers make sure that each worker gets its part.
"""

import os
import pathlib
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import flood, wait_until
from lab.traffic import arrived
from steering import ROOM, all_well, from_all_clients, steer
from test_faults import Load, sums_up
from test_races import arrivals, count_arrivals

WEIGHTS = [3, 2, 1]
CPUS = sorted(os.sched_getaffinity(0))


def more_addresses(client, n, first=100):
    """Give a client so many addresses more; the list of them"""
    addresses = [f"192.168.1.{first + i}" for i in range(n)]
    client.ip(*(f"addr add {address}/24 dev eth0" for address in addresses))
    return addresses


def workers(world, what):
    """One counter of each worker, in order"""
    stats = world.balancer.json("show stats")["stats"]
    return [stats[f"queue {n}"][what] for n in range(sum(name.startswith("queue ") for name in stats))]


def threads(process):
    """Thread ids of the workers, in the order of their queues"""
    names = {(task / "comm").read_text(encoding="ascii").strip(): int(task.name)
             for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir()}
    return [thread for name, thread in sorted(names.items()) if name.startswith("nfqb-queue")]


def allowed(thread):
    """The processors that a thread may use"""
    return os.sched_getaffinity(thread)


def wait_resting(process):
    """Wait until no worker has had a processor between two looks."""
    seen = []

    def rested():
        seen.append([pathlib.Path(f"/proc/{process.pid}/task/{thread}/schedstat").read_text(encoding="ascii")
                     for thread in threads(process)])
        return len(seen) > 1 and seen[-1] == seen[-2]

    wait_until(rested, 10, "workers that sleep", interval=0.2)


@pytest.mark.parametrize("queues", [1, 2, 4])
def test_same_tuple_same_answer(make_world, queues):
    """Both packets of each new flow wait in the queues together: one answer, whichever worker gives it."""
    flows = 121
    w = make_world(links=2, clients=1)
    count_arrivals(w)
    sources = more_addresses(w.clients[0], 30)
    w.balancer.configure(w.links, source_limit=0, queues=queues)
    w.balancer.start()
    w.balancer.process.send_signal(signal.SIGSTOP)
    run = w.traffic(flows=flows, rate=300, udp=True, packets=2, spread=0.2, source=sources)
    wait_until(lambda: w.balancer.queues()["waiting"] >= 2 * flows, 20, "two packets of each flow in the queues")
    w.balancer.process.send_signal(signal.SIGCONT)
    result = run.result()
    assert result["failures"] == {} and result["answers"] == 2 * flows and result["moved"] == 0
    split = w.split(run.run)
    assert arrivals(w, "udp") == {name: 2 * n for name, n in split.items()}
    assert w.balancer.fallback() == w.leaked() == 0
    assert len(workers(w, "packets")) == queues and all(workers(w, "packets"))
    assert sum(workers(w, "packets")) == 2 * flows
    assert sum(workers(w, "reason repeat")) == sum(workers(w, "reason scheduled")) == flows
    # each worker takes the links in turn by itself
    assert all(abs(n - flows / 2) <= queues for n in split.values()), split


@pytest.mark.parametrize("queues", [2, 4])
def test_stickiness_across_workers(make_world, queues, scale):
    """A client's flows come to several workers by their destinations, and stay on its link."""
    w = make_world(links=3, clients=1, weights=WEIGHTS)
    sources = more_addresses(w.clients[0], 12)
    steer(w, groups={"g": {"links": ["link1", "link2", "link3"], "scheduler": "wrr", "sticky": "source"}},
          queues=queues)
    runs = [w.traffic(flows=scale(160), rate=40, udp=True, source=[source]) for source in sources]
    for run in runs:
        assert run.result()["failures"] == {}
    used = [{name for name, n in w.split(run.run).items() if n} for run in runs]
    assert all(len(links) == 1 for links in used), used
    assert set.union(*used) == {"link1", "link2", "link3"}
    assert all(workers(w, "reason sticky")), "each worker went by what others had written"
    assert sum(workers(w, "reason scheduled")) == len(sources)
    assert w.balancer.fallback() == 0


@pytest.mark.parametrize("queues", [2, 4])
def test_weights_over_all_workers(make_world, queues, scale):
    """Each worker keeps the weights by itself: the sum is exact but for one flow for each."""
    w = steer(make_world(weights=WEIGHTS), queues=queues)
    flows = scale(2400) // 24 * 24
    result, split = from_all_clients(w, flows)
    all_well(result, flows)
    assert all(workers(w, "packets"))
    assert sum(workers(w, "link")) == w.balancer.decided() == flows
    for n, weight in zip(split.values(), WEIGHTS):
        assert abs(n - flows * weight / sum(WEIGHTS)) <= queues, split


@pytest.mark.parametrize("options", [{}, {"spin": 200, "pin": "auto"}], ids=["plain", "spinning"])
def test_reload_and_kill_with_four_queues(make_world, scale, options):
    """Reloads under load lose nothing; a kill loses no TCP connection, and of UDP at most what waited."""
    w = steer(make_world(weights=WEIGHTS), queues=4, **options)
    load = Load(w, scale)
    for _ in range(scale(100)):
        w.balancer.command("reload")
    assert w.balancer.fallback() == 0 and w.balancer.queues()["dropped"] == 0
    assert all(workers(w, "packets"))
    queued = load.kill_daemon()
    load.wait_for(scale(1000))
    assert w.balancer.fallback() > 0
    w.balancer.start_daemon()
    load.wait_for(scale(1000))
    tcp, udp = load.end()
    sums_up(w, load)
    assert tcp["failures"] == {} and tcp["completed"] == tcp["flows"]
    assert udp["failed"] <= queued
    assert tcp["moved"] == udp["moved"] == 0
    assert all(workers(w, "packets"))


def test_orderly_exit_with_four_queues(make_world, scale):
    """Workers that spin leave as others do: every queue runs dry first."""
    w = steer(make_world(weights=WEIGHTS), queues=4, spin=1000)
    load = Load(w, scale)
    assert w.balancer.stop_daemon() == 0
    load.wait_for(scale(500))
    w.balancer.start_daemon()
    load.wait_for(scale(500))
    tcp, udp = load.end()
    sums_up(w, load)
    all_well(tcp, tcp["flows"])
    all_well(udp, udp["flows"])


def test_spinning_ends_with_the_traffic(make_world, scale):
    """While packets come workers look for them; on an idle router they sleep."""
    w = steer(make_world(weights=WEIGHTS), queues=2, spin=10000)
    result, _ = from_all_clients(w, scale(3000))
    all_well(result, scale(3000) // 3 * 3)
    wait_resting(w.balancer.process)
    w.balancer.configure(w.links, **ROOM, queues=2, spin=0)
    w.balancer.command("reload")
    result, _ = from_all_clients(w, 300)
    all_well(result, 300)


@pytest.mark.skipif(len(CPUS) < 2, reason="one processor: nothing to choose")
def test_pinned_workers(make_world):
    """auto, a list, and off, at the start and by reload."""
    w = steer(make_world(), queues=3, pin="auto")
    assert [allowed(thread) for thread in threads(w.balancer.process)] == [{CPUS[n % len(CPUS)]} for n in range(3)]
    assert allowed(w.balancer.process.pid) == set(CPUS), "the control thread is free"
    for pin, wanted in ((CPUS[1::-1], [{CPUS[1]}, {CPUS[0]}, {CPUS[1]}]), ("off", [set(CPUS)] * 3)):
        w.balancer.configure(w.links, **ROOM, queues=3, pin=pin)
        w.balancer.command("reload")
        assert [allowed(thread) for thread in threads(w.balancer.process)] == wanted
    result, _ = from_all_clients(w, 300)
    all_well(result, 300)


def test_pinned_to_no_processor(make_world):
    """One line with the place, at the start and by reload."""
    w = make_world()
    w.balancer.configure(w.links, pin=[CPUS[0], 1000])
    process = w.balancer.start_daemon(wait=False)
    assert process.wait(10) == 1
    lines = process.log().splitlines()
    assert len(lines) == 1 and "nfq-balancer.conf:" in lines[0], lines
    assert "pin 1000, expected processors that this program may use: " in lines[0], lines
    w.balancer.configure(w.links)
    w.balancer.start()
    w.balancer.configure(w.links, pin=[1000])
    assert w.balancer.control("reload")[-1].startswith("error ")
    assert "pin 1000, expected" in w.balancer.process.log()
    assert w.balancer.ready()


def test_scaling(make_world, figures, scale):
    """A flood with 1, 2 and 4 workers: what they decide is a figure; that nothing is lost is not."""
    w = make_world(links=2, clients=3)
    assert w.server
    flows = scale(30000)
    shown = {}
    for queues in (1, 2, 4):
        w.balancer.configure(w.links, queues=queues, source_limit=0, queue_length=1024)
        w.balancer.start()
        with ThreadPoolExecutor() as pool:
            sent = list(pool.map(lambda client: flood(client, w.servers, flows=flows, port="5000-5019"), w.clients))
        seconds = max(run["seconds"] for run in sent)
        report = arrived(w.server, 3 * flows)
        assert 3 * flows - sum(run["flows"] for run in report["runs"].values()) == report["drops"], "lost on the way"
        assert w.balancer.decided() + w.balancer.fallback() == 3 * flows
        assert sum(workers(w, "packets")) == w.balancer.decided()
        shown[f"decided_per_second_{queues}"] = int(w.balancer.decided() / seconds)
        shown[f"share_{queues}"] = f"{w.balancer.decided() / (3 * flows):.2f}"
        w.balancer.stop()
        w.server.reset()
        w.router.run("conntrack", "-F")
    figures(**shown)
