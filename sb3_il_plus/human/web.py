"""A front end in a browser: a page that shows frames and sends keys back.

The server answers on 127.0.0.1 unless told otherwise, and only to those who know the random token
in its address. One browser at a time has the session. It is paused while there is none, and goes on
when one comes back. The page is in `page/`, and asks for nothing from anywhere else.

The server runs while a game does: between two games, its connections wait.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import secrets
import socket
import sys
from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_il_plus.errors import MissingExtraError, UserError
from sb3_il_plus.human.game import Game
from sb3_il_plus.human.keys import key_name

if TYPE_CHECKING:
    from aiohttp import web

LOCAL = "127.0.0.1"

_TYPES = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_HEARTBEAT_SECONDS = 5.0
"""A browser that does not answer for so long is gone."""

_RELOAD_SECONDS = 1.0
"""A page that is loaded anew may come before its old connection is closed."""

_LONGEST_MESSAGE = 1000


class BrowserFrontEnd:
    """Serves games to one browser.

    :param host: address to answer on; anything but the default lets other machines in
    :param port: 0 for any that is free
    :raises MissingExtraError: aiohttp is not installed
    :raises UserError: the port is taken
    """

    turns_only = False

    def __init__(self, host: str = LOCAL, port: int = 0) -> None:
        try:
            import aiohttp.web  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "the page in a browser needs aiohttp: pip install 'sb3_il_plus[web]'"
            ) from error
        self.token = secrets.token_urlsafe(16)
        self._socket: web.WebSocketResponse | None = None
        self._game: Game | None = None
        self._sent: dict[str, Any] = {}
        self._failure: Exception | None = None
        self._loop = asyncio.new_event_loop()
        try:
            self._runner, port = self._loop.run_until_complete(self._serve(host, port))
        except OSError as error:
            self._loop.close()
            raise UserError(
                f"cannot answer on {host}:{port} ({error}); choose another --port"
            ) from error
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
        self.address = f"http://{shown}:{port}/{self.token}/"
        print(f"open {self.address}", flush=True)
        if host not in (LOCAL, "localhost", "::1"):
            print(
                f"warning: anyone who can reach {shown} and has this address can take part",
                file=sys.stderr,
            )

    def run(self, game: Game) -> None:
        """Serve a game until it is finished."""
        self._game = game
        try:
            self._loop.run_until_complete(self._run(game))
        finally:
            self._game = None

    def close(self) -> None:
        """Tell the browser that the session has ended, and stop to serve."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._close())
            self._loop.close()

    # -- serving ---------------------------------------------------------------------------------

    async def _serve(self, host: str, port: int) -> tuple[web.AppRunner, int]:
        from aiohttp import web

        self._arrived, self._moved = asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/{token}/", self._answer_page)
        app.router.add_get("/{token}/socket", self._answer_socket)
        app.router.add_get("/{token}/{name}", self._answer_file)
        app.router.add_get("/{tail:.*}", self._refuse)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        return runner, runner.addresses[0][1]

    async def _close(self) -> None:
        if self._socket is not None:
            with suppress(ConnectionError):
                await self._socket.send_json({**self._sent, "phase": "finished"})
                await self._socket.close()
        await self._runner.cleanup()

    def _check(self, request: web.Request) -> None:
        from aiohttp import web

        given = request.match_info.get("token", "").encode()
        if not secrets.compare_digest(given, self.token.encode()):
            raise web.HTTPForbidden(
                text="403: this address lacks the session's token. Open the whole address that the "
                "terminal shows.",
                headers=_HEADERS,
            )

    async def _refuse(self, request: web.Request) -> web.Response:
        self._check(request)
        raise AssertionError("an address without a token passed")

    async def _answer_page(self, request: web.Request) -> web.Response:
        self._check(request)
        await self._check_free()
        return _file("index.html")

    async def _answer_file(self, request: web.Request) -> web.Response:
        from aiohttp import web

        self._check(request)
        name = request.match_info["name"]
        if name not in _TYPES:
            raise web.HTTPNotFound(text="404: there is no such file", headers=_HEADERS)
        return _file(name)

    async def _check_free(self) -> None:
        from aiohttp import web

        with suppress(TimeoutError):
            async with asyncio.timeout(_RELOAD_SECONDS):
                while self._socket is not None:
                    await asyncio.sleep(0.02)
        if self._socket is not None:
            raise web.HTTPConflict(
                text="409: another browser has this session. Close its page there, then load this "
                "one again.",
                headers=_HEADERS,
            )

    async def _answer_socket(self, request: web.Request) -> web.WebSocketResponse:
        from aiohttp import WSMsgType, web

        self._check(request)
        await self._check_free()
        connection = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_SECONDS, max_msg_size=_LONGEST_MESSAGE
        )
        self._socket = connection
        try:
            await connection.prepare(request)
            self._arrived.set()
            self._moved.set()
            async for message in connection:
                if message.type == WSMsgType.TEXT:
                    self._take(message.data)
        finally:
            self._socket = None
            self._arrived.clear()
            self._moved.set()
            if self._game is not None:
                self._game.leave()
        return connection

    def _take(self, text: str) -> None:
        """Hand a key over; what is no message of our page is ignored."""
        try:
            message = json.loads(text)
            kind, key = str(message["kind"]), key_name(str(message.get("key", "")))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        game = self._game
        if game is None or self._failure is not None:
            return
        actions = {"down": game.press, "up": game.release, "blur": lambda _: game.leave()}
        try:
            if kind in actions:
                actions[kind](key)
        except Exception as error:  # which would end no more than the browser's connection
            self._failure = error
        self._moved.set()

    # -- playing ---------------------------------------------------------------------------------

    async def _run(self, game: Game) -> None:
        """Call the game's clock, and send what it shows after each change."""
        next_tick = self._loop.time()
        while not game.finished:
            if self._failure is not None:
                raise self._failure
            await self._arrived.wait()
            now = self._loop.time()
            if now >= next_tick:
                game.tick()
                # Frames that were missed are not caught up with.
                next_tick = max(next_tick + 1 / game.fps, now)
            await self._send(game)
            self._moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if game.turns else next_tick):
                    await self._moved.wait()
        # Whether another game follows is not known here; `close` says that none does.
        await self._send(game, phase="busy", message="One moment: the page goes on by itself.")

    async def _send(self, game: Game, **changes: Any) -> None:
        connection = self._socket
        if connection is None or not connection.prepared:
            return
        shown = dataclasses.replace(game.view(), picture="", **changes)
        view = {**dataclasses.asdict(shown), "connection": id(connection)}
        if view == self._sent:
            return
        content = {**view, "frame": _encoded(game.frame())}
        with suppress(ConnectionError):
            await connection.send_str(json.dumps(content))
        self._sent = view


def _file(name: str) -> web.Response:
    from aiohttp import web

    content = resources.files("sb3_il_plus.human").joinpath("page", name).read_bytes()
    return web.Response(body=content, content_type=_TYPES[name], charset="utf-8", headers=_HEADERS)


def _encoded(frame: np.ndarray | None) -> str | None:
    """A frame as an address that an image can have."""
    if frame is None:
        return None
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame[..., :3]).save(file, format="JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
