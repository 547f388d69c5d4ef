"""The page's server: frames for keys, one browser with the token, and nothing lost on the way."""

import asyncio
import base64
import io
import json
import os
import signal

import aiohttp
import pytest
from people import at_terminal, served
from PIL import Image

from sb3_il_plus import Demonstrations
from sb3_il_plus.errors import FileError, UserError
from sb3_il_plus.human.dagger import human_dagger
from sb3_il_plus.human.game import visible_env
from sb3_il_plus.human.record import record
from sb3_il_plus.human.recording import Recording


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
            view = json.loads(await self.socket.receive_str(timeout=60))
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


def test_a_session_that_fails_says_so(tmp_path, monkeypatch):
    def play(front_end):
        return record("CartPole-v1", tmp_path / "mine.npz", show=front_end, turns=True)

    def full(*_):
        raise FileError("no space left on device")

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            await page.see()
            monkeypatch.setattr(Recording, "append", full)
            await page.press(*["ArrowLeft"] * 20)

    with served(play) as (front_end, wait):
        asyncio.run(visit())
        with pytest.raises(FileError, match="no space left"):
            wait()


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_a_server_that_is_killed_keeps_what_was_recorded(tmp_path, signal_):
    path = tmp_path / "mine.npz"
    child = at_terminal("record", "--env", "CartPole-v1", "--web", "--out", path, "--turns")
    child.expect(r"open (http://127.0.0.1:\d+/\S+/)")
    address = child.match[1]

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = Page(await session.ws_connect(address + "socket"))
            await page.see()
            while True:
                await page.press("ArrowLeft")
                view = await page.see()
                if "saved" in view["message"]:
                    break
            before = view["count"]
            await page.press("ArrowRight", "ArrowRight", "ArrowRight")
            await page.see(lambda view: view["count"] == before + 3)
            await asyncio.sleep(1.2)  # the episode in progress is kept every second
            await page.press("ArrowRight")
            await page.see(lambda view: view["count"] == before + 4)
            os.kill(child.process, signal_)

    asyncio.run(visit())
    _, status = os.waitpid(child.process, 0)
    if signal_ == signal.SIGINT:
        assert os.waitstatus_to_exitcode(status) == 130
    saved = Demonstrations.load(path)
    assert saved.terminations[saved.offsets[1] - 1]
    assert saved.n_episodes == (2 if signal_ == signal.SIGINT else 1)
    env = visible_env("CartPole-v1")
    facts = {"env_id": "CartPole-v1"}
    recording = Recording(path, env.observation_space, env.action_space, facts)
    again = recording.demonstrations
    recording.close()
    env.close()
    assert again.n_episodes == 2
    assert (again.episode(1).actions == 1).all() and len(again.episode(1)) == 4


def test_taking_over_on_the_page(tmp_path):
    def train(front_end):
        return human_dagger(
            "CartPole-v1",
            tmp_path,
            mode="take-over",
            n_rounds=1,
            round_steps=40,
            show=front_end,
            fps=100,
        )

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            while True:
                view = await page.see()
                if view["phase"] == "finished":
                    return
                if view["phase"] == "ready":
                    assert "the learner acts" in view["headline"]
                    await page.press("Enter")
                if view["count"] == 5:
                    await page.press("ArrowLeft", "ArrowLeft")

    with served(train) as (front_end, wait):
        asyncio.run(visit())
        model = wait()
    driven = Demonstrations.load(tmp_path / "round-000" / "episodes.npz")
    assert len(driven) == 40 and 1 <= driven.intervened.sum() <= 10
    assert (driven.actions[driven.intervened] == 0).all()
    assert model.n_expert_queries == driven.intervened.sum()


def test_the_page_goes_on_by_itself_between_rounds(tmp_path):
    def train(front_end):
        return human_dagger(
            "CartPole-v1", tmp_path, n_rounds=2, round_steps=32, show=front_end, n_epochs=1
        )

    phases = []

    async def visit():
        async with aiohttp.ClientSession() as session:
            page = await _open(session, front_end)
            while not phases or phases[-1] != "finished":
                view = await page.see()
                phases.append(view["phase"])
                if view["phase"] == "labelling" and view["message"] == "":
                    await page.press(*["ArrowRight"] * 32, "Enter")

    with served(train) as (front_end, wait):
        asyncio.run(visit())
        model = wait()
    assert [phase for phase in phases if phase != "labelling"] == ["busy", "busy", "finished"]
    assert (model.demonstrations.actions == 1).all() and len(model.demonstrations) == 64
