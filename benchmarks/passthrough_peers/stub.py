"""An upstream that answers at once: `/big...` with 6 KB, all else with a tiny body. Usage: stub.py PORT."""

import asyncio
import re
import sys

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HEAD = (
    b"HTTP/1.1 200 OK\r\nX-OpenSearch-Version: OpenSearch/3.6.0 (opensearch)\r\n"
    b"content-type: application/json; charset=UTF-8\r\n"
)
TINY = HEAD + b"content-length: 127\r\n\r\n" + b"t" * 127
BIG = HEAD + b"content-length: 6144\r\n\r\n" + b"b" * 6144


class Stub(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        buffer = self.buffer + data if self.buffer else data
        out = []
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(buffer, 0, end)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(buffer) < stop:
                break
            out.append(BIG if b"/big" in buffer[:16] else TINY)
            buffer = buffer[stop:]
        self.buffer = buffer
        if out:
            self.transport.write(b"".join(out))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Stub, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
