"""Tables on a real Ray cluster of two nodes, of which one does not see the table's folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from table_command import ENV, PLUGIN, command

SPECIFICATION = """
environments: ["{env}"]
expert: {{path: {expert}}}
demonstrations: {{n_episodes: 2}}
algorithms:
  bc: {{timesteps: 32}}
  quick: {{timesteps: 16, hyperparameters: {{pause: 1}}}}
n_seeds: {n_seeds}
n_eval_episodes: 2
n_curve_points: 1
"""


def _start(arguments: list[str], log: Path) -> subprocess.Popen:
    path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "RAY_DISABLE_IMPORT_WARNING": "1"}
    with log.open("w") as output:
        return subprocess.Popen(
            arguments, stdout=output, stderr=output, env=environment, start_new_session=True
        )


def _stop(process: subprocess.Popen) -> None:
    """Kill a node with all its processes, as a loss of power does."""
    listed = subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        pid, session = map(int, line.split())
        if session == process.pid:
            os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


class Cluster:
    """A head without cores, and nodes with one core each."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        port = 6400 + os.getpid() % 1000
        self.address = f"127.0.0.1:{port}"
        head = ["--head", "--num-cpus=0", "--node-ip-address=127.0.0.1", f"--port={port}"]
        self.nodes = [self._begin([], head)]

    def add(self, *within: str) -> subprocess.Popen:
        """Start a node, as an argument of another program where one is given."""
        node = self._begin(list(within), ["--num-cpus=1", f"--address={self.address}"])
        self.nodes.append(node)
        return node

    def _begin(self, within: list[str], options: list[str]) -> subprocess.Popen:
        log = self._logs / f"node {time.monotonic()}.log"
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        memory = ["--object-store-memory=100000000", "--disable-usage-stats"]
        if "--head" in options:
            memory.append("--include-dashboard=false")
        node = _start([*within, *ray, *options, *memory], log)
        _wait_until(lambda: "Ray runtime started" in log.read_text())
        return node


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("ray")
    cluster = Cluster(tmp_path)
    yield cluster
    for node in reversed(cluster.nodes):
        _stop(node)


def _wait_until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _results(out: Path) -> dict[str, Any]:
    """Job id -> what it found, times left out."""
    found = {}
    for line in (out / "runs.jsonl").read_text().splitlines():
        record = json.loads(line)
        result = record["result"]
        found[record["id"]] = {
            name: value for name, value in result.items() if not name.endswith("seconds")
        }
    return found


@pytest.mark.slow
def test_a_node_is_lost_and_the_table_is_that_of_one_machine(
    cluster: Cluster, expert_path: Path, tmp_path: Path, out: Path
) -> None:
    """The first node does not see the folder: over it lies an empty file system of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs to hide a folder from a node: root, and unshare")
    hidden = f"mount -t tmpfs none '{out}' && exec \"$@\""
    first = cluster.add("unshare", "--mount", "sh", "-c", hidden, "sh")
    path = tmp_path / "poles.yaml"
    path.write_text(SPECIFICATION.format(env=ENV, expert=expert_path, n_seeds=4))
    where = ("--backend", "ray", "--address", cluster.address)
    process = subprocess.Popen(**command("table", path, *where, "--out", out))
    _wait_until(lambda: len(list(out.glob("models/*.zip"))) >= 2)
    second = cluster.add()
    _stop(first)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert second.poll() is None

    alone = tmp_path / "alone"
    subprocess.run(**command("table", path, "--out", alone), check=True, timeout=300)
    assert _results(out) == _results(alone)
    for folder in ("models", "demonstrations", "experts", "runs"):
        names = sorted(file.name for file in (alone / folder).iterdir())
        assert sorted(file.name for file in (out / folder).iterdir()) == names
    left = [name for name in os.listdir(out) if name.startswith(".") and name != ".lock"]
    assert left == [], "nothing half written, no token"


def test_no_cluster_is_named(expert_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    path = tmp_path / "poles.yaml"
    path.write_text(SPECIFICATION.format(env=ENV, expert=expert_path, n_seeds=1))
    address = ("--backend", "ray", "--address", "127.0.0.1:1")
    arguments = command("table", path, *address, "--out", tmp_path / "out")
    result = subprocess.run(**arguments, check=False, timeout=120)
    assert result.returncode == 2, result.stderr
    assert "there is no Ray cluster at '127.0.0.1:1'" in result.stderr
    assert "ray start --head" in result.stderr
