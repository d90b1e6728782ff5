# SPDX-License-Identifier: GPL-2.0-or-later
"""
The systemd units under a booted systemd, installed the way README says, on a router that
carries connections. The tests are one story: each goes on where the one before it ended.
"""

import contextlib
import os
import shutil
import signal

import counts
import pytest
from lab import differences, snapshot, wait_until, world
from machine import DAEMON, RULES, Installed, MachineLab, Refusals, journal, run, show, systemctl
from steering import FALLBACK, ROOM, shares

GROUP = "adm"  # may use the control socket
FLOWS = 60
CAP_NET_ADMIN = 1 << 12
# of `systemd-analyze security`, from 0 (nothing is left to it) to 10
MOST_EXPOSED = {DAEMON: 3.1, RULES: 3.8}


@pytest.fixture(scope="module")
def refusals():
    return Refusals()


@pytest.fixture(scope="module")
def w():
    """Two links and two clients. Nothing of nfq-balancer's is there yet, nor any module it will need."""
    with world(links=2, clients=2, ipv6="nat66", lab=MachineLab()) as made:
        made.balancer = Installed(made.router)
        for link, weight in zip(made.links, FALLBACK[1:]):
            link.keys["fallback_weight"] = weight
        assert made.server
        yield made


@pytest.fixture(scope="module")
def before(w):
    """The router before the first start"""
    return snapshot(w.router)


def configure(w, *weights):
    for link, weight in zip(w.links, weights):
        link.weight = weight
    w.balancer.configure(w.links, socket_group=GROUP, queues=2, pin="auto", spin=50, **ROOM)


def well(traffic):
    """Every connection was opened and answered, and kept its link."""
    result = traffic.result()
    assert result["failures"] == {} and result["completed"] == result["flows"] and result["moved"] == 0


def steered(w, *weights):
    """New connections are the daemon's, and in these shares."""
    fallback = w.balancer.fallback()
    traffic = w.traffic(w.clients[0], flows=FLOWS, rate=60)
    well(traffic)
    assert w.balancer.fallback() == fallback
    shares(w.split(traffic.run), weights, 0.07)
    assert w.leaked() == 0


@contextlib.contextmanager
def kept_open(w):
    """Connections that are open while something happens, and say something afterwards."""
    old = w.traffic(w.clients[1], flows=20, rate=40, packets=2, spread=0.1, hold=True)
    wait_until(lambda: w.server.run(old.run)["flows"] == 20, 20, "20 open connections")
    yield
    old.release()
    well(old)
    assert w.server.run(old.run)["by_packets"] == {"2": 20}


@contextlib.contextmanager
def undisturbed(w):
    """The same, and one connection after another is opened meanwhile; yields what waits until so many more came."""
    with kept_open(w):
        new = w.traffic(w.clients[0], flows=0, rate=20)

        def more(number):
            goal = w.server.run(new.run)["flows"] + number
            wait_until(lambda: w.server.run(new.run)["flows"] >= goal, 30, f"{number} more connections")

        more(5)
        yield more
        more(5)
        well(new.stop())


@contextlib.contextmanager
def drop_in(unit, line):
    """The unit with one more line, as an admin adds it"""
    directory = f"/run/systemd/system/{unit}.d"
    os.makedirs(directory)
    with open(f"{directory}/test.conf", "w", encoding="ascii") as file:
        file.write(f"[Service]\n{line}\n")
    systemctl("daemon-reload")
    yield
    shutil.rmtree(directory)
    systemctl("daemon-reload")


def active(*units):
    """Are all of them?"""
    return systemctl("is-active", *units, check=False).stdout.split() == ["active"] * len(units)


def daemon_pid():
    return show(DAEMON, "MainPID")


def running():
    """The daemon's process, which there is"""
    pid = daemon_pid()
    assert pid
    return pid


def another(pid):
    """Is the daemon there again, as another process?"""
    return daemon_pid() not in (0, pid) and active(DAEMON)


def status_of(pid):
    """/proc/PID/status as a dict"""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


# ---- installed, started ----

def test_installed_and_enabled(w):
    """`make install` and README's commands; until there is a configuration the units wait for it, quietly."""
    build = os.environ["NFQB_BUILD"]
    run("make", "-s", f"B={build}", "install")
    run("systemd-sysusers")
    systemctl("daemon-reload")
    systemctl("enable", "--now", "nfq-balancer-rules", "nfq-balancer")
    assert systemctl("is-enabled", RULES, DAEMON).stdout.split() == ["enabled"] * 2
    for unit in (RULES, DAEMON):
        assert show(unit, "FragmentPath") == f"/usr/local/lib/systemd/system/{unit}"
        assert show(unit, "ActiveState", "ConditionResult", "NRestarts") == ["inactive", "no", 0]


