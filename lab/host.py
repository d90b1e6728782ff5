# SPDX-License-Identifier: GPL-2.0-or-later
"""One host: a network namespace, and what runs in it."""

import os
import shlex
import signal
import subprocess
import time

# every deadline is so many times as long: for emulated machines
PATIENCE = float(os.environ.get("NFQB_PATIENCE", "1"))


class CommandError(Exception):
    """A command in a host failed; the message holds what it said."""

    def __init__(self, host, command, result):
        text = command if isinstance(command, str) else shlex.join(command)
        said = ((result.stdout or "") + (result.stderr or "")).strip()
        super().__init__(f"{host.name}: `{text}` ended with {result.returncode}: {said}")
        self.result = result


def wait_until(condition, timeout=10.0, what=None, interval=0.02):
    """
    Wait until `condition()` is true and return its value; TimeoutError after `timeout` seconds. What is
    waited for needs the processor, too: two thirds of the time, however long it takes to look.
    """
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not after {timeout} s: {what or condition}")
        time.sleep(max(interval, 2 * (time.monotonic() - began)))


class Process:
    """A background process in a host. The lab ends it, whatever happens."""

    def __init__(self, host, name, command, env=None, stdin=None, pipe=False):
        self.name = name
        self.log_path = os.path.join(host.lab.directory, f"{host.name}-{name}-{host.lab.count()}.log")
        self.command = command
        with open(self.log_path, "wb") as log:
            # `ip netns exec` becomes the command: its pid is the command's
            self.popen = subprocess.Popen(
                ["ip", "netns", "exec", host.netns, *command],
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else log, stderr=log,
                env={**os.environ, **(env or {})}, text=True,
            )
        host.lab.processes.append(self)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def log(self):
        """What it wrote so far (standard error too)."""
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def send_signal(self, number):
        self.popen.send_signal(number)

    def wait(self, timeout=30):
        """Its exit status, when it ends by itself."""
        return self.popen.wait(timeout * PATIENCE)

    def stop(self, number=signal.SIGTERM, timeout=10):
        """Ask it to end, wait, insist. Returns the exit status."""
        if self.alive():
            self.popen.send_signal(number)
            try:
                self.popen.wait(timeout * PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        status = self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                stream.close()
        return status

    def kill(self):
        """SIGKILL: no goodbye."""
        return self.stop(signal.SIGKILL)


class Host:
    """A network namespace by the name of `name`; made by Lab.host()."""

    def __init__(self, lab, name, netns):
        self.lab = lab
        self.name = name
        self.netns = netns

    def __repr__(self):
        return f"<host {self.name} ({self.netns})>"

    # ---- commands ----

    def run(self, *command, check=True, stdin=None, env=None, timeout=60):
        """Run a command, its words as arguments, and return the CompletedProcess (text)."""
        words = [str(word) for word in command]
        feed = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        result = subprocess.run(["ip", "netns", "exec", self.netns, *words], capture_output=True, text=True,
                                env={**os.environ, **(env or {})}, timeout=timeout * PATIENCE, check=False, **feed)
        if check and result.returncode:
            raise CommandError(self, words, result)
        return result

    def sh(self, script, check=True, **options):
        """Run a shell script and return what it printed."""
        return self.run("sh", "-c", script, check=check, **options).stdout

    def start(self, *command, name=None, **options):
        """Start a background process."""
        words = [str(word) for word in command]
        return Process(self, name or os.path.basename(words[0]), words, **options)

    # ---- network ----

    def ip(self, *lines):
        """`ip` commands, one per argument, all in one process: host.ip("link set lo up", ...)"""
        result = subprocess.run(["ip", "-n", self.netns, "-batch", "-"], input="\n".join(lines) + "\n",
                                capture_output=True, text=True, check=False)
        if result.returncode:
            raise CommandError(self, "ip -batch: " + "; ".join(lines), result)
        return result.stdout

    def ip_show(self, words):
        """What `ip ...` prints here."""
        return subprocess.run(["ip", "-n", self.netns, *words.split()], capture_output=True, text=True,
                              check=False).stdout

    def address(self, interface, *addresses):
        """Bring an interface up with these addresses ("192.0.2.1/24", "2001:db8::1/64")."""
        self.ip(f"link set dev {interface} up",
                *(f"addr add {a} dev {interface}" + (" nodad" if ":" in a else "") for a in addresses))

    def sysctl(self, settings):
        """Set {"net.ipv4.ip_forward": 1, ...}; a dot inside an interface name is written "/"."""
        self.sh("".join(
            "echo {} > /proc/sys/{}\n".format(
                shlex.quote(str(value)), name.replace(".", "\0").replace("/", ".").replace("\0", "/"))
            for name, value in settings.items()))

    def forward(self):
        """Make it a router."""
        self.sysctl({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})

    def shape(self, interface, rate):
        """Limit what leaves by an interface: "20mbit"."""
        self.run("tc", "qdisc", "replace", "dev", interface, "root", "tbf", "rate", rate, "burst", "32k",
                 "latency", "100ms")

    def conntrack(self, *words):
        """What `conntrack -L ...` prints."""
        return self.run("conntrack", "-L", *words, check=False).stdout
