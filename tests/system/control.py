# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the control socket share."""

import json
import socket
import time

from lab.host import PATIENCE


class Speaker:
    """One connection to the control socket, kept open; says and reads as it is told."""

    def __init__(self, balancer, timeout=10):
        self.balancer = balancer
        self.stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.settimeout(timeout * PATIENCE)
        self.stream.connect(balancer.socket_path)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def say(self, line):
        self.stream.sendall(line.encode() + b"\n")

    def line(self):
        """The next line without its end; EOFError when there is none."""
        while b"\n" not in self.rest:
            more = self.stream.recv(65536)
            if not more:
                raise EOFError(self.rest)
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def reply(self):
        """Lines up to and with the last one."""
        lines = [self.line()]
        while lines[-1] != "ok" and not lines[-1].startswith("error "):
            lines.append(self.line())
        return lines

    def ask(self, line):
        self.say(line)
        return self.reply()

    def closed(self):
        """Wait until the daemon closes; what came before."""
        try:
            while True:
                more = self.stream.recv(65536)
                if not more:
                    return self.rest
                self.rest += more
        except ConnectionResetError:
            return self.rest

    def until(self, wanted, timeout=10):
        """Read lines until one satisfies `wanted`; return it."""
        deadline = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < deadline:
            line = self.line()
            if wanted(line):
                return line
        raise TimeoutError("no such line")


def ask_json(balancer, line):
    """A command with JSON: its objects, the last line asserted to be ok."""
    reply = balancer.control("json " + line)
    assert reply[-1] == "ok", reply
    return [json.loads(text) for text in reply[:-1]]


def error(balancer, line):
    """A command that must fail: the text behind `error `, which must be the only such line."""
    reply = balancer.control(line)
    assert reply[-1].startswith("error "), reply
    return reply[-1][len("error "):]


def status(balancer):
    return ask_json(balancer, "status")[0]


def weights(balancer):
    return {link["link"]: link["weight"] for link in ask_json(balancer, "show links")[0]["links"]}
