# SPDX-License-Identifier: GPL-2.0-or-later
"""Each command of the control socket: what it says as text and as JSON, and its mistakes."""

import json
import re

import pytest

import lab
from control import Speaker, ask_json, error, status
from lab.host import wait_until
from lab.paths import CLIENT

GROUPS = {
    "balanced": {"links": ["link1", "link2"], "scheduler": "wrr", "sticky": "none"},
    "banks": {"links": ["link1", "link2"], "scheduler": "hash", "sticky": "source-destination"},
}
RULES = {
    "smtp": {"protocol": ["tcp"], "destination_port": ["smtp"], "use": "link2", "if_down": "reject"},
    "squid": {"from": "router", "dscp": [8], "use": "balanced"},
    "bank": {"destination": ["203.0.113.2/32"], "use": "banks"},
    "inside": {"destination": ["203.0.113.3/32"], "use": "bypass"},
    "guests": {"interface": ["guest0"], "use": "link1"},
    "rest": {"use": "balanced"},
}
FLOWS = 40


@pytest.fixture(scope="module", name="world")
def make_world_once():
    """Two links, some flows gone through each; one test's values are put back by itself."""
    with lab.world(links=2, servers=4) as world:
        world.links[0].keys |= {"download": "20Mbit", "upload": "2Mbit"}
        world.links[0].weight = 2
        world.balancer.configure(world.links, GROUPS, RULES, local=True)
        world.balancer.start()
        run = world.traffic(to=[world.servers[0], world.servers[3]], flows=FLOWS)
        assert run.result()["completed"] == FLOWS
        wait_until(lambda: sum(link["flows"] for link in status(world.balancer)["links"]) == FLOWS,
                   what="the sampler's next look")
        yield world


@pytest.fixture(name="balancer")
def balancer_of_world(world):
    return world.balancer


def test_status_screen(balancer):
    reply = balancer.control("status")
    assert re.fullmatch(r"OK  2 of 2 links up   rules \S+, active   commit (verdict|chain)   "
                        r"policy \d\d:\d\d, file unchanged", reply[0])
    assert reply[1].split() == ["LINK", "STATE", "WEIGHT", "SENDING", "SHARE", "5m", "BYTES", "NEW/s", "DOWN", "UP",
                                "LAST", "CHANGE"]
    assert re.match(r"link1 +up +2 +\d+ +6[78] % ", reply[2])  # 26 or 27 of 40
    assert re.search(r" \S+/20M +\S+/2M ", reply[2])
    assert re.search(r" \S+/- +\S+/- ", reply[3])
    assert re.fullmatch(r"decided (100 %|\d+ flows)  fallback (0 %|\?)  lost 0  feedback events", reply[4])
    assert reply[5:] == ["ok"]
    assert all(len(line) <= 90 for line in reply[1:])


def test_status_json(balancer):
    answer = status(balancer)
    assert list(answer)[0] == "status" and answer["status"] == "OK"
    assert answer["links_up"] == answer["links_total"] == 2
    assert answer["rules"]["active"] and answer["rules"]["same_policy"]
    assert answer["policy"]["file_unchanged"] and not answer["policy"]["differs_from_file"]
    assert sum(link["flows"] for link in answer["links"]) == FLOWS
    assert answer["lost"] == 0


def test_no_words_is_status(world):
    out = world.balancer.nfqbctl()
    assert out.startswith("OK  2 of 2 links up") and not out.endswith("ok\n")


def test_show_links(balancer):
    reply = balancer.control("show links")
    assert reply[0].split()[:4] == ["LINK", "ID", "INTERFACE", "STATE"]
    row = reply[1].split()
    assert row[:6] == ["link1", "1", "wan1", "up", "auto", "2"]
    # the rules are those of the start: 2 of 3, and none for IPv6
    assert row[8:] == ["20M/2M", "101", "0x8100", "198.51.100.1", "off", "67", "%"]
    link = ask_json(balancer, "show links")[0]["links"][1]
    assert link["link"] == "link2" and link["weight"] == link["file_weight"] == 1
    assert row[7] == str(ask_json(balancer, "show links")[0]["links"][0]["known"])
    assert (link["fallback4_permille"], link["fallback6_permille"]) == (333, None)
    assert link["mark"] == 0x8200 and link["mask"] == 0xff00 and link["carrier"] is True


