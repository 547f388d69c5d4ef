"""Every format converts to every other, ours and as others write it, and nothing is lost."""

import pytest
from mutations import load, originals
from strategies import assert_equal

from sb3_il_plus.data import Demonstrations
from sb3_il_plus.data.formats import FORMATS, convert
from sb3_il_plus.errors import FileError

WRITABLE = [format_.name for format_ in FORMATS if format_.write]
WITHOUT_DICTS = {"d4rl", "imitation"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return originals(tmp_path_factory.mktemp("originals"))


def test_every_format_is_among_the_sources(sources):
    assert {name.removesuffix("*") for name in sources} == {format_.name for format_ in FORMATS}


@pytest.mark.filterwarnings("ignore::sb3_il_plus.data.hints.DataWarning")
@pytest.mark.parametrize("target", WRITABLE)
def test_every_format_to_every_other(sources, target, tmp_path):
    for number, (name, path) in enumerate(sources.items()):
        sound, out = load(name, path), tmp_path / str(number)
        hints = {"action_space": sound.action_space} if "*" in name else {}
        if isinstance(sound.observations, dict) and target in WITHOUT_DICTS:
            with pytest.raises(FileError, match="has no place for Dict observations; save"):
                convert(path, out, target, **hints)
            assert not out.exists()
        else:
            assert convert(path, out, target, **hints) == out
            assert_equal(Demonstrations.load(out), sound)
