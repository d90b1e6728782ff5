# SPDX-License-Identifier: GPL-2.0-or-later
"""nfq-balancer on a lab's router: its configuration, rules script, daemon and control socket."""

import json
import os
import socket
import weakref

from lab.host import PATIENCE, wait_until
from lab.paths import CLIENT, DAEMON, RULES


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(_value(v) for v in value) + " }"
    if isinstance(value, int):
        return str(value)
    return f'"{value}"'


def _keys(keys, indent=""):
    return "".join(f"{indent}{key.replace('_', '-')} = {_value(value)}\n" for key, value in keys.items()
                   if value is not None)


def config_text(top, links, groups, rules):
    """
    The text of a configuration file. `top` is a dict of keys; the others map names to
    dicts of keys, in order. "_" stands for "-" in keys. A group's "tier" maps names to
    dicts in the same way.
    """
    text = _keys(top)
    for kind, sections in (("link", links), ("group", groups), ("rule", rules)):
        for name, keys in sections.items():
            keys = dict(keys)
            tiers = keys.pop("tier", {})
            text += f'{kind} "{name}" {{\n' + _keys(keys, "\t")
            for title, tier in tiers.items():
                text += f'\ttier "{title}" {{\n' + _keys(tier, "\t\t") + "\t}\n"
            text += "}\n"
    return text


class Balancer:
    """
    One router's nfq-balancer. Everything it writes stays in the lab's directory, so any
    number of them run on one machine at once. `made` are all that still exist.
    `counts_broken`: a test says why the daemon's counts cannot be right when it ends.
    """

    made = weakref.WeakSet()

    def __init__(self, router):
        self.router = router
        self.directory = os.path.join(router.lab.directory, f"{router.name}-{router.lab.count()}")
        os.mkdir(self.directory)
        self.run_directory = os.path.join(self.directory, "run")
        self.state_directory = os.path.join(self.directory, "state")
        self.socket_path = os.path.join(self.run_directory, "control.sock")
        self.config_path = os.path.join(self.directory, "nfq-balancer.conf")
        self.process = None
        self.ids = {}  # link name: id
        self.counts_broken = None
        Balancer.made.add(self)

    # ---- configuration ----

    def write(self, text):
        """Write the configuration file as it stands, after the keys that name this lab's places."""
        places = _keys({"user": "nobody", "run_directory": self.run_directory,
                        "state_directory": self.state_directory})
        fresh = self.config_path + ".new"
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(places + text)
        os.rename(fresh, self.config_path)

    def configure(self, links, groups=None, rules=None, **top):
        """
        Write a configuration for these lab.topology.Links. By default one group, "balanced",
        of all links, with wrr and no stickiness, for everything.
        """
        sections = {link.name: link.config() for link in links}
        self.ids = {link.name: link.id for link in links}
        if groups is None:
            groups = {"balanced": {"links": list(sections), "scheduler": "wrr", "sticky": "none"}}
        if rules is None:
            rules = {"rest": {"use": next(iter(groups))}}
        self.write(config_text({"lan": ["lan0"], **top}, sections, groups, rules))

    # ---- rules script ----

    def rules(self, *action, check=True, env=None):
        """Run the rules script: rules("start"), rules("status", check=False), ..."""
        return self.router.run(RULES, "-c", self.config_path, *action, check=check,
                               env={"NFQB_BINARY": DAEMON, "NFQB_POINTERS": os.path.join(self.directory, "pointers"),
                                    **(env or {})})

    # ---- daemon ----

    def start_daemon(self, *options, wait=True):
        """Start the daemon; wait until its control socket answers."""
        self.process = self.router.start(DAEMON, "-c", self.config_path, *options, name="daemon")
        if wait:
            self.wait_ready()
        return self.process

    def ready(self):
        """Does the daemon answer? RuntimeError when it has ended instead."""
        if not self.process.alive():
            raise RuntimeError("the daemon ended:\n" + self.process.log())
        try:
            return self.control("show links")[-1] == "ok"
        except OSError:
            return False

    def wait_ready(self, timeout=10):
        try:
            wait_until(self.ready, timeout, "the daemon's control socket")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.process.log()}") from None

    def stop_daemon(self):
        """SIGTERM: drain and leave. Returns the exit status."""
        return self.process.stop()

    def kill_daemon(self):
        """SIGKILL."""
        return self.process.kill()

    def start(self):
        """Rules, then daemon."""
        self.rules("start")
        self.start_daemon()

    def stop(self):
        """Daemon, then rules."""
        self.stop_daemon()
        self.rules("stop")

    # ---- control ----

    def control(self, line, timeout=10):
        """Say one line to the control socket; the reply's lines, the last one "ok" or "error ..."."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(timeout * PATIENCE)
            stream.connect(self.socket_path)
            stream.sendall(line.encode() + b"\n")
            reply = b""
            while True:
                lines = reply.split(b"\n")
                if len(lines) > 1 and not lines[-1] and (lines[-2] == b"ok" or lines[-2].startswith(b"error ")):
                    return reply.decode().splitlines()
                more = stream.recv(65536)
                if not more:
                    raise ConnectionError(f"{line}: the daemon closed the connection after {reply!r}")
                reply += more

    def command(self, line):
        """The same, for commands that must work: RuntimeError otherwise."""
        reply = self.control(line)
        if reply[-1] != "ok":
            raise RuntimeError(f"{line}: {reply[-1]}")
        return reply[:-1]

    def json(self, line):
        """A command's answer as JSON: json("show links")["links"]"""
        return json.loads("\n".join(self.command(f"json {line}")))

    def link_state(self, name):
        """"up", "drain" or "down", as the daemon sees it"""
        return next(link["state"] for link in self.json("show links")["links"] if link["link"] == name)

    def nfqbctl(self, *words, check=True):
        """What `nfqbctl WORDS...` prints."""
        return self.router.run(CLIENT, "-s", self.socket_path, *words, check=check).stdout

    def nfqbctl_json(self, *words):
        """The same with --json, parsed."""
        return json.loads(self.router.run(CLIENT, "-s", self.socket_path, "--json", *words).stdout)

    # ---- what the kernel counted ----

    def counters(self):
        """{"decided": {link: flows}, "fallback": {link: flows}} from the commit chain (nft backends)."""
        listed = json.loads(self.router.run("nft", "-j", "list", "counters", "table", "inet", "nfq_balancer").stdout)
        packets = {c["counter"]["name"]: c["counter"]["packets"] for c in listed["nftables"] if "counter" in c}
        return {kind: {name: packets.get(f"{kind}_{number}", 0) for name, number in self.ids.items()}
                for kind in ("decided", "fallback")}

    def decided(self):
        """New flows that the daemon decided, all links together."""
        return sum(self.counters()["decided"].values())

    def fallback(self):
        """New flows that the kernel decided alone, all links together."""
        return sum(self.counters()["fallback"].values())

    def queues(self):
        """{"waiting", "dropped", "user_dropped"} of the kernel's queues, added up."""
        text = self.router.sh("cat /proc/net/netfilter/nfnetlink_queue 2>/dev/null", check=False)
        rows = [[int(word) for word in line.split()] for line in text.splitlines()]
        return {"waiting": sum(r[2] for r in rows), "dropped": sum(r[5] for r in rows),
                "user_dropped": sum(r[6] for r in rows)}
