# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab: hosts, the wires between them, and a guarantee that nothing outlives it."""

import atexit
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from lab.host import Host

PREFIX = "nfqb"
_labs = itertools.count()


def unusable():
    """Why no lab can be built on this machine, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "no ip command (iproute2)"
    name = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return "no network namespaces: " + made.stderr.strip()
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None


def _remove_netns(netns):
    """End what runs in a namespace (only that), then remove it."""
    pids = subprocess.run(["ip", "netns", "pids", netns], capture_output=True, text=True, check=False).stdout
    for pid in pids.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    subprocess.run(["ip", "netns", "del", netns], capture_output=True, check=False)


def remove_stale():
    """Remove namespaces of labs whose process is gone. Returns their names."""
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout.split("\n")
    stale = []
    for line in names:
        match = re.match(rf"({PREFIX}-(\d+)-\S+)", line)
        if match and not os.path.exists(f"/proc/{match[2]}"):
            _remove_netns(match[1])
            stale.append(match[1])
    return stale


class Lab:
    """
    with Lab() as lab:
        router = lab.host("router")
        client = lab.host("client")
        lab.wire(client, "eth0", router, "lan0")
        ...
    """

    def __init__(self):
        self.prefix = f"{PREFIX}-{os.getpid()}-{next(_labs)}"
        self.directory = tempfile.mkdtemp(prefix=self.prefix + "-")
        os.chmod(self.directory, 0o755)  # the daemon's service user goes through it
        self.hosts = []
        self.processes = []
        self._count = itertools.count()
        self._closed = False
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def count(self):
        """A number not used before in this lab."""
        return next(self._count)

    def host(self, name):
        """A new host, loopback up."""
        host = Host(self, name, f"{self.prefix}-{name}")
        made = subprocess.run(["ip", "netns", "add", host.netns], capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError("ip netns add: " + made.stderr.strip())
        self.hosts.append(host)
        # router advertisements and address detection would only make the labs slow and noisy
        host.sysctl({
            "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0,
            "net.ipv6.conf.all.accept_ra": 0, "net.ipv6.conf.default.accept_ra": 0,
            "net.ipv4.ip_local_port_range": "1024 65535",
        })
        host.ip("link set lo up")
        return host

    def wire(self, one, one_interface, other, other_interface):
        """A cable between two hosts; both ends up, no addresses."""
        subprocess.run(["ip", "link", "add", one_interface, "netns", one.netns, "type", "veth",
                        "peer", "name", other_interface, "netns", other.netns], check=True)
        one.ip(f"link set dev {one_interface} up")
        other.ip(f"link set dev {other_interface} up")

    def close(self):
        """End every process, remove every host and file. Can be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        alive = [p for p in self.processes if p.alive()]
        for process in alive:
            process.send_signal(signal.SIGCONT)  # a stopped process would not hear the rest
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 3
        while any(p.alive() for p in alive) and time.monotonic() < deadline:
            time.sleep(0.01)
        for process in self.processes:
            process.kill()
        for host in self.hosts:
            _remove_netns(host.netns)
        shutil.rmtree(self.directory, ignore_errors=True)
