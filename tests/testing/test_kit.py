"""The kit finds what it promises to find: algorithms that each break one promise."""

import itertools
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_il_plus import BC
from sb3_il_plus.errors import MissingExtraError, UnknownNameError
from sb3_il_plus.registry import registry
from sb3_il_plus.testing import CHECKS, ConformanceError, check_algorithm, checks_for
from sb3_il_plus.testing.environments import echo_demonstrations
from sb3_il_plus.testing.task import QUICK

_names = (f"defective_{number}" for number in itertools.count())


class Defective(BC):
    """Behavioural cloning with a defect; each subclass has a name of its own."""

    def __init_subclass__(cls, **changes):
        entry_point = f"{cls.__module__}:{cls.__qualname__}"
        name = next(_names)
        cls.spec = replace(BC.get_spec(), name=name, entry_point=entry_point, **changes)


class CountsTwice(Defective):
    def _after_update(self, callback):
        self.num_timesteps += 1
        return super()._after_update(callback)


class IgnoresCallbacks(Defective):
    def _after_update(self, callback):
        super()._after_update(callback)
        return True


class ShowsAnotherModel(Defective):
    def _setup_learn(self, *args, **kwargs):
        total, callback = super()._setup_learn(*args, **kwargs)
        callback.init_callback(BC("MlpPolicy", None, self.demonstrations))
        return total, callback


class NeverEnds(Defective):
    def _setup_learn(self, *args, **kwargs):
        total, callback = super()._setup_learn(*args, **kwargs)
        callback.on_training_end = lambda: None
        return total, callback


class Pickles(Defective):
    def save(self, path, *args, **kwargs):
        super().save(path, *args, **kwargs)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("extra", pickle.dumps({}))


class ForgetsItsPlace(Defective):
    def _load_state(self, state):
        super()._load_state({key: value for key, value in state.items() if key != "batches"})


class ForgetsItsOptimizer(Defective):
    def _get_torch_save_params(self):
        return ["policy"], []


class ClaimsTooMuch(Defective, observation_spaces=("Box", "Tuple")):
    pass


class TakesAnything(Defective, action_spaces=("Box",)):
    def _check_spaces(self):
        pass


class IsNotSeeded(Defective):
    def set_random_seed(self, seed=None):
        pass


class IsNeverDeterministic(Defective):
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return super().predict(observation, state, episode_start, deterministic=False)


class LearnsNothing(Defective):
    def _setup_model(self):
        super()._setup_model()
        for group in self.policy.optimizer.param_groups:
            group["lr"] = 0.0

    def _update_learning_rate(self, optimizers):
        pass


class LogsNothing(Defective):
    def _dump_logs(self):
        self.logger.name_to_value.clear()


class InventsDemonstrations(Defective):
    def learn(self, *args, **kwargs):
        if self.demonstrations is None:
            self.set_demonstrations(echo_demonstrations("Box", "Box"))
        return super().learn(*args, **kwargs)


class AcceptsAnyData(Defective):
    def set_demonstrations(self, demonstrations):
        self.demonstrations = demonstrations


class PeeksAtActions(AcceptsAnyData, reads_actions=False):
    pass


class NeedsAnEnvironmentAfterAll(Defective):
    def learn(self, *args, **kwargs):
        self._require_environment()
        return super().learn(*args, **kwargs)


class DrawsGlobally(Defective):
    def learn(self, *args, **kwargs):
        np.random.rand()
        return super().learn(*args, **kwargs)


class StoresNoArgument(Defective):
    def __init__(self, policy, env, demonstrations=None, *, strength=1.0, **kwargs):
        super().__init__(policy, env, demonstrations, **kwargs)


class IsRegisteredElsewhere(Defective):
    pass


IsRegisteredElsewhere.spec = replace(IsRegisteredElsewhere.spec, entry_point="sb3_il_plus:BC")


class IsNoAlgorithm:
    spec = replace(BC.get_spec(), name="no_algorithm", entry_point=f"{__name__}:IsNoAlgorithm")


class LacksArguments(BaseAlgorithm):
    spec = replace(BC.get_spec(), name="lacking", entry_point=f"{__name__}:LacksArguments")

    def __init__(self, env, policy):
        pass

    def learn(self, steps):
        pass


@pytest.fixture
def run():
    """Run one check of a class, and forget the class afterwards."""
    names = []

    def run_check(cls, name):
        names.append(cls.spec.name)
        (check,) = (found for found in checks_for(cls, timesteps=16) if found.check.name == name)
        check()

    yield run_check
    for name in names:
        registry.unregister(name)


