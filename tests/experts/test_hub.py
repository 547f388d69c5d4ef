"""`hub://ORG/REPO`: the Hub's own download, from a server that answers as the Hub does."""

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import FileError, MissingExtraError
from sb3_il_plus.experts import hub

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "lab/ppo-CartPole-v1"


class Hub(BaseHTTPRequestHandler):
    """`/ORG/REPO/resolve/REVISION/FILE`, as huggingface.co serves it."""

    folder: Path
    asked: list[str]

    def do_HEAD(self):
        self.answer(with_content=False)

    def do_GET(self):
        self.answer(with_content=True)

    def answer(self, with_content):
        self.asked.append(self.path)
        repository, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        error = None
        if repository != REPOSITORY:
            error = "RepoNotFound"
        elif revision not in ("main", "v1", COMMIT):
            error = "RevisionNotFound"
        elif not (self.folder / name).is_file():
            error = "EntryNotFound"
        if error is not None:
            self.send_response(404)
            self.send_header("X-Error-Code", error)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = (self.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A repository as `rl_zoo3.push_to_hub` makes it."""
    folder = tmp_path_factory.mktemp("hub")
    venv = VecNormalize(make_vec("CartPole-v1"), clip_obs=7.0)
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, device="cpu").learn(16)
    model.save(folder / "ppo-CartPole-v1.zip")
    model.save(folder / "other.zip")
    venv.save(str(folder / "vec_normalize.pkl"))
    (folder / "config.yml").write_text(
        "!!python/object/apply:collections.OrderedDict\n- - - normalize\n    - true\n"
    )
    (folder / "args.yml").write_text("algo: ppo\nenv: CartPole-v1\n")
    handler = type("Handler", (Hub,), {"folder": folder, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, folder, handler.asked
    server.shutdown()


def run(server, cache, code):
    """Run a program that takes the local server for the Hub; it reads the address when imported."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    program = f"from sb3_il_plus import load_expert\n{code}"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
    )


SHOW = "print(expert.name, expert.statistics.clip_obs, expert.metadata['algorithm'])"


def test_an_agent_is_downloaded_with_what_lies_beside_it(server, tmp_path):
    server, _, asked = server
    code = f"expert = load_expert('hub://{REPOSITORY}', 'CartPole-v1')\n{SHOW}\n"
    code += f"expert = load_expert('hub://{REPOSITORY}@v1/other.zip', 'CartPole-v1')\n{SHOW}"
    done = run(server, tmp_path, code)
    assert done.stdout.splitlines() == ["ppo-CartPole-v1 7.0 ppo", "other 7.0 ppo"], done.stderr
    assert f"/{REPOSITORY}/resolve/main/ppo-CartPole-v1.zip" in asked
    assert f"/{REPOSITORY}/resolve/v1/other.zip" in asked

    offline = run(server, tmp_path, f"import os; os.environ['HF_HUB_OFFLINE'] = '1'\n{code}")
    assert offline.stdout == done.stdout, offline.stderr


def test_what_is_not_there_is_named(server, tmp_path):
    server, _, _ = server
    code = f"""
from sb3_il_plus.errors import FileError
for address in ("hub://lab/nothing", "hub://{REPOSITORY}/no.zip", "hub://{REPOSITORY}@v9"):
    try:
        load_expert(address)
    except FileError as error:
        print(address, "|", error)
"""
    done = run(server, tmp_path, code)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for line in lines:
        address, _, message = line.partition(" | ")
        assert f"of '{address}'" in message and "write hub://ORG/REPO/FILE.zip" in message
    assert "'nothing.zip'" in lines[0] and "'no.zip'" in lines[1]


def test_a_payload_on_the_hub_is_refused_as_anywhere(server, tmp_path):
    server, folder, _ = server
    target = tmp_path / "owned"
    (folder / "vec_normalize.pkl").rename(folder / "kept")
    (folder / "vec_normalize.pkl").write_bytes(f"cposix\nsystem\n(Vtouch {target}\ntR.".encode())
    done = run(server, tmp_path, f"load_expert('hub://{REPOSITORY}')")
    (folder / "kept").rename(folder / "vec_normalize.pkl")
    assert "vec_normalize.pkl: it refers to posix.system" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("address", ["hub://", "hub://a", "hub://a/b/c", "hub://a/b/../c.zip@x@y"])
def test_addresses_that_are_not_understood(address):
    with pytest.raises(FileError, match=r"must look like hub://ORG/REPO"):
        hub.download(address)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sb3_il_plus\[hub\]'"):
        hub.download("hub://lab/agent")
