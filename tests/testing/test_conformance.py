"""Every algorithm of the registry keeps the contract, each check reported on its own."""

from dataclasses import replace

import pytest
from every_algorithm import marks_of

from sb3_il_plus.conditional import BranchedPolicy
from sb3_il_plus.errors import MissingExtraError
from sb3_il_plus.registry import list_algorithms
from sb3_il_plus.spec import require
from sb3_il_plus.testing import checks_for
from sb3_il_plus.testing.kit import AlgorithmCheck
from sb3_il_plus.testing.task import Task, differing, same_actions

HYPERPARAMETERS = {
    "recurrent_ppo": {"policy_kwargs": {"net_arch": [16], "lstm_hidden_size": 16}},
}
"""What the kit cannot know to be slow."""

POLICIES_FOR_BC = {
    "sac": "Box",
    "td3": "Box",
    "dqn": "Discrete",
    "recurrent_ppo": "Discrete",
    "maskable_ppo": "MultiDiscrete",
}
"""Whose policies BC is checked with, beside PPO's -> the actions in which."""

DEPENDS_ON_THE_POLICY = {
    "callback_stops",
    "checkpoint_callback",
    "construction_from_dummy_vec_env",
    "eval_callback",
    "file_is_inert",
    "global_random_state",
    "learning_goes_on",
    "learns",
    "parameters",
    "policy",
    "predict_in_vec_env",
    "resuming_is_exact",
    "save_load",
    "seed",
    "timesteps_counted",
}
"""Checks that another policy could fail."""

DEPENDS_ON_THE_COMMAND = {
    "checkpoint_callback",
    "construction_from_env",
    "learning_goes_on",
    "learns",
    "parameters",
    "save_load",
    "seed",
    "vec_normalize",
}
"""Checks that a policy with a head for each command could fail."""

ARS_IGNORES_CALLBACKS = pytest.mark.xfail(
    strict=True, reason="sb3-contrib's ARS ignores what on_step returns and sets no `dones`"
)

KNOWN_FAILURES = {
    ("ars", "callback_stops"): ARS_IGNORES_CALLBACKS,
    ("ars", "callback_function"): ARS_IGNORES_CALLBACKS,
    ("ars", "eval_callback"): ARS_IGNORES_CALLBACKS,
    ("ars", "stop_on_max_episodes"): ARS_IGNORES_CALLBACKS,
}
"""Where SB3's or sb3-contrib's own algorithms differ from each other."""


def _all_checks():
    for spec in list_algorithms():
        try:
            for module in spec.requires:
                require(module, spec.name)
        except MissingExtraError as error:
            yield pytest.param(None, id=spec.name, marks=pytest.mark.skip(str(error)))
            continue
        for check in checks_for(spec.name, hyperparameters=HYPERPARAMETERS.get(spec.name)):
            known = KNOWN_FAILURES.get((spec.name, check.check.name))
            marks = marks_of(spec.name) + ([known] if known else [])
            yield pytest.param(check, id=str(check), marks=marks)


@pytest.mark.parametrize("check", list(_all_checks()))
def test_conformance(check: AlgorithmCheck):
    check()


def _checks_of_bc():
    for policy_of, action in POLICIES_FOR_BC.items():
        hyperparameters = {"policy_of": policy_of, **HYPERPARAMETERS.get(policy_of, {})}
        for check in checks_for("bc", hyperparameters=hyperparameters):
            if check.check.name in DEPENDS_ON_THE_POLICY:
                check = replace(check, options={**check.options, "action": action})
                yield pytest.param(check, id=f"{policy_of}-{check.check.name}")


@pytest.mark.parametrize("check", list(_checks_of_bc()))
def test_bc_conforms_with_the_policies_of_other_algorithms(check: AlgorithmCheck):
    check()


def _checks_with_commands():
    for algorithm, hyperparameters in (
        ("dagger", {"balance_over": "command"}),
        ("gail", {"horizon": "error"}),
    ):
        hyperparameters = {"policy": BranchedPolicy, **hyperparameters}
        for check in checks_for(algorithm, hyperparameters=hyperparameters):
            if check.check.name in DEPENDS_ON_THE_COMMAND:
                check = replace(check, options={**check.options, "observation": "Dict"})
                yield pytest.param(check, id=str(check))


@pytest.mark.parametrize("check", list(_checks_with_commands()))
def test_others_conform_with_policies_that_read_a_command(check: AlgorithmCheck):
    check()


@pytest.mark.parametrize("name", ["dagger", "gail", "airl"])
def test_resuming_in_an_environment_is_exact(name, tmp_path):
    """Loaded and fresh environments equal going on in fresh ones; the kit asks less of others."""
    (spec,) = (spec for spec in list_algorithms() if spec.name == name)
    task = Task(spec, tmp_path)
    through = task.trained()
    through.save(tmp_path / "model.zip")
    resumed = task.load(tmp_path / "model.zip", task.env())
    through.set_env(task.env())
    for model in (through, resumed):
        model.set_random_seed(5)
        model.learn(task.timesteps, reset_num_timesteps=False)
    assert differing(through.get_parameters(), resumed.get_parameters()) == []
    assert same_actions(through, resumed, task.observations())
