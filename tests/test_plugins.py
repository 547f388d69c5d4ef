"""Real plugins, found through real entry points in processes of their own."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "plugin_example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the example installed by pip, as its users would."""
    source = tmp_path_factory.mktemp("source") / "plugin_example"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True)
    return target


def write_plugin(folder: Path, distribution: str, points: dict[str, str], **modules: str) -> Path:
    """A minimal installed distribution: modules, and the metadata that pip would write."""
    metadata = folder / f"{distribution}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    text = "\n".join(["[sb3_il_plus.algorithms]", *lines])
    (metadata / "entry_points.txt").write_text(text + "\n")
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(code))
    return folder


def run(*arguments: str, path: list[Path], code: int = 0) -> str:
    """Run python with plugin folders on its path and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.strip()


SPEC_MODULE = """
    from sb3_il_plus.spec import AlgorithmSpec

    class Echo:
        spec = AlgorithmSpec("echo", {entry_point!r}, summary="says it again")
"""


def test_installed_plugin_is_listed_made_and_learns(installed):
    out = run(
        "-c",
        """if True:
        import sb3_il_plus as il
        from sb3_il_plus.testing.environments import echo_demonstrations, make_echo

        spec = il.get("return_weighted_bc")
        print(spec.family, "|", spec.summary)
        print("return_weighted_bc" in [found.name for found in il.list_algorithms()])
        model = il.make("return_weighted_bc", demonstrations=echo_demonstrations(), seed=0)
        print(il.evaluate(model.learn(300), make_echo(), 4, seed=0).mean_return)
        """,
        path=[installed],
    )
    assert out.splitlines() == [
        "plugin | Behavioural cloning that prefers episodes of high return",
        "True",
        "8.0",
    ]


def test_installed_plugin_passes_its_own_tests_and_the_conformance_kit(installed):
    out = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(EXAMPLE / "pyproject.toml"),
        str(EXAMPLE / "tests"), path=[installed],
    )  # fmt: skip
    assert "2 passed" in out


def test_a_saved_plugin_model_is_found_again_by_its_name(installed, tmp_path):
    save = """if True:
        import sys
        import sb3_il_plus as il
        from sb3_il_plus.testing.environments import echo_demonstrations
        il.make("return_weighted_bc", demonstrations=echo_demonstrations()).save(sys.argv[1])
        print(type(il.load_model(sys.argv[1])).__name__)
    """
    load = """if True:
        import sys
        import sb3_il_plus as il
        try:
            il.load_model(sys.argv[1])
        except il.errors.FileError as error:
            print(error)
    """
    path = str(tmp_path / "model.zip")
    assert run("-c", save, path, path=[installed]) == "ReturnWeightedBC"
    assert run("-c", load, path, path=[]) == (
        f"{path} holds a model of 'sb3_il_plus_example.return_weighted_bc:ReturnWeightedBC', which "
        "is not registered here; install its package, or load it with that class's own load()"
    )


def test_a_broken_plugin_is_listed_with_its_error_and_breaks_nothing_else(tmp_path):
    write_plugin(
        tmp_path,
        "broken",
        {
            "raises": "raises_on_import:Mine",
            "gone": "not_there:Mine",
            "bare": "without_spec:Mine",
            "exits": "exits_on_import:Mine",
        },
        raises_on_import="raise RuntimeError('no licence found')",
        without_spec="class Mine: pass",
        exits_on_import="raise SystemExit('goodbye')",
    )
    out = run(
        "-c",
        """if True:
        from sb3_il_plus.errors import UserError
        from sb3_il_plus.registry import get, list_algorithms
        for spec in list_algorithms(include_broken=True):
            if spec.error:
                print(spec.name, "|", spec.error)
        print({spec.name for spec in list_algorithms()} & {"raises", "gone", "bare", "exits"})
        print(get("bc").family)
        try:
            get("raises")
        except UserError as error:
            print(error)
        """,
        path=[tmp_path],
    )
    *broken, listed, other, refusal = out.splitlines()
    assert broken == [
        "bare | plugin 'without_spec:Mine' failed to import: AttributeError: type object 'Mine' "
        "has no attribute 'spec'",
        "exits | plugin 'exits_on_import:Mine' failed to import: SystemExit: goodbye",
        "gone | plugin 'not_there:Mine' failed to import: ModuleNotFoundError: No module named "
        "'not_there'",
        "raises | plugin 'raises_on_import:Mine' failed to import: RuntimeError: no licence found",
    ]
    assert listed == "set()"
    assert other == "imitation"
    assert refusal == (
        "algorithm 'raises' cannot be used: plugin 'raises_on_import:Mine' failed to import: "
        "RuntimeError: no licence found"
    )


def test_two_plugins_of_one_name_are_an_error_that_names_both(tmp_path):
    for name in ("first", "second"):
        home = f"{name}_echo:Echo"
        modules = {f"{name}_echo": SPEC_MODULE.format(entry_point=home)}
        write_plugin(tmp_path, name, {"echo": home}, **modules)
    out = run(
        "-c",
        """if True:
        from sb3_il_plus.errors import UserError
        from sb3_il_plus.registry import get, list_algorithms
        try:
            get("echo")
        except UserError as error:
            print(error)
        print([spec.name for spec in list_algorithms() if spec.name in ("echo", "bc")])
        """,
        path=[tmp_path],
    )
    assert out.splitlines() == [
        "algorithm 'echo' cannot be used: the name is claimed by first_echo:Echo and by "
        "second_echo:Echo; uninstall one of them",
        "['bc']",
    ]


def test_a_plugin_cannot_take_the_name_of_a_built_in(tmp_path):
    home = "thief:Echo"
    modules = {"thief": SPEC_MODULE.format(entry_point=home)}
    write_plugin(tmp_path, "thief", {"bc": home, "ppo": home}, **modules)
    out = run(
        "-c",
        """if True:
        from sb3_il_plus.errors import UserError
        from sb3_il_plus.registry import get
        for name in ("bc", "ppo"):
            try:
                get(name)
            except UserError as error:
                print(error)
        """,
        path=[tmp_path],
    )
    assert out.splitlines() == [
        "algorithm 'bc' cannot be used: the name is claimed by sb3_il_plus.adapters.bc:BC and by "
        "thief:Echo; uninstall one of them",
        "algorithm 'ppo' cannot be used: the name is claimed by stable_baselines3:PPO and by "
        "thief:Echo; uninstall one of them",
    ]


def test_the_entry_point_decides_the_name(tmp_path):
    code = SPEC_MODULE.format(entry_point="mine:Echo").replace('"echo"', '"bc"')
    write_plugin(tmp_path, "mine", {"my_bc": "mine:Echo"}, mine=code)
    out = run(
        "-c",
        """if True:
        from sb3_il_plus.registry import get
        print(get("my_bc").name, get("my_bc").entry_point)
        print(get("bc").name, get("bc").entry_point)
        """,
        path=[tmp_path],
    )
    assert out.splitlines() == ["my_bc mine:Echo", "bc sb3_il_plus.adapters.bc:BC"]


def test_a_near_miss_of_a_plugin_is_suggested_without_importing_it(tmp_path):
    modules = {"loud_echo": "print('imported')\n" + textwrap.dedent(SPEC_MODULE)}
    modules["loud_echo"] = modules["loud_echo"].format(entry_point="loud_echo:Echo")
    write_plugin(tmp_path, "loud", {"echo": "loud_echo:Echo"}, **modules)
    out = run(
        "-c",
        """if True:
        from sb3_il_plus.errors import UnknownNameError
        from sb3_il_plus.registry import get
        try:
            get("echoo")
        except UnknownNameError as error:
            print(error)
        print(get("bc").name)
        print(get("echo").summary)
        print(get("echo").summary)
        """,
        path=[tmp_path],
    )
    complaint, *rest = out.splitlines()
    assert complaint.startswith("no algorithm is called 'echoo'; did you mean 'echo'")
    assert rest == [
        "bc",
        "imported",
        "says it again",
        "says it again",
    ]
