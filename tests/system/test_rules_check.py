# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules script says: status, print, the doctor's findings, and usage errors."""

import os
import re
import shutil
import subprocess
import tempfile

import pytest
from lab import wait_until
from lab.paths import BUILD, ROOT, RULES
from ruleset import BACKENDS, works


@pytest.fixture
def site(make_world):
    w = make_world(links=2, clients=1, ipv6="prefix")
    w.balancer.configure(w.links)
    return w


def findings(w, **options):
    """{level: [text]} of `check`, and its exit status"""
    result = w.balancer.rules("check", check=False, **options)
    levels = {"ok": [], "warn": [], "fail": []}
    for line in result.stdout.splitlines():
        level, text = line.split(None, 1)
        levels[level].append(text)
    assert result.stderr == ""
    assert result.returncode == (1 if levels["fail"] else 0)
    for text in levels["warn"] + levels["fail"]:
        assert "  -> " in text, f"no advice: {text}"
    return levels


def has(levels, level, pattern):
    assert any(re.search(pattern, text) for text in levels[level]), f"{level} {pattern}: {levels}"


def test_what_the_configuration_warns_of(site):
    w = site
    w.balancer.configure(w.links, rules={"rest": {"use": "balanced"}, "never": {"use": "link1"}})
    has(findings(w), "warn", f'{w.balancer.config_path}:[0-9]+: rule "never" and all after it never match')


def test_well_router(site):
    w = site
    w.balancer.start()
    levels = findings(w)
    assert levels["fail"] == levels["warn"] == []
    has(levels, "ok", "daemon is running")
    has(levels, "ok", "gateway 198.51.100.1 answers")
    has(levels, "ok", "rules in the kernel are as made")


def test_before_the_start(site):
    levels = findings(site)
    has(levels, "warn", "not active.*-> nfq-balancer-rules start")
    assert levels["fail"] == []


BREAKAGES = {
    "forwarding": ("fail", "IPv4 forwarding was turned off", "echo 0 >/proc/sys/net/ipv4/ip_forward"),
    "forward policy": ("warn", "FORWARD.*drops what no rule accepts", "iptables -P FORWARD DROP"),
    "forward policy in legacy": ("warn", "iptables-legacy FORWARD drops", "iptables-legacy -P FORWARD DROP"),
    "strict filter": ("fail", "wan2: reverse path filter is strict", "echo 1 >/proc/sys/net/ipv4/conf/wan2/rp_filter"),
    "unmasked iptables mark": ("warn", "overwrites bits.*--set-xmark 0x5/0xffffffff",
                               "iptables -t mangle -A FORWARD -j MARK --set-mark 5"),
    "unmasked connmark in legacy": ("warn", "overwrites bits.*iptables-legacy.*--save-mark",
                                    "iptables-legacy -t mangle -A FORWARD -j CONNMARK --save-mark"),
    "unmasked nft mark": ("warn", "overwrites bits.*meta mark set 0x0*12",
                          "nft add table inet f; nft add chain inet f c; nft add rule inet f c meta mark set 0x12"),
    "unmasked nft ct mark": ("warn", "overwrites bits.*ct mark set",
                             "nft add table inet g; nft add chain inet g c; nft add rule inet g c ct mark set meta mark and 0xff"),
    "queue of another": ("fail", r"another rule \(iptables-nft\) sends packets to queues",
                         "iptables -t filter -A INPUT -p icmp -j NFQUEUE --queue-num 0 --queue-bypass"),
    "preference": ("warn", "ip rule of somebody else.*10002", "ip rule add pref 10002 lookup 254"),
    "table": ("fail", "table 101 has a default route of somebody else",
              "ip route add default via 198.51.100.1 table 101 metric 5"),
    "removed rule": ("fail", "not as made: .*IPv4-rules", "ip rule del pref 10003"),
    "removed chain": ("fail", "not as made: ruleset", "nft delete chain inet nfq_balancer guard || iptables -t mangle -F nfqb_guard"),
    "link down": ("warn", "interface wan2 is down", "ip link set wan2 down"),
    "interface gone": ("warn", "interface wan2 does not exist", "ip link del wan2"),
    "gateway silent": ("fail", "gateway 198.51.100.17 does not answer on wan2",
                       "ip neigh flush dev wan2"),
    "group": ("warn", "wan2 is in interface group 7", "ip link set wan2 group 7"),
}


