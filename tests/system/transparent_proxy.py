# SPDX-License-Identifier: GPL-2.0-or-later
"""
A transparent proxy, as little as a test needs of it: what REDIRECT sent here is
fetched from where the client meant, by a connection of the proxy's own with this TOS.

    transparent_proxy.py PORT TOS      until it is ended; prints "ready"
"""

import asyncio
import socket
import struct
import sys

SO_ORIGINAL_DST = 80


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def serve(reader, writer):
    original = writer.get_extra_info("socket").getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, packed = struct.unpack("!2xH4s8x", original)
    out = socket.socket()
    out.setblocking(False)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(sys.argv[2], 0))
    try:
        await asyncio.get_running_loop().sock_connect(out, (socket.inet_ntoa(packed), port))
        far_reader, far_writer = await asyncio.open_connection(sock=out)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        far_writer.close()
    except OSError:
        out.close()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
