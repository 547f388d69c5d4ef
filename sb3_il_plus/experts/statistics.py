"""The statistics with which SB3's `VecNormalize` normalised an agent's observations.

`VecNormalize.save` writes a pickle; it is read by `safe_pickle`, and only its numbers are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from stable_baselines3.common.vec_env import VecNormalize

from sb3_il_plus.errors import FileError
from sb3_il_plus.experts import safe_pickle, trusted
from sb3_il_plus.experts.expert import Expert
from sb3_il_plus.experts.safe_pickle import UnsafeFileError
from sb3_il_plus.experts.wrappers import ObservationStatistics, wrapped_space
from sb3_il_plus.experts.zoo_folder import CONFIG, STATISTICS, ZooSettings, folders_of

StatisticsSource: TypeAlias = str | Path | VecNormalize | Literal[False] | None


def set_statistics(
    expert: Expert,
    file: Path,
    vec_normalize: StatisticsSource,
    settings: ZooSettings,
    trust: bool,
) -> None:
    """Give an expert the statistics it was trained with, where there are some.

    :param file: the agent's
    :param vec_normalize: as in `load_expert`
    :param settings: what RL Zoo's files say
    :param trust: whether SB3 may unpickle what cannot be read safely
    :raises FileError: they are missing, damaged, unsafe to read, or of another environment
    """
    space = wrapped_space(expert.observation_space, expert.wrappers)
    if isinstance(vec_normalize, VecNormalize):
        expert.statistics = ObservationStatistics.from_vec_normalize(vec_normalize)
    elif vec_normalize is None and expert.statistics is None:
        vec_normalize = statistics_beside(file)
        if vec_normalize is None and settings.normalized:
            raise FileError(
                f"{file} was trained on normalised observations, as its {CONFIG} says, and their "
                "statistics (vecnormalize.pkl) are missing: name them with vec_normalize=, or "
                "False to do without"
            )
    if isinstance(vec_normalize, (str, Path)):
        try:
            expert.statistics = read_statistics(vec_normalize)
        except UnsafeFileError as refusal:
            if not trust:
                raise
            expert.statistics = trusted.load_statistics(Path(vec_normalize), space, refusal)
        expert.metadata["vec_normalize"] = Path(vec_normalize).name
    if expert.statistics is not None and not expert.statistics.fits(space):
        raise FileError(
            f"the VecNormalize statistics {str(vec_normalize)!r} do not fit the observation space "
            f"{space}; name others with vec_normalize=, or False for none"
        )


def statistics_beside(file: Path) -> Path | None:
    """The statistics beside an agent, where SB3's callback, RL Zoo and the Hub put them."""
    prefix, _, steps = file.stem.removesuffix("_steps").rpartition("_")
    candidates = [
        file.parent / f"{prefix}_vecnormalize_{steps}_steps.pkl",
        *(folder / name for folder in folders_of(file) for name in STATISTICS),
    ]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_statistics(path: str | Path) -> ObservationStatistics | None:
    """Read what `VecNormalize.save` wrote, without executing it.

    :return: None where observations were not normalised
    :raises FileError: the file is missing, damaged, or refers to what is not on the allow-list
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FileError(
            f"cannot read the VecNormalize statistics {str(path)!r}: {error}"
        ) from error
    return safe_pickle.read(content, str(path), _statistics_of)


def _statistics_of(record: Any) -> ObservationStatistics | None:
    if not isinstance(record, safe_pickle.Record) or not record.path.endswith(":VecNormalize"):
        raise FileError("it does not hold VecNormalize statistics")
    if not record.field("norm_obs", default=True):
        return None
    moments = record.field("obs_rms")
    if isinstance(moments, dict):
        mean = {key: _moment(entry, "mean") for key, entry in moments.items()}
        var = {key: _moment(entry, "var") for key, entry in moments.items()}
    else:
        mean, var = _moment(moments, "mean"), _moment(moments, "var")
    clip, epsilon = (
        float(safe_pickle.to_value(record.field(name))) for name in ("clip_obs", "epsilon")
    )
    if not (clip > 0 and epsilon >= 0):
        raise FileError(f"clip_obs={clip} and epsilon={epsilon} cannot be")
    return ObservationStatistics(mean, var, clip, epsilon)


def _moment(record: Any, name: str) -> Any:
    if not isinstance(record, safe_pickle.Record):
        raise FileError("its running mean and variance are damaged")
    moment = np.asarray(safe_pickle.to_value(record.field(name)))
    smallest = 0.0 if name == "var" else -np.inf
    if moment.dtype.kind != "f" or not (np.isfinite(moment) & (moment >= smallest)).all():
        raise FileError(f"its running {name} holds what cannot be one: {moment}")
    return moment