@pytest.mark.parametrize(
    ("cls", "check", "finding"),
    [
        (CountsTwice, "timesteps_counted", "num_timesteps is 64 and _n_updates 32 after 32"),
        (IgnoresCallbacks, "callback_stops", "returned False at call 5; it was called 320 times"),
        (IgnoresCallbacks, "callback_function", "a function that returned False at call 3 was"),
        (IgnoresCallbacks, "eval_callback", "StopTrainingOnRewardThreshold(-inf) stopped at"),
        (ShowsAnotherModel, "callback_events", "callback.model was a ['BC'], not the model that"),
        (NeverEnds, "callback_events", "on_training_end was called 0 times"),
        (Pickles, "file_is_inert", "the entry 'extra' is neither JSON nor tensors"),
        (ForgetsItsPlace, "resuming_is_exact", "differs from one that never stopped in ['policy."),
        (ForgetsItsOptimizer, "resuming_is_exact", "differs from one that never stopped in"),
        (ClaimsTooMuch, "claimed_observations", "with Tuple observations and Box actions, le"),
        (TakesAnything, "unclaimed_spaces", "the constructor with a"),
        (IsNotSeeded, "seed", "two trainings with one seed differ in ['policy."),
        (IsNotSeeded, "set_random_seed", "after set_random_seed() the same observations led to"),
        (IsNeverDeterministic, "claimed_actions", "deterministic actions differ"),
        (LearnsNothing, "policy_changes", "changed no weight of the policy"),
        (LearnsNothing, "learns", "timesteps the mean return is"),
        (LogsNothing, "history", "history does not survive JSON: []"),
        (InventsDemonstrations, "needs_demonstrations", "learning without demonstrations was acc"),
        (AcceptsAnyData, "bad_demonstrations", "from demonstrations of another action"),
        (AcceptsAnyData, "actions_unknown", "learning from data without actions was accepted"),
        (PeeksAtActions, "actions_unknown", "the spec says that actions are not read, but they ch"),
        (NeedsAnEnvironmentAfterAll, "construction_from_data", "learns in an environment and has"),
        (DrawsGlobally, "global_random_state", "learn() drew from NumPy's global gen"),
        (StoresNoArgument, "save_load", "does not store its constructor argument 'strength'"),
        (IsRegisteredElsewhere, "class", "it must be 'sb3_il_plus.adapters.bc:BC', where the"),
        (IsNoAlgorithm, "class", "no subclass of SB3's BaseAlgorithm"),
        (LacksArguments, "signature", "the constructor lacks the arguments ['demonstrations', 'de"),
    ],
)  # fmt: skip
def test_a_broken_promise_is_found(run, cls, check, finding):
    with pytest.raises(ConformanceError) as caught:
        run(cls, check)
    message = str(caught.value)
    assert message.startswith(f"{cls.spec.name} fails {check}: ")
    assert finding in message


def test_everything_that_failed_is_reported_at_once():
    try:
        with pytest.raises(ConformanceError) as caught:
            check_algorithm(IgnoresCallbacks, timesteps=16)
    finally:
        registry.unregister(IgnoresCallbacks.spec.name)
    first, *rest = str(caught.value).splitlines()
    assert first == f"3 of {len(checks_for('bc'))} checks failed:"
    assert [line.split(":")[0].split(" fails ")[1] for line in rest] == [
        "callback_stops",
        "callback_function",
        "eval_callback",
    ]


def test_a_report_says_what_ran():
    report = check_algorithm("dagger")
    names = {check.name for check in CHECKS}
    assert report.seconds.keys() | set(report.not_applicable) == names
    assert "needs_expert" in report.seconds and "needs_demonstrations" in report.not_applicable
    assert str(report).startswith(f"dagger passes {len(report.seconds)} checks in ")


def test_names_of_checks_are_unique_and_documented():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(check.function.__doc__ for check in CHECKS)


def test_an_unknown_name_and_a_missing_module():
    with pytest.raises(UnknownNameError, match="did you mean 'dagger'"):
        check_algorithm("dager")
    with pytest.raises(TypeError, match="is no name, no AlgorithmSpec and no class with one"):
        check_algorithm(3)
    spec = replace(BC.get_spec(), name="needy", requires=("not_a_module",))
    try:
        with pytest.raises(MissingExtraError, match="'needy' needs the module 'not_a_module'"):
            check_algorithm(spec)
    finally:
        registry.unregister("needy")


def test_hyperparameters_reach_the_algorithm(run):
    (check,) = (
        found
        for found in checks_for("bc", hyperparameters={"batch_size": 10**6})
        if found.check.name == "learns"
    )
    with pytest.raises(ConformanceError, match="DataError: batch_size=1000000 does not fit"):
        check()


def test_quick_hyperparameters_are_not_changed_by_use(run):
    before = repr(QUICK)
    (check,) = (found for found in checks_for("sac") if found.check.name == "save_load")
    check()
    assert repr(QUICK) == before
