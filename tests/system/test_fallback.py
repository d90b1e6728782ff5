# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel's fallback follows the daemon: weights set at run time, links that go and come,
what the schedulers gave lately. Each is seen in the far side's counts after a SIGKILL.
"""

import collections
import json
import random
import socket
import time
from fractions import Fraction

import pytest
from lab import flood, wait_until
from lab.host import PATIENCE
from lab.traffic import arrived
from steering import FALLBACK, ROOM, all_well, from_all_clients, only, shares, wait_link

WEIGHTS = [3, 2, 1]
SLOTS = 240


def follow(world, groups=None, rules=None, **top):
    """Configure, start rules and daemon; no link states a weight of its own for the fallback."""
    world.balancer.configure(world.links, groups, rules, **{**ROOM, **top})
    world.balancer.start()
    wait_until(lambda: permille(world) is not None, 10, "the first look at the maps")
    return world


def permille(world, family=4):
    """What the daemon tells: {link: permille of the fallback}, None where it does not know"""
    told = {link["link"]: link[f"fallback{family}_permille"] for link in world.balancer.json("show links")["links"]}
    return None if None in told.values() else told


def slots(world, name="fallback4"):
    """What the kernel has: {link: slots}, and the order of their ids"""
    text = world.router.run("nft", "-j", "list", "map", "inet", "nfq_balancer", name).stdout
    elements = next(row["map"] for row in json.loads(text)["nftables"] if "map" in row).get("elem", [])
    order = [target["goto"]["target"] for _, target in sorted(elements, key=lambda row: row[0])]
    counts = collections.Counter(order)
    return {link.name: counts[f"take_{link.id}"] for link in world.links}, order


def written(world):
    return world.balancer.json("show stats")["stats"]["kernel"]["fallback written"]


def wait_slots(world, expected, name="fallback4"):
    """Wait until the kernel's map has so many slots for each link"""
    expected = {link.name: n for link, n in zip(world.links, expected)}
    try:
        wait_until(lambda: slots(world, name)[0] == expected, 10 * PATIENCE, f"{name} of {expected}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}: it has {slots(world, name)[0]}") from None


def kill_and_count(world, flows, **options):
    """SIGKILL, then new connections as below"""
    world.balancer.kill_daemon()
    return fallback_split(world, flows, **options)