def test_show_groups(balancer):
    assert balancer.control("show groups")[1].split() == ["balanced", "wrr", "none", "600", "s", "link1,", "link2"]
    groups = ask_json(balancer, "show groups")[0]["groups"]
    assert [group["group"] for group in groups] == ["balanced", "banks"]
    assert groups[1]["sticky"] == "source-destination"
    assert groups[0]["links"] == [{"link": "link1", "tier": 1}, {"link": "link2", "tier": 1}]


def test_show_rules(balancer):
    rules = ask_json(balancer, "show rules")[0]["rules"]
    assert [rule["rule"] for rule in rules] == list(RULES)
    assert rules[0]["if_down"] == "reject" and rules[0]["action"] == "link"
    assert rules[3]["use"] == "bypass"
    assert rules[5]["flows"] == FLOWS
    lines = open(balancer.config_path, encoding="utf-8").read().splitlines()
    assert 'rule "smtp"' in "\n".join(lines[rules[0]["line"] - 2:rules[0]["line"] + 1])
    assert balancer.control("show rules")[1].split()[:4] == ["smtp", "link2", "reject", "0"]


def test_show_stats(balancer):
    stats = ask_json(balancer, "show stats")[0]["stats"]
    assert stats["queue 0"]["packets"] >= FLOWS and stats["queue 0"]["errors"] == 0
    assert stats["link link1"]["flows"] + stats["link link2"]["flows"] == FLOWS
    assert stats["kernel"]["lost"] == 0
    assert any(line.split() == ["kernel", "lost", "0"] for line in balancer.control("show stats"))


def test_show_config(balancer):
    assert any("virtual" in line or "link1" in line for line in balancer.control("show config"))
    config = ask_json(balancer, "show config")[0]["config"]
    assert config["file"] == balancer.config_path and config["mask"] == 0xff00 and config["local"] is True


def test_show_decisions(balancer):
    reply = balancer.control("show decisions 3")
    assert len(reply) == 5 and reply[0].split()[0] == "TIME"
    decisions = ask_json(balancer, "show decisions 10000")[0]["decisions"]
    assert len(decisions) == FLOWS
    assert {d["rule"] for d in decisions} == {"rest"} and {d["group"] for d in decisions} == {"balanced"}
    assert {d["link"] for d in decisions} == {"link1", "link2"}
    assert [d["number"] for d in decisions] == sorted(d["number"] for d in decisions)


def test_show_flows(world, balancer):
    kernel = world.router.conntrack("-p", "tcp", "--dport", "5003").count("dport=5003")
    flows = ask_json(balancer, "show flows port 5003 proto tcp")
    assert flows[-1] == {"count": len(flows) - 1}
    assert 0 < len(flows) - 1 == len([f for f in flows[:-1] if f["dport"] == 5003])
    assert kernel >= len(flows) - 1
    by_link = {name: ask_json(balancer, f"show flows link {name}")[:-1] for name in ("link1", "link2")}
    assert len(by_link["link1"]) + len(by_link["link2"]) >= FLOWS
    assert all(flow["link"] == name for name, found in by_link.items() for flow in found)
    assert all(flow["mark"] & 0xff00 in (0x8100, 0x8200) for found in by_link.values() for flow in found)
    client = world.client_address(1)
    assert len(ask_json(balancer, f"show flows client {client}")) - 1 >= FLOWS
    assert ask_json(balancer, "show flows client 192.168.1.99") == [{"count": 0}]
    text = balancer.control("show flows link link1")
    assert text[0].split() == ["PROTO", "CLIENT", "SERVER", "LINK", "STATE", "PKTS/BYTES", "TIMEOUT"]
    assert text[-2] == f"{len(by_link['link1'])} flows" and text[1].split()[3] == "link1"


