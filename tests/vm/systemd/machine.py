# SPDX-License-Identifier: GPL-2.0-or-later
"""
The virtual machine as router of a lab: nfq-balancer installed there with its systemd units.

The usual topology, except that the router is no network namespace but the machine
itself, where services run; and a Balancer that is what `make install` put there.
"""

import errno
import json
import os
import subprocess

from lab import Balancer, Host, Lab

RULES = "nfq-balancer-rules.service"
DAEMON = "nfq-balancer.service"
TRACING = "/sys/kernel/tracing"


def run(*words, check=True):
    """A command on the machine; its CompletedProcess. AssertionError with what it said when it fails."""
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    said = result.stdout + result.stderr
    assert not check or result.returncode == 0, f"{' '.join(words)}: {result.returncode}\n{said}"
    return result


def systemctl(*words, check=True):
    """The same of systemctl; when it fails, with what the units have said."""
    result = run("systemctl", *words, check=False)
    if check and result.returncode:
        said = run("journalctl", "-b", "-u", RULES, "-u", DAEMON, "-n", 20, "--no-pager").stdout
        raise AssertionError(f"systemctl {' '.join(words)}: {result.returncode}\n{result.stderr}{said}")
    return result


def show(unit, *names):
    """Properties of a unit, in this order; one: that alone"""
    lines = systemctl("show", unit, "-p", ",".join(names)).stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines)
    values = [int(found[name]) if found[name].isdigit() else found[name] for name in names]
    return values if len(values) > 1 else values[0]


def journal(unit, *options):
    """What the journal has of a unit since boot: [{"MESSAGE", "PRIORITY", ...}, ...]"""
    run("journalctl", "--sync")
    text = run("journalctl", "-b", "-u", unit, "-o", "json", "--no-pager", *options).stdout
    return [json.loads(line) for line in text.splitlines()]


class MachineLab(Lab):
    """A lab whose router is the machine's own network."""

    def host(self, name):
        if name != "router":
            return super().host(name)
        router = Host(self, name, f"{self.prefix}-{name}")
        # a name for what is there; not among the hosts, whose processes end with the lab
        run("ip", "netns", "attach", router.netns, "1")
        return router


class Installed(Balancer):
    """nfq-balancer at its documented places."""

    def __init__(self, router):
        super().__init__(router)
        self.run_directory = "/run/nfq-balancer"
        self.state_directory = "/var/lib/nfq-balancer"
        self.socket_path = "/run/nfq-balancer/control.sock"
        self.config_path = "/etc/nfq-balancer/nfq-balancer.conf"

    def write(self, text):
        os.makedirs(os.path.dirname(self.config_path), exist_ok=True)
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(text)

    def nfqbctl(self, *words, check=True):
        return run("/usr/local/sbin/nfqbctl", *words, check=check).stdout


class Refusals:
    """
    Which system calls were refused with EPERM or EACCES: what a sandbox takes from a program
    that does not complain. The kernel's tracing tells.
    """

    # threads of the daemon; the rules script (15 characters of its name) and its tools
    NAMES = ("nfq-balancer", "nfqb-queue*", "nfq-balancer-ru", "unshare", "nft", "ip", "*tables*", "modprobe")

    def __init__(self):
        refused = " || ".join(f"ret == -{number}" for number in (errno.EPERM, errno.EACCES))
        ours = " || ".join(f'comm ~ "{name}"' for name in self.NAMES)
        self._write("events/raw_syscalls/sys_exit/filter", f"({refused}) && ({ours})")
        self._write("events/raw_syscalls/sys_exit/enable", "1")

    @staticmethod
    def _write(name, text):
        with open(os.path.join(TRACING, name), "w", encoding="ascii") as file:
            file.write(text)

    @staticmethod
    def seen():
        """A line for each: "THREAD-PID ... sys_exit: NR number = -1" """
        with open(os.path.join(TRACING, "trace"), encoding="ascii") as file:
            return [line.strip() for line in file if not line.startswith("#")]
