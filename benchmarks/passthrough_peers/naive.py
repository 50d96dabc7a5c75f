"""What most people would write: a reverse proxy on aiohttp's server and client. Usage: naive.py PORT UPSTREAM_URL."""

import sys

from aiohttp import ClientSession, TCPConnector, web

HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"}


def main() -> None:
    port, upstream = int(sys.argv[1]), sys.argv[2]

    async def forward(request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        body = await request.read()
        url = upstream + request.raw_path
        async with request.app[SESSION].request(request.method, url, data=body or None, headers=headers) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
            return web.Response(status=answer.status, body=content, headers=kept)

    async def session(app: web.Application):
        async with ClientSession(connector=TCPConnector(limit=0), auto_decompress=False) as made:
            app[SESSION] = made
            yield

    app = web.Application(client_max_size=100 << 20)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


SESSION: web.AppKey[ClientSession] = web.AppKey("session", ClientSession)

if __name__ == "__main__":
    main()
