"""`StackedMLP`: N perceptrons of one shape, computed as one batched matrix product.

SB3 builds critics one by one and calls them one after the other. Here all their weights lie in one
vector: a layer of N networks is one `baddbmm`, an optimiser's step and the update of a target
network are one operation each, and gradients come back as one vector, too.

SB3's own modules are left in place and made to look at the same memory. So the policy that
predicts, is saved and is exported is always the one that learns, and nothing is ever copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch as th
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from sb3_il_plus.errors import InapplicableError

Member = Sequence[nn.Module | tuple[nn.Linear, ...]]
"""The modules of one network in order; a tuple stands for heads side by side."""

_Layer = tuple[th.Tensor, th.Tensor]
_Layers = list[_Layer]


class _Activation(NamedTuple):
    """A function in place, and its gradient in place, which is told from its output."""

    forward: Any
    backward: Any


_ACTIVATIONS = {
    nn.ReLU: _Activation(
        th.relu_,
        lambda gradient, output: th.ops.aten.threshold_backward.grad_input(
            gradient, output, 0, grad_input=gradient
        ),
    ),
    nn.Tanh: _Activation(
        th.tanh_,
        lambda gradient, output: th.ops.aten.tanh_backward.grad_input(
            gradient, output, grad_input=gradient
        ),
    ),
}


class _Norm(NamedTuple):
    """The layer norms of one layer, one for each network."""

    modules: Sequence[Any]
    comes_first: bool
    """Before the activation."""

    @property
    def epsilon(self) -> float:
        epsilon: float = self.modules[0].eps
        return epsilon


class StackedMLP:
    """N networks of one shape with their weights in one vector.

    :param members: the N networks, as SB3 builds them; their weights become views of `flat`. Each
        linear layer may have an activation and a `LayerNorm`, in either order
    :raises InapplicableError: a module is none of these, or an unknown activation
    """

    flat: nn.Parameter
    """All weights and biases, shape (number of parameters,)."""

    def __init__(self, *members: Member) -> None:
        self.n = len(members)
        self._linears: list[list[tuple[nn.Linear, ...]]] = []
        self.activations: list[_Activation | None] = []
        self._norms: dict[int, _Norm] = {}
        for modules in zip(*members, strict=True):
            if isinstance(modules[0], (nn.Linear, tuple)):
                self._linears.append([m if isinstance(m, tuple) else (m,) for m in modules])
                self.activations.append(None)
            elif isinstance(modules[0], nn.LayerNorm):
                self._norms[len(self._linears) - 1] = _Norm(modules, self.activations[-1] is None)
            else:
                self.activations[-1] = _known(modules[0])
        self._shapes = [
            (heads[0].in_features, sum(head.out_features for head in heads))
            for (heads, *_) in self._linears
        ]
        self._sizes = [
            self.n * size for n_in, n_out in self._shapes for size in (n_in * n_out, n_out)
        ]
        for place in self._norms:
            self._sizes += [self.n * self._shapes[place][1]] * 2
        weight = self._linears[0][0][0].weight
        self.flat = nn.Parameter(weight.new_empty(sum(self._sizes)))
        for parameter, part in self.parts(self.flat.data):
            part.copy_(parameter.data)
            parameter.data = part
        self.layers = self.views(self.flat.detach())
        self._first = self.layers
        if self.n > 1:
            self._first = [(weight[0], bias[0]) for weight, bias in self.layers]

    def __call__(self, inputs: th.Tensor) -> th.Tensor:
        """Outputs, whose gradients flow to `flat` and the inputs.

        :param inputs: shape (B, inputs), or (N, B, inputs) for inputs of each network's own
        :return: shape (N, B, outputs), or (B, outputs) of a single network
        """
        return self._run(inputs, self.layers, self.flat)

    def frozen(self, inputs: th.Tensor, first: bool = False) -> th.Tensor:
        """The same for constant weights: gradients flow to the inputs alone.

        :param first: of the first network alone, shape (B, outputs)
        """
        return self._run(inputs, self._first if first else self.layers, None)

    def _run(self, inputs: th.Tensor, layers: _Layers, trained: th.Tensor | None) -> th.Tensor:
        if self._norms:
            weights = self.flat.detach() if trained is None else trained
            return self.in_steps(inputs, weights, first=layers is not self.layers)
        if inputs.dim() < layers[0][0].dim():
            inputs = inputs.expand(self.n, -1, -1)
        if not th.is_grad_enabled() or (trained is None and not inputs.requires_grad):
            return deque(_outputs(inputs, layers, self.activations), maxlen=1).pop()
        outputs: th.Tensor = _Perceptrons.apply(inputs, trained, layers, self)
        return outputs

    def in_steps(
        self, inputs: th.Tensor, vector: th.Tensor | None = None, first: bool = False
    ) -> th.Tensor:
        """The same in torch's own steps: for layer norms, and for gradients of gradients.

        :param vector: weights that are laid out as `flat`; None for `flat`
        :param first: of the first network alone
        """
        layers, norms = self._pieces(self.flat if vector is None else vector, first)
        x = inputs.expand(self.n, -1, -1) if inputs.dim() < layers[0][0].dim() else inputs
        product = th.addmm if x.dim() == 2 else th.baddbmm
        for place, (weight, bias) in enumerate(layers):
            x, activation = product(bias, x, weight), self.activations[place]
            steps = [] if activation is None else [activation.forward]
            if place in norms:
                norm = partial(_normalize, *norms[place], epsilon=self._norms[place].epsilon)
                steps.insert(0 if self._norms[place].comes_first else 1, norm)
            for step in steps:
                x = step(x)
        return x

    def _pieces(self, vector: th.Tensor, first: bool) -> tuple[_Layers, dict[int, _Layer]]:
        """Weights and biases of the layers, and of the layer norms, by the layer's number."""
        shape = (1, -1) if self.n == 1 else (self.n, 1, -1)
        pieces = iter(vector.split(self._sizes)[2 * len(self._shapes) :])
        norms = {
            place: (next(pieces).view(shape), next(pieces).view(shape)) for place in self._norms
        }
        layers = self.views(vector)
        if first and self.n > 1:
            layers = [(weight[0], bias[0]) for weight, bias in layers]
            norms = {place: (scale[0], shift[0]) for place, (scale, shift) in norms.items()}
        return layers, norms

    @th.no_grad()
    def follow(self, online: StackedMLP, tau: float) -> None:
        """Go the part `tau` of the way to the weights of `online`, as target networks do."""
        self.flat.lerp_(online.flat, tau)

    def parts(self, vector: th.Tensor) -> Iterator[tuple[th.Tensor, th.Tensor]]:
        """Each parameter of SB3's modules with its part of a vector that is laid out as `flat`.

        :param vector: `flat` itself, its gradient, or what an optimiser keeps of it
        """
        pieces: Iterator[Any] = iter(vector.split(self._sizes))
        for linears, (n_in, n_out) in zip(self._linears, self._shapes, strict=True):
            weights = next(pieces).view(self.n, n_in, n_out)
            biases = next(pieces).view(self.n, n_out)
            for heads, weight, bias in zip(linears, weights, biases, strict=True):
                stops = [0]
                for head in heads:
                    stops.append(stops[-1] + head.out_features)
                for head, (start, stop) in zip(heads, pairwise(stops), strict=True):
                    yield head.weight, weight[:, start:stop].T
                    yield head.bias, bias[start:stop]
        for norm in self._norms.values():
            for name in ("weight", "bias"):
                values = next(pieces).view(self.n, -1)
                for module, part in zip(norm.modules, values, strict=True):
                    yield getattr(module, name), part

    def views(self, vector: th.Tensor) -> _Layers:
        """Weights and biases of each layer, in the form that the product wants."""
        pieces = iter(vector.split(self._sizes))
        lead = () if self.n == 1 else (self.n,)
        return [
            (next(pieces).view(*lead, n_in, n_out), next(pieces).view(*lead, 1, n_out))
            for n_in, n_out in self._shapes
        ]


