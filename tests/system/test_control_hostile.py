# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that do what they should not: the daemon keeps its memory, answers others, and steers."""

import grp
import json
import os
import random
import socket
import stat
import time

import pytest

import lab
from control import Speaker, ask_json, error, status
from lab.host import wait_until
from lab.paths import CLIENT

MANY = 1000
PROMPT = 2.0  # seconds within which others are served; generous, a served client takes milliseconds
MEMORY = 24 << 20  # growth of the daemon allowed for what a hostile client does


@pytest.fixture(scope="module", name="world")
def make_world_once():
    with lab.world(links=2) as world:
        world.balancer.configure(world.links)
        world.balancer.start()
        yield world


@pytest.fixture(scope="module", name="quiet", autouse=True)
def clients_that_say_nothing():
    """Another daemon, with two silent clients from the first test on: their time runs while the others do."""
    with lab.world(links=2) as world:
        world.balancer.configure(world.links)
        world.balancer.start()
        with Speaker(world.balancer, timeout=60) as watching, Speaker(world.balancer, timeout=60) as idle:
            watching.say("watch events")
            assert watching.line() == "watching events"
            yield world.balancer, idle, watching


@pytest.fixture(name="balancer")
def balancer_of_world(world):
    return world.balancer


def process_status(balancer, field):
    with open(f"/proc/{balancer.process.pid}/status", encoding="utf-8") as file:
        return next((line.split()[1] for line in file if line.startswith(field + ":")), None)


def memory(balancer):
    return int(process_status(balancer, "VmRSS")) * 1024


def descriptors(balancer):
    """Those that stay: the least of some looks, since it opens and closes files all the time"""
    looks = []
    for _ in range(10):
        looks.append(len(os.listdir(f"/proc/{balancer.process.pid}/fd")))
        time.sleep(0.01)
    return min(looks)


class Observer(Speaker):
    """One client that stays, and asks how many others there are."""

    def alone(self, others=0):
        """Wait until the daemon has let go of everybody but so many others."""
        self.balancer.control("show groups")  # clients are accepted in order: all earlier ones are known by now

        def clients():
            return json.loads(self.ask("json show stats")[0])["stats"]["control"]["clients"]

        wait_until(lambda: clients() == 1 + others, what="the daemon to let go of its clients")


@pytest.fixture(name="observer")
def one_more_client(balancer):
    with Observer(balancer) as observer:
        observer.alone()
        yield observer


