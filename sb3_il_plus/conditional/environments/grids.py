"""MiniGrid and BabyAI (`pip install 'sb3_il_plus[minigrid]'`): the mission is the command.

    env = grid_env("MiniGrid-GoToDoor-6x6-v0", bot=True)
    data = collect(EnvironmentExpert(env), env, n_episodes=1000)

Chevalier-Boisvert et al. 2023 (MiniGrid), arXiv:2306.13831; Chevalier-Boisvert et al. 2019
(BabyAI), arXiv:1810.08272, whose bot is the expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_il_plus.conditional.environments.advice import SuccessReturn
from sb3_il_plus.conditional.wrappers import MISSION, MissionCommand, VocabularyCommand
from sb3_il_plus.environments import make_env
from sb3_il_plus.errors import InapplicableError, MissingExtraError, UserError

BABYAI_WORDS = (
    "a after and ball behind blue box door front go green grey in key left next of on open pick "
    "purple put red right the then to up yellow you your"
)
"""The words of BabyAI's missions, with spaces between them."""

View = Literal["centred", "grid", "agent"]

_N_OBJECTS, _N_COLORS, _N_STATES = 11, 6, 4
_COLORLESS = (0, 1, 10)
"""Unseen, empty and the agent: their number of a colour means nothing."""
N_PLANES = _N_OBJECTS + _N_COLORS + _N_STATES


def grid_env(
    env_id: str,
    view: View = "centred",
    *,
    bot: bool = False,
    words: Sequence[str] | None = None,
    max_words: int = 24,
    render_mode: str | None = None,
) -> gym.Env:
    """An environment of MiniGrid or BabyAI with the entries `"grid"` and `"command"`.

    The command is the mission's number where an environment can list its missions, as
    "MiniGrid-GoToDoor-6x6-v0" can, and otherwise its words (see `VocabularyCommand`). The return of
    an episode is 1 where it succeeds, and 0 where it does not.

    :param env_id: of MiniGrid or BabyAI
    :param view: `"centred"` for the whole grid around the agent and turned as it looks, from which
        learning is much faster; `"grid"` for the whole grid as it lies; or `"agent"` for the part
        that the agent sees
    :param bot: whether BabyAI's bot gives advice (see `BotAdvice`), which costs time at each step
    :param words: the vocabulary; None for that of BabyAI, where missions cannot be listed
    :param max_words: of a mission
    :param render_mode: as of any environment
    :raises MissingExtraError: MiniGrid is not installed
    :raises InapplicableError: it is an environment of another kind
    """
    _import_minigrid()
    env = make_env(env_id, render_mode=render_mode)
    if bot:
        env = BotAdvice(env)
    env = GridPlanes(env, view)
    missions = listed_missions(env) if words is None else None
    if missions is not None:
        return SuccessReturn(MissionCommand(env, missions))
    return SuccessReturn(VocabularyCommand(env, words or BABYAI_WORDS.split(), max_words))


def listed_missions(env: gym.Env) -> list[str] | None:
    """All missions of an environment, or None where it does not say (BabyAI's levels).

    :raises InapplicableError: it has no missions
    """
    entries = env.observation_space
    space: Any = entries.spaces.get(MISSION) if isinstance(entries, spaces.Dict) else None
    if space is None or not hasattr(space, "ordered_placeholders"):
        raise InapplicableError(f"{env} has no missions; grid_env() makes those of MiniGrid")
    if space.ordered_placeholders is None:
        return None
    return [space.mission_func(*choice) for choice in product(*space.ordered_placeholders)]


