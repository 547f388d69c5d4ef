"""What importing costs, and what works without the optional packages: each in a fresh process."""

import subprocess
import sys
import textwrap

import pytest

import sb3_il_plus

HEAVY = ("torch", "stable_baselines3", "gymnasium", "imitation", "rl_zoo3", "matplotlib", "minari")

WITHOUT_IMITATION = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("imitation", "seals"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> str:
    """Run code in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import sb3_il_plus",
        "import sb3_il_plus.registry, sb3_il_plus.spec, sb3_il_plus.catalog, sb3_il_plus.errors",
        "import sb3_il_plus; sb3_il_plus.list_algorithms()",
        "import sb3_il_plus; sb3_il_plus.get('gail')",
        "import sb3_il_plus; dir(sb3_il_plus)",
    ],
)
def test_nothing_heavy_is_imported(code):
    check = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert run(f"{code}\n{check}") == "[]"


def test_every_public_name_exists():
    for name in sb3_il_plus.__all__:
        assert getattr(sb3_il_plus, name) is not None


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="module 'sb3_il_plus' has no attribute 'GIAL'"):
        _ = sb3_il_plus.GIAL


def test_without_imitation_the_rest_works():
    out = run(
        WITHOUT_IMITATION
        + """
import sb3_il_plus
from sb3_il_plus import DemonstrationAlgorithm, Demonstrations, evaluate, load_model
from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

print(echo_demonstrations())
print(type(sb3_il_plus.make("ppo", make_echo())).__name__)
print({"bc", "dagger"} <= {spec.name for spec in sb3_il_plus.list_algorithms()})
"""
    )
    assert out.splitlines() == [
        "Demonstrations(8 episodes, 64 transitions, return 8.0 ± 0.0)",
        "PPO",
        "True",
    ]


@pytest.mark.parametrize("name", ["bc", "dagger", "gail", "airl"])
def test_without_imitation_the_missing_extra_is_named(name):
    out = run(
        WITHOUT_IMITATION
        + f"""
import sb3_il_plus
from sb3_il_plus.errors import MissingExtraError
try:
    sb3_il_plus.get({name!r}).load()
except MissingExtraError as error:
    print(error)
"""
    )
    assert out == (
        f"algorithm {name!r} needs the module 'imitation', which is not installed: "
        "pip install 'sb3_il_plus[imitation]'"
    )


def test_without_imitation_its_class_cannot_be_imported_but_says_why():
    out = run(
        WITHOUT_IMITATION
        + """
try:
    from sb3_il_plus import BC
except ImportError as error:
    print(type(error).__name__, error)
"""
    )
    assert out == (
        "MissingExtraError sb3_il_plus.adapters needs the module 'imitation', which is not "
        "installed: pip install 'sb3_il_plus[imitation]'"
    )
