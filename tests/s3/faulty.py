#!/usr/bin/env python3
"""A link to an S3 server that fails in every way that a client can see: tests/s3/faulty.py PORT SERVER_PORT SEED.

Of a hundred requests at most fifteen meet a fault. Each fault is a line of output with its kind:

  closes    the connection ends before the request is passed on
  refuses   503, without asking the server
  stalls    nothing happens for some seconds, then the request is passed on
  loses     the server has done it, and the connection ends without an answer
  tears     half of the answer's body arrives, then the connection ends
"""
import asyncio
import random
import sys

PERCENT = {"closes": 3, "refuses": 3, "stalls": 1, "loses": 3, "tears": 5}
STALL_SECONDS = 4
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


async def read_body(reader, head):
    """The bytes as they are on the wire."""
    if (header(head, b"transfer-encoding") or b"").lower() == b"chunked":
        body = b""
        while True:
            size = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
            body += size + chunk
            if chunk == b"\r\n":
                return body
    return await reader.readexactly(int(header(head, b"content-length") or 0))


class Link:
    def __init__(self, server_port, seed):
        self.server_port, self.random = server_port, random.Random(seed)

    def fate(self):
        draw = self.random.random() * 100
        for kind, percent in PERCENT.items():
            draw -= percent
            if draw < 0:
                return kind
        return None

    async def serve(self, client, to_client):
        server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
        try:
            while await self.exchange(client, to_client, server, to_server):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            to_client.close()
            to_server.close()

    async def exchange(self, client, to_client, server, to_server):
        """One request and its answer; false: the connection is to end."""
        head = await client.readuntil(b"\r\n\r\n")
        body = await read_body(client, head)
        fate = self.fate()
        if fate in ("closes", "refuses"):
            print(fate, flush=True)
            to_client.write(REFUSED if fate == "refuses" else b"")
            await to_client.drain()
            return fate == "refuses"
        if fate == "stalls":
            print(fate, flush=True)
            await asyncio.sleep(STALL_SECONDS)
        to_server.write(head + body)
        await to_server.drain()
        answer = await server.readuntil(b"\r\n\r\n")
        empty = head.startswith(b"HEAD ") or answer.split(b" ", 2)[1] in (b"204", b"304")
        content = b"" if empty else await read_body(server, answer)
        if fate == "loses" or (fate == "tears" and len(content) > 1):
            print(fate, flush=True)
            to_client.write(answer + content[: len(content) // 2] if fate == "tears" else b"")
            await to_client.drain()
            return False
        to_client.write(answer + content)
        await to_client.drain()
        return True


async def main():
    port, server_port, seed = map(int, sys.argv[1:])
    listener = await asyncio.start_server(Link(server_port, seed).serve, "127.0.0.1", port, limit=1 << 20)
    async with listener:
        await listener.serve_forever()


asyncio.run(main())
