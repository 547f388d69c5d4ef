"""The rewards that a GAIL discriminator can pay its generator, as functions of its logit h.

D = σ(h) is the probability that a transition is the expert's, so h = log D − log(1 − D).

| name      | reward             | sign     | source                                |
|-----------|--------------------|----------|---------------------------------------|
| `"gail"`  | −log(1 − D)        | positive | Ho and Ermon 2016, Algorithm 1        |
| `"log_d"` | log D              | negative | Kostrikov et al. 2019 (DAC), as usual |
|           |                    |          | where each step is to cost something  |
| `"airl"`  | log D − log(1 − D) | both     | Fu, Luo and Levine 2018, Algorithm 1  |
| `"fairl"` | −h exp(h)          | both     | Ghasemipour, Zemel and Gu 2019        |

The sign matters where episodes end early: a reward that is always positive pays for surviving, one
that is always negative pays for ending. `"fairl"` descends the forward KL divergence, and falls
without bound where the expert is much likelier; as in its authors' code it is clipped, here at −10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch as th
from imitation.rewards.reward_nets import ForwardWrapper, RewardNet
from torch.nn import functional as F

RewardForm = Literal["gail", "log_d", "airl", "fairl"]

LEAST_FAIRL = -10.0
"""Where FAIRL's reward is clipped; its largest value is 1/e."""


def gail(logit: th.Tensor) -> th.Tensor:
    """−log(1 − D)."""
    return -F.logsigmoid(-logit)


def log_d(logit: th.Tensor) -> th.Tensor:
    """log D."""
    return F.logsigmoid(logit)


def airl(logit: th.Tensor) -> th.Tensor:
    """log D − log(1 − D), which is the logit itself."""
    return logit


def fairl(logit: th.Tensor) -> th.Tensor:
    """−h exp(h), clipped at `LEAST_FAIRL`."""
    return (-logit * logit.exp()).clamp(min=LEAST_FAIRL)


FORMS: Mapping[str, Callable[[th.Tensor], th.Tensor]] = {
    "gail": gail,
    "log_d": log_d,
    "airl": airl,
    "fairl": fairl,
}
"""Name of a form -> the function from logits to rewards, of any shape."""


class RewardFromLogit(ForwardWrapper):
    """A reward net that turns the logits of a discriminator into rewards.

    It stands where upstream's GAIL has a `RewardNetFromDiscriminatorLogit`, which knows one form.

    :param base: the discriminator, whose output is the logit of D
    :param form: a key of `FORMS`
    """

    def __init__(self, base: RewardNet, form: RewardForm) -> None:
        super().__init__(base)
        self.form = form

    def forward(
        self, state: th.Tensor, action: th.Tensor, next_state: th.Tensor, done: th.Tensor
    ) -> th.Tensor:
        """Rewards of preprocessed transitions, shape (n,)."""
        return FORMS[self.form](self.base(state, action, next_state, done))
