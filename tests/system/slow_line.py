#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
A line that takes its time, for kernels without netem: packets that are routed into a TUN
device come out of it again after a while, in their order.

    slow_line.py DEVICE MILLISECONDS      until it is ended; prints "ready"
"""

import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 0x0001, 0x1000


def main(device, milliseconds):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    print("ready", flush=True)
    waiting = collections.deque()  # (when it is due, packet)
    while True:
        rest = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        if select.select([tun], [], [], rest)[0]:
            waiting.append((time.monotonic() + milliseconds / 1000, os.read(tun, 65536)))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(tun, waiting.popleft()[1])


main(sys.argv[1], int(sys.argv[2]))
