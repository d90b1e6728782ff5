# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules script's life: start, start again, restart, stop, and every way in which these can go wrong."""

import os
import subprocess

import pytest
from lab import CommandError, differences, snapshot, wait_until
from lab.paths import DAEMON, ROOT, RULES
from ruleset import BACKENDS, Shims, configured_site, state_path, traces, unordered, works

# Each backend's commands that change something: (tool, words of the call)
CHANGES = {
    "nft": [("nft", "*-f\\ /*")],
    "nft+iptables": [("nft", "*-f\\ /*"), ("iptables-nft-restore", "*"), ("ip6tables-nft-restore", "*")],
    "iptables-nft": [("iptables-nft-restore", "*"), ("ip6tables-nft-restore", "*")],
    "iptables-legacy": [("iptables-legacy-restore", "*"), ("ip6tables-legacy-restore", "*")],
}
FOR_ALL = [("ip", "*-batch*"), ("ip", "*\\ group\\ *")]


@pytest.fixture
def site(make_world):
    return configured_site(make_world)


def test_stop_restores_everything(site, backend):
    w = site
    before = snapshot(w.router)
    w.balancer.rules("--backend", backend, "start")
    assert traces(w.router)
    during = differences(before, snapshot(w.router))
    for part in ("proto 157", "ip_forward:1", "wan1/rp_filter:2", "wan1/accept_ra:2", "unreachable default"):
        assert part in during
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""
    assert traces(w.router) == ""
    assert not os.path.exists(state_path(w))


def test_start_twice_is_once(site, backend):
    w = site
    w.balancer.rules("--backend", backend, "start")
    once = snapshot(w.router)
    with open(state_path(w), encoding="utf-8") as file:
        state = file.read()
    said = w.balancer.rules("start").stdout
    assert "active already" in said and backend in said
    assert differences(once, snapshot(w.router)) == ""
    with open(state_path(w), encoding="utf-8") as file:
        assert file.read() == state


def test_stop_twice_is_once(site):
    w = site
    before = snapshot(w.router)
    w.balancer.rules("start")
    w.balancer.rules("stop")
    assert "not active" in w.balancer.rules("stop").stdout
    assert differences(before, snapshot(w.router)) == ""


def test_restart_changes_nothing(site, backend):
    w = site
    before = snapshot(w.router)
    w.balancer.rules("--backend", backend, "start")
    once = snapshot(w.router)
    w.balancer.rules("restart")
    w.balancer.rules("restart")
    assert differences(once, snapshot(w.router)) == ""
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_restart_follows_the_configuration(make_world, backend):
    """Links come and go; nothing of an old one stays, and stop still undoes all."""
    w = make_world(links=3, clients=1, ipv6="prefix")
    before = snapshot(w.router)
    w.balancer.configure(w.links[:2])
    w.balancer.rules("--backend", backend, "start")
    w.balancer.configure(w.links[1:], queue=7, queues=3, source_limit=50)
    w.balancer.rules("restart")
    after = snapshot(w.router)
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""
    w.balancer.rules("--backend", backend, "start")
    assert differences(unordered(after), unordered(snapshot(w.router))) == ""
    assert "lookup 101" not in w.router.ip_show("rule")
    assert w.router.ip_show("route show table 101") == ""


FORMER = """delete chain inet nfq_balancer commit
table inet nfq_balancer {
	chain commit {
		type filter hook prerouting priority -149; policy accept;
		meta mark & 0x0000ff00 vmap @commits
	}
	chain settle {
		type filter hook forward priority -149; policy accept;
		meta mark & 0x0000ff00 vmap @stays
	}
	chain settled_fast {
		type filter hook forward priority 100; policy accept;
	}
}
"""


