# SPDX-License-Identifier: GPL-2.0-or-later
"""What the steering, fault and lifetime tests share."""

from lab import wait_until
from lab.host import PATIENCE
from lab.traffic import total

# The fallback's weights, as unlike the policy's 3:2:1 as can be: a daemon that decides
# nothing shows in the far side's counts.
FALLBACK = (1, 1, 8)


# A busy machine may keep the daemon from its processor for seconds, and one client opens
# thousands of connections; the tests that are about these limits set their own.
ROOM = {"source_limit": 0, "queue_length": 32768}


def steer(world, groups=None, rules=None, **top):
    """Configure, start rules and daemon. The fallback has other weights than the policy."""
    for link, weight in zip(world.links, FALLBACK):
        link.keys.setdefault("fallback_weight", weight)
    world.balancer.configure(world.links, groups, rules, **{**ROOM, **top})
    world.balancer.start()
    return world


def from_all_clients(world, flows, **options):
    """Flows from all clients at once, evenly; the summed result and the split at the far side."""
    options.setdefault("rate", 3000 / len(world.clients))
    runs = [world.traffic(client, flows=flows // len(world.clients), **options) for client in world.clients]
    result = total(run.result() for run in runs)
    return result, world.split(*(run.run for run in runs))


def all_well(result, flows):
    """Every flow was opened, answered and kept its link; no TCP segment was sent twice."""
    assert result["failures"] == {}
    assert result["completed"] == result["flows"] == flows
    assert result["answers"] == result["requests"]
    assert result["moved"] == 0
    # an emulated machine may be slower than TCP's timer
    assert result["retransmits"] == 0 or PATIENCE > 1


def shares(split, weights, tolerance=0.01, ends=1):
    """
    Each link within `tolerance` of its share of what was counted: from the first flow, or
    between two moments (`ends`) of an order that goes on
    """
    counted = sum(split.values())
    assert counted > 0
    for (name, flows), weight in zip(split.items(), weights):
        share = counted * weight / sum(weights)
        # one flow more or less at each end is rounding, however few there are
        assert abs(flows - share) <= max(tolerance * share, ends), f"{name}: {flows} flows, {share:.1f} expected: {split}"


def only(split, *names):
    """All flows on these links, on each some"""
    assert {name for name, flows in split.items() if flows} == set(names), split


def wait_link(world, name, state):
    """Wait until the daemon sees a link in this state"""
    wait_until(lambda: world.balancer.link_state(name) == state, 5, f"{name} {state}")
