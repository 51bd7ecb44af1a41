"""The requests of ``benchmarks.http`` against Restate's ingress: its server, and a Python service.

The server and Restate's SDK are those that the peers' set-up installed. This file is the service,
too: the SDK's interpreter runs it (``python -P http_restate.py PORT``).
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

HOME: Final = Path(os.environ.get("PEERS_HOME") or Path.home() / ".cache" / "peers")
REQUESTS: Final[Mapping[str, tuple[str, str, str, bytes]]] = {
    "start": ("POST", "/nothing/run/send", "", b"1"),
    "start and wait": ("POST", "/nothing/run", "", b"1"),
    "query": ("POST", "/waits/one/state", "", b"1"),
    "list": (
        "POST",
        "/query",
        "accept: application/json\r\n",
        b'{"query": "SELECT id, target, status, created_at FROM sys_invocation LIMIT 20"}',
    ),
}
"""Method, address, headers and body. A list is the server's own SQL, which the other port takes."""

_CONFIG: Final = """
cluster-name = "bench"
node-name = "n1"
base-dir = "{folder}/data"
listen-mode = "tcp"
bind-ip = "127.0.0.1"
bind-port = {node}
auto-provision = true
default-num-partitions = 1
disable-telemetry = true
log-filter = "warn"
[ingress]
bind-port = {ingress}
[admin]
bind-port = {admin}
disable-web-ui = true
"""
_BEGINS_S: Final = 60.0


def server() -> Path | None:
    """Return the program, or None where it is not installed."""
    found = HOME.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")
    return next(found, None)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[dict[str, int], list[int]]]:
    """Yield the port for each kind of request, and the ids of the processes."""
    program = server()
    if program is None:
        raise SystemExit(f"there is no Restate in {HOME}: run the peers' set-up, or set PEERS_HOME")
    null = asyncio.subprocess.DEVNULL
    with tempfile.TemporaryDirectory() as folder:
        node, ingress, admin, service = await _free_ports(4)
        config = Path(folder, "restate.toml")
        text = _CONFIG.format(folder=folder, node=node, ingress=ingress, admin=admin)
        await asyncio.to_thread(config.write_text, text)
        commands = (
            (str(program), "--no-logo", "--config-file", str(config)),
            (str(HOME / "venv/bin/python"), "-P", __file__, str(service)),
        )
        processes = [
            await asyncio.create_subprocess_exec(*each, stdout=null, stderr=null, cwd=folder)
            for each in commands
        ]
        try:
            told = b'{"uri": "http://127.0.0.1:%d"}' % service
            async with asyncio.timeout(_BEGINS_S):
                while not await _is_done(admin, "/deployments", told):
                    await asyncio.sleep(0.2)
                while not await _is_done(ingress, "/nothing/run", b"1"):
                    await asyncio.sleep(0.2)
            ports = dict.fromkeys(REQUESTS, ingress) | {"list": admin}
            yield ports, [each.pid for each in processes]
        finally:
            for each in processes:
                if each.returncode is None:
                    each.kill()
                await each.wait()


async def _is_done(port: int, path: str, body: bytes) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    told = await reader.read()
    writer.close()
    return told.split(b" ", 2)[1:2] in ([b"200"], [b"201"])


async def _free_ports(count: int) -> list[int]:
    servers = [await asyncio.start_server(_nobody, "127.0.0.1", 0) for _ in range(count)]
    ports: list[int] = [each.sockets[0].getsockname()[1] for each in servers]
    for each in servers:
        each.close()
        await each.wait_closed()
    return ports


def _nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def main(port: int) -> None:
    """Serve what is asked for, with Restate's SDK."""
    import hypercorn.asyncio
    import restate
    from hypercorn.config import Config

    nothing: Any = restate.Service("nothing")
    waits: Any = restate.VirtualObject("waits")

    @nothing.handler()  # type: ignore[untyped-decorator]
    async def run(ctx: Any, x: int) -> str:
        return "done"

    @waits.handler(kind="shared")  # type: ignore[untyped-decorator]
    async def state(ctx: Any, x: int) -> str:
        return await ctx.get("state") or "waits"

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = config.keep_alive_max_requests = 2**31 - 1
    config.errorlog = None
    asyncio.run(hypercorn.asyncio.serve(restate.app(services=[nothing, waits]), config))


if __name__ == "__main__":
    main(int(sys.argv[1]))