@pytest.mark.parametrize("backend", [b for b in BACKENDS[:2] if works(b)])
def test_restart_from_former_rules(site, backend):
    """The rules of an older version had other base chains, one of them by the same name, and another jump."""
    w = site
    before = snapshot(w.router)
    w.balancer.rules("--backend", backend, "start")
    once = unordered(snapshot(w.router))
    w.router.run("nft", "-f", "-", stdin=FORMER)
    if backend == "nft+iptables":
        for tool in ("iptables", "ip6tables"):
            w.router.sh(f"{tool} -t mangle -F PREROUTING; {tool} -t mangle -A PREROUTING -j nfqb_queue")
    assert differences(once, unordered(snapshot(w.router))) != ""
    w.balancer.rules("restart")
    assert differences(once, unordered(snapshot(w.router))) == ""
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_restart_deletes_no_base_chain(site, backend):
    """That would flush everybody's NFQUEUEs."""
    w = site
    w.balancer.rules("--backend", backend, "start")
    monitor = w.router.start("nft", "monitor", "destroy", "chains", name="monitor")
    wait_until(lambda: os.readlink(f"/proc/{monitor.pid}/exe").endswith("nft"), 5)
    probe = "nft add table inet probe; nft add chain inet probe c; nft delete chain inet probe c; nft delete table inet probe"
    wait_until(lambda: w.router.sh(probe) or "inet probe" in monitor.log(), 5, "nft monitor")
    w.balancer.rules("restart")
    w.router.sh("nft add table inet last; nft add chain inet last c; nft delete chain inet last c; nft delete table inet last")
    wait_until(lambda: "inet last" in monitor.log(), 5, "the last chain's end")
    assert "nfq_balancer" not in monitor.log() and "mangle" not in monitor.log()


def test_restart_repairs(site, backend):
    w = site
    w.balancer.rules("--backend", backend, "start")
    once = snapshot(w.router)
    w.router.ip("rule del pref 10003", "route flush table 101")
    w.router.sh("nft flush ruleset; iptables-legacy -t mangle -F")
    status = w.balancer.rules("status", check=False)
    assert status.returncode == 1
    for part in ("ruleset", "IPv4-rules", "IPv4-table-101"):
        assert part in status.stdout
    w.balancer.rules("restart")
    assert "rules     as made" in w.balancer.rules("status").stdout
    after = snapshot(w.router)
    for sections in (once, after):
        del sections["nft"]  # `flush ruleset` took the others' table, too
    assert differences(unordered(once), unordered(after)) == ""


# ---- failures ----


def sweep(w, backend, tool, words, action="exit 1"):
    """
    Let the first, second, ... call fail until there are no more. After each, the router must
    be as it was, at once (exit) or after a stop (killed).
    """
    before = snapshot(w.router)
    shims = Shims(w.router)
    failed = 0
    for nth in range(1, 40):
        shims.put(tool, words, nth, action)
        result = w.balancer.rules("--backend", backend, "start", check=False, env=shims.env)
        if not shims.reached(nth):
            assert result.returncode == 0
            w.balancer.rules("stop")
            break
        if "KILL" in action:
            w.balancer.rules("stop")
        elif result.returncode == 0:  # not a step that matters, e.g. one of the probes' calls
            w.balancer.rules("stop")
            continue
        failed += 1
        assert differences(before, snapshot(w.router)) == "", f"call {nth} of {tool}: {result.stderr}"
        assert not os.path.exists(state_path(w))
    else:
        pytest.fail("no end of calls")
    return failed


def test_failure_half_way_leaves_what_was(site, backend):
    first = backend == next(b for b in BACKENDS if works(b))
    for tool, words in CHANGES[backend] + (FOR_ALL if first else []):
        assert sweep(site, backend, tool, words) > 0, f"{tool} {words} never failed"


def test_killed_half_way_is_cleaned_up_by_stop(site, backend):
    sweep(site, backend, "ip", "*-batch*", "kill -KILL $PPID; exit 1")


@pytest.mark.parametrize("where", ["routes", "ruleset"])
def test_failed_restart_keeps_the_old_rules(make_world, backend, where):
    w = make_world(links=3, clients=1, ipv6="prefix")
    w.balancer.configure(w.links[:2])
    w.balancer.rules("--backend", backend, "start")
    once = snapshot(w.router)
    with open(state_path(w), encoding="utf-8") as file:
        state = file.read()
    w.balancer.configure(w.links, queue=9)
    shims = Shims(w.router)
    if where == "routes":
        shims.put("ip", "*-batch*", 2)
    else:
        tool, words = CHANGES[backend][0 if backend.startswith("nft") else 1]
        shims.put(tool, words, 1)
    result = w.balancer.rules("restart", check=False, env=shims.env)
    assert result.returncode == 1, result.stdout
    assert "nothing changed" in result.stderr
    assert differences(once, snapshot(w.router)) == ""
    with open(state_path(w), encoding="utf-8") as file:
        assert file.read() == state
    assert "rules     as made" in w.balancer.rules("status", check=False).stdout