def test_explain_new(world, balancer):
    client = world.client_address(1)
    reply = balancer.control(f"explain tcp {client} 50000 203.0.113.9 443")
    assert re.fullmatch(r"rule    rest \(nfq-balancer\.conf:\d+\); not: smtp \(port\), squid \(not from the router\), "
                        r"bank \(destination\), inside \(destination\), guests \(interface\)", reply[0])
    assert re.fullmatch(r"group   balanced, wrr: (link1 <- next, link2|link1, link2 <- next)", reply[1])
    assert reply[2].startswith("sticky  ")
    chosen = 1 if "link1 <- next" in reply[1] else 2
    gate = world.links[chosen - 1]
    assert reply[3] == (f"link    link{chosen}, mark 0x{chosen}00/0xff00, table 10{chosen}, via {gate.gateway} "
                        f"dev wan{chosen}, source {gate.address} (masquerade)")
    assert reply[4] == "ok"


def test_explain_is_what_happens(world, balancer):
    """What explain says of the next flow is where the next flow goes; asking does not move the scheduler."""
    client = world.client_address(1)
    for port in range(42000, 42006):  # a port used just now would be a repeat, not a new flow
        said = [ask_json(balancer, f"explain tcp {client} {port} {world.servers[0]} 5000")[0]["new"]["link"]
                for _ in range(3)]
        run = world.traffic(to=[world.servers[0]], flows=1, port="5000", source_port=str(port))
        assert run.result()["completed"] == 1
        assert world.split(run.run)[said[0]] == 1 and len(set(said)) == 1


@pytest.mark.parametrize("what, where, rule, link, reason", [
    ("tcp", "203.0.113.9 25", "smtp", "link2", "pinned"),
    ("udp", "203.0.113.9 25", "rest", None, "scheduled"),
    ("icmp", "203.0.113.9 -", "rest", None, "scheduled"),
    ("47", "203.0.113.9 0", "rest", None, "scheduled"),
    ("tcp", "203.0.113.3 80", "inside", None, "rule"),
])
def test_explain_rules(world, balancer, what, where, rule, link, reason):
    sport = "50000" if what in ("tcp", "udp") else "-"
    new = ask_json(balancer, f"explain {what} {world.client_address(1)} {sport} {where}")[0]["new"]
    assert new["rule"] == rule and new["reason"] == reason
    assert link in (None, new["link"])


def test_explain_router(world, balancer):
    """The router's own address means from the router; DSCP as asked."""
    asked = f"explain tcp {world.links[0].address} 50000 203.0.113.9 443 dscp 8"
    assert ask_json(balancer, asked)[0]["new"]["rule"] == "squid"
    asked = f"explain tcp {world.client_address(1)} 50000 203.0.113.9 443 dscp 8"
    assert ask_json(balancer, asked)[0]["new"]["rule"] == "rest"
    assert ask_json(balancer, asked + " from router")[0]["new"]["rule"] == "squid"


def test_explain_ipv6_prefixes(make_world):
    """Without NAT the source's prefix fixes the link, and explain says so."""
    world = make_world(links=2, ipv6="prefix")
    world.balancer.configure(world.links)
    world.balancer.start()
    for link, other in (world.links, reversed(world.links)):
        client = world.client_address6(1, link)
        reply = world.balancer.command(f"explain tcp {client} 50000 {world.servers6[0]} 443")
        assert f"{link.name} <- next" in reply[1] and f"{other.name} (not for this IPv6 source)" in reply[1]
        assert reply[3].endswith(f"table 10{link.id}, via {link.gateway6} dev {link.interface}, source {client} (no nat)")
    stranger = f"explain tcp 2001:db8:dddd::1 50000 {world.servers6[0]} 443"
    assert world.balancer.command(stranger)[3] == "link    none is usable: the kernel's fallback takes it"
    flow = ask_json(world.balancer, stranger)[0]
    assert flow["flow"] is None and flow["way"] is None and flow["new"]["reason"] == "no-link"


