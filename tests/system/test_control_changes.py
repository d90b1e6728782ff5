# SPDX-License-Identifier: GPL-2.0-or-later
"""What the control socket changes: weights, link states, schedulers, reload, save; and watch."""

import itertools
import json
import os
import signal

import pytest

from control import Speaker, ask_json, error, status, weights
from lab.host import wait_until
from lab.paths import CLIENT

GROUPS = {"balanced": {"links": ["link1", "link2"], "scheduler": "wrr", "sticky": "none"}}


@pytest.fixture(name="world")
def fresh_world(make_world):
    world = make_world(links=2)
    world.balancer.configure(world.links, GROUPS)
    world.balancer.start()
    return world


def configure(world, weight1=1, **top):
    """The file, with another weight of link1 or other keys."""
    world.links[0].weight = weight1
    world.balancer.configure(world.links, GROUPS, **top)


# a tuple used again within seconds would be a repeat, not a new flow: each run gets ports of its own
ports = itertools.count(20000, 100)


def flows(world, number, **options):
    """New flows of client 1, counted on the far side."""
    first = next(ports)
    run = world.traffic(flows=number, rate=500, source_port=f"{first}-{first + number - 1}", **options)
    assert run.result()["completed"] == number
    return world.split(run.run)


# ---- set ----

def test_weight_counts_from_the_next_flow(world):
    balancer = world.balancer
    assert flows(world, 30) == {"link1": 15, "link2": 15}
    assert balancer.command("set weight link1 4") == ["link link1: weight 1 -> 4"]
    assert flows(world, 50) == {"link1": 40, "link2": 10}
    assert ask_json(balancer, "set weight link1 1") == [{"link": "link1", "was": 4, "weight": 1}]
    assert flows(world, 30) == {"link1": 15, "link2": 15}


def test_weight_never_moves_a_flow(world):
    run = world.traffic(flows=40, rate=200, packets=30, spread=2)
    wait_until(lambda: world.balancer.decided() >= 40, what="all flows open")
    world.balancer.command("set weight link1 1000")
    world.balancer.command("set link link1 drain")
    result = run.result()
    assert result["completed"] == 40 and result["moved"] == 0
    assert world.split(run.run) == {"link1": 20, "link2": 20}


@pytest.mark.parametrize("state", ["down", "drain"])
def test_set_link(world, state):
    balancer = world.balancer
    assert balancer.command(f"set link link1 {state}") == [f"link link1: admin auto -> {state}"]
    assert flows(world, 10) == {"link1": 0, "link2": 10}
    reply = balancer.control("status")
    assert reply[0].startswith("WARN  1 of 2 links up") and "differs from file" in reply[0]
    assert any(line.strip().startswith(f"link link1: {state}") for line in reply)
    balancer.command("set link link1 auto")
    assert flows(world, 10) == {"link1": 5, "link2": 5}
    assert status(balancer)["status"] == "OK"


def test_no_link_is_a_failure(world):
    for name in ("link1", "link2"):
        world.balancer.command(f"set link {name} down")
    assert status(world.balancer)["status"] == "FAIL"
    client = world.router.run(CLIENT, "-s", world.balancer.socket_path, check=False)
    assert client.returncode == 2 and client.stdout.startswith("FAIL  0 of 2 links up")
    world.balancer.command("set link link2 auto")
    client = world.router.run(CLIENT, "-s", world.balancer.socket_path, check=False)
    assert client.returncode == 1 and client.stdout.startswith("WARN  1 of 2 links up")


def test_carrier_loss_shows(world):
    world.router.ip("link set wan1 down")
    wait_until(lambda: status(world.balancer)["status"] == "WARN", what="the link's loss")
    answer = status(world.balancer)
    assert answer["links"][0]["state"] == "down" and answer["links"][0]["changed"]
    assert any(trouble.startswith("link link1: down") for trouble in answer["troubles"])


def test_forced_up_without_carrier_shows(world):
    world.router.ip("link set wan1 down")
    world.balancer.command("set link link1 up")
    wait_until(lambda: any("link1" in trouble for trouble in status(world.balancer)["troubles"]),
               what="the interface's loss")
    world.balancer.command("set link link2 down")
    explained = world.balancer.command("explain tcp 192.168.1.11 50000 203.0.113.1 80 iface lan0")
    assert explained[1] == "group   balanced, wrr: link1 <- next, link2 (down)"
    assert explained[3].startswith("link    link1, mark 0x100/0xff00, table 101, no way out now: ")


