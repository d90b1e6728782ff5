# SPDX-License-Identifier: GPL-2.0-or-later
"""
FTP in active mode, as little as a test needs of it: the server opens the data
connection, from its port 20, to the address that the client (or a NAT helper) named.

    active_ftp.py serve            until it is ended; prints "ready"
    active_ftp.py fetch ADDRESS    log in, LIST, print what came: "control PEER data PEER"
"""

import ftplib
import os
import socket
import sys


def data_connection(argument):
    numbers = argument.split(",")
    peer = ".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])
    data = socket.socket()
    data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return data, peer


def session(control, peer):
    local = control.getsockname()[0]
    data = data_peer = None
    control.sendall(b"220 here\r\n")
    for line in control.makefile("r"):
        verb, _, argument = line.strip().partition(" ")
        if verb == "PORT":
            data, data_peer = data_connection(argument)
            control.sendall(b"200 noted\r\n")
        elif verb == "LIST":
            data.bind((local, 20))
            data.settimeout(5)
            try:
                data.connect(data_peer)
            except OSError:
                control.sendall(b"425 no way to that address\r\n")
                continue
            control.sendall(b"150 coming\r\n")
            data.sendall(f"control {peer} data {data_peer[0]}\r\n".encode())
            data.close()
            control.sendall(b"226 done\r\n")
        elif verb == "QUIT":
            control.sendall(b"221 bye\r\n")
            return
        else:
            control.sendall(b"230 fine\r\n" if verb in ("USER", "PASS") else b"200 fine\r\n")


def serve():
    with socket.create_server(("", 21)) as listener:
        print("ready", flush=True)
        while True:
            control, peer = listener.accept()
            with control:
                session(control, peer[0])


def fetch(address):
    with ftplib.FTP(address, timeout=10 * float(os.environ.get("NFQB_PATIENCE", "1"))) as ftp:
        ftp.login()
        ftp.set_pasv(False)
        ftp.retrlines("LIST")


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else fetch(sys.argv[2])