def test_explain_interface(world, balancer):
    """As stated, or where the router would answer to."""
    asked = f"explain tcp {world.client_address(1)} 50000 203.0.113.9 443"
    assert ask_json(balancer, asked + " iface guest0")[0]["new"]["rule"] == "guests"
    assert ask_json(balancer, asked + " iface lan0")[0]["new"]["rule"] == "rest"


def test_explain_existing(world, balancer):
    run = world.traffic(to=[world.servers[0]], flows=1, packets=2, source_port="40001", port="5001")
    assert run.result()["completed"] == 1
    used = next(name for name, flows in world.split(run.run).items() if flows)
    asked = f"explain tcp {world.client_address(1)} 40001 {world.servers[0]} 5001"
    answer = ask_json(balancer, asked)[0]
    assert answer["flow"]["link"] == used and answer["flow"]["why"] == "decided"
    assert answer["flow"]["decision"]["rule"] == "rest"
    assert answer["way"]["link"] == used and answer["way"]["mark"] & 0x8000
    # the same tuple again, at once: a repeat, which is no reason
    again = world.traffic(to=[world.servers[0]], flows=1, source_port="40001", port="5001")
    assert again.result()["completed"] == 1
    reply = balancer.control(asked)
    assert reply[1].endswith("rule rest, group balanced, scheduled")
    assert reply[0].startswith("flow    tcp ") and reply[1].startswith("why     decided ")
    assert reply[2].startswith(f"link    {used}, mark 0x8") and reply[3].startswith("new     ")


def test_explain_inbound(world, balancer):
    """A connection from outside: on its link because it came in by it."""
    server = lab.Server(world.router, "8080")
    link = world.links[1]
    world.internet.run("bash", "-c", f"exec 3<>/dev/tcp/{link.address}/8080")
    flows = ask_json(balancer, "show flows port 8080")
    assert flows[0]["link"] == "link2"
    flow = flows[0]
    answer = ask_json(balancer, f"explain tcp {flow['src']} {flow['sport']} {flow['dst']} {flow['dport']}")[0]
    assert answer["flow"]["link"] == "link2" and answer["flow"]["why"] == "inbound"
    server.process.stop()


@pytest.mark.parametrize("line, said", [
    ("foo", 'unknown command "foo": try help'),
    ("show", "show alone is no command: expected show links, show groups,"),
    ("show foo", 'show "foo": expected show links'),
    ("status now", "status: 1 argument, expected: status"),
    ("set weight link1", "set weight: 1 argument, expected: set weight LINK N"),
    ("set weight link1 2 3", "set weight: 3 arguments, expected: set weight LINK N"),
    ("set weight nowhere 2", 'unknown link "nowhere": expected one of link1, link2'),
    ("set weight link1 0", 'weight "0": expected a number from 1 to 1000000'),
    ("set weight link1 1000001", 'weight "1000001": expected'),
    ("set weight link1 -1", 'weight "-1": expected'),
    ("set weight link1 2x", 'weight "2x": expected'),
    ("set link link1 sideways", 'state "sideways": expected up, down, drain or auto'),
    ("set scheduler balanced magic", 'scheduler "magic": expected one of wrr, hash'),
    ("set scheduler nobody wrr", 'unknown group "nobody": expected one of balanced, banks'),
    ("show decisions 0", 'number of decisions "0": expected a number from 1'),
    ("show flows link", 'filter "link": expected a value behind it'),
    ("show flows colour blue", 'filter "colour": expected link, client, port or proto'),
    ("show flows port 65536", 'port "65536": expected'),
    ("show flows client here", 'client "here": expected an IPv4 or IPv6 address'),
    ("explain tcp 192.0.2.1 1 198.51.100.1", "explain: 4 arguments, expected: explain PROTO"),
    ("explain foo 192.0.2.1 1 198.51.100.1 1", 'protocol "foo": expected tcp, udp'),
    ("explain tcp 192.0.2.1 1 2001:db8::1 1", "source is IPv4, destination IPv6: expected one family"),
    ("explain tcp 192.0.2.1 1 198.51.100.1 1 dscp 64", 'dscp "64": expected a number from 0 to 63'),
    ("explain tcp 192.0.2.1 1 198.51.100.1 1 mark 0x100", "mark 0x100: expected no bit of our own mask 0xff00"),
    ("watch rule nothing", 'unknown rule "nothing": expected one of smtp, squid, bank, inside, guests, rest'),
    ("watch link", 'watch "link": expected a value behind it'),
    ("help nothing", 'no command starts with "nothing"'),
    ("a " * 30, "more than 24 words"),
    ("x" * 100, 'unknown command "' + "x" * 63 + '..."'),
    ("\x1b[31mred", 'unknown command "?[31mred"'),
])
def test_mistakes(balancer, line, said):
    assert error(balancer, line).startswith(said)
    assert error(balancer, "json " + line if line.strip() else line)