@pytest.mark.parametrize("change", ["mask", "former"])
def test_failed_restart_keeps_the_jump(site, backend, change):
    """The jump to our chain is another one than the restart would make"""
    if not backend.startswith("nft+") and change == "former":
        pytest.skip("only the rules of nft+iptables had another jump")
    w = site
    w.balancer.rules("--backend", backend, "start")
    if change == "former":
        jump = next(line for line in w.router.run("iptables-save", "-t", "mangle").stdout.splitlines()
                    if line.startswith("-A PREROUTING") and line.endswith("-j nfqb_queue"))
        w.router.sh(f"iptables -t mangle -D{jump[2:]}\niptables -t mangle -A PREROUTING -j nfqb_queue\n")
    else:
        w.balancer.configure(w.links, local=True, mask=0xff0000)
    once = snapshot(w.router)
    shims = Shims(w.router)
    tool, words = CHANGES[backend][0 if backend.startswith("nft") else 1]
    shims.put(tool, words, 1)
    result = w.balancer.rules("restart", check=False, env=shims.env)
    assert result.returncode == 1, result.stdout
    assert differences(once, snapshot(w.router)) == ""


def test_rules_of_others_that_name_ours_stay(site, backend):
    w = site
    if "iptables" not in backend:
        pytest.skip("no iptables rules")
    tool = "iptables-legacy" if backend.endswith("legacy") else "iptables"
    theirs = '-A FORWARD -m comment --comment "not nfqb_ business" -j ACCEPT'
    w.router.sh(f"{tool} {theirs}")
    for command in ("start", "restart", "stop"):
        w.balancer.rules(*(("--backend", backend) if command == "start" else ()), command)
        assert theirs in w.router.run(f"{tool}-save", "-t", "filter").stdout


def test_stop_after_interfaces_are_gone(site, backend):
    w = site
    w.balancer.rules("--backend", backend, "start")
    w.router.ip("link del wan2", "link del lan0")
    w.balancer.rules("stop")
    assert traces(w.router) == ""
    assert w.router.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "0"


@pytest.mark.parametrize("end", ["broken", "missing", "elsewhere"])
def test_stop_without_a_usable_configuration(site, end):
    w = site
    before = snapshot(w.router)
    w.balancer.rules("start")
    if end == "broken":
        w.balancer.write("lan = {\n")
    elif end == "missing":
        os.unlink(w.balancer.config_path)
    else:
        w.balancer.run_directory += "2"
        w.balancer.configure(w.links)
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_broken_configuration_changes_nothing(site):
    w = site
    w.balancer.write("lan = {\n")
    before = snapshot(w.router)
    result = w.balancer.rules("start", check=False)
    assert result.returncode == 1 and "nfq-balancer.conf:" in result.stderr
    assert differences(before, snapshot(w.router)) == ""


def test_absent_interface_is_a_warning(site):
    """PPP comes late: everything but its routes is made."""
    w = site
    before = snapshot(w.router)
    w.links[1].keys["interface"] = "ppp9"
    w.balancer.configure(w.links)
    result = w.balancer.rules("start")
    assert "ppp9 does not exist yet" in result.stderr
    assert "fwmark 0x8200/0xff00 lookup 102" in w.router.ip_show("rule")
    assert w.router.ip_show("route show table 102").split() == ["unreachable", "default", "proto", "157", "metric", "4278198272"]
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_stop_undoes_what_the_daemon_added(site):
    """An interface came late: its routes, ip rules and group are the daemon's work. Then the daemon died."""
    w = site
    link = w.links[1]
    w.router.ip("link del wan2")
    w.balancer.start()
    w.lab.wire(w.router, "wan2", w.internet, "wan2")
    w.router.address("wan2", f"{link.address}/28", f"{link.address6}/64")
    for family in ("-4", "-6"):
        wait_until(lambda family=family: "default" in w.router.ip_show(f"{family} route show table 102 type unicast"), 10, "the route")
    wait_until(lambda: f"from {link.address} " in w.router.ip_show("rule"), 10, "the rule for its address")
    wait_until(lambda: "group 28262" in w.router.ip_show("-N link show wan2"), 10, "its group")
    w.balancer.kill_daemon()
    w.balancer.rules("stop")
    assert traces(w.router) == ""