def test_rules_gone_shows(world):
    world.balancer.rules("stop")
    reply = world.balancer.control("status")
    assert reply[0].startswith("WARN  ") and "rules not active" in reply[0]
    assert "nfq-balancer-rules start" in reply[1]


def test_set_scheduler(world):
    """hash: one client and one server stay together; wrr: they take turns."""
    balancer = world.balancer
    assert balancer.command("set scheduler balanced hash") == ["group balanced: scheduler wrr -> hash"]
    assert sorted(flows(world, 10, to=[world.servers[0]]).values()) == [0, 10]
    balancer.command("set scheduler balanced wrr")
    assert sorted(flows(world, 10, to=[world.servers[0]]).values()) == [5, 5]


def test_ip_rules_that_somebody_took(world):
    """As network daemons do that clean up what they did not make: connections leave by the wrong link then"""
    for words in ("pref 10001 fwmark 0x8200/0xff00", "pref 10003"):
        assert status(world.balancer)["status"] == "OK"
        world.router.ip(f"rule del {words}")
        [trouble] = status(world.balancer)["troubles"]
        assert trouble.startswith("ip rules are missing")
        world.balancer.rules("restart")
    assert status(world.balancer)["status"] == "OK"


# ---- reload ----

def test_file_that_only_root_can_read(world):
    """The start reads it as root, a reload does not: said before the first reload fails"""
    balancer = world.balancer
    troubles = f"a reload would fail: user nobody cannot read {balancer.config_path}: Permission denied"
    balancer.stop_daemon()
    os.chmod(balancer.config_path, 0o600)
    balancer.start_daemon()
    try:
        assert status(balancer)["troubles"] == [troubles]
        assert troubles in balancer.process.log()
    finally:
        os.chmod(balancer.config_path, 0o644)
    assert status(balancer)["status"] == "OK"
    assert ask_json(balancer, "reload")[0]["links"] == 2


def test_reload(world):
    configure(world, weight1=5)
    assert status(world.balancer)["policy"]["file_unchanged"] is False
    assert "file changed" in world.balancer.control("status")[0]
    assert ask_json(world.balancer, "reload")[0]["links"] == 2
    assert weights(world.balancer) == {"link1": 5, "link2": 1}
    # the kernel's fallback follows; what a source may do is a rule
    assert status(world.balancer)["status"] == "OK"
    configure(world, weight1=5, source_limit=77)
    ask_json(world.balancer, "reload")
    assert status(world.balancer)["troubles"] == [
        "rules were made from another policy; run nfq-balancer-rules restart"]
    world.balancer.rules("restart")
    assert status(world.balancer)["status"] == "OK"


def test_reloads_between_two_flows(world):
    """A worker that saw none of the policies in between takes the newest, wherever in memory it is."""
    assert sum(flows(world, 4).values()) == 4
    for turn in range(6):
        for number in (turn, turn + 1):
            world.balancer.configure(world.links, GROUPS, {"rest": {"use": f"link{number % 2 + 1}"}})
            world.balancer.command("reload")
        assert flows(world, 10)[f"link{(turn + 1) % 2 + 1}"] == 10
        assert ask_json(world.balancer, "show rules")[0]["rules"][0]["flows"] == 10


def test_what_was_decided_before_a_reload(world):
    """Rules begin at no flows, and do not lend their names to decisions of those before them."""
    balancer = world.balancer
    assert sum(flows(world, 4).values()) == 4
    balancer.configure(world.links, GROUPS, {"other": {"protocol": "udp", "use": "link1"}, "rest": {"use": "balanced"}})
    balancer.command("reload")
    assert [rule["flows"] for rule in ask_json(balancer, "show rules")[0]["rules"]] == [0, 0]
    decisions = ask_json(balancer, "show decisions 4")[0]["decisions"]
    assert [(decision["rule"], decision["group"]) for decision in decisions] == [(None, None)] * 4
    assert sum(flows(world, 4).values()) == 4
    assert [rule["flows"] for rule in ask_json(balancer, "show rules")[0]["rules"]] == [0, 4]
    decisions = ask_json(balancer, "show decisions 4")[0]["decisions"]
    assert [(decision["rule"], decision["group"]) for decision in decisions] == [("rest", "balanced")] * 4


