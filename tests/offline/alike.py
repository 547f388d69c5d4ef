"""Comparing a model with a plain version of its algorithm (`plain_updates`, `plain_discrete`)."""


def largest_difference(plain, model):
    """Between the weights of a plain version and a model's."""
    ours = model.policy.state_dict()
    return max(
        (ours[name] - value).abs().max().item() for name, value in plain.policy.state_dict().items()
    )


def expect_alike(model, twin, plain_version):
    """A hundred updates of a model equal those of the plain version, on the batches of its twin.

    :return: the plain version, to compare what is no part of the policy
    """
    plain = plain_version(twin)
    before = largest_difference(plain, model)
    for _ in range(100):
        plain.update(twin._batches.sample())
    model.learn(100)
    assert before == 0
    assert largest_difference(plain, twin) > 0.01  # they have learned something
    assert largest_difference(plain, model) < 1e-5
    return plain
