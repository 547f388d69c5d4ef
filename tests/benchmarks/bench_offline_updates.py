"""Updates per second of the offline algorithms, against d3rlpy and against the processor's limit.

    OMP_NUM_THREADS=2 python tests/benchmarks/bench_offline_updates.py

Batches of 256, two hidden layers of 256, 17-dimensional observations, 6-dimensional actions. Both
sides take turns, and medians are compared. Ours is `learn`, with sampling, counting, callbacks and
logging; d3rlpy's is its sampling and its `update` alone. docs/offline.md says how to install it.

The limit is what the matrix products of an update would take at the speed of one large product,
which is measured between the turns.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch as th
from gymnasium import spaces
from torch.utils.flop_counter import FlopCounterMode

from sb3_il_plus import Demonstrations, make

N, LENGTH, OBSERVATION, ACTION, BATCH = 50_000, 1000, 17, 6, 256
QUICK_BC = {"policy_of": "td3", "loss": "mse", "l2_weight": 0.0, "ent_weight": 0.0}
NETWORK = {"policy_kwargs": {"net_arch": [256, 256]}, "batch_size": BATCH}
OURS = {
    "td3_bc": {},
    "iql": {},
    "awac": {"actor_weight_decay": 0.0},
    "bc": QUICK_BC,
    "cql": {},
}
THEIRS = {"td3_bc": "TD3PlusBC", "iql": "IQL", "awac": "AWAC", "bc": "BC", "cql": "CQL"}
TENTH = {"cql"}
"""What is so slow that a tenth of the updates is enough."""


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observations": rng.normal(size=(N, OBSERVATION)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(N, ACTION)).astype(np.float32),
        "rewards": rng.normal(size=N).astype(np.float32),
    }


def our_model(name: str, matmul_precision: str | None = None):
    data = Demonstrations.from_arrays(
        **arrays(),
        episode_lengths=[LENGTH] * (N // LENGTH),
        observation_space=spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32),
        action_space=spaces.Box(-1, 1, (ACTION,), np.float32),
    )
    options = {**NETWORK, **OURS[name]}
    if matmul_precision is not None:
        options["matmul_precision"] = matmul_precision
    return make(name, None, demonstrations=data, seed=0, device="cpu", **options)


def their_updates(name: str) -> Callable[[int], None]:
    import d3rlpy

    encoder = d3rlpy.models.VectorEncoderFactory([256, 256])
    kwargs = {"batch_size": BATCH}
    if name == "bc":
        kwargs["encoder_factory"] = encoder
    else:
        kwargs |= {"actor_encoder_factory": encoder, "critic_encoder_factory": encoder}
    if name == "iql":
        kwargs["value_encoder_factory"] = encoder
    columns = arrays()
    ends = np.zeros(N, dtype=np.float32)
    ends[LENGTH - 1 :: LENGTH] = 1
    dataset = d3rlpy.dataset.MDPDataset(**columns, terminals=np.zeros(N), timeouts=ends)
    algorithm = getattr(d3rlpy.algos, f"{THEIRS[name]}Config")(**kwargs).create(device="cpu:0")
    algorithm.build_with_dataset(dataset)

    def run(n_updates: int) -> None:
        for _ in range(n_updates):
            algorithm.update(dataset.sample_transition_batch(BATCH))

    return run


def rate(run: Callable[[int], object], n_updates: int) -> float:
    start = time.perf_counter()
    run(n_updates)
    return n_updates / (time.perf_counter() - start)


def product_flops() -> float:
    """Floating-point operations per second of one large matrix product."""
    left, right = th.randn(1024, 1024), th.randn(1024, 1024)
    return max(rate(lambda n: [left @ right for _ in range(n)], 20) for _ in range(3)) * 2 * 1024**3


def update_flops(model) -> float:
    """Of the matrix products in an update of ours."""
    with FlopCounterMode(display=False) as counter:
        model.learn(4)
    return counter.get_total_flops() / 4


def compare(
    name: str, n_updates: int, repeats: int, peer: bool, matmul_precision: str | None
) -> str:
    model = our_model(name, matmul_precision)
    flops = update_flops(model)
    contenders = [lambda n: model.learn(n, log_interval=10**9)]
    if peer:
        contenders.append(their_updates(name))
    for run in contenders:
        run(20)
    rates: list[list[float]] = []
    limits = []
    for _ in range(repeats):
        limits.append(product_flops() / flops)
        rates.append([rate(run, n_updates) for run in contenders])
    ours, *others = (statistics.median(column) for column in zip(*rates, strict=True))
    limit = statistics.median(limits)
    cells = [name, f"{ours:.0f}", f"{flops / 1e6:.0f}", f"{limit:.0f}", f"{ours / limit:.0%}"]
    cells += [f"{others[0]:.1f}", f"{ours / others[0]:.2f}"] if others else ["-", "-"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--updates", type=int, default=500, help="in each turn")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--alone", action="store_true", help="without d3rlpy")
    parser.add_argument("--matmul-precision", help="of ours, as 'medium'; bc has none")
    arguments = parser.parse_args()
    logging.disable()
    th.set_num_threads(arguments.threads)
    version = "-"
    if not arguments.alone:
        import d3rlpy

        version = d3rlpy.__version__
    print(f"{arguments.threads} threads, torch {th.__version__}, d3rlpy {version}")
    print("| algorithm | updates/s | MFLOP/update | limit/s | of it | d3rlpy/s | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in arguments.algorithms:
        n_updates = arguments.updates // 10 if name in TENTH else arguments.updates
        row = compare(
            name, n_updates, arguments.repeats, not arguments.alone, arguments.matmul_precision
        )
        print(row, flush=True)


if __name__ == "__main__":
    main()
