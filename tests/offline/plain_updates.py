"""The offline algorithms once more: plain, slow, on SB3's own modules, to compare the engine with.

Each class takes copies of a model's networks and makes one update from a batch, as its paper's
algorithm box says, with one network after the other and torch's own gradients and optimiser.
"""

import copy
import math

import torch as th
from torch import nn

EPSILON = 1e-4
"""Of Adam. With less, a gradient that is only rounding makes as large a step as any other."""


def adam(*parts, lr, weight_decay=0.0):
    parameters = [p for part in parts for p in ([part] if isinstance(part, nn.Parameter) else part)]
    return th.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, foreach=False, eps=EPSILON)


def descend(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def follow(target, online, tau):
    with th.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
            slow.copy_((1 - tau) * slow + tau * fast)


class Plain:
    """Copies of the networks that actor-critic algorithms have."""

    def __init__(self, model):
        self.model, self.n_updates = model, 0
        self.policy = copy.deepcopy(model.policy)
        self.critics = self.policy.critic.q_networks
        self.target_critics = self.policy.critic_target.q_networks
        # Copies of views share nothing any more, but q_networks is a plain list.
        assert all(
            any(p is q for q in self.policy.critic.parameters())
            for network in self.critics
            for p in network.parameters()
        )
        actor_lr = model.actor_learning_rate or model.learning_rate
        self.actor_optimizer = adam(
            self.policy.actor.parameters(),
            lr=actor_lr,
            weight_decay=getattr(model, "actor_weight_decay", 0.0),
        )
        self.critic_optimizer = adam(self.policy.critic.parameters(), lr=model.learning_rate)

    def update(self, batch):
        self.step(batch)
        self.n_updates += 1

    def values(self, networks, observations, actions):
        inputs = th.cat([observations, actions], dim=1)
        return [network(inputs)[:, 0] for network in networks]

    def lowest(self, networks, observations, actions):
        return th.min(th.stack(self.values(networks, observations, actions)), dim=0).values

    def td_loss(self, batch, target):
        values = self.values(self.critics, batch.observations, batch.actions)
        return sum(nn.functional.mse_loss(value, target) for value in values)

    def gaussian(self, observations):
        actor = self.policy.actor
        mean = th.tanh(actor.mu(actor.latent_pi(observations)))
        return th.distributions.Normal(mean, actor.log_std.clamp(-5, 2).exp())


class PlainTD3BC(Plain):
    def step(self, batch):
        actor, target_actor = self.policy.actor.mu, self.policy.actor_target.mu
        with th.no_grad():
            noise = (batch.noise["target"] * 0.2).clamp(-0.5, 0.5)
            next_actions = (target_actor(batch.next_observations) + noise).clamp(-1, 1)
            next_value = self.lowest(self.target_critics, batch.next_observations, next_actions)
            target = batch.rewards + batch.discounts * next_value
        descend(self.td_loss(batch, target), self.critic_optimizer)
        if self.n_updates % 2 == 1:
            actions = actor(batch.observations)
            value = self.values(self.critics, batch.observations, actions)[0]
            weight = self.model.alpha / value.abs().mean().detach()
            cloning = nn.functional.mse_loss(actions, batch.actions)
            descend(-weight * value.mean() + cloning, self.actor_optimizer)
            follow(self.policy.actor_target, self.policy.actor, self.model.tau)
            follow(self.policy.critic_target, self.policy.critic, self.model.tau)


class PlainReBRAC(Plain):
    def step(self, batch):
        actor, target_actor = self.policy.actor.mu, self.policy.actor_target.mu
        with th.no_grad():
            noise = (batch.noise["target"] * 0.2).clamp(-0.5, 0.5)
            next_actions = (target_actor(batch.next_observations) + noise).clamp(-1, 1)
            next_value = self.lowest(self.target_critics, batch.next_observations, next_actions)
            penalty = ((next_actions - batch.extras["next_actions"]) ** 2).sum(1)
            penalty = th.where(penalty.isnan(), 0.0, penalty)
            next_value = next_value - self.model.beta2 * penalty
            target = batch.rewards + batch.discounts * next_value
        descend(self.td_loss(batch, target), self.critic_optimizer)
        if self.n_updates % 2 == 1:
            actions = actor(batch.observations)
            value = self.lowest(self.critics, batch.observations, actions)
            cloning = ((actions - batch.actions) ** 2).sum(1).mean()
            loss = self.model.beta1 * cloning - value.mean() / value.abs().mean().detach()
            descend(loss, self.actor_optimizer)
            follow(self.policy.actor_target, self.policy.actor, self.model.tau)
            follow(self.policy.critic_target, self.policy.critic, self.model.tau)


class PlainIQL(Plain):
    def __init__(self, model):
        super().__init__(model)
        self.value = copy.deepcopy(model.value_net)
        self.value_optimizer = adam(self.value.parameters(), lr=model.learning_rate)

    def step(self, batch):
        with th.no_grad():
            q = self.lowest(self.target_critics, batch.observations, batch.actions)
            advantage = q - self.value(batch.observations)[:, 0]
            weight = th.exp(self.model.beta * advantage).clamp(max=100.0)
            target = batch.rewards + batch.discounts * self.value(batch.next_observations)[:, 0]
        log_prob = self.gaussian(batch.observations).log_prob(batch.actions).sum(1)
        descend(-(weight * log_prob).mean(), self.actor_optimizer)
        error = q - self.value(batch.observations)[:, 0]
        descend(self.value_loss(error), self.value_optimizer)
        descend(self.td_loss(batch, target), self.critic_optimizer)
        follow(self.policy.critic_target, self.policy.critic, self.model.tau)

    def value_loss(self, error):
        weight = th.where(error > 0, self.model.expectile, 1 - self.model.expectile)
        return (weight * error**2).mean()


class PlainXQL(PlainIQL):
    def value_loss(self, error):
        z = th.minimum(error / self.model.loss_temp, th.tensor(7.0))
        largest = max(z.max().item(), -1.0)
        return ((th.exp(z) - z - 1) / math.exp(largest)).mean()

    def td_loss(self, batch, target):
        values = self.values(self.critics, batch.observations, batch.actions)
        huber = nn.HuberLoss(delta=self.model.huber_delta)
        return sum(huber(value, target) for value in values)


class PlainAWAC(Plain):
    def sample(self, observations, noise):
        normal = self.gaussian(observations)
        return (normal.mean + normal.stddev * noise).clamp(-1, 1)

    def step(self, batch):
        with th.no_grad():
            next_actions = self.sample(batch.next_observations, batch.noise["target"])
            next_value = self.lowest(self.target_critics, batch.next_observations, next_actions)
            target = batch.rewards + batch.discounts * next_value
            actions = self.sample(batch.observations, batch.noise["policy"])
            advantage = self.lowest(self.critics, batch.observations, batch.actions) - self.lowest(
                self.critics, batch.observations, actions
            )
            weight = th.softmax(advantage / self.model.lam, dim=0) * len(advantage)
        descend(self.td_loss(batch, target), self.critic_optimizer)
        log_prob = self.gaussian(batch.observations).log_prob(batch.actions).sum(1)
        descend(-(weight * log_prob).mean(), self.actor_optimizer)
        follow(self.policy.critic_target, self.policy.critic, self.model.tau)


class PlainBCQ(Plain):
    def __init__(self, model):
        super().__init__(model)
        self.vae_optimizer = adam(self.policy.vae.parameters(), lr=model.learning_rate)

    def proposed(self, actor, observations, noise):
        latents = noise.clamp(-0.5, 0.5)
        actions = self.policy.vae.decoder(th.cat([observations, latents], dim=1)).detach()
        change = self.model.phi * actor.mu(th.cat([observations, actions], dim=1))
        return (actions + change).clamp(-1, 1)

    def vae_loss(self, batch):
        vae = self.policy.vae
        hidden = vae.encoder(th.cat([batch.observations, batch.actions], dim=1))
        encoded = th.distributions.Normal(vae.mean(hidden), vae.log_std(hidden).clamp(-4, 15).exp())
        latents = encoded.mean + encoded.stddev * batch.noise["vae"]
        decoded = vae.decoder(th.cat([batch.observations, latents], dim=1))
        standard = th.distributions.Normal(th.zeros(()), th.ones(()))
        divergence = th.distributions.kl_divergence(encoded, standard).mean()
        return nn.functional.mse_loss(decoded, batch.actions) + 0.5 * divergence

    def step(self, batch):
        descend(self.vae_loss(batch), self.vae_optimizer)
        with th.no_grad():
            tried = []
            for noise in batch.noise["target"].unbind(1):
                actions = self.proposed(self.policy.actor_target, batch.next_observations, noise)
                values = th.stack(
                    self.values(self.target_critics, batch.next_observations, actions)
                )
                lam = self.model.lam
                tried.append(lam * values.min(dim=0).values + (1 - lam) * values.max(dim=0).values)
            target = batch.rewards + batch.discounts * th.stack(tried).max(dim=0).values
        descend(self.td_loss(batch, target), self.critic_optimizer)
        actions = self.proposed(self.policy.actor, batch.observations, batch.noise["policy"])
        value = self.values(self.critics, batch.observations, actions)[0]
        descend(-value.mean(), self.actor_optimizer)
        follow(self.policy.critic_target, self.policy.critic, self.model.tau)
        follow(self.policy.actor_target, self.policy.actor, self.model.tau)


class PlainCRR(Plain):
    def __init__(self, model):
        super().__init__(model)
        self.target_actor = copy.deepcopy(self.policy.actor)

    def sample(self, actor, observations, noise):
        mean = th.tanh(actor.mu(actor.latent_pi(observations)))
        return (mean + actor.log_std.clamp(-5, 2).exp() * noise).clamp(-1, 1)

    def step(self, batch):
        with th.no_grad():
            next_actions = self.sample(
                self.target_actor, batch.next_observations, batch.noise["target"]
            )
            next_value = self.lowest(self.target_critics, batch.next_observations, next_actions)
            target = batch.rewards + batch.discounts * next_value
            tried = [
                self.sample(self.policy.actor, batch.observations, noise)
                for noise in batch.noise["policy"].unbind(1)
            ]
            values = th.stack([self.lowest(self.critics, batch.observations, a) for a in tried])
            of_data = self.lowest(self.critics, batch.observations, batch.actions)
            if self.model.advantage_type == "mean":
                advantage = of_data - values.mean(dim=0)
            else:
                advantage = of_data - values.max(dim=0).values
            if self.model.weight_type == "binary":
                weight = th.where(advantage >= 0, 1.0, 0.0)
            else:
                weight = th.exp(advantage / self.model.beta).clamp(max=20.0)
        descend(self.td_loss(batch, target), self.critic_optimizer)
        log_prob = self.gaussian(batch.observations).log_prob(batch.actions).sum(1)
        descend(-(weight * log_prob).mean(), self.actor_optimizer)
        if (
            self.n_updates % self.model.target_update_interval
            == self.model.target_update_interval - 1
        ):
            follow(self.policy.critic_target, self.policy.critic, self.model.tau)
            follow(self.target_actor, self.policy.actor, self.model.tau)


class PlainSACN(Plain):
    def __init__(self, model):
        super().__init__(model)
        self.log_alpha = nn.Parameter(th.zeros(()))
        lr = model.actor_learning_rate or model.learning_rate
        self.alpha_optimizer = adam(self.log_alpha, lr=lr)

    def squashed(self, observations, noise):
        actor = self.policy.actor
        latent = actor.latent_pi(observations)
        normal = th.distributions.Normal(
            actor.mu(latent), actor.log_std(latent).clamp(-20, 2).exp()
        )
        raw = normal.mean + normal.stddev * noise
        actions = th.tanh(raw)
        correction = th.log(1 - actions**2 + 1e-6).sum(1)
        return actions, normal.log_prob(raw).sum(1) - correction

    def soft_target(self, batch):
        with th.no_grad():
            actions, log_prob = self.squashed(batch.next_observations, batch.noise["target"])
            value = self.lowest(self.target_critics, batch.next_observations, actions)
            return batch.rewards + batch.discounts * (value - self.log_alpha.exp() * log_prob)

    def step(self, batch):
        target = self.soft_target(batch)
        actions, log_prob = self.squashed(batch.observations, batch.noise["policy"])
        value = self.lowest(self.critics, batch.observations, actions)
        actor_loss = (self.log_alpha.detach().exp() * log_prob - value).mean()
        entropy_gap = log_prob.detach() - actions.shape[1]
        descend(-(self.log_alpha * entropy_gap).mean(), self.alpha_optimizer)
        descend(actor_loss, self.actor_optimizer)
        descend(self.td_loss(batch, target) + self.penalty(batch), self.critic_optimizer)
        follow(self.policy.critic_target, self.policy.critic, self.model.tau)

    def penalty(self, batch):
        return 0.0


class PlainEDAC(PlainSACN):
    def penalty(self, batch):
        slopes = []
        for critic in self.critics:
            actions = batch.actions.clone().requires_grad_()
            value = self.values([critic], batch.observations, actions)[0].sum()
            slopes.append(th.autograd.grad(value, actions, create_graph=True)[0])
        cosines = [
            nn.functional.cosine_similarity(first, second, dim=1).mean()
            for i, first in enumerate(slopes)
            for j, second in enumerate(slopes)
            if i != j
        ]
        return self.model.eta * sum(cosines) / (len(slopes) - 1)


class PlainCQL(PlainSACN):
    def __init__(self, model):
        super().__init__(model)
        self.log_weight = nn.Parameter(th.tensor(math.log(model.cql_alpha)))
        self.weight_optimizer = adam(self.log_weight, lr=model.learning_rate)

    def in_sum(self, i, value, batch):
        return value

    def tried(self, batch):
        """Lists of actions and the logarithms of their densities: uniform, in s', in s."""
        found = []
        for i in range(self.model.cql_n_actions):
            uniform = batch.noise["uniform"][:, i]
            found.append((uniform, th.full((len(uniform),), uniform.shape[1] * math.log(0.5))))
            found.append(self.squashed(batch.next_observations, batch.noise["next"][:, i]))
            found.append(self.squashed(batch.observations, batch.noise["current"][:, i]))
        return [(actions.detach(), density.detach()) for actions, density in found]

    def target(self, batch):
        noise = batch.noise["target"]
        noises = noise.unbind(1) if self.model.cql_max_target_backup else [noise]
        by_critic = []
        for one in noises:
            actions, _ = self.squashed(batch.next_observations, one)
            values = self.values(self.target_critics, batch.next_observations, actions)
            by_critic.append(th.stack(values))
        value = th.stack(by_critic).max(dim=0).values.min(dim=0).values
        return batch.rewards + batch.discounts * value

    def step(self, batch):
        with th.no_grad():
            target = self.target(batch)
        tried = self.tried(batch)
        alpha = self.log_alpha.detach().exp()
        actions, log_prob = self.squashed(batch.observations, batch.noise["policy"])
        entropy_gap = log_prob.detach() - actions.shape[1]
        value = self.lowest(self.critics, batch.observations, actions)
        actor_loss = (alpha * log_prob - value).mean()
        descend(-(self.log_alpha * entropy_gap).mean(), self.alpha_optimizer)
        descend(actor_loss, self.actor_optimizer)

        gaps = []
        data = self.values(self.critics, batch.observations, batch.actions)
        for critic, of_data in zip(self.critics, data, strict=True):
            terms = [
                self.in_sum(i, self.values([critic], batch.observations, actions)[0], batch)
                - density
                for i, (actions, density) in enumerate(tried)
            ]
            gaps.append((th.logsumexp(th.stack(terms), dim=0) - of_data).mean())
        weight = self.log_weight.detach().exp()
        conservative = sum(weight * gap for gap in gaps)
        excess = [gap.detach() - self.model.cql_target_action_gap for gap in gaps]
        descend(self.td_loss(batch, target) + conservative, self.critic_optimizer)
        if self.model.cql_lagrange:
            loss = -sum(self.log_weight.exp() * each for each in excess) / len(excess)
            descend(loss, self.weight_optimizer)
        follow(self.policy.critic_target, self.policy.critic, self.model.tau)


class PlainCalQL(PlainCQL):
    def in_sum(self, i, value, batch):
        is_uniform = i % 3 == 0
        returns = batch.extras["returns_to_go"]
        return value if is_uniform else th.where(value < returns, returns, value)
