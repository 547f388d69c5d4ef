"""The registry: records, filters, near misses, and what `make` does with them."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces

from sb3_il_plus.catalog import BUILTIN
from sb3_il_plus.errors import InapplicableError, MissingExtraError, UnknownNameError, UserError
from sb3_il_plus.registry import Registry, get_online, make
from sb3_il_plus.spec import AlgorithmSpec
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

SPEC = AlgorithmSpec("mine", "my_package.mine:Mine", summary="mine", consumes=["demonstrations"])


# -- records ---------------------------------------------------------------------------------------


def test_a_registered_spec_is_found():
    registry = Registry()
    assert registry.register(SPEC) is SPEC
    assert registry.get("mine") is SPEC
    assert registry.names() == ["mine"]


def test_registering_the_same_again_is_harmless_and_another_is_refused():
    registry = Registry([SPEC])
    registry.register(replace(SPEC))
    with pytest.raises(UserError) as caught:
        registry.register(replace(SPEC, entry_point="other.package:Mine"))
    assert str(caught.value) == (
        "two algorithms are called 'mine': my_package.mine:Mine and other.package:Mine; "
        "rename one of them"
    )


def test_unregister():
    registry = Registry([SPEC])
    registry.unregister("mine")
    assert registry.names() == []


@pytest.mark.parametrize(
    ("typed", "meant"), [("gial", "gail"), ("dager", "dagger"), ("PPO", None), ("behaviour", None)]
)
def test_an_unknown_name_suggests_the_nearest(typed, meant):
    with pytest.raises(UnknownNameError, match=f"no algorithm is called '{typed}'") as caught:
        Registry(BUILTIN).get(typed)
    if meant:
        assert f"did you mean '{meant}'" in str(caught.value)
    else:
        assert "known: a2c, airl, ars, awac, bc," in str(caught.value)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"family": "imitation"}, {"airl", "bc", "dagger", "gail"}),
        ({"consumes": {"demonstrations"}}, {"bc"}),
        ({"consumes": {"demonstrations", "environment"}}, {"airl", "bc", "gail"}),
        ({"timestep": "gradient update"}, {"bc"}),
        ({"family": "online_rl", "action_space": "MultiBinary"}, {"ppo"}),
        ({"family": "online_rl", "action_space": spaces.Box(0, 1)}, {"ppo", "sac"}),
        ({"action_space": spaces.Tuple([])}, set()),
    ],
)
def test_filters(filters, expected):
    few = {"airl", "bc", "dagger", "dqn", "gail", "ppo", "sac"}
    known = Registry([spec for spec in BUILTIN if spec.name in few])
    assert {spec.name for spec in known.list_algorithms(**filters)} == expected


def test_spec_refuses_what_it_cannot_mean():
    with pytest.raises(UserError, match=r"'my_package' .* must look like 'package.module:Class'"):
        AlgorithmSpec("mine", "my_package")
    with pytest.raises(UserError, match=r"consumes \['data'\]; choose from \['demonstrations'"):
        AlgorithmSpec("mine", "my_package:Mine", consumes={"data"})


def test_refusal_names_the_spaces_and_what_is_lacking():
    spec = replace(SPEC, consumes={"demonstrations", "expert"}, action_spaces=("Discrete",))
    box, choice = spaces.Box(-1, 1), spaces.Discrete(2)
    assert spec.refusal(box, choice) is None
    assert spec.refusal(box, box) == "mine handles Discrete actions, not Box"
    assert spec.refusal(spaces.Dict({}), None) == (
        "mine handles Box and Discrete observations, not Dict"
    )
    assert spec.refusal(box, choice, available={"environment"}) == (
        "mine needs demonstrations and expert, which the task does not give"
    )
    assert spec.refusal(available={"demonstrations", "expert", "rewards"}) is None


def test_an_image_is_a_space_of_its_own():
    image, plane = spaces.Box(0, 255, (36, 36, 3), np.uint8), spaces.Box(0, 1, (36, 36, 3))
    assert SPEC.refusal(plane) is None
    assert SPEC.refusal(image) == "mine handles Box and Discrete observations, not Image"
    sees = replace(SPEC, observation_spaces=("Image",))
    assert sees.refusal(image) is None
    assert sees.refusal(plane) == "mine handles Image observations, not Box"


def test_a_class_that_is_not_there():
    with pytest.raises(UserError, match=r"registered at 'my_package.mine:Mine', which cannot be"):
        SPEC.load()
    with pytest.raises(UserError, match=r"'json:Mine', which cannot be imported: module 'json'"):
        replace(SPEC, entry_point="json:Mine").load()
    with pytest.raises(MissingExtraError, match="pip install --upgrade nowhere"):
        replace(SPEC, requires=("nowhere.at_all",)).load()


# -- make ------------------------------------------------------------------------------------------


def test_make_needs_an_environment_or_data():
    with pytest.raises(InapplicableError, match=r"bc needs env=.*, demonstrations=.*, or both"):
        make("bc")


def test_make_with_an_unknown_environment():
    with pytest.raises(UnknownNameError, match=r"'CartPol-v1'; did you mean 'CartPole-v"):
        make("ppo", "CartPol-v1")


def test_make_refuses_an_inapplicable_pairing():
    with pytest.raises(InapplicableError, match="dqn handles Discrete actions, not Box"):
        make("dqn", make_echo(action="Box"))
    with pytest.raises(InapplicableError, match="ppo learns from the environment's reward and"):
        make("ppo", make_echo(), echo_demonstrations())


def test_make_chooses_the_policy_by_the_observations_and_the_algorithm():
    assert make("ppo", make_echo("Dict")).policy_class.__name__ == "MultiInputActorCriticPolicy"
    recurrent = make("recurrent_ppo", make_echo("Dict"))
    assert recurrent.policy_class.__name__ == "RecurrentMultiInputActorCriticPolicy"


def test_what_has_to_be_an_online_algorithm_is_named_with_its_argument():
    assert get_online("trpo", "generator").name == "trpo"
    with pytest.raises(InapplicableError, match=r"generator='bc' is of the family 'imitation'; it"):
        get_online("bc", "generator")