def waited(*threads):
    """Seconds for which these threads could have run and had no processor"""
    total = 0
    for thread in threads:
        with open(f"/proc/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[1])
    return total / 1e9


def served_promptly(balancer):
    """Whatever the machine has to do besides: what it did not let the two do does not count."""
    both = os.getpid(), balancer.process.pid
    start = time.monotonic() - waited(*both)
    assert status(balancer)["links_up"] == 2
    assert time.monotonic() - waited(*both) - start < PROMPT


def steers(world):
    decided = world.balancer.decided()
    run = world.traffic(flows=50, rate=500)
    assert run.result()["completed"] == 50
    assert world.balancer.decided() - decided == 50


def push(stream, data):
    """Send until all is sent or the daemon hangs up. Returns how much went."""
    sent = 0
    view = memoryview(data)
    try:
        while sent < len(data):
            sent += stream.send(view[sent:])
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def test_large_tables_are_resident_where_used(balancer):
    """Where the system gives everybody pages of 2 MiB, as Debian does, the daemon takes none."""
    enabled = process_status(balancer, "THP_enabled")
    if enabled is None:
        pytest.skip("this kernel does not say who has huge pages")
    assert enabled == "0"


def test_ten_megabytes_without_a_newline(world, balancer):
    before = memory(balancer)
    with Speaker(balancer) as speaker:
        assert push(speaker.stream, b"x" * (10 << 20)) < 10 << 20
        said = speaker.closed().decode()
        assert said == "error line too long: expected at most 4096 bytes and a newline\n"
    assert memory(balancer) - before < 1 << 20
    steers(world)


@pytest.mark.parametrize("length, good", [(4096, True), (4097, False)])
def test_longest_line(balancer, length, good):
    line = "show groups" + " " * (length - len("show groups"))
    with Speaker(balancer) as speaker:
        speaker.say(line)
        assert (speaker.reply()[-1] == "ok") is good
        if not good:
            assert speaker.closed() == b""


@pytest.mark.parametrize("line", [b"show\0groups\n", b"\0\n", b"\xff\xfe\xfd\n", b"show groups \xc3\x28\n"])
def test_bytes_that_are_no_text(balancer, line):
    with Speaker(balancer) as speaker:
        speaker.stream.sendall(line)
        assert speaker.reply()[-1].startswith("error ")
        assert speaker.ask("show groups")[-1] == "ok"


def test_random_lines(world, balancer):
    """Words of the language in any order: one reply each, and the daemon lives."""
    seed = int(os.environ.get("NFQB_SEED", random.SystemRandom().randrange(1 << 32)))
    print("seed", seed)
    chance = random.Random(seed)
    words = ("help status show links groups rules stats config decisions flows explain set weight link scheduler up "
             "down drain auto reload save json --json iface from router dscp mark client port proto tcp udp icmp "
             "link1 link2 balanced wrr hash rest wan1 192.168.1.11 203.0.113.1 2001:db8::1 0 - -1 1 443 65535 65536 "
             "0x100 99999999999999999999 \x01 \xe9 " + "y" * 300).split(" ")
    starts = ["explain tcp 192.168.1.11 5000 203.0.113.1", "show flows", "show", "set", "set weight", "help", "json"]
    with Speaker(balancer, timeout=30) as speaker:
        for number in range(1500):
            line = " ".join([chance.choice(starts)] * chance.randrange(2) + chance.choices(words, k=chance.randrange(1, 7)))
            speaker.say(f"{line}\nmarker{number}")
            speaker.reply()
            # had the line been answered twice, this would not be the next answer
            assert speaker.reply() == [f'error unknown command "marker{number}": try help'], line
    for name in ("link1", "link2"):
        balancer.command(f"set link {name} auto")
        balancer.command(f"set weight {name} 1")
    balancer.command("set scheduler balanced wrr")
    steers(world)


def test_one_byte_at_a_time(balancer):
    with Speaker(balancer) as speaker:
        for byte in b"show groups\n":
            speaker.stream.sendall(bytes([byte]))
        assert speaker.reply()[-1] == "ok"


def test_client_that_never_reads(world, balancer):
    """Commands without end and nothing read: nothing more is taken from it."""
    before = memory(balancer)
    with Speaker(balancer) as speaker:
        speaker.stream.setblocking(False)
        sent = 0
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                sent += speaker.stream.send(b"show config\n" * 1000)
            except BlockingIOError:
                served_promptly(balancer)
                try:
                    sent += speaker.stream.send(b"x")
                except BlockingIOError:
                    break
        else:
            pytest.fail(f"{sent} bytes of commands were taken without a reply being read")
        steers(world)
        assert memory(balancer) - before < MEMORY
        # when it reads after all, everything it asked for is there
        speaker.stream.settimeout(20)
        for _ in range(100):
            assert speaker.reply()[-1] == "ok"
    served_promptly(balancer)


def test_dump_that_nobody_reads(world, balancer, observer):
    """show flows waits for its reader, then goes on to the last flow."""
    world.router.sh("for i in $(seq 1 5000); do echo -A -s 192.168.1.77 -d 203.0.113.77 -p udp --sport $((1024 + i)) "
                    "--dport 53 -t 600 -m 0x8100; done > /tmp/$$.ct; "
                    "conntrack -R /tmp/$$.ct > /dev/null 2>&1; rm -f /tmp/$$.ct")
    there = world.router.conntrack("-s", "192.168.1.77").count("src=192.168.1.77")
    assert there == 5000
    before, count = memory(balancer), descriptors(balancer)
    with Speaker(balancer) as idle, Speaker(balancer) as second:
        idle.say("json show flows client 192.168.1.77")
        second.say("show flows client 192.168.1.77")
        for _ in range(5):
            served_promptly(balancer)
        steers(world)
        assert memory(balancer) - before < MEMORY
        # two clients, and two dumps that wait: the kernel was not asked for more than they read
        observer.alone(others=2)
        assert descriptors(balancer) == count + 4
        assert len(idle.reply()) == there + 2
        assert second.reply()[-2] == f"{there} flows"


def test_dump_whose_reader_leaves(balancer, observer):
    count = descriptors(balancer)
    for _ in range(20):
        speaker = Speaker(balancer)
        speaker.say("show flows")
        speaker.close()
    observer.alone()
    assert descriptors(balancer) == count


def test_watcher_that_never_reads(world, balancer):
    """Decisions go on; the watcher is told how many lines were left out."""
    before = memory(balancer)
    with Speaker(balancer, timeout=20) as speaker:
        speaker.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        speaker.say("json watch decisions")
        assert "watching" in speaker.line()
        run = world.traffic(flows=6000, rate=3000)
        assert run.result()["completed"] == 6000
        served_promptly(balancer)
        assert memory(balancer) - before < MEMORY
        # reading again: it hears of what it missed as soon as something happens
        speaker.stream.setblocking(False)
        seen = b""
        deadline = time.monotonic() + 20
        while b'"left_out"' not in seen and time.monotonic() < deadline:
            try:
                seen += speaker.stream.recv(1 << 20)
            except BlockingIOError:
                world.traffic(flows=5).result()
        assert b'"left_out"' in seen
        left_out = sum(int(part.split(b"}")[0]) for part in seen.split(b'"lines":')[1:])
        shown = seen.count(b'"type":"decision"')
        assert left_out > 0 and shown > 0


def test_a_thousand_clients(world, balancer, observer):
    speakers = [Speaker(balancer, timeout=30) for _ in range(MANY)]
    try:
        for speaker in speakers:
            speaker.say("show groups")
        served_promptly(balancer)
        steers(world)
        assert all(speaker.reply()[-1] == "ok" for speaker in speakers)
        assert ask_json(balancer, "show stats")[0]["stats"]["control"]["clients"] == MANY + 2
    finally:
        for speaker in speakers:
            speaker.close()
    observer.alone()


def test_socket_is_not_for_everybody(balancer):
    mode = os.stat(balancer.socket_path)
    assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o660 and mode.st_uid == 0


def test_second_daemon_refuses(world, balancer):
    second = world.router.start(lab.balancer.DAEMON, "-c", balancer.config_path, name="second")
    assert second.wait() == 1
    said = second.log()
    assert f"another nfq-balancer (pid {balancer.process.pid}) answers on it" in said and balancer.socket_path in said
    served_promptly(balancer)


# ---- these start daemons of their own ----

def test_stale_socket_is_replaced(make_world):
    world = make_world(links=2)
    world.balancer.configure(world.links)
    world.balancer.start()
    world.balancer.kill_daemon()
    assert os.path.exists(world.balancer.socket_path)
    world.balancer.start_daemon()
    assert status(world.balancer)["status"] == "OK"
    # whatever an orderly end leaves behind (the directory is root's by then) is replaced as well
    world.balancer.stop_daemon()
    client = world.router.run(CLIENT, "-s", world.balancer.socket_path, check=False)
    assert client.returncode == 3 and "is the daemon running?" in client.stderr
    world.balancer.start_daemon()
    assert status(world.balancer)["status"] == "OK"


def test_no_socket_in_the_way(make_world):
    """A file of somebody else by the socket's name is not removed."""
    world = make_world(links=2)
    path = os.path.join(world.balancer.directory, "precious")
    with open(path, "w", encoding="utf-8") as file:
        file.write("data")
    world.balancer.configure(world.links, socket=path)
    daemon = world.balancer.start_daemon(wait=False)
    assert daemon.wait() == 1
    assert "exists and is no socket" in daemon.log()
    assert open(path, encoding="utf-8").read() == "data"


def test_out_of_descriptors(make_world):
    """Few descriptors: some clients are served, the rest wait for their turn, the daemon keeps what it needs."""
    world = make_world(links=2)
    balancer = world.balancer
    balancer.configure(world.links)
    balancer.rules("start")
    balancer.process = world.router.start("prlimit", "--nofile=100:100", lab.balancer.DAEMON, "-c",
                                          balancer.config_path, name="daemon")
    balancer.wait_ready()
    speakers = [Speaker(balancer, timeout=20) for _ in range(150)]
    try:
        for speaker in speakers:
            speaker.say("show groups")
        assert speakers[0].reply()[-1] == "ok"
        steers(world)
        assert speakers[0].ask("reload")[-1] == "ok"
        assert descriptors(balancer) < 50  # of the hundred
        for speaker in speakers[1:]:
            speakers[0].close()
            assert speaker.reply()[-1] == "ok"
            speakers[0] = speaker
    finally:
        for speaker in speakers:
            speaker.close()
    served_promptly(balancer)


def test_socket_group(make_world):
    world = make_world(links=2)
    group = grp.getgrgid(os.stat("/").st_gid if os.stat("/").st_gid else 1).gr_name
    world.balancer.configure(world.links, socket_group=group)
    world.balancer.rules("start")
    world.balancer.start_daemon()
    mode = os.stat(world.balancer.socket_path)
    assert mode.st_gid == grp.getgrnam(group).gr_gid and stat.S_IMODE(mode.st_mode) == 0o660
    world.balancer.stop_daemon()


def test_idle_clients_are_closed(quiet):
    """... but not those who watch."""
    balancer, idle, watching = quiet
    assert idle.closed() == b""
    balancer.command("set weight link1 7")
    assert watching.line().endswith("link link1: weight 1 -> 7")


def test_still_answers(balancer):
    """The daemon that went through all of the above answers as on its first day."""
    assert error(balancer, "nonsense").startswith("unknown command")
    assert balancer.process.alive()
