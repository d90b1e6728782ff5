# SPDX-License-Identifier: GPL-2.0-or-later
"""A flow keeps its link for life, whatever happens to the daemon and to the policy meanwhile."""

from lab import wait_until
from steering import ROOM, steer

WEIGHTS = [3, 2, 1]
PACKETS = 20


def test_flows_keep_their_link_for_life(make_world, figures, scale):
    """
    10,000 flows of 20 packets, half TCP, half UDP: while they go on, weights change, a link
    drains, the policy is reloaded, the daemon is killed and started, rules restart, and new
    connections keep coming. Every packet arrives; all of a flow come through one link. The
    last packet of each flow waits until all of that has happened.
    """
    w = steer(make_world(weights=WEIGHTS))
    # however long a slow machine takes: the kernel must not forget UDP flows that wait for their last packet
    w.router.sysctl({"net.netfilter.nf_conntrack_udp_timeout_stream": 3600, "net.netfilter.nf_conntrack_udp_timeout": 3600})
    flows = scale(5000)
    old = [w.traffic(client, flows=flows, rate=scale(1250), packets=PACKETS, spread=12, hold=True, udp=udp)
           for client, udp in zip(w.clients, (False, True))]
    wait_until(lambda: all(w.server.run(run.run)["flows"] == flows for run in old), 60, "all flows open")
    events = [
        ("weights", lambda: [w.balancer.command(f"set weight {c}") for c in ("link1 1", "link3 9")]),
        ("reload", lambda: (w.balancer.configure(w.links, **ROOM), w.balancer.command("reload"))),
        ("kill", w.balancer.kill_daemon),
        ("start", w.balancer.start_daemon),
        ("drain", lambda: w.balancer.command("set link link1 drain")),
        ("restart of rules", lambda: w.balancer.rules("restart")),
        ("kill again", w.balancer.kill_daemon),
        ("start again", w.balancer.start_daemon),
    ]
    for name, event in events:
        event()
        # new connections in between, so that every state decides some
        new = w.traffic(w.clients[2], flows=scale(150), rate=500)
        assert new.result()["failures"] == {}, f"new connections after {name}"
    for run in old:
        run.release()
    results = [run.result() for run in old]
    far = [w.server.run(run.run) for run in old]
    packets = sum(f["packets"] for f in far)
    moved = sum(f["moved"] for f in far)
    rebound = sum(f["rebound"] for f in far)
    figures(flows=2 * flows, packets=packets, lost=2 * flows * PACKETS - packets, moved=moved, rebound=rebound,
            split=w.split(*(run.run for run in old)))
    assert packets == 2 * flows * PACKETS
    assert [f["by_packets"] for f in far] == [{str(PACKETS): flows}] * 2
    assert moved == 0
    assert rebound == 0
    assert [(r["completed"], r["failures"]) for r in results] == [(flows, {})] * 2
