# SPDX-License-Identifier: GPL-2.0-or-later
"""start --confirm: what is not confirmed in time is taken back, whatever became of who started it."""

import os

import pytest
from lab import differences, snapshot, wait_until
from lab.paths import DAEMON, RULES
from ruleset import BACKENDS, Shims, configured_site, state_path, unordered, works


@pytest.fixture
def site(make_world):
    return configured_site(make_world)


def test_unconfirmed_start_is_undone(site):
    w = site
    before = snapshot(w.router)
    assert "confirm within 1 s" in w.balancer.rules("start", "--confirm", "1").stdout
    wait_until(lambda: not os.path.exists(state_path(w)), 20, "the rollback")
    assert differences(before, snapshot(w.router)) == ""


def rollbacks(w):
    """Waiting processes of this lab"""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if "rollback" in words and w.balancer.run_directory in words:
            found.append(int(pid))
    return found


@pytest.mark.parametrize("end", ["confirm", "stop"])
def test_confirmed_start_stays(site, end):
    w = site
    w.balancer.rules("start", "--confirm", "99")
    assert "confirm   within" in w.balancer.rules("status").stdout
    [pid] = wait_until(lambda: rollbacks(w), 5, "the process that waits")
    assert os.getsid(pid) == pid  # survives the session that started it
    w.balancer.rules(end)
    wait_until(lambda: not rollbacks(w), 10, "its end")
    assert os.path.exists(state_path(w)) == (end == "confirm")


@pytest.mark.parametrize("end", ["rollback", "confirm", "stop"])
def test_unconfirmed_start_on_an_active_router_is_undone(site, end):
    """The new configuration goes, and what was active before it comes back"""
    w = site
    before = snapshot(w.router)
    w.balancer.rules("start")
    once = snapshot(w.router)
    w.balancer.configure(w.links[:1], local=True)
    said = w.balancer.rules("start", "--confirm", "99").stdout
    assert "refreshed" in said and "or this start is undone" in said
    assert differences(once, snapshot(w.router)) != ""
    if end == "rollback":
        w.balancer.rules("start", "--confirm", "1")  # nothing changed: the new time counts
        wait_until(lambda: not rollbacks(w), 20, "the rollback")
        assert differences(unordered(once), unordered(snapshot(w.router))) == ""
        assert "changed since" in w.balancer.rules("status", check=False).stdout
        w.balancer.rules("restart")
    else:
        w.balancer.rules(end)
        wait_until(lambda: not rollbacks(w), 10, "its end")
    assert os.path.exists(state_path(w)) == (end != "stop")
    w.balancer.rules("stop")
    assert differences(before, snapshot(w.router)) == ""
    assert os.listdir(w.balancer.run_directory) == ["rules.lock"]


def test_session_lost_while_it_starts(site):
    """The hangup must not come between the rules and the process that takes them back"""
    w = site
    before = snapshot(w.router)
    shims = Shims(w.router)
    shims.put("ip", "*-batch*", 1, action="kill -HUP $PPID")
    result = w.balancer.rules("start", "--confirm", "2", env=shims.env)
    assert shims.reached(1) and "or this start is undone" in result.stdout
    wait_until(lambda: not rollbacks(w), 20, "the rollback")
    assert differences(before, snapshot(w.router)) == ""


def test_nobody_reads_what_it_says(site):
    """As when the connection of `ssh router nfq-balancer-rules start --confirm 60` breaks: the pipe is closed"""
    w = site
    before = snapshot(w.router)
    for seconds in ("99", "1"):  # the second time nothing changes but the time that is left
        w.router.run("sh", "-c", '"$@" | true', "sh", RULES, "-c", w.balancer.config_path, "start", "--confirm", seconds,
                     env={"NFQB_BINARY": DAEMON, "NFQB_POINTERS": w.balancer.directory + "/pointers"})
        if seconds == "99":
            assert rollbacks(w)
    wait_until(lambda: not rollbacks(w), 20, "the rollback")
    assert differences(before, snapshot(w.router)) == ""


def test_unconfirmed_starts_go_back_to_the_last_confirmed(site):
    w = site
    before = snapshot(w.router)
    w.balancer.rules("start", "--confirm", "99")
    w.balancer.configure(w.links[:1], local=True)
    w.balancer.rules("start", "--confirm", "98")
    # nothing changed: the new time counts
    assert "or this start is undone" in w.balancer.rules("start", "--confirm", "1").stdout
    wait_until(lambda: not rollbacks(w), 20, "the rollback")
    assert differences(before, snapshot(w.router)) == ""
    assert not os.path.exists(state_path(w))


def test_unconfirmed_backend_is_undone(site):
    w = site
    usable = [b for b in BACKENDS if works(b)]
    if len(usable) < 2:
        pytest.skip("one backend works here")
    w.balancer.rules("--backend", usable[0], "start")
    w.balancer.configure(w.links[:1], local=True)
    w.balancer.rules("--backend", usable[1], "start", "--confirm", "1")
    wait_until(lambda: not rollbacks(w), 20, "the rollback")
    said = w.balancer.rules("status", check=False).stdout
    assert f"backend   {usable[0]}" in said and "as made" in said