class GridPlanes(gym.ObservationWrapper):
    """The grid as planes of zeros and ones, and the mission.

    MiniGrid's numbers of objects, colours and states have no order, so each number has a plane of
    its own: 11 for kinds of objects (the agent is one), 6 for colours, 4 for the state of a door or
    the direction of the agent.

    :param env: of MiniGrid, unwrapped but for `BotAdvice`
    :param view: see `grid_env`
    :raises InapplicableError: it is an environment of another kind
    :raises UserError: there is no such view
    """

    def __init__(self, env: gym.Env, view: View = "centred") -> None:
        if view not in get_args(View):
            raise UserError(f"view={view!r} must be one of {', '.join(map(repr, get_args(View)))}")
        entries = env.observation_space
        if not isinstance(entries, spaces.Dict) or not {"image", MISSION} <= set(entries):
            raise InapplicableError(
                f"GridPlanes needs the entries 'image' and {MISSION!r} of a MiniGrid environment, "
                f"not {entries}"
            )
        if view != "agent":
            from minigrid.wrappers import FullyObsWrapper

            env = FullyObsWrapper(env)
        super().__init__(env)
        self._centred = view == "centred"
        width, height, _ = env.observation_space["image"].shape  # type: ignore[index]
        if self._centred:
            width = height = 2 * max(width, height) - 1
        self.observation_space = spaces.Dict(
            {
                "grid": spaces.Box(0, 1, (width, height, N_PLANES), np.uint8),
                MISSION: entries[MISSION],
            }
        )

    def observation(self, observation: Any) -> dict[str, Any]:
        """Planes of shape (width, height, 21), uint8; beyond the grid, all are 0."""
        objects, colors, states = np.moveaxis(observation["image"], -1, 0)
        planes = [
            objects[..., None] == np.arange(_N_OBJECTS),
            (colors[..., None] == np.arange(_N_COLORS)) & ~np.isin(objects, _COLORLESS)[..., None],
            states[..., None] == np.arange(_N_STATES),
        ]
        grid = np.concatenate(planes, axis=-1).astype(np.uint8)
        grid = self._around_agent(grid) if self._centred else grid
        return {"grid": grid, MISSION: observation[MISSION]}

    def _around_agent(self, grid: np.ndarray) -> np.ndarray:
        """The agent in the middle, looking along the first axis."""
        world: Any = self.env.unwrapped
        n = max(grid.shape[:2])
        around = np.zeros((2 * n - 1, 2 * n - 1, grid.shape[2]), np.uint8)
        x, y = (n - 1 - int(place) for place in world.agent_pos)
        around[x : x + grid.shape[0], y : y + grid.shape[1]] = grid
        return np.rot90(around, k=-world.agent_dir)


class BotAdvice(gym.Wrapper):
    """BabyAI's own bot looks on, and `expert_action` says what it would do.

    It takes account of what was done, whoever did it. If a box was opened, which may have held
    what is asked for, the bot is at a loss, and the episode is cut. The environment is a level of
    BabyAI, or one of MiniGrid's with a target to go to ("MiniGrid-GoToDoor-6x6-v0").

    :param env: the environment
    :param knows_the_map: whether the bot has seen everything at the start; otherwise it explores.
        By default it has where there is a target, so that what it does depends on the grid alone;
        it cannot plan through doors that are closed
    :raises InapplicableError: the environment is of another kind
    """

    def __init__(self, env: gym.Env, knows_the_map: bool | None = None) -> None:
        super().__init__(env)
        self._knows_the_map = knows_the_map
        self._bot: Any = None
        self._advice: int | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**kwargs)
        self._bot = self._new_bot()
        self._advice = int(self._bot.replan())
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make a step."""
        from minigrid.utils.baby_ai_bot import DisappearedBoxError

        observation, reward, terminated, truncated, info = self.env.step(action)
        self._advice = None
        if not (terminated or truncated):
            try:
                self._advice = self._replan(int(action))
            except DisappearedBoxError:
                truncated = True
        return observation, reward, terminated, truncated, info

    def expert_action(self) -> int:
        """What the bot would do now.

        :raises UserError: the episode has not begun, or is over
        """
        if self._advice is None:
            raise UserError("the bot has no advice before reset() and after an episode's end")
        return self._advice

    @property
    def _has_target(self) -> bool:
        """Known from the first `reset` on."""
        return hasattr(self.env.unwrapped, "target_pos")

    def _replan(self, action: int) -> int:
        if not self._has_target:
            return int(self._bot.replan(action))
        # A bot that has been at its target takes its task for done, wherever it was led since.
        self._bot = self._new_bot()
        return int(self._bot.replan())

    def _new_bot(self) -> Any:
        world: Any = self.env.unwrapped
        if self._has_target:
            world.instrs = tuple(world.target_pos)
        elif not hasattr(world, "instrs"):
            raise InapplicableError(
                f"the bot knows the levels of BabyAI, and environments with a target to go to; "
                f"{self.env} is neither"
            )
        bot = _bot_class(self._has_target)(self.env)
        if self._has_target if self._knows_the_map is None else self._knows_the_map:
            bot.vis_mask[:] = True
        return bot


@cache
def _bot_class(has_target: bool) -> Any:
    from minigrid.utils.baby_ai_bot import BabyAIBot, GoNextToSubgoal

    class TargetBot(BabyAIBot):
        """Goes to a position, for environments that give no instructions."""

        def _process_instr(self, instr: Any) -> None:
            self.stack.append(GoNextToSubgoal(self, instr))

    return TargetBot if has_target else BabyAIBot


def _import_minigrid() -> None:
    try:
        import minigrid  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"MiniGrid is missing: pip install 'sb3_il_plus[minigrid]' ({error})"
        ) from error