@pytest.mark.usefixtures("before", "refusals")
def test_start(w):
    """Rules first, then the daemon, which answers from the moment that systemd calls it started."""
    configure(w, 3, 1)
    run("nfq-balancer", "-n")
    systemctl("enable", "--now", "nfq-balancer-rules", "nfq-balancer")
    assert "OK" in w.balancer.nfqbctl("status").splitlines()[0]
    with open("/proc/net/netfilter/nfnetlink_queue", encoding="ascii") as file:
        assert len(file.readlines()) == 2
    assert show(RULES, "ActiveState", "SubState", "Result") == ["active", "exited", "success"]
    assert show(DAEMON, "ActiveState", "SubState", "Type", "NRestarts") == ["active", "running", "notify", 0]
    assert show(RULES, "ActiveEnterTimestampMonotonic") <= show(DAEMON, "ExecMainStartTimestampMonotonic")


def test_steers(w):
    steered(w, 3, 1)
    assert w.balancer.decided() == FLOWS
    v6 = w.traffic(w.clients[0], to=w.servers6, flows=12, rate=20)
    assert v6.result()["completed"] == 12
    assert all(w.split(v6.run).values())


def test_nfqbctl(w):
    """Root and the socket's group may use it, others may not."""
    assert [link["weight"] for link in w.balancer.json("show links")["links"]] == [3, 1]
    as_other = ["setpriv", "--reuid=nobody", "--clear-groups", "--regid=nogroup", "nfqbctl", "show", "links"]
    refused = run(*as_other, check=False)
    assert refused.returncode != 0 and "only root and the members of socket-group" in refused.stderr
    assert "link1" in run(*[word.replace("nogroup", GROUP) for word in as_other]).stdout


def test_confined():
    """What the unit leaves to the daemon: one capability, one user, its own directories."""
    pid = running()
    status = status_of(pid)
    user = int(run("id", "-u", "nfq-balancer").stdout)
    assert status["Uid"].split() == [str(user)] * 4 and status["Groups"].split() == []
    assert [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")] == \
        [CAP_NET_ADMIN, CAP_NET_ADMIN, 0, 0, 0]
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    inside = ["nsenter", "-t", str(pid), "-m"]
    for path in ("/usr", "/etc", "/proc/sys/net/ipv4/ip_forward", "/sys/fs/cgroup"):
        assert run(*inside, "test", "-w", path, check=False).returncode == 1, path
    for path in ("/run/nfq-balancer", "/var/lib/nfq-balancer"):
        run(*inside, "test", "-w", path)
    assert run(*inside, "ls", "-A", "/root", check=False).stdout == ""
    assert not os.path.exists(f"/proc/{pid}/root/dev/kmsg") and os.path.exists("/dev/kmsg")


@pytest.mark.parametrize("unit", [DAEMON, RULES])
def test_exposure(unit, figures):
    """systemd's own figure, which a dropped line would raise"""
    last = run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout.splitlines()[-1]
    figure = float(last.split(": ")[1].split()[0])
    figures(unit=unit, exposure=figure)
    assert figure <= MOST_EXPOSED[unit]


# ---- changed, killed, restarted ----

def test_reload(w):
    """A changed weight counts from the next connection on; open connections and the process stay."""
    pid = running()
    with undisturbed(w):
        configure(w, 1, 3)
        systemctl("reload", "nfq-balancer")
    steered(w, 1, 3)
    assert daemon_pid() == pid and active(DAEMON)


def test_reload_of_a_broken_file(w):
    """It fails, the journal says why, and what is running goes on with what it had."""
    pid = running()
    with open(w.balancer.config_path, "a", encoding="utf-8") as file:
        file.write("nonsense = 1\n")
    lines = len(open(w.balancer.config_path, encoding="utf-8").readlines())
    assert systemctl("reload", "nfq-balancer", check=False).returncode != 0
    said = [entry for entry in journal(DAEMON) if f"{w.balancer.config_path}:{lines}: " in entry["MESSAGE"]]
    assert "nonsense" in said[0]["MESSAGE"]
    assert daemon_pid() == pid and active(DAEMON)
    steered(w, 1, 3)
    configure(w, 1, 3)
    systemctl("reload", "nfq-balancer")


def test_killed(w):
    """systemd starts it again; open connections stay, new ones are never refused, the fallback takes them meanwhile."""
    pid = running()
    fallback = w.balancer.fallback()
    with undisturbed(w) as more:
        systemctl("kill", "-s", "KILL", "nfq-balancer")
        more(5)
        wait_until(lambda: another(pid), 20, "the daemon again")
    assert show(DAEMON, "NRestarts") == 1
    assert w.balancer.fallback() > fallback
    steered(w, 1, 3)


def test_hanging(w):
    """The watchdog ends a daemon that is stopped for longer than WatchdogSec, and it is started again."""
    pid = running()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: another(pid), 60, "the daemon again")
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in journal(DAEMON))
    steered(w, 1, 3)


