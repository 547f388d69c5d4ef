"""A stack of networks is those networks: their outputs, their gradients and their weights."""

import pytest
import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from sb3_il_plus.errors import InapplicableError
from sb3_il_plus.offline.stack import StackedMLP


def networks(n, activation=nn.ReLU):
    th.manual_seed(0)
    return [nn.Sequential(*create_mlp(5, 2, [7, 6], activation)) for _ in range(n)]


def normalized(n, norm_first):
    """Networks with layer norms before or after the activations."""
    th.manual_seed(0)
    found = []
    for _ in range(n):
        modules = [nn.Linear(5, 7)]
        for width in (7, 2):
            norm = nn.LayerNorm(7)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            modules += [norm, nn.ReLU()] if norm_first else [nn.ReLU(), norm]
            modules.append(nn.Linear(7, width))
        found.append(nn.Sequential(*modules))
    return found


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("build", [networks, lambda n: networks(n, nn.Tanh)], ids=["relu", "tanh"])
def test_outputs_and_gradients_are_those_of_the_modules(n, build):
    check_outputs_and_gradients(build(n))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("norm_first", [True, False])
def test_outputs_and_gradients_with_layer_norms(n, norm_first):
    modules = normalized(n, norm_first)
    check_outputs_and_gradients(modules)
    stack, inputs = StackedMLP(*map(list, modules)), th.randn(4, 5, requires_grad=True)
    assert th.allclose(stack.frozen(inputs, first=True), modules[0](inputs), atol=1e-6)
    stack.frozen(inputs).sum().backward()
    assert inputs.grad is not None and stack.flat.grad is None


def test_gradients_can_be_differentiated():
    modules = networks(2, nn.Tanh)
    inputs = th.randn(4, 5, requires_grad=True)
    parameters = [p for module in modules for p in module.parameters()]

    def slope(outputs):
        (of_inputs,) = th.autograd.grad(outputs.sum(), inputs, create_graph=True)
        return of_inputs.square().sum()

    expected = th.autograd.grad(
        slope(sum(module(inputs) for module in modules)), parameters, allow_unused=True
    )
    stack = StackedMLP(*map(list, modules))
    (found,) = th.autograd.grad(slope(stack.in_steps(inputs)), stack.flat)
    of_modules = {id(parameter): part for parameter, part in stack.parts(found)}
    for parameter, gradient in zip(parameters, expected, strict=True):
        wanted = th.zeros_like(parameter) if gradient is None else gradient
        assert th.allclose(of_modules[id(parameter)], wanted, atol=1e-5)


def check_outputs_and_gradients(modules):
    inputs = th.randn(4, 5, requires_grad=True)
    stack = StackedMLP(*map(list, modules))
    expected = th.stack([module(inputs) for module in modules])
    weights = th.randn_like(expected)
    parameters = [p for module in modules for p in module.parameters()]
    (expected * weights).sum().backward()
    of_inputs, inputs.grad = inputs.grad, None

    outputs = stack(inputs).view_as(expected)
    assert th.allclose(outputs, expected, atol=1e-6)
    (outputs * weights).sum().backward()
    assert th.allclose(inputs.grad, of_inputs, atol=1e-6)
    of_modules = {id(parameter): part for parameter, part in stack.parts(stack.flat.grad)}
    assert len(of_modules) == len(parameters)
    for parameter in parameters:
        assert th.allclose(of_modules[id(parameter)], parameter.grad, atol=1e-5)


def test_inputs_of_each_network_its_own():
    modules = networks(2)
    inputs = th.randn(2, 4, 5)
    stack = StackedMLP(*map(list, modules))
    expected = th.stack([module(x) for module, x in zip(modules, inputs, strict=True)])
    assert th.allclose(stack(inputs), expected, atol=1e-6)
    assert th.allclose(stack.frozen(inputs[0], first=True), expected[0], atol=1e-6)


def test_frozen_weights_get_no_gradient():
    stack = StackedMLP(*map(list, networks(2)))
    inputs = th.randn(4, 5, requires_grad=True)
    stack.frozen(inputs).sum().backward()
    assert inputs.grad is not None and stack.flat.grad is None
    with th.no_grad():
        assert not stack.frozen(inputs).requires_grad


def test_modules_share_the_memory_of_the_stack():
    (module,) = networks(1)
    stack = StackedMLP(list(module))
    inputs = th.randn(4, 5)
    with th.no_grad():
        stack.flat.mul_(2.0)
    assert th.allclose(module(inputs), stack(inputs), atol=1e-6)
    state = {name: th.zeros_like(value) for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    assert not stack.flat.any()


def test_heads_side_by_side():
    th.manual_seed(0)
    trunk, mean, deviation = nn.Linear(5, 7), nn.Linear(7, 2), nn.Linear(7, 3)
    stack = StackedMLP([trunk, nn.ReLU(), (mean, deviation)])
    inputs = th.randn(4, 5)
    latent = trunk(inputs).relu()
    assert th.allclose(stack(inputs), th.cat([mean(latent), deviation(latent)], 1), atol=1e-6)


def test_a_target_follows():
    online, target = (StackedMLP(*map(list, networks(2))) for _ in range(2))
    with th.no_grad():
        online.flat.add_(1.0)
    before = target.flat.detach().clone()
    target.follow(online, 0.25)
    assert th.allclose(target.flat, before + 0.25, atol=1e-6)


def test_weights_changed_before_the_backward_pass_are_noticed():
    stack = StackedMLP(*map(list, networks(2)))
    outputs = stack(th.randn(4, 5))
    with th.no_grad():
        stack.flat.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_an_unknown_activation_is_refused():
    with pytest.raises(InapplicableError, match="ReLU, Tanh, not ELU; choose activation_fn"):
        StackedMLP(*map(list, networks(1, nn.ELU)))
