"""The memory in use does not grow with the data: measured in processes of their own."""

import json
import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.d4rl import save_d4rl

N_EPISODES, LENGTH = 1500, 1000

PROGRAM = """
import json, sys
import numpy, torch, h5py, stable_baselines3
from sb3_il_plus import Demonstrations, TransitionSampler, convert
from sb3_il_plus.data.inspection import summarize

torch.set_num_threads(1)

def peak():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(fields["VmHWM"].split()[0]) / 1000

source, folder = sys.argv[1:]
peaks = {"imports": peak()}
convert(source, folder)
peaks["convert"] = peak()
assert not summarize(folder).problems
peaks["inspect"] = peak()
sampler = TransitionSampler(Demonstrations.load(folder), 256, "cpu", seed=0)
for _ in range(2 * sampler.n_ahead):
    sampler.sample()
peaks["sample"] = peak()
print(json.dumps(peaks))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_resident_memory_is_bounded(tmp_path):
    n, rng = 10 * LENGTH, np.random.default_rng(0)
    ends = np.arange(n) % LENGTH == LENGTH - 1
    piece = Demonstrations(
        observations=rng.normal(size=(n + 10, 17)).astype(np.float32),
        actions=rng.uniform(-1, 1, (n, 6)).astype(np.float32),
        rewards=rng.normal(size=n).astype(np.float32),
        terminations=np.zeros(n, bool),
        truncations=ends,
        offsets=np.arange(11) * LENGTH,
        observation_space=spaces.Box(-np.inf, np.inf, (17,)),
        action_space=spaces.Box(-1, 1, (6,)),
    )
    source, folder = tmp_path / "data.hdf5", tmp_path / "data.mapped"
    save_d4rl((piece for _ in range(N_EPISODES // 10)), source)
    assert source.stat().st_size > 240e6
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, folder], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout)
    # Converting needs some pieces of 16 MB, sampling 64 MB of batches and as much to order them.
    assert peaks["inspect"] - peaks["imports"] < 150
    assert peaks["sample"] - peaks["imports"] < 220
    assert len(Demonstrations.load(folder)) == N_EPISODES * LENGTH
