"""The page's server: frames for keys, one browser with the token, and nothing lost on the way."""

import asyncio
import base64
import io
import json

import aiohttp
import pytest
from people import served
from PIL import Image

from sb3_il_plus import Demonstrations
from sb3_il_plus.errors import UserError
from sb3_il_plus.human.record import record


@pytest.fixture
def recording(tmp_path):
    """A recording of CartPole that is served; gives the front end and what waits for its end."""

    def play(front_end):
        return record("CartPole-v1", tmp_path / "mine.npz", show=front_end, fps=100)

    with served(play) as (front_end, wait):
        yield front_end, wait


class Page:
    """What the page's script does, without a browser."""

    def __init__(self, socket):
        self.socket = socket

    async def press(self, *keys):
        for key in keys:
            for kind in ("down", "up"):
                await self.socket.send_json({"kind": kind, "key": key})

    async def see(self, until=lambda view: True):
        while True:
            view = json.loads(await self.socket.receive_str(timeout=10))
            if until(view):
                return view


async def _open(session, front_end):
    return Page(await session.ws_connect(front_end.address + "socket"))


def test_a_whole_episode(recording, tmp_path):
    front_end, wait = recording

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            first = await page.see()
            assert first["phase"] == "ready" and first["count"] == 0
            kind, _, content = first["frame"].partition(",")
            assert kind == "data:image/jpeg;base64"
            assert Image.open(io.BytesIO(base64.b64decode(content))).size == (600, 400)
            await page.press("ArrowLeft")
            view = await page.see(lambda view: "saved" in view["message"])
            assert view["frame"] != first["frame"]
            await page.press("Escape")
            await page.see(lambda view: view["phase"] == "finished")

    asyncio.run(visit())
    assert wait().n_episodes == 1
    recorded = Demonstrations.load(tmp_path / "mine.npz")
    assert (recorded.actions == 0).all() and recorded.terminations[-1]


def test_the_page_and_its_files_ask_for_nothing_from_elsewhere(recording):
    front_end, wait = recording

    async def visit():
        async with aiohttp.ClientSession() as session:
            for name, kind in (("", "html"), ("page.js", "javascript"), ("page.css", "css")):
                async with session.get(front_end.address + name) as answer:
                    assert answer.status == 200 and kind in answer.content_type
                    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
                    assert "//" not in (await answer.text()).replace("// ", "")
            async with session.get(front_end.address + "web.py") as answer:
                assert answer.status == 404
            await (await _open(session, front_end)).press("Escape")

    asyncio.run(visit())
    assert wait() is None


@pytest.mark.parametrize("path", ["", "wrong/", "wrong/socket", "wrong/page.js", "a/b/c"])
def test_a_wrong_token_is_refused(recording, path):
    front_end, wait = recording
    root = front_end.address.removesuffix(front_end.token + "/")

    async def visit():
        async with aiohttp.ClientSession() as session:
            async with session.get(root + path) as answer:
                assert answer.status == 403
                assert "lacks the session's token" in await answer.text()
            await (await _open(session, front_end)).press("Escape")

    asyncio.run(visit())
    wait()


def test_a_second_browser_is_refused_and_disturbs_nothing(recording):
    front_end, wait = recording

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            await page.press("ArrowLeft")
            async with session.get(front_end.address) as answer:
                assert answer.status == 409
                assert "another browser has this session" in await answer.text()
            with pytest.raises(aiohttp.WSServerHandshakeError, match="409"):
                await _open(session, front_end)
            await page.see(lambda view: "saved" in view["message"])
            await page.press("Escape")

    asyncio.run(visit())
    assert wait().n_episodes == 1


def test_a_closed_browser_loses_no_step(recording):
    front_end, wait = recording

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            await page.press("ArrowLeft")
            seen = await page.see(lambda view: view["count"] >= 3)
            await page.socket.close()
            await asyncio.sleep(0.3)  # 30 steps, if it went on
            again = await _open(session, front_end)
            view = await again.see()
            assert view["phase"] == "paused"
            assert "paused while nobody was here" in view["message"]
            assert seen["count"] <= view["count"] <= seen["count"] + 3
            assert view["frame"] is not None
            await again.press("p")
            await again.see(lambda view: "saved" in view["message"])
            await again.press("Escape")

    asyncio.run(visit())
    assert wait().n_episodes == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"kind": 1}', '"x"', '{"kind": "down", "key": {}}']
)
def test_messages_that_no_page_sends_change_nothing(recording, text):
    front_end, wait = recording

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            await page.see()
            await page.socket.send_str(text)
            await page.press("x")
            view = await page.see(lambda view: "'x' means nothing here" in view["message"])
            assert view["count"] == 0
            await page.press("Escape")

    asyncio.run(visit())
    assert wait() is None


def test_it_answers_on_this_machine_only_unless_asked(recording, capsys):
    front_end, wait = recording
    assert front_end.address.startswith("http://127.0.0.1:") and len(front_end.token) >= 20

    async def stop():
        async with aiohttp.ClientSession() as session:
            await (await _open(session, front_end)).press("Escape")

    asyncio.run(stop())
    wait()
    with served(lambda front_end: front_end.close(), host="0.0.0.0") as (front_end, wait):
        wait()
    assert "anyone who can reach" in capsys.readouterr().err


def test_a_port_that_is_taken():
    with served(_taken) as (_, wait):
        wait()


def _taken(front_end):
    port = int(front_end.address.split(":")[2].split("/")[0])
    with pytest.raises(
        UserError, match=f"cannot answer on 127.0.0.1:{port} .*choose another --port"
    ):
        type(front_end)(port=port)
    front_end.close()
