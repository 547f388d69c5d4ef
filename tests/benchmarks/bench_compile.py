"""What `torch.compile` makes of the critics' loss and gradients, beside the stack and plain torch.

    python tests/benchmarks/bench_compile.py

Two critics of 256 x 256, batches of 256. The three take turns; the fastest turn of each counts.
"""

import time

import torch as th
import torch.nn.functional as F
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_il_plus.offline.stack import StackedMLP

TURNS = 150


def critics() -> list[nn.Sequential]:
    th.manual_seed(0)
    return [nn.Sequential(*create_mlp(23, 1, [256, 256])) for _ in range(2)]


def main() -> None:
    inputs, target = th.randn(256, 23), th.randn(256)
    networks, stack = critics(), StackedMLP(*map(list, critics()))
    parameters = [p for network in networks for p in network.parameters()]

    def loss() -> th.Tensor:
        return sum(F.mse_loss(network(inputs)[:, 0], target) for network in networks)

    def stacked_loss() -> th.Tensor:
        return 2 * F.mse_loss(stack(inputs).view(2, -1), target.expand(2, -1))

    compiled = th.compile(loss)
    contenders = {
        "plain": lambda: th.autograd.grad(loss(), parameters),
        "compiled": lambda: th.autograd.grad(compiled(), parameters),
        "stacked": lambda: th.autograd.grad(stacked_loss(), [stack.flat]),
    }
    start = time.perf_counter()
    contenders["compiled"]()
    print(f"compiling: {time.perf_counter() - start:.0f} s")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    for name, values in times.items():
        print(f"{name}: {1e3 * min(values):.2f} ms")


if __name__ == "__main__":
    main()