def fallback_split(world, flows, **options):
    """New connections from all clients, whole rounds of the slots; the far side's split"""
    flows = max(flows // SLOTS, 1) * SLOTS
    before = world.balancer.fallback()
    result, split = from_all_clients(world, flows, **options)
    all_well(result, flows)
    assert world.balancer.fallback() - before == flows
    assert world.leaked() == 0
    return split


# ---- weights ----

def test_follows_weights(make_world, figures, scale):
    """3:2:1 becomes 1:2:3 at run time; the daemon dies; 6,000 new connections split 1:2:3, IPv4 and IPv6."""
    w = follow(make_world(weights=WEIGHTS, ipv6="nat66"))
    assert written(w) == 0
    wait_slots(w, [120, 80, 40])
    w.balancer.nfqbctl("set", "weight", "link1", "1")
    w.balancer.nfqbctl("set", "weight", "link3", "3")
    wait_slots(w, [40, 80, 120])
    wait_slots(w, [40, 80, 120], "fallback6")
    wait_until(lambda: permille(w) == permille(w, 6) == {"link1": 166, "link2": 333, "link3": 500}, 5, "shares told")
    split = kill_and_count(w, scale(2000) * 3)
    result6, split6 = from_all_clients(w, scale(600) * 3, to=w.servers6)
    all_well(result6, scale(600) * 3)
    figures(split=split, split6=split6)
    shares(split, [1, 2, 3])
    shares(split6, [1, 2, 3])


def test_many_changes_are_few_transactions(make_world, figures):
    """A thousand weights in two seconds: the kernel's map is written once a second, and ends right."""
    w = follow(make_world(weights=WEIGHTS))
    monitor = w.router.start("nft", "monitor", "new", "elements", name="monitor")
    wait_until(lambda: probe_seen(w, monitor), 10, "nft monitor")
    before = written(w)
    seconds = change_weights(w, 1000)
    wait_slots(w, [48, 48, 144])
    count = written(w) - before
    figures(changes=1000, seconds=round(seconds, 2), transactions=count)
    assert 1 <= count <= seconds + 2
    # each transaction names each slot of the one map once
    wait_until(lambda: monitor.log().count("fallback4 { 0 : ") >= count, 5, "the monitor's last lines")
    assert monitor.log().count("fallback4 { 0 : ") == count


def probe_seen(world, monitor):
    """Does the monitor tell what is added? Asked by an element of a table of the test's own."""
    world.router.sh("nft 'add table inet probe; add set inet probe s { type mark; }; flush set inet probe s; "
                    "add element inet probe s { 1 }'")
    return "inet probe s" in monitor.log()


def change_weights(world, number):
    """So many `set weight` over one connection, one each 2 ms, 1:1:3 the last; seconds that it took"""
    lines = [f"set weight link{n % 3 + 1} {n % 7 + 1}" for n in range(number - 3)]
    lines += ["set weight link1 1", "set weight link2 1", "set weight link3 3"]
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(30)
        stream.connect(world.balancer.socket_path)
        replies = stream.makefile("r", encoding="utf-8")
        for line in lines:
            stream.sendall(line.encode() + b"\n")
            time.sleep(0.002)
            for reply in replies:
                if reply == "ok\n":
                    break
                assert not reply.startswith("error "), reply
    return time.monotonic() - begin


def test_stated_ratio_stays(make_world, scale):
    """fallback-weight is the user's: weights at run time do not touch it, links that are down do."""
    w = make_world(weights=WEIGHTS)
    for link, weight in zip(w.links, FALLBACK):
        link.keys["fallback_weight"] = weight
    follow(w)
    wait_slots(w, [24, 24, 192])
    w.balancer.command("set weight link1 9")
    w.balancer.command("set link link3 down")
    wait_slots(w, [120, 120, 0])
    w.balancer.command("set link link3 auto")
    wait_slots(w, [24, 24, 192])
    shares(kill_and_count(w, scale(1000) * 3), FALLBACK)


# ---- links ----

@pytest.mark.parametrize("how", ["down", "drain", "cable"])
def test_links_that_are_out_get_nothing(make_world, scale, how):
    """A link that takes no new flows leaves the fallback; back again, it returns."""
    w = follow(make_world(weights=WEIGHTS))

    def out(yes):
        if how == "cable":
            w.internet.ip(f"link set dev {w.link('link2').interface} {'down' if yes else 'up'}")
        else:
            w.balancer.command(f"set link link2 {how if yes else 'auto'}")
        wait_link(w, "link2", "drain" if how == "drain" and yes else "down" if yes else "up")

    out(True)
    wait_slots(w, [180, 0, 60])
    out(False)
    wait_slots(w, [120, 80, 40])
    out(True)
    wait_slots(w, [180, 0, 60])
    split = kill_and_count(w, scale(1000) * 3)
    only(split, "link1", "link3")
    shares({name: split[name] for name in ("link1", "link3")}, [3, 1])


def test_link_that_was_down_at_the_start_of_the_rules(make_world, scale):
    w = make_world(weights=WEIGHTS)
    w.internet.ip(f"link set dev {w.link('link1').interface} down")
    follow(w)
    wait_slots(w, [0, 160, 80])
    assert written(w) == 0
    w.internet.ip(f"link set dev {w.link('link1').interface} up")
    wait_link(w, "link1", "up")
    wait_slots(w, [120, 80, 40])
    shares(kill_and_count(w, scale(1000) * 3), WEIGHTS)


def test_lower_tier_takes_over(make_world, scale):
    """All links of the first tier down: the second one is the fallback's, too; none up: the first again."""
    w = make_world(weights=WEIGHTS)
    follow(w, groups={"balanced": {"links": ["link1", "link2"], "scheduler": "wrr", "sticky": "none",
                                  "tier": {"2": {"links": ["link3"]}}}})
    wait_slots(w, [144, 96, 0])
    w.balancer.command("set link link1 down")
    w.balancer.command("set link link2 down")
    wait_slots(w, [0, 0, 240])
    w.balancer.command("set link link3 down")
    wait_slots(w, [144, 96, 0])
    w.balancer.command("set link link3 auto")
    wait_slots(w, [0, 0, 240])
    only(kill_and_count(w, scale(300)), "link3")


def test_ipv6_prefixes_follow(make_world, scale):
    """Without NAT: each prefix has a map of its own links, which follows like the others."""
    w = make_world(weights=WEIGHTS, ipv6="prefix")
    # link2 carries the first provider's addresses as well
    w.links[1].keys["prefixes6"] = [str(w.links[0].prefix), str(w.links[1].prefix)]
    follow(w)
    names = {rule.split()[2]: rule.split()[-1] for rule in w.router.run(
        "nft", "list", "chain", "inet", "nfq_balancer", "fallback6").stdout.splitlines() if "saddr" in rule}
    shared = names[str(w.links[0].prefix)]
    wait_slots(w, [144, 96, 0], shared)
    w.balancer.command("set weight link1 1")
    wait_slots(w, [80, 160, 0], shared)
    wait_slots(w, [0, 240, 0], names[str(w.links[1].prefix)])
    wait_slots(w, [0, 0, 240], names[str(w.links[2].prefix)])
    w.balancer.kill_daemon()
    flows = scale(600)
    sent = flood(w.clients[0], w.servers6, port="5000-5019", flows=flows, source=w.client_address6(1, w.links[0]))
    assert sent["sent"] == flows
    wait_until(lambda: w.balancer.fallback() == flows, 10, "all flows in the kernel's counters")
    shares(w.balancer.counters()["fallback"], [1, 2, 0])


# ---- what the schedulers gave ----

def test_least_load_is_measured(make_world, figures, scale):
    """A link that is busy with other flows gets few of the new ones, from the daemon and then from the fallback."""
    w = make_world(weights=[1, 1, 1])
    follow(w, groups={"balanced": {"links": ["link1", "link2", "link3"], "scheduler": "least-load", "sticky": "none"}},
           rules={"pinned": {"destination_port": ["5001"], "use": "link1"}, "rest": {"use": "balanced"}})
    wait_slots(w, [80, 80, 80])
    busy = w.traffic(w.clients[0], flows=scale(300), rate=scale(600), port=5001, packets=600, spread=60)
    wait_until(lambda: w.balancer.json("show links")["links"][0]["sending"] >= scale(300), 20, "a busy link")
    run = w.traffic(w.clients[1], flows=0, rate=scale(400), port="5002-5019")
    wait_until(lambda: permille(w)["link1"] <= 50, 60, "a small share for the busy link")
    told = permille(w)
    # while they come: what was measured is forgotten within seconds
    w.balancer.kill_daemon()
    run.stop().result()
    split = fallback_split(w, scale(1000) * 3, port="5002-5019")
    busy.stop()
    figures(told=told, split=split)
    total = sum(split.values())
    assert 0 < split["link1"] <= 0.06 * total
    for name, count in split.items():
        assert abs(count - told[name] * total / 1000) <= 0.02 * total, (told, split)


# ---- the rules script and other people ----

def test_restart_of_the_rules_is_made_good(make_world, scale):
    """`restart` fills the maps from the file; soon they have the live weights again, and `status` is content."""
    w = follow(make_world(weights=WEIGHTS))
    w.balancer.command("set weight link1 1")
    w.balancer.command("set weight link3 3")
    wait_slots(w, [40, 80, 120])
    assert "as made" in w.balancer.rules("status").stdout
    for n in range(3):
        before = written(w)
        w.balancer.rules("restart")
        wait_until(lambda before=before: written(w) > before, 10, f"a write after restart {n}")
        wait_slots(w, [40, 80, 120])
    assert "as made" in w.balancer.rules("status").stdout
    assert "active already" in w.balancer.rules("start").stdout
    shares(kill_and_count(w, scale(1000) * 3), [1, 2, 3])
    w.balancer.rules("restart")
    wait_slots(w, [120, 80, 40])
    w.balancer.rules("stop")


def test_missing_slots_are_told_and_filled(make_world):
    """Somebody takes elements out: status says so, the daemon puts them back; meanwhile nothing is lost."""
    w = follow(make_world(weights=WEIGHTS))
    w.balancer.kill_daemon()
    w.router.run("nft", "delete", "element", "inet", "nfq_balancer", "fallback4", "{ 1, 2, 3 }")
    assert "map-fallback4" in w.balancer.rules("status", check=False).stdout
    result, _ = from_all_clients(w, 300)
    all_well(result, 300)
    w.balancer.start_daemon()
    wait_slots(w, [120, 80, 40])
    assert "as made" in w.balancer.rules("status").stdout


def test_rules_of_another_version_are_left_alone(make_world):
    w = follow(make_world(weights=WEIGHTS))
    w.router.run("sed", "-i", "s/^fallback fallback4 4 240 /fallback fallback4 4 128 /",
                 f"{w.balancer.run_directory}/rules.state")
    w.balancer.command("set weight link1 1")
    wait_until(lambda: "another version made the rules" in w.balancer.process.log(), 10, "a warning")
    w.balancer.command("set weight link1 2")
    wait_until(lambda: permille(w) is None, 10, "nothing told")
    assert w.balancer.process.log().count("another version made the rules") == 1
    assert slots(w)[0]["link1"] == 120


def test_iptables_alone_keeps_the_weights_of_the_start(make_world):
    """No map, no try, no warning; shares are not known."""
    w = make_world(weights=WEIGHTS)
    w.balancer.configure(w.links, **ROOM)
    w.balancer.rules("--backend=iptables-nft", "start")
    w.balancer.start_daemon()
    w.balancer.command("set weight link1 9")
    flows = from_all_clients(w, 600)[0]
    all_well(flows, 600)
    assert permille(w) is None
    stats = w.balancer.json("show stats")["stats"]["kernel"]
    assert (stats["fallback written"], stats["fallback failed"]) == (0, 0)
    assert "fallback" not in w.balancer.process.log()


def largest_remainder(weights, room=SLOTS):
    """Independent oracle: exact fractions, whole slots first to those below one"""
    given = {}
    while True:
        rest = {i: w for i, w in weights.items() if i not in given}
        quota = {i: Fraction(w * (room - len(given)), sum(rest.values())) for i, w in rest.items()}
        small = [i for i in rest if quota[i] < 1]
        if not small:
            break
        given[small[0]] = 1
    floors = {i: int(q) for i, q in quota.items()}
    missing = room - len(given) - sum(floors.values())
    for i in sorted(quota, key=lambda i: (floors[i] - quota[i], i))[:missing]:
        floors[i] += 1
    return {**given, **floors}


def test_script_and_daemon_deal_the_same(make_world):
    """Whatever the weights: the script fills the map as the daemon would, turn by turn, so that nothing is written."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    w = make_world(weights=[1, 1, 1, 1], links=4, clients=1)
    tuples = [[1, 1, 1, 1], [1000000, 1, 1, 1], [7, 5, 3, 1], [1000000, 999999, 3, 500000]]
    tuples += [[draw.choice([draw.randint(1, 9), draw.randint(1, 1000000)]) for _ in range(4)] for _ in range(6)]
    follow(w)
    for weights in tuples:
        for link, weight in zip(w.links, weights):
            link.weight = weight
        w.balancer.configure(w.links, **ROOM)
        w.balancer.command("reload")
        expected = largest_remainder(dict(enumerate(weights)))
        wait_slots(w, [expected[i] for i in range(4)])
        by_daemon = slots(w)[1]
        w.balancer.rules("restart")
        assert slots(w)[1] == by_daemon, weights
        for a, b, c in zip(by_daemon, by_daemon[1:], by_daemon[2:]):
            # no runs, but of links that have more than every second slot
            assert not a == b == c or by_daemon.count(a) > SLOTS / 2, weights


# ---- under load ----

def test_nothing_is_lost_while_maps_are_written(make_world, figures, scale):
    """Floods that overflow the queue while weights change: decided + fallback = sent = arrived, none by main."""
    w = follow(make_world(weights=WEIGHTS), queue_length=64)
    room = int(w.router.sh("cat /proc/sys/net/netfilter/nf_conntrack_max"))
    flows, rounds = scale(50_000), 4
    assert flows * rounds < room, f"nf_conntrack_max is {room}: too small"
    assert w.server
    before = written(w)
    sent = 0
    for n in range(rounds):
        goal = written(w) + 1
        w.balancer.command(f"set weight link1 {9 if n % 2 else 1}")
        while True:
            result = flood(w.clients[n % 3], w.servers, port="5000-5019", flows=flows // 4)
            assert result["sent"] == flows // 4
            sent += result["sent"]
            report = arrived(w.server, sent)
            assert sum(run["flows"] for run in report["runs"].values()) + report["drops"] == sent
            far = report["runs"][str(result["run"])]
            assert far["duplicates"] == far["moved"] == 0
            if written(w) >= goal or sent >= flows * rounds:
                break
        wait_until(lambda goal=goal: written(w) >= goal, 10, "the map to be written")
    decided, fallback = w.balancer.decided(), w.balancer.fallback()
    figures(sent=sent, decided=decided, fallback=fallback, written=written(w) - before)
    assert decided + fallback == sent
    assert fallback > 0
    assert written(w) - before >= rounds
