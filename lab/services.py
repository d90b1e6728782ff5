# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers and clients from Debian's packages: apache2, dnsmasq, curl, dig."""

import collections
import os
import re

from lab.host import wait_until

# dnsmasq and apache2 answer on these; the name stands for both families' addresses
NAME = "www.example.net"

_APACHE = """\
ServerRoot {directory}
PidFile {directory}/apache.pid
ServerName {name}
Listen 80
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User nobody
Group nogroup
DocumentRoot {directory}/htdocs
ErrorLog {directory}/error.log
LogFormat "%{{usec}}t %a" when
CustomLog {directory}/access.log when
"""

Request = collections.namedtuple("Request", "time peer")


def _answers(host, address, port):
    """Does something accept TCP connections there? Asked from inside the host."""
    script = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
    return host.run("/usr/bin/python3", "-c", script, check=False).returncode == 0


class WebServer:
    """apache2 on port 80 of a host, serving one page of `size` bytes at every client's wish."""

    def __init__(self, host, address, size):
        self.directory = os.path.join(host.lab.directory, "apache")
        os.makedirs(os.path.join(self.directory, "htdocs"))
        with open(os.path.join(self.directory, "htdocs", "page"), "wb") as page:
            page.write(b"x" * size)
        configuration = os.path.join(self.directory, "apache.conf")
        with open(configuration, "w", encoding="ascii") as file:
            file.write(_APACHE.format(directory=self.directory, name=NAME))
        self.process = host.start("apache2", "-D", "FOREGROUND", "-f", configuration)
        wait_until(lambda: _answers(host, address, 80), 10, "apache2")

    def requests(self):
        """Every request so far: when, and from which address."""
        try:
            with open(os.path.join(self.directory, "access.log"), encoding="ascii") as log:
                rows = [line.split() for line in log if line.endswith("\n")]
        except FileNotFoundError:
            return []
        return [Request(int(microseconds) / 1e6, peer) for microseconds, peer in rows]


class NameServer:
    """dnsmasq on port 53 of a host, which knows one name."""

    def __init__(self, host, addresses):
        self.log_path = os.path.join(host.lab.directory, "dnsmasq.log")
        self.process = host.start(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=nobody",
            "--group=nogroup", "--pid-file=", "--log-queries", f"--log-facility={self.log_path}",
            "--bind-interfaces", *(f"--listen-address={a}" for a in addresses),
            *(f"--address=/{NAME}/{a}" for a in addresses))
        wait_until(lambda: _answers(host, addresses[0], 53), 10, "dnsmasq")

    def queries(self):
        """Addresses that asked, in order."""
        with open(self.log_path, encoding="ascii", errors="replace") as log:
            return re.findall(r"query\[\S+\] \S+ from (\S+)", log.read())


class Browser:
    """curl in a host: a new connection for each page, `rate` of them per second, to the end of days."""

    def __init__(self, host, addresses, rate):
        family = "-6" if ":" in addresses[0] else "-4"
        targets = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
        self.process = host.start(
            "curl", "--silent", family, "--rate", f"{rate}/s", "--max-time", "20", "--header", "Connection: close",
            "--resolve", f"{NAME}:80:{targets}", "--write-out", "%{stderr}%{exitcode} %{http_code}\\n", "--output", "/dev/null",
            f"http://{NAME}/page?[1-1000000]")

    def failures(self):
        """(pages that came, what went wrong with the others)"""
        rows = [line for line in self.process.log().splitlines() if line.strip()]
        return sum(row == "0 200" for row in rows), [row for row in rows if row != "0 200"]


class Resolver:
    """dig in a host, a few times a second, asking each of the servers in turn."""

    def __init__(self, host, addresses, pause):
        servers = " ".join(addresses)
        self.process = host.start(
            "sh", "-c", f"while :; do for server in {servers}; do"
            f" dig +short +time=1 +tries=4 @$server {NAME} A >/dev/null && echo ok || echo failed; sleep {pause};"
            " done; done", name="dig")

    def failures(self):
        """(answers, what went wrong with the others)"""
        rows = self.process.log().splitlines()
        return rows.count("ok"), [row for row in rows if row != "ok"]