def test_fallback_turned_on_by_reload(make_world):
    """What a queue that began without a fallback has no room for is the fallback's from the reload on."""
    world = make_world(links=2, clients=1)
    balancer = world.balancer
    balancer.configure(world.links, GROUPS, fallback=False, queue_length=4, source_limit=0)
    balancer.start()
    balancer.configure(world.links, GROUPS, queue_length=4, source_limit=0)
    balancer.command("reload")
    balancer.rules("restart")
    balancer.process.send_signal(signal.SIGSTOP)
    run = world.traffic(flows=20, rate=500, udp=True)
    wait_until(lambda: balancer.queues()["waiting"] == 4 and balancer.fallback() == 16, what="the rest to pass")
    balancer.process.send_signal(signal.SIGCONT)
    assert run.result()["completed"] == 20
    assert balancer.queues()["dropped"] == 0


def test_debug_outlasts_a_reload(make_world):
    """The command line says to log more; the file's level is for those who do not say so."""
    world = make_world(links=1, clients=1)
    world.balancer.configure(world.links, log_level="error")
    world.balancer.rules("start")
    daemon = world.balancer.start_daemon("-d")
    world.balancer.command("reload")
    assert "configuration read again" in daemon.log()


def test_broken_reload_keeps_the_policy(world):
    balancer = world.balancer
    good = open(balancer.config_path, encoding="utf-8").read()
    broken = good.replace('use = "balanced"', 'use = "nobody"').replace("weight = 1", "weight = 0", 1)
    with open(balancer.config_path, "w", encoding="utf-8") as file:
        file.write(broken)
    reply = balancer.control("reload")
    assert reply[-1] == "error reload: 2 mistakes in the configuration, the running policy stays"
    for text, line in (("nobody", 'use = "nobody"'), ("weight", "weight = 0")):
        number = broken[:broken.index(line)].count("\n") + 1
        assert any(said.startswith(f"{balancer.config_path}:{number}: ") and text in said for said in reply[:-1])
    said = balancer.control("json reload")
    assert len(json.loads(said[0])["errors"]) == 2 and said[-1].startswith("error reload")
    assert flows(world, 10) == {"link1": 5, "link2": 5}
    answer = status(balancer)
    assert answer["status"] == "WARN" and any("last reload failed" in trouble for trouble in answer["troubles"])
    client = world.router.run(CLIENT, "-s", balancer.socket_path, "reload", check=False)
    assert client.returncode == 1 and client.stdout.count(balancer.config_path) == 2
    with open(balancer.config_path, "w", encoding="utf-8") as file:
        file.write(good)
    assert balancer.control("reload")[-1] == "ok"
    assert status(balancer)["status"] == "OK"


def test_reload_that_needs_a_restart(world):
    configure(world, mask=0xff0000)
    reply = world.balancer.control("reload")
    assert reply[-1].startswith("error reload: ") and "mask" in reply[0]
    assert ask_json(world.balancer, "show config")[0]["config"]["mask"] == 0xff00


def test_runtime_values_survive_a_reload(world):
    """... unless the file's own value changed since."""
    balancer = world.balancer
    balancer.command("set weight link1 7")
    balancer.command("set weight link2 8")
    balancer.command("set link link2 drain")
    balancer.command("reload")
    assert weights(balancer) == {"link1": 7, "link2": 8}
    configure(world, weight1=3)
    balancer.command("reload")
    assert weights(balancer) == {"link1": 3, "link2": 8}
    assert ask_json(balancer, "show links")[0]["links"][1]["admin"] == "drain"
    assert status(balancer)["policy"]["differs_from_file"]


# ---- save ----

def restart(world):
    world.balancer.stop_daemon()
    world.balancer.start_daemon()


def test_unsaved_values_end_with_the_daemon(world):
    world.balancer.command("set weight link1 7")
    restart(world)
    assert weights(world.balancer) == {"link1": 1, "link2": 1}