def test_nothing_was_changed_by_mistakes(balancer):
    assert not status(balancer)["policy"]["differs_from_file"]


def test_help_lists_every_command(world, balancer):
    text = balancer.control("help")
    objects = ask_json(balancer, "help")[0]["commands"]
    assert all(any(line.startswith(c["command"]) for line in text) for c in objects)
    assert len(objects) > 12
    assert [line for line in balancer.control("help set") if not line.startswith("\t")][:-1] == [
        "set weight LINK N", "set link LINK up|down|drain|auto", "set scheduler GROUP NAME"]
    offline = world.router.run(CLIENT, "-s", "/nonexistent", "help").stdout
    assert all(c["command"] in offline for c in objects)


def test_json_in_front_or_behind(balancer):
    assert balancer.control("json show groups") == balancer.control("show groups --json")
    assert balancer.control("json show foo")[-1].startswith("error show")


def test_several_commands_in_one_write(balancer):
    with Speaker(balancer) as speaker:
        speaker.stream.sendall(b"show groups\n\n  \nset weight nowhere 1\r\nshow links\nquit\nshow rules\n")
        assert speaker.reply()[-1] == "ok"
        assert speaker.reply()[-1].startswith("error unknown link")
        assert speaker.reply()[-1] == "ok"
        assert speaker.reply() == ["ok"]
        assert speaker.closed() == b""


def test_last_line_without_newline(balancer):
    with Speaker(balancer) as speaker:
        speaker.stream.sendall(b"show groups")
        speaker.stream.shutdown(1)
        assert speaker.reply()[-1] == "ok"
        assert speaker.closed() == b""


def test_client_exit_status(world, balancer):
    def run(*words, socket=balancer.socket_path):
        return world.router.run(CLIENT, "-s", socket, *words, check=False)

    assert run("status").returncode == 0
    failed = run("set", "weight", "nowhere", "2")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr == 'nfqbctl: error unknown link "nowhere": expected one of link1, link2\n'
    assert run("set", "weight", "link 1", "2").returncode == 2
    assert run("set", "weight", "", "2").returncode == 2
    assert run("--colour").returncode == 2
    assert run("--colour").stderr.startswith('nfqbctl: unknown option "--colour"\n')
    assert world.router.run(CLIENT, "-s", check=False).stderr.startswith('nfqbctl: no path behind "-s"\n')
    assert len(json.loads(run("--json", "help").stdout)["commands"]) > 12
    lost = world.router.run("sh", "-c", 'exec "$@" >/dev/full', "sh", CLIENT, "-s", balancer.socket_path, "show", "links", check=False)
    assert (lost.returncode, lost.stderr) == (1, "nfqbctl: standard output: No space left on device\n")
    assert run("x" * 5000).returncode == 2
    absent = run("status", socket="/nonexistent/control.sock")
    assert absent.returncode == 3 and "is the daemon running?" in absent.stderr
    assert absent.stderr.count("\n") == 1
    assert json.loads(run("--json", "status").stdout)["status"] == "OK"
    assert json.loads(run("status", "--json").stdout)["status"] == "OK"