def test_stop_while_the_daemon_runs(site):
    """The daemon puts back routes that somebody deletes, but not those that stop deletes; it follows the next start."""
    w = site
    w.balancer.start()
    w.router.ip("route del default table 101")
    wait_until(lambda: "default via" in w.router.ip_show("route show table 101"), 10, "the route that was deleted")
    w.balancer.rules("stop")
    wait_until(lambda: not w.balancer.json("status")["rules"]["active"], 10, "the daemon's knowledge of it")
    assert traces(w.router) == ""
    assert w.balancer.process.alive()
    w.balancer.rules("start")
    w.balancer.stop()
    assert traces(w.router) == ""


def test_what_others_changed_since_stays(site):
    """A sysctl that somebody set after us is not put back; routes of others in our tables survive."""
    w = site
    w.balancer.rules("start")
    w.router.sysctl({"net.ipv4.conf.wan1.rp_filter": 0})
    w.router.ip("route add 192.0.2.7 via 198.51.100.1 table 101", "link set wan2 group 5")
    w.balancer.rules("stop")
    assert w.router.sh("cat /proc/sys/net/ipv4/conf/wan1/rp_filter").strip() == "0"
    assert "192.0.2.7" in w.router.ip_show("route show table 101")
    assert "group 5" in w.router.ip_show("-N link show wan2")


def test_table_of_somebody_else_is_refused(site):
    w = site
    w.router.ip("route add default via 198.51.100.1 table 102")
    before = snapshot(w.router)
    result = w.balancer.rules("start", check=False)
    assert result.returncode == 1 and "table 102 already has a default route" in result.stderr
    assert differences(before, snapshot(w.router)) == ""


def test_table_names(site, tmp_path):
    w = site
    names = tmp_path / "rt_tables.d" / "nfq-balancer.conf"
    w.links[0].keys["table_name"] = "first"
    w.balancer.configure(w.links)
    w.balancer.rules("start", env={"NFQB_RT_TABLES": str(names)})
    assert "101\tfirst\n" in names.read_text()
    w.balancer.rules("stop", env={"NFQB_RT_TABLES": str(names)})
    assert not names.parent.exists()


def test_table_names_that_cannot_be_written(site):
    w = site
    before = snapshot(w.router)
    w.links[0].keys["table_name"] = "first"
    w.balancer.configure(w.links, local=True)
    result = w.balancer.rules("start", env={"NFQB_RT_TABLES": "/proc/nowhere/names"})
    assert result.stderr == "nfq-balancer-rules: warning: cannot write /proc/nowhere/names: the tables have numbers only\n"
    assert "as made" in w.balancer.rules("status").stdout
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_table_names_below_the_units_etc(site):
    """The unit makes /etc read-only. Here is what it does, around an /etc/iproute2 of the test's own."""
    w = site
    w.links[0].keys["table_name"] = "first"
    w.balancer.configure(w.links)
    with open(os.path.join(ROOT, "systemd/nfq-balancer-rules.service"), encoding="utf-8") as file:
        unit = dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line)
    assert unit["ProtectSystem"] == "full"
    writable = unit.get("ReadWritePaths", "").replace("-/", "/").split()
    script = """mount --bind /etc /etc && mount -o remount,ro,bind /etc
        mount -t tmpfs none /etc/iproute2 && mkdir /etc/iproute2/rt_tables.d
        [ "$1" = /etc/iproute2 ] || mount -o remount,ro /etc/iproute2
        shift; "$@" && cat /etc/iproute2/rt_tables.d/nfq-balancer.conf"""
    result = w.router.run("unshare", "--mount", "sh", "-c", script, "sh", *(writable or [""]), RULES, "-c", w.balancer.config_path,
                          "start", check=False,
                          env={"NFQB_BINARY": DAEMON, "NFQB_POINTERS": w.balancer.directory + "/pointers"})
    assert "101\tfirst\n" in result.stdout, result.stderr


# ---- no room ----