def _outputs(
    x: th.Tensor, layers: _Layers, activations: Sequence[_Activation | None]
) -> Iterator[th.Tensor]:
    """What each layer gives, one after the other."""
    for (weight, bias), activation in zip(layers, activations, strict=True):
        if x.dim() == 2:
            x = th.addmm(bias, x, weight)
        elif _goes_one_by_one(weight):
            x = th.stack([th.addmm(*parts) for parts in zip(bias, x, weight, strict=True)])
        else:
            x = th.baddbmm(bias, x, weight)
        if activation is not None:
            x = activation.forward(x)
        yield x


def _multiply(left: th.Tensor, right: th.Tensor, out: th.Tensor | None = None) -> th.Tensor:
    """Product of two matrices, or of two stacks of N."""
    if left.dim() == 2:
        return th.mm(left, right, out=out)
    if out is not None and _goes_one_by_one(right):
        for parts in zip(left, right, out, strict=True):
            th.mm(parts[0], parts[1], out=parts[2])
        return out
    return th.bmm(left, right, out=out)


def _goes_one_by_one(right: th.Tensor) -> bool:
    """Whether N products are faster than a batched one: to a single column, MKL's takes thrice as
    long.
    """
    return right.shape[-1] == 1 and right.device.type == "cpu"


class _Perceptrons(th.autograd.Function):
    """Forward and backward pass of all layers, in place wherever that is possible.

    Autograd would do the same. But it makes a new tensor for each step of the way, and at these
    sizes that costs as much as a third of the products do.
    """

    @staticmethod
    def forward(
        ctx: Any, x: th.Tensor, trained: th.Tensor | None, layers: _Layers, stack: StackedMLP
    ) -> th.Tensor:
        passed = [x, *_outputs(x, layers, stack.activations)]
        # Saving `flat` has autograd notice if somebody changes it before the backward pass.
        ctx.save_for_backward(stack.flat, *passed)
        ctx.layers, ctx.stack = layers, stack
        return passed[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, ...]:
        flat, *passed = ctx.saved_tensors
        of_inputs, of_weights, *_ = ctx.needs_input_grad
        result = th.empty_like(flat) if of_weights else None
        results = ctx.stack.views(result) if result is not None else ctx.layers
        gradient = gradient.clone()
        for i in reversed(range(len(ctx.layers))):
            x, output, activation = passed[i], passed[i + 1], ctx.stack.activations[i]
            if activation is not None:
                activation.backward(gradient, output)
            if result is not None:
                _multiply(x.mT, gradient, out=results[i][0])
                th.sum(gradient, -2, keepdim=True, out=results[i][1])
            if i > 0 or of_inputs:
                weight = ctx.layers[i][0]
                is_narrow = weight.shape[-1] == 1
                gradient = gradient * weight.mT if is_narrow else _multiply(gradient, weight.mT)
        return gradient if of_inputs else None, result, None, None


def _normalize(scale: th.Tensor, shift: th.Tensor, x: th.Tensor, epsilon: float) -> th.Tensor:
    """`LayerNorm`, each network with weights of its own."""
    return th.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=epsilon), scale)


def _known(module: nn.Module) -> _Activation:
    for kind, activation in _ACTIVATIONS.items():
        if isinstance(module, kind):
            return activation
    raise InapplicableError(
        f"offline algorithms know the activations {', '.join(k.__name__ for k in _ACTIVATIONS)}, "
        f"not {type(module).__name__}; choose activation_fn in policy_kwargs from them"
    )