# These take something away that the others need
ALONE = {"link down", "interface gone", "removed chain"}


@pytest.mark.parametrize("whats", [set(BREAKAGES) - ALONE, *({what} for what in sorted(ALONE))],
                         ids=lambda whats: "together" if len(whats) > 1 else next(iter(whats)))
def test_findings(site, whats):
    w = site
    w.balancer.rules("start")
    before = findings(w)
    for level, pattern, _ in (BREAKAGES[what] for what in whats):
        assert not any(re.search(pattern, text) for text in before[level])
    for what in sorted(whats):
        w.router.sh(BREAKAGES[what][2])
        if what == "gateway silent":
            w.internet.ip(f"addr del {w.links[1].gateway}/28 dev wan2")
    after = findings(w)
    for what in whats:
        has(after, *BREAKAGES[what][:2])


MASKED = [
    "iptables -t mangle -A FORWARD -j MARK --set-xmark 0x10000/0xff0000",
    "iptables-legacy -t mangle -A FORWARD -j CONNMARK --restore-mark --nfmask 0xff0000 --ctmask 0xff0000",
    "nft add table inet f; nft add chain inet f c; nft add rule inet f c meta mark set meta mark and 0xffff or 0x10000",
    "nft add rule inet f c ct mark set ct mark or 0x10",
]


def test_masked_marks_of_others_are_fine(site):
    site.balancer.rules("start")
    for command in MASKED:
        site.router.sh(command)
    has(findings(site), "ok", "no rule of others writes into mask 0xff00")


def test_gateway_auto_without_a_route(site):
    w = site
    w.links[1].keys["gateway"] = "auto"
    w.balancer.configure(w.links)
    has(findings(w), "fail", "link link2: gateway auto, and main has no IPv4 default route of wan2")


def test_changed_configuration(site):
    w = site
    w.balancer.rules("start")
    w.balancer.configure(w.links, queues=3)
    has(findings(w), "warn", "changed since the rules were made")
    status = w.balancer.rules("status", check=False)
    assert status.returncode == 1 and "changed since" in status.stdout


@pytest.mark.parametrize("backend", [b for b in BACKENDS if works(b)])
def test_changed_weights(site, backend):
    """In nftables the fallback's weights follow the daemon; in iptables they are rules."""
    w = site
    w.balancer.rules("--backend", backend, "start")
    w.balancer.start_daemon()
    w.links[1].keys["weight"] = 3
    w.balancer.configure(w.links)
    w.balancer.command("reload")
    stale = backend.startswith("iptables")
    status = w.balancer.rules("status", check=False)
    assert ("changed since" in status.stdout) == (status.returncode == 1) == stale
    assert w.balancer.json("status")["rules"]["same_policy"] != stale
    has(findings(w), *(("warn", "changed since the rules were made") if stale else ("ok", "rules match the configuration")))
    w.balancer.rules("start")
    assert w.balancer.rules("status").returncode == 0
    # nobody follows any more
    w.links[1].keys["weight"] = 4
    w.balancer.configure(w.links)
    w.balancer.command("reload")
    w.balancer.stop_daemon()
    status = w.balancer.rules("status", check=False)
    assert "changed since" in status.stdout
    w.balancer.rules("start")
    assert "changed since" not in w.balancer.rules("status", check=False).stdout


def test_state_of_a_former_version(site):
    """Without the newer checksum: `start` makes the rules anew, as `status` asks for."""
    w = site
    w.balancer.rules("start")
    w.balancer.start_daemon()
    path = os.path.join(w.balancer.run_directory, "rules.state")
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("checksum-weightless ")]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)
    w.balancer.rules("start")
    assert w.balancer.rules("status").returncode == 0


def test_kept_forwarding(site):
    w = site
    w.balancer.configure(w.links, ip_forward="keep")
    has(findings(w), "fail", "IPv4 forwarding is off.*sysctl -w net.ipv4.ip_forward=1")


def test_broken_configuration(site):
    site.balancer.write("lan = {\n")
    levels = findings(site)
    has(levels, "fail", "configuration .*nfq-balancer.conf")