# Everything in a directory's place, which is full while the command runs
FULL = """
full=$1
shift
mkdir "$full.disk" && mount -t tmpfs -o size=64k none "$full.disk" && cp -a "$full/." "$full.disk" || exit 99
mount --move "$full.disk" "$full" || exit 99
dd if=/dev/zero of="$full/filler" bs=1k 2>/dev/null
[ -z "$NO_RUN" ] || mount -t tmpfs -o ro none /run
"$@"
status=$?
rm "$full/filler"
cp -a "$full/." "$full.disk"
umount "$full"
find "$full" -mindepth 1 -delete
cp -a "$full.disk/." "$full"
rm -r "$full.disk"
exit $status
"""


def with_full(w, directory, action, **env):
    os.makedirs(directory, exist_ok=True)
    return w.router.run("unshare", "--mount", "sh", "-c", FULL, "sh", directory, RULES, "-c", w.balancer.config_path, action,
                        check=False, env={"NFQB_BINARY": DAEMON, "NFQB_POINTERS": w.balancer.directory + "/pointers",
                                          "NO_RUN": "", **env})


def without_room(w, where, action):
    """Run the script while there is no room for its state, or for its temporary files"""
    if where == "state":
        return with_full(w, w.balancer.run_directory, action)
    temporary = os.path.join(w.balancer.directory, "tmp")
    return with_full(w, temporary, action, TMPDIR=temporary, NO_RUN="1")


@pytest.mark.parametrize("where", ["state", "temporary"])
def test_start_without_room_changes_nothing(site, where):
    w = site
    before = snapshot(w.router)
    result = without_room(w, where, "start")
    assert result.returncode == 1 and "nothing was changed" in result.stderr
    assert result.stderr.count("\n") == 1
    assert differences(before, snapshot(w.router)) == ""
    assert not os.path.exists(state_path(w))


@pytest.mark.parametrize("where", ["state", "temporary"])
def test_restart_without_room_changes_nothing(site, where):
    """Half a plan must not pass for a whole one, and the list of what stop has to undo must not be lost"""
    w = site
    before = snapshot(w.router)
    w.balancer.rules("start")
    once = snapshot(w.router)
    w.balancer.configure(w.links[:1], local=True)
    result = without_room(w, where, "restart")
    assert result.returncode == 1 and "nothing was changed" in result.stderr
    assert result.stderr.count("\n") == 1
    assert differences(once, snapshot(w.router)) == ""
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_stop_needs_no_room(site):
    w = site
    before = snapshot(w.router)
    temporary = os.path.join(w.balancer.directory, "tmp")
    for directory, env in ((w.balancer.run_directory, {}), (temporary, {"TMPDIR": temporary})):
        w.balancer.rules("start")
        assert with_full(w, directory, "stop", **env).returncode == 0
        assert differences(before, snapshot(w.router)) == ""


def test_lock_that_cannot_be_opened(site):
    w = site
    lock = os.path.join(w.balancer.run_directory, "rules.lock")
    os.makedirs(lock)
    result = w.balancer.rules("start", check=False)
    assert result.returncode == 1
    assert result.stderr == f"nfq-balancer-rules: cannot write {lock}; nothing was changed\n"


# ---- lock, backends ----


def test_one_at_a_time(site):
    w = site
    os.makedirs(w.balancer.run_directory, exist_ok=True)
    lock = os.path.join(w.balancer.run_directory, "rules.lock")
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo held; read line"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        result = w.balancer.rules("start", check=False, env={"NFQB_LOCK_WAIT": "0"})
        assert result.returncode == 1 and "another nfq-balancer-rules is at work" in result.stderr
        holder.stdin.write("\n")
        holder.stdin.close()
        holder.wait()
    w.balancer.rules("start")


def test_another_backend_at_restart(site):
    w = site
    before = snapshot(w.router)
    usable = [b for b in BACKENDS if works(b)]
    w.balancer.rules("--backend", usable[0], "start")
    for other in usable[1:]:
        w.balancer.rules("--backend", other, "restart")
        assert f"backend   {other}" in w.balancer.rules("status").stdout
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""


def test_backend_that_does_not_work(site):
    missing = [b for b in BACKENDS if not works(b)]
    if not missing:
        pytest.skip("all backends work here")
    with pytest.raises(CommandError, match="does not work in this kernel"):
        site.balancer.rules("--backend", missing[0], "start")
