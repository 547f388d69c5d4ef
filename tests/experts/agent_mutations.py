"""Damaged agents, and what `load_expert` does with them; for `test_agent_mutations.py`.

    python tests/experts/agent_mutations.py START STOP

damages agents START to STOP - 1, each in a way of its own that depends on its number alone, loads
them and prints a line for each. It is a program, so that crashes and hangs of libraries show.
"""

import base64
import io
import json
import random
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus import load_expert
from sb3_il_plus.environments import make_vec
from sb3_il_plus.errors import UserError

sys.path.append(str(Path(__file__).parents[1]))
from damage import BYTES, judge, rewrite_zip, workplace

SMALL = {"net_arch": [4]}
CONFIG = """!!python/object/apply:collections.OrderedDict
- - - normalize
    - true
  - - policy_kwargs
    - dict(net_arch=[4])
"""
ARGUMENTS = "algo: ppo\nenv: CartPole-v1\nenv_kwargs: null\n"


def originals(folder: Path) -> dict[str, tuple[Path, str]]:
    """Sound agents with all that may lie beside them: folder and environment, by name."""
    made = {}
    for kind, env_id, arguments in (
        (PPO, "CartPole-v1", {"policy_kwargs": SMALL}),
        (DQN, "CartPole-v1", {"policy_kwargs": SMALL, "buffer_size": 10}),
        (SAC, "Pendulum-v1", {"policy_kwargs": SMALL, "buffer_size": 10, "use_sde": True}),
        (TQC, "Pendulum-v1", {"policy_kwargs": SMALL, "buffer_size": 10}),
        (RecurrentPPO, "CartPole-v1", {"policy_kwargs": {"lstm_hidden_size": 4}}),
    ):
        name = kind.__name__
        agent = folder / name
        policy = "MlpLstmPolicy" if kind is RecurrentPPO else "MlpPolicy"
        venv = VecNormalize(make_vec(env_id))
        (agent / "agent").mkdir(parents=True)
        kind(policy, venv, device="cpu", seed=0, **arguments).save(agent / "agent.zip")
        venv.save(str(agent / "agent" / "vecnormalize.pkl"))
        (agent / "agent" / "config.yml").write_text(CONFIG)
        (agent / "agent" / "args.yml").write_text(ARGUMENTS)
        made[name] = agent, env_id
    own = folder / "own"
    own.mkdir()
    load_expert(folder / "PPO", "CartPole-v1").save(own / "agent.zip")
    return {**made, "own": (own, "CartPole-v1")}


# -- damage that keeps the file's form -----------------------------------------------------------


def damage_json(entries: dict[str, bytes], rng: random.Random) -> None:
    """Another value in place of one, or none; or damage inside a pickle."""
    data = json.loads(entries["data"])
    read = ["observation_space", "action_space", "policy_class", "policy_kwargs"]
    name = rng.choice([*read, *read, *sorted(data)])
    value = data.get(name)
    if isinstance(value, dict) and ":serialized:" in value and rng.random() < 0.7:
        content = rng.choice(BYTES)(base64.b64decode(value[":serialized:"]), rng)
        data[name] = {**value, ":serialized:": base64.b64encode(content).decode()}
    elif rng.random() < 0.3:
        data.pop(name, None)
    else:
        others = [None, [], {}, -1, 2**70, "x", True, [[]], {"net_arch": [7]}]
        data[name] = rng.choice([*others, *data.values()])
    entries["data"] = json.dumps(data).encode()


def damage_tensors(entries: dict[str, bytes], rng: random.Random) -> None:
    """Other shapes and dtypes, missing and additional tensors."""
    weights = th.load(io.BytesIO(entries["policy.pth"]), weights_only=True)
    name = rng.choice(sorted(weights))
    tensor = weights[name]
    changes = (
        lambda: None,
        lambda: tensor[:-1],
        lambda: tensor[..., None],
        lambda: tensor.reshape(-1)[:1],
        lambda: th.cat([tensor, tensor]),
        lambda: tensor.to(th.float64),
        lambda: tensor.to(th.int64),
        lambda: tensor.to(th.complex64),
        lambda: tensor.to_sparse(),
        lambda: th.full_like(tensor, float("nan")),
        lambda: "text",
        lambda: [1.0, 2.0],
    )
    changed = rng.choice(changes)() if tensor.ndim else None
    if changed is None:
        del weights[name]
    else:
        weights[rng.choice([name, name, f"{name}.more"])] = changed
    if rng.random() < 0.1:
        weights = rng.choice([[], {}, tensor, 5, {"policy": weights}])
    buffer = io.BytesIO()
    th.save(weights, buffer)
    entries["policy.pth"] = buffer.getvalue()


def damage_entries(entries: dict[str, bytes], rng: random.Random) -> None:
    """A missing entry, one in place of another, or damage in one that is not compressed again."""
    name = rng.choice(sorted(entries))
    other = entries[rng.choice(sorted(entries))]
    if rng.random() < 0.3:
        del entries[name]
    else:
        entries[name] = rng.choice([other, b"", rng.choice(BYTES)(entries[name] or b"x", rng)])


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file of an agent's folder, and say how."""
    file = rng.choice([folder / "agent.zip"] * 3 + sorted(folder.glob("agent/*")))
    if file.suffix == ".zip" and rng.random() < 0.7:
        change = rng.choice([damage_json, damage_tensors, damage_entries])
        rewrite_zip(file, lambda entries: change(entries, rng))
    else:
        change = rng.choice([*BYTES, lambda content, rng: b""])
        file.write_bytes(change(file.read_bytes(), rng))
    return f"{getattr(change, '__name__', '').strip('<>')} in {file.name}"


# -- what loading does ---------------------------------------------------------------------------


def acts(folder: Path, env_id: str | None, observations: np.ndarray) -> str:
    """`refused` or `loaded`, or else what is wrong."""
    try:
        expert = load_expert(folder, env_id)
    except UserError as error:
        return "refused" if str(folder) in str(error) else f"WRONG: no path in {error!r}"
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"
    try:
        actions, _ = expert.predict(observations)
    except UserError:  # weights that are no numbers give actions that are none
        return "refused"
    except Exception as error:
        return f"WRONG: {type(error).__name__} when acting: {error}"
    right = actions.shape == (len(observations), *expert.action_space.shape)
    return "loaded" if right else f"WRONG: actions of shape {actions.shape}"


def main(start: int, stop: int) -> None:
    with workplace() as folder:
        sources = originals(folder)
        env_ids = {name: env_id for name, (_, env_id) in sources.items()}
        observations = {
            env_id: np.stack([gym.make(env_id).observation_space.sample() * 0.01] * 3)
            for env_id in env_ids.values()
        }

        def outcome(name: str, path: Path, what: str, rng: random.Random) -> str:
            env_id = env_ids[name]
            return acts(path, rng.choice([None, env_id]), observations[env_id])

        paths = {name: path for name, (path, _) in sources.items()}
        for _ in judge(paths, folder, range(start, stop), damage, outcome):
            pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