def test_saved_values_survive_a_restart(world):
    balancer = world.balancer
    balancer.command("set weight link1 7")
    balancer.command("set link link2 drain")
    balancer.command("set scheduler balanced hash")
    said = balancer.command("save")
    path = os.path.join(balancer.state_directory, "runtime.conf")
    assert said == [path + " written"]
    assert os.stat(path).st_mode & 0o7777 == 0o640
    assert os.listdir(balancer.state_directory) == ["runtime.conf"]
    restart(world)
    assert weights(balancer) == {"link1": 7, "link2": 1}
    assert ask_json(balancer, "show links")[0]["links"][1]["state"] == "drain"
    assert ask_json(balancer, "show groups")[0]["groups"][0]["scheduler"] == "hash"
    assert status(balancer)["policy"]["differs_from_file"]
    # the file speaks again: it wins, for this value
    configure(world, weight1=4)
    restart(world)
    assert weights(balancer) == {"link1": 4, "link2": 1}
    assert ask_json(balancer, "show groups")[0]["groups"][0]["scheduler"] == "hash"


def test_save_that_cannot(world):
    os.rename(world.balancer.state_directory, world.balancer.state_directory + ".gone")
    assert error(world.balancer, "save").startswith(f"save: {world.balancer.state_directory}/runtime.conf")


# ---- watch ----

def test_watch_decisions(world):
    with Speaker(world.balancer) as text, Speaker(world.balancer) as objects, Speaker(world.balancer) as other:
        text.say("watch decisions link link1")
        objects.say("json watch decisions client " + world.client_address(1))
        other.say("watch decisions client 192.168.1.99")
        assert text.line() == "watching decisions" and other.line() == "watching decisions"
        assert json.loads(objects.line()) == {"type": "watching", "decisions": True, "events": False}
        split = flows(world, 20)
        seen = [json.loads(objects.line()) for _ in range(20)]
        assert {name: sum(d["link"] == name for d in seen) for name in split} == split
        assert all(d["type"] == "decision" and d["rule"] == "rest" for d in seen)
        lines = [text.line() for _ in range(10)]
        assert all("  link1  scheduled  rule rest  group balanced" in line for line in lines)
        # the next line ends it, and is a command again
        assert other.ask("show groups") == ["ok"]
        assert other.reply()[-1] == "ok"


def test_watch_events(world):
    balancer = world.balancer
    with Speaker(balancer) as speaker, Speaker(balancer) as one:
        speaker.say("watch events")
        one.say("watch events link link2")
        assert speaker.line() == one.line() == "watching events"
        balancer.command("set weight link1 9")
        speaker.until(lambda line: line.endswith("link link1: weight 1 -> 9"))
        balancer.command("set link link2 down")
        speaker.until(lambda line: "link link2: down" in line)
        assert "link link2: down" in one.line()
        world.router.ip("link set wan1 down")
        speaker.until(lambda line: "link link1: down" in line)
        balancer.command("set scheduler balanced hash")
        speaker.until(lambda line: line.endswith("group balanced: scheduler wrr -> hash"))
        balancer.command("reload")
        speaker.until(lambda line: line.endswith("policy: reloaded"))
        configure(world, mask=0xff0000)
        for _ in range(2):
            assert balancer.control("reload")[-1].startswith("error reload")
            assert speaker.line().endswith("policy: reload failed, the running one stays")
        balancer.stop_daemon()
        speaker.until(lambda line: line.endswith("daemon: stopping"))


def test_client_watches_until_interrupted(world):
    client = world.router.start(CLIENT, "-s", world.balancer.socket_path, "watch", "decisions", name="watcher")
    wait_until(lambda: "watching" in client.log(), what="the watcher")
    flows(world, 5)
    wait_until(lambda: client.log().count("rule rest") == 5, what="five decisions")
    clients = ask_json(world.balancer, "show stats")[0]["stats"]["control"]["clients"]
    client.stop(signal.SIGINT)
    # the daemon notices although the client had said long ago that it would send no more
    wait_until(lambda: ask_json(world.balancer, "show stats")[0]["stats"]["control"]["clients"] == clients - 1,
               what="the daemon to let go of the watcher")
