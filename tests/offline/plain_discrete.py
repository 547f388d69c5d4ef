"""The discrete algorithms once more: plain, slow, on SB3's own modules; see `plain_updates`."""

import copy

import torch as th
from plain_updates import adam, descend, follow
from torch import nn


def chosen(values, choices):
    return values[th.arange(len(choices)), choices]


class PlainQLearning:
    """Copies of the networks that algorithms of DQN's kind have."""

    def __init__(self, model):
        self.model, self.n_updates = model, 0
        self.policy = copy.deepcopy(model.policy)
        self.q, self.target_q = self.policy.q_net.q_net, self.policy.q_net_target.q_net
        self.optimizer = adam(self.trained(), lr=model.learning_rate)

    def trained(self):
        return self.q.parameters()

    def update(self, batch):
        with th.no_grad():
            best = self.best(batch.next_observations)
            next_values = chosen(self.target_q(batch.next_observations), best)
            target = batch.rewards + batch.discounts * next_values
        values = self.q(batch.observations)
        loss = nn.functional.smooth_l1_loss(chosen(values, batch.actions), target)
        descend(loss + self.regularizer(batch, values), self.optimizer)
        self.n_updates += 1
        if self.n_updates % self.model.target_update_interval == 0:
            follow(self.target_q, self.q, self.model.tau)

    def best(self, observations):
        return self.q(observations).argmax(dim=1)

    def regularizer(self, batch, values):
        return 0.0


class PlainDiscreteCQL(PlainQLearning):
    def regularizer(self, batch, values):
        gap = th.log(values.exp().sum(dim=1)) - chosen(values, batch.actions)
        return self.model.alpha * gap.mean()


class PlainDiscreteBCQ(PlainQLearning):
    def trained(self):
        return [*self.q.parameters(), *self.policy.imitation_net.parameters()]

    def best(self, observations):
        probabilities = th.softmax(self.policy.imitation_net(observations), dim=1)
        relative = probabilities / probabilities.max(dim=1, keepdim=True).values
        allowed = (relative > self.model.threshold).float()
        return (allowed * self.q(observations) + (1 - allowed) * -1e8).argmax(dim=1)

    def regularizer(self, batch, values):
        logits = self.policy.imitation_net(batch.observations)
        log_probabilities = nn.functional.log_softmax(logits, dim=1)
        imitation = -chosen(log_probabilities, batch.actions).mean()
        return imitation + self.model.logit_weight * logits.pow(2).mean()


class PlainCategorical:
    """Copies of the networks that algorithms with a categorical actor have."""

    def __init__(self, model):
        self.model, self.n_updates = model, 0
        self.policy = copy.deepcopy(model.policy)
        self.critics, self.target_critics = (
            copy.deepcopy(networks) for networks in (model.critic, model.critic_target)
        )
        policy = self.policy
        self.actor = nn.Sequential(*policy.mlp_extractor.policy_net, policy.action_net)
        self.actor_optimizer = adam(self.actor.parameters(), lr=model.learning_rate)
        self.critic_optimizer = adam(self.critics.parameters(), lr=model.learning_rate)

    def update(self, batch):
        self.step(batch)
        self.n_updates += 1
        if self.n_updates % self.model.target_update_interval == 0:
            follow(self.target_critics, self.critics, self.model.tau)
            self.follow_actor()

    def follow_actor(self):
        pass

    def lowest(self, networks, observations):
        return th.stack([network(observations) for network in networks]).min(dim=0).values

    def learn_critics(self, batch, target):
        losses = [
            nn.functional.mse_loss(chosen(network(batch.observations), batch.actions), target)
            for network in self.critics
        ]
        descend(sum(losses), self.critic_optimizer)

    def clone(self, batch, weight):
        log_prob = th.distributions.Categorical(logits=self.actor(batch.observations)).log_prob(
            batch.actions
        )
        descend(-(weight * log_prob).mean(), self.actor_optimizer)

    def mean(self, actor, observations, values):
        return (th.softmax(actor(observations), dim=1) * values).sum(dim=1)


class PlainDiscreteIQL(PlainCategorical):
    def __init__(self, model):
        super().__init__(model)
        policy = self.policy
        self.value = nn.Sequential(*policy.mlp_extractor.value_net, policy.value_net)
        self.value_optimizer = adam(self.value.parameters(), lr=model.learning_rate)

    def step(self, batch):
        with th.no_grad():
            q = chosen(self.lowest(self.target_critics, batch.observations), batch.actions)
        error = q - self.value(batch.observations)[:, 0]
        weight = th.where(error > 0, self.model.expectile, 1 - self.model.expectile)
        descend((weight * error**2).mean(), self.value_optimizer)
        with th.no_grad():
            advantage = q - self.value(batch.observations)[:, 0]
            weight = th.exp(self.model.beta * advantage).clamp(max=100.0)
            target = batch.rewards + batch.discounts * self.value(batch.next_observations)[:, 0]
        self.clone(batch, weight)
        self.learn_critics(batch, target)


class PlainDiscreteAWAC(PlainCategorical):
    def step(self, batch):
        with th.no_grad():
            following = self.lowest(self.target_critics, batch.next_observations)
            next_value = self.mean(self.actor, batch.next_observations, following)
            target = batch.rewards + batch.discounts * next_value
            q = self.lowest(self.critics, batch.observations)
            advantage = chosen(q, batch.actions) - self.mean(self.actor, batch.observations, q)
            weight = th.exp(advantage / self.model.lam)
            weight = weight / weight.mean()
        self.learn_critics(batch, target)
        self.clone(batch, weight)


class PlainDiscreteCRR(PlainCategorical):
    def __init__(self, model):
        super().__init__(model)
        self.target_actor = copy.deepcopy(self.actor)

    def step(self, batch):
        with th.no_grad():
            following = self.lowest(self.target_critics, batch.next_observations)
            next_value = self.mean(self.target_actor, batch.next_observations, following)
            target = batch.rewards + batch.discounts * next_value
            q = self.lowest(self.critics, batch.observations)
            baseline = self.mean(self.actor, batch.observations, q)
            if self.model.advantage_type == "max":
                baseline = q.max(dim=1).values
            advantage = chosen(q, batch.actions) - baseline
            weight = th.exp(advantage / self.model.beta).clamp(max=20.0)
            if self.model.weight_type == "binary":
                weight = (advantage >= 0).float()
        self.clone(batch, weight)
        self.learn_critics(batch, target)

    def follow_actor(self):
        follow(self.target_actor, self.actor, self.model.tau)