def test_status(site):
    w = site
    inactive = w.balancer.rules("status", check=False)
    assert (inactive.returncode, inactive.stdout) == (1, "not active\n")
    w.balancer.rules("start")
    run = w.traffic(flows=30, rate=300)
    assert run.result()["completed"] == 30
    lines = w.balancer.rules("status").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["backend", "active", "rules", "policy", "daemon", "LINK", "link1", "link2"]
    for link, line in zip(w.links, lines[-2:]):
        assert line.split() == [link.name, link.interface, str(100 + link.id), link.gateway, link.gateway6, "0", "15"]
    w.balancer.start_daemon()
    wait_until(lambda: re.search(r"daemon +([1-9]\d*) of \1 queues bound", w.balancer.rules("status").stdout), 5)


def test_print_does_nothing_and_is_what_start_does(site):
    w = site
    w.router.sysctl({"net.ipv4.ip_forward": 0, "net.ipv4.conf.wan1.rp_filter": 1})
    text = w.balancer.rules("print").stdout
    assert w.router.run("nft", "list", "tables").stdout == ""
    assert "157" not in w.router.ip_show("rule")
    assert "route replace default via 198.51.100.1 dev wan1 table 101 proto 157" in text
    assert re.search(r"NFQUEUE|queue flags", text)
    sections = {title: body.splitlines() for title, body in
                (section.split("\n", 1) for section in text.removeprefix("# ").split("\n# "))}
    before = {line.split(" = ")[0]: w.router.sh(f"cat /proc/sys/{line.split(' = ')[0]}").strip()
              for line in sections["sysctl -p -"]}
    w.balancer.rules("start")
    after = {path: w.router.sh(f"cat /proc/sys/{path}").strip() for path in before}
    assert sections["sysctl -p -"] == [f"{path} = {value}" for path, value in after.items() if value != before[path]]
    assert "net/ipv4/ip_forward" in before and "net/ipv4/conf/wan1/rp_filter" in before
    for line in sections["ip -batch"]:
        _, _, _, interface, _, group = line.split()
        assert f" group {group} " in w.router.ip_show(f"-N -o link show dev {interface}")
    assert len(sections["ip -batch"]) == len(w.links)


@pytest.mark.parametrize("elsewhere", ["", "LIBDIR", "SBINDIR"])
def test_installed_where_make_was_told(tmp_path, elsewhere):
    """The script finds its parts and the daemon, wherever they are said to be"""
    make = ["make", "-s", "-C", ROOT, f"B={os.path.relpath(BUILD, ROOT)}", f"PREFIX={tmp_path}/usr"]
    make += [f"{elsewhere}={tmp_path}/else/where"] if elsewhere else []
    subprocess.run([*make, "install"], check=True, capture_output=True)
    try:
        [script] = tmp_path.rglob("nfq-balancer-rules")
        result = subprocess.run([script, "-c", "/dev/null", "print"], capture_output=True, text=True, check=False)
        assert result.returncode == 1 and "/dev/null: not a regular file" in result.stderr
    finally:
        subprocess.run([*make, "uninstall"], check=True)
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


@pytest.fixture
def readable():
    """The rules script where everybody can read it, as it is installed"""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(os.path.dirname(RULES), f"{directory}/scripts")
        os.chmod(directory, 0o755)
        yield f"{directory}/scripts/{os.path.basename(RULES)}"


@pytest.mark.parametrize("action", ["print", "check", "status", "start"])
def test_not_root(bare_lab, readable, action):
    """Nothing is said about the kernel then, which nobody could ask"""
    host = bare_lab.host("router")
    result = host.run("setpriv", "--reuid=65534", "--clear-groups", readable, "-c", "/dev/null", action, check=False)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("nfq-balancer-rules: must be run as root") and result.stderr.count("\n") == 1


@pytest.mark.parametrize("words, said", [
    ((), "which command"),
    (("begin",), "unknown command 'begin'"),
    (("start", "stop"), "unexpected argument stop"),
    (("--fast", "start"), "unknown option --fast"),
    (("start", "--confirm"), "--confirm needs a value"),
    (("start", "--confirm", "soon"), "--confirm 'soon': expected seconds"),
    (("start", "--confirm", "0"), "--confirm '0'"),
    (("stop", "--confirm", "5"), "--confirm belongs to start"),
    (("--backend", "pf", "start"), "unknown backend 'pf'"),
    (("rollback",), "unknown command 'rollback'"),
])
def test_usage_errors(bare_lab, words, said):
    host = bare_lab.host("router")
    result = host.run(RULES, *words, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and said in result.stderr
    assert result.stdout == ""