def test_restart(w):
    """`systemctl restart`: no connection is lost; what was set and saved is kept."""
    pid = running()
    with undisturbed(w):
        w.balancer.nfqbctl("set", "weight", "link1", "9")
        w.balancer.nfqbctl("save")
        systemctl("restart", "nfq-balancer")
        assert [link["weight"] for link in w.balancer.json("show links")["links"]] == [9, 3]
    assert daemon_pid() != pid
    steered(w, 3, 1)
    counts.do_not_drift(w.balancer)


# ---- stopped, booted ----

def test_stop(w, before):
    """Without the daemon the fallback goes on; without the rules the router is as it was."""
    systemctl("stop", "nfq-balancer")
    assert show(DAEMON, "ActiveState", "Result") == ["inactive", "success"] and active(RULES)
    fallback = w.balancer.fallback()
    assert w.traffic(w.clients[0], flows=10, rate=20).result()["completed"] == 10
    assert w.balancer.fallback() == fallback + 10
    systemctl("start", "nfq-balancer")
    systemctl("stop", "nfq-balancer-rules")
    for unit in (DAEMON, RULES):
        assert show(unit, "ActiveState", "Result") == ["inactive", "success"]
    # the daemon first
    assert show(DAEMON, "InactiveEnterTimestampMonotonic") <= show(RULES, "ActiveExitTimestampMonotonic")
    after = snapshot(w.router)
    # settings of modules that were loaded since say nothing
    known = {line.split(":")[0] for line in before["sysctls"].splitlines()}
    after["sysctls"] = "".join(line + "\n" for line in after["sysctls"].splitlines() if line.split(":")[0] in known)
    assert differences(before, after) == ""


def test_boot(w):
    """At boot the rules come after what flushes everybody's, and the daemon after the rules."""
    systemctl("enable", "nftables")
    # as one transaction at boot would; nftables belongs to sysinit.target, which is long active
    systemctl("start", "nftables", "multi-user.target")
    assert active("nftables", RULES, DAEMON)
    assert show("nftables", "ActiveEnterTimestampMonotonic") <= show(RULES, "InactiveExitTimestampMonotonic")
    assert show(RULES, "ActiveEnterTimestampMonotonic") <= show(DAEMON, "InactiveExitTimestampMonotonic")
    steered(w, 3, 1)


def test_nftables_reloaded(w):
    """nftables.service flushes every table when it is reloaded: ours is put back, open connections have their links."""
    pid = running()
    with kept_open(w):
        systemctl("reload", "nftables")
        wait_until(lambda: active(RULES), 20, "the rules again")
        assert daemon_pid() == pid
    steered(w, 3, 1)


def test_nftables_restarted(w):
    """The same, with rules and daemon restarted."""
    pid = running()
    systemctl("restart", "nftables")
    wait_until(lambda: another(pid) and active(RULES), 50, "rules and daemon again")
    steered(w, 3, 1)


def test_iptables():
    """The rules' unit leaves iptables-legacy what it needs to try its rules: modules, a raw socket, a namespace."""
    script = "/usr/local/sbin/nfq-balancer-rules"
    with drop_in(RULES, f"ExecReload=\nExecReload={script} --backend iptables-legacy print"):
        systemctl("reload", RULES)
    assert any("*mangle" in entry["MESSAGE"] for entry in journal(RULES))


# ---- what all of that left ----

# warnings and worse in the journal, each from a test above
EXPECTED = ("/etc/nfq-balancer/nfq-balancer.conf:", "Reload failed for",
            f"{DAEMON}: Main process exited, code=killed, status=9/KILL", f"{DAEMON}: Failed with result 'signal'",
            f"{DAEMON}: Watchdog timeout", f"{DAEMON}: Main process exited, code=killed, status=6/ABRT",
            f"{DAEMON}: Failed with result 'watchdog'")


def test_nothing_was_refused(refusals):
    """No system call of the daemon, the rules script and its tools got EPERM or EACCES."""
    # unlink: the socket's name stays at the end, since the run directory is root's
    assert [line for line in refusals.seen() if "NR 87 = -13" not in line] == []


def test_journal(w):
    """It has the daemon's messages with their priorities, and no warning that no test asked for."""
    entries = journal(DAEMON) + journal(RULES)
    ready = [entry for entry in entries if entry["MESSAGE"].startswith("ready: ")]
    assert {(entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"]) for entry in ready} == {("nfq-balancer", "6")}
    worse = [entry["MESSAGE"] for entry in entries if int(entry["PRIORITY"]) <= 4]
    print("\n".join(worse))
    assert [text for text in worse if not text.startswith(EXPECTED)] == []
