# SPDX-License-Identifier: GPL-2.0-or-later
"""The traffic tools (tests/tools/traffic-*.c) as Python objects."""

import itertools
import json
import os
import select
import signal
import subprocess
import weakref

from lab.host import PATIENCE, wait_until
from lab.paths import tool

_runs = itertools.count(1)
_flood_ports = weakref.WeakKeyDictionary()  # host: source port where its next flood begins
# requests per second and client: what an emulated machine can do (NFQB_MAX_RATE)
MAX_RATE = float(os.environ.get("NFQB_MAX_RATE", "inf"))


def next_run():
    """A run number not used before in this process."""
    return next(_runs)


def _bearable(rate, flows=1, packets=1, spread=0):
    """New flows per second, at most `rate`, with which a client stays within MAX_RATE."""
    if not flows:
        packets *= 2  # without end nothing may pile up
    elif spread and flows * packets / spread <= MAX_RATE:
        packets = 1  # even all of them at once are few
    return min(rate, MAX_RATE / packets)


def _words(options):
    """{"flows": 10, "udp": True, "to": [...]} as command line options"""
    words = []
    for name, value in options.items():
        option = "--" + {"source": "from", "source_port": "from-port"}.get(name, name)
        if value is True:  # 1 is a number
            words.append(option)
        elif value is not None and value is not False:  # nor is 0 False
            words += [option, ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)]
    return words


class Server:
    """traffic-server on some ports of a host: answers, and counts who came through which link."""

    def __init__(self, host, *ports):
        self.process = host.start(tool("traffic-server"), *(ports or ["80"]), name="server",
                                  stdin=subprocess.PIPE, pipe=True)
        if self._line() != "ready":
            raise RuntimeError("traffic-server: " + self.process.log())

    def _line(self):
        if not select.select([self.process.popen.stdout], [], [], 30 * PATIENCE)[0]:
            raise TimeoutError("traffic-server does not answer")
        return self.process.popen.stdout.readline().rstrip("\n")

    def _ask(self, command):
        self.process.popen.stdin.write(command + "\n")
        self.process.popen.stdin.flush()
        return self._line()

    def report(self):
        """All counts; see the tool's header."""
        return json.loads(self._ask("report"))

    def run(self, run):
        """The counts of one run, zeros if nothing came."""
        empty = {"flows": 0, "packets": 0, "duplicates": 0, "moved": 0, "rebound": 0, "by_peer": {}, "by_packets": {}}
        return self.report()["runs"].get(str(run), empty)

    def flows(self, run):
        """[[flow, first peer, packets, moves], ...] of one run"""
        return json.loads(self._ask(f"flows {run}"))

    def reset(self):
        self._ask("reset")


class Client:
    """traffic-client in a host, in the background. Options as the tool's, "_" for "-"; source= for --from."""

    def __init__(self, host, to, run=None, **options):
        self.run = run if run is not None else next_run()
        # a port that comes back too soon would meet its predecessor's conntrack entry: no new flow
        options.setdefault("source_port", "10000-65535")
        if "rate" in options:
            options["rate"] = _bearable(**{name: options[name] for name in ("rate", "flows", "packets", "spread")
                                           if name in options})
        if PATIENCE > 1:
            options["timeout"] = options.get("timeout", 20) * PATIENCE
        options = {name.replace("_", "-") if name != "source_port" else name: v for name, v in options.items()}
        self.process = host.start(tool("traffic-client"), *_words({"to": to, "run": self.run, **options}),
                                  name="client", pipe=True)
        self._result = None

    def alive(self):
        return self.process.alive()

    def stop(self):
        """Open no more flows; those that are open go on to their end."""
        self.process.popen.terminate()
        return self

    def release(self):
        """Let flows that hold=True kept waiting send their last request."""
        self.process.send_signal(signal.SIGUSR1)

    def result(self, timeout=120):
        """Wait for the end; what became of the flows."""
        if self._result is None:
            out, _ = self.process.popen.communicate(timeout=timeout * PATIENCE)
            if self.process.popen.returncode:
                raise RuntimeError("traffic-client: " + self.process.log())
            self._result = json.loads(out)
        return self._result


def total(results):
    """Several clients' results as one: numbers added up, the worst latency kept."""
    sums = {"failures": {}, "by_peer": {}, "connect_us": {}}
    for result in results:
        for name, value in result.items():
            if name == "connect_us":
                for key, number in value.items():
                    sums[name][key] = max(sums[name].get(key, 0), number)
            elif isinstance(value, dict):
                for key, number in value.items():
                    sums[name][key] = sums[name].get(key, 0) + number
            elif name in ("run", "seconds"):
                sums[name] = max(sums.get(name, 0), value)
            else:
                sums[name] = sums.get(name, 0) + value
    return sums


def flood(host, to, run=None, **options):
    """traffic-flood: one-packet UDP flows as fast as they go. Returns {"run", "sent", "seconds"}."""
    run = run if run is not None else next_run()
    # a flow that an earlier flood sent would be no new one: the kernel still knows it
    options.setdefault("source-port", _flood_ports.get(host, 10000))
    out = host.run(tool("traffic-flood"), *_words({"to": to, "run": run, **options}), timeout=120).stdout
    result = {"run": run, **json.loads(out)}
    _flood_ports[host] = result["next_source_port"]
    return result


def arrived(server, flows, quiet=0.3, timeout=20):
    """
    Wait until so many flows, of all runs since the server's counts began, arrived there or were
    dropped by it, and no packet more comes; the server's report. What is late is not lost.
    """
    seen = {}

    def settled():
        before, now = seen.get("runs"), server.report()
        seen.update(now)
        return before == now["runs"] and sum(run["flows"] for run in now["runs"].values()) + now["drops"] >= flows

    try:
        wait_until(settled, timeout, interval=quiet)
    except TimeoutError:
        found = {run: counts["flows"] for run, counts in seen["runs"].items()}
        raise AssertionError(f"of {flows} flows arrived {found}, dropped there {seen['drops']}") from None
    return seen


def have_tools():
    """Are the traffic tools built?"""
    return all(os.access(tool(name), os.X_OK) for name in ("traffic-server", "traffic-client", "traffic-flood"))
