"""`imitation`'s discriminator updates, with what makes them stable: penalty, smoothing, norms.

Upstream's `train_disc` sets the gradients to zero, asks `_make_disc_train_batches` for its batches,
adds each batch's gradients and takes one step. The batches are where more can enter: a penalty adds
its own gradients before a batch is handed over, and labels can be smoothed in it. The loss, the
step and all else remain upstream's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch as th
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.algorithms.adversarial.gail import GAIL
from imitation.rewards.reward_nets import RewardNet
from imitation.util.networks import evaluating
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.nn.utils import parametrizations

from sb3_il_plus.adapters.absorbing import without_absorbing
from sb3_il_plus.adapters.observations import FlatSpace, RestoreObservations
from sb3_il_plus.adapters.reward_forms import RewardForm, RewardFromLogit

_NORMALISABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class DiscriminatorTrainer(AdversarialTrainer):
    """An upstream trainer whose discriminator is regularised and whose policy may see dicts.

    :param gradient_penalty: weight of the `gradient_penalty` in the discriminator's loss
    :param label_smoothing: what is taken from the experts' label 1 (one-sided label smoothing,
        Salimans et al. 2016, section 3.4)
    :param rng: where the penalty's interpolations are drawn from
    :param kwargs: see `imitation`'s `AdversarialTrainer`
    """

    def __init__(
        self,
        *,
        gradient_penalty: float = 0.0,
        label_smoothing: float = 0.0,
        rng: np.random.Generator,
        **kwargs: Any,
    ) -> None:
        self.gradient_penalty = gradient_penalty
        self.label_smoothing = label_smoothing
        self._rng = rng
        super().__init__(**kwargs)

    def _make_disc_train_batches(self, **samples: Any) -> Iterator[Mapping[str, th.Tensor]]:
        for batch in super()._make_disc_train_batches(**samples):
            if self.gradient_penalty:
                self._add_penalty(batch)
            labels = batch["labels_expert_is_one"] * (1 - self.label_smoothing)
            yield {**batch, "labels_expert_is_one": labels}

    def _add_penalty(self, batch: Mapping[str, th.Tensor]) -> None:
        """Add the penalty's gradients to those of the discriminator's parameters."""
        inputs = [batch[name] for name in ("state", "action", "next_state", "done")]
        n = len(inputs[0]) // 2
        # The first half of a batch is the expert's, the second the generator's.
        penalty = gradient_penalty(
            self._reward_net,
            [value[:n] for value in inputs],
            [value[n:] for value in inputs],
            th.as_tensor(self._rng.random(n), dtype=th.float32, device=inputs[0].device),
        )
        (self.gradient_penalty * penalty).backward()
        self.logger.record("disc_gradient_penalty", penalty.item())

    @property
    def venv_train(self) -> VecEnv:
        """Where the generator trains: upstream's wrappers, and dicts as the policy reads them."""
        return self._venv_train

    @venv_train.setter
    def venv_train(self, venv: VecEnv) -> None:
        is_flat = isinstance(venv.observation_space, FlatSpace)
        self._venv_train = RestoreObservations(venv) if is_flat else venv

    def _get_log_policy_act_prob(self, obs_th: th.Tensor, acts_th: th.Tensor) -> th.Tensor | None:
        space = self.venv.observation_space
        absorbing = obs_th.isnan().reshape(len(obs_th), -1).any(dim=1)
        seen: Any = without_absorbing(obs_th)
        if isinstance(space, FlatSpace):
            seen, _ = self.policy.obs_to_tensor(space.restore(obs_th.numpy(force=True)))
        log_probability = super()._get_log_policy_act_prob(seen, acts_th)
        if log_probability is None:
            return None
        return log_probability.masked_fill(absorbing, 0.0)  # there, one action is all there is


class GAILTrainer(DiscriminatorTrainer, GAIL):
    """Upstream's GAIL with a choice of the generator's reward.

    :param reward_net: the discriminator, whose output is the logit of D
    :param reward_form: a key of `reward_forms.FORMS`
    :param kwargs: see `DiscriminatorTrainer`
    """

    def __init__(self, *, reward_net: RewardNet, reward_form: RewardForm, **kwargs: Any) -> None:
        self._reward = RewardFromLogit(reward_net, reward_form)
        super().__init__(reward_net=reward_net, **kwargs)

    @property
    def reward_train(self) -> RewardNet:
        """What the generator is paid."""
        return self._reward

    @property
    def reward_test(self) -> RewardNet:
        """What a fresh agent would be paid: the same."""
        return self._reward

    def _get_log_policy_act_prob(self, obs_th: th.Tensor, acts_th: th.Tensor) -> None:
        """Nothing, as GAIL's discriminator does not ask the policy, which may have a memory."""


class AIRLTrainer(DiscriminatorTrainer, AIRL):
    """Upstream's AIRL, whose form of the reward is its own."""


def gradient_penalty(
    net: nn.Module,
    expert: Sequence[th.Tensor],
    generated: Sequence[th.Tensor],
    shares: th.Tensor,
) -> th.Tensor:
    """E[(‖∇ f(x)‖₂ − 1)²] between the experts' data and the generator's.

    The penalty of WGAN-GP (Gulrajani et al. 2017, equation 3) as discriminator-actor-critic puts it
    on a discriminator (Kostrikov et al. 2019, with weight 10): x is a random point between a pair
    of transitions, f the net's output before any sigmoid, and the gradient is with respect to all
    inputs that f reads (one-hot actions too). The net is in evaluation mode meanwhile: its running
    statistics are of the data, not of points between them.

    :param net: takes state, action, next state and done
    :param expert: these four, each of shape (n, ...)
    :param generated: the same, of the generator
    :param shares: how much of each point is the expert's, in [0, 1], shape (n,)
    :return: a scalar that can be differentiated with respect to the net's parameters
    """
    points = []
    for theirs, ours in zip(expert, generated, strict=True):
        share = shares.reshape(-1, *[1] * (theirs.ndim - 1))
        points.append((share * theirs + (1 - share) * ours).requires_grad_())
    with evaluating(net):
        gradients = th.autograd.grad(
            net(*points).sum(), points, create_graph=True, allow_unused=True
        )
    read = [gradient.reshape(len(shares), -1) for gradient in gradients if gradient is not None]
    return (th.cat(read, dim=1).norm(dim=1) - 1).square().mean()


def add_spectral_norm(net: nn.Module) -> None:
    """Divide the weights of every linear and convolutional layer by their largest singular value.

    Spectral normalisation (Miyato et al. 2018, equation 8) with PyTorch's power iteration: each
    layer, and with ReLU in between the whole net, changes by no more than its input does.
    """
    for module in list(net.modules()):
        if isinstance(module, _NORMALISABLE):
            parametrizations.spectral_norm(module)
