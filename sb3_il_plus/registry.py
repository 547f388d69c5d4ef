"""The registry: one record per algorithm, found by name, imported only on use.

Everything that enumerates algorithms (the command line, the tables, the conformance kit, the docs)
reads it from here. Add your own with `register(AlgorithmSpec(...))`, or from a package's entry
point in the group `sb3_il_plus.algorithms` (see CONTRIBUTING.md). Importing this module imports
neither torch nor any algorithm.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from sb3_il_plus.catalog import BUILTIN
from sb3_il_plus.errors import InapplicableError, UnknownNameError, UserError, suggest
from sb3_il_plus.spec import AlgorithmSpec, Timestep, space_name

if TYPE_CHECKING:
    from gymnasium import Space

__all__ = [
    "AlgorithmSpec",
    "Registry",
    "get",
    "get_online",
    "list_algorithms",
    "make",
    "register",
    "registry",
]

ENTRY_POINT_GROUP = "sb3_il_plus.algorithms"


class Registry:
    """Specs by name. The package has one, `registry`; tests make their own.

    :param builtin: the specs it starts with
    :param group: entry-point group to look for plugins in; None for none
    """

    def __init__(self, builtin: Collection[AlgorithmSpec] = (), group: str | None = None) -> None:
        self._specs: dict[str, AlgorithmSpec] = {}
        self._group = group
        self._plugins: dict[str, list[EntryPoint]] | None = None
        self._loaded: set[str] = set()
        for spec in builtin:
            self.register(spec)

    def register(self, spec: AlgorithmSpec) -> AlgorithmSpec:
        """Add an algorithm for the running process; registering the same spec again is harmless.

        :raises UserError: another algorithm has this name
        """
        present = self._specs.get(spec.name)
        if present is not None and present != spec:
            raise UserError(
                f"two algorithms are called {spec.name!r}: {present.entry_point} and "
                f"{spec.entry_point}; rename one of them"
            )
        self._specs[spec.name] = spec
        return spec

    def get_online(self, name: str, argument: str) -> AlgorithmSpec:
        """Return the spec of an online RL algorithm, where nothing else will do.

        :param argument: that names it, for the message
        :raises InapplicableError: it is of another family
        """
        spec = self.get(name)
        if spec.family != "online_rl":
            raise InapplicableError(
                f"{argument}={name!r} is of the family {spec.family!r}; it must be an online RL "
                "algorithm such as 'ppo', 'sac' or 'dqn'"
            )
        return spec

    def unregister(self, name: str) -> None:
        """Take out an algorithm that `register` added."""
        self._specs.pop(name, None)

    def get(self, name: str) -> AlgorithmSpec:
        """Return the spec of an algorithm.

        :raises UnknownNameError: there is none of this name; the message names the nearest
        :raises UserError: it is a plugin that failed to import, or two plugins claim the name
        """
        if name not in self.names():
            raise UnknownNameError(
                f"no algorithm is called {name!r}{suggest(name, self.names())}; "
                "'sb3-il-plus list' shows all"
            )
        spec = self._resolve(name)
        if spec.error is not None:
            raise UserError(f"algorithm {name!r} cannot be used: {spec.error}")
        return spec

    def names(self) -> list[str]:
        """All names, sorted, without importing any plugin."""
        return sorted({*self._specs, *self._found_plugins()})

    def list_algorithms(
        self,
        family: str | None = None,
        consumes: Collection[str] | None = None,
        action_space: Space | str | None = None,
        observation_space: Space | str | None = None,
        timestep: Timestep | None = None,
        include_broken: bool = False,
    ) -> list[AlgorithmSpec]:
        """Return the specs that pass every given filter, sorted by name.

        :param consumes: keep what needs nothing beyond these sources
        :param action_space: keep what acts in this space (a space, or its name in specs)
        :param observation_space: keep what observes this space
        :param include_broken: also return plugins that failed to import, with their `error`
        """
        kept = []
        for name in self.names():
            spec = self._resolve(name)
            if spec.error is not None:
                if include_broken:
                    kept.append(spec)
                continue
            if (
                (family is None or spec.family == family)
                and (consumes is None or spec.consumes <= set(consumes))
                and (timestep is None or spec.timestep == timestep)
                and _accepts(spec.action_spaces, action_space)
                and _accepts(spec.observation_spaces, observation_space)
            ):
                kept.append(spec)
        return kept

    def spec_of(self, cls: type) -> AlgorithmSpec | None:
        """Return the spec of a class, or of its nearest registered ancestor."""
        by_entry_point = {spec.entry_point: spec for spec in self._specs.values()}
        for ancestor in cls.__mro__:
            path = f"{ancestor.__module__}:{ancestor.__qualname__}"
            spec = vars(ancestor).get("spec", by_entry_point.get(path))
            if isinstance(spec, AlgorithmSpec):
                return spec
        return None

    def _found_plugins(self) -> dict[str, list[EntryPoint]]:
        if self._plugins is None:
            self._plugins = {}
            for point in entry_points(group=self._group) if self._group else ():
                self._plugins.setdefault(point.name, []).append(point)
        return self._plugins

    def _resolve(self, name: str) -> AlgorithmSpec:
        """Return the spec of a known name; a plugin that cannot be read gets an `error`."""
        points = self._found_plugins().get(name, [])
        claims = sorted({point.value for point in points})
        if name in self._specs:
            spec = self._specs[name]
            # A plugin's import may register the very spec that its entry point names.
            others = [claim for claim in claims if claim != spec.entry_point]
            if not others or name in self._loaded:
                return spec
            claims = [spec.entry_point, *others]
        if len(claims) > 1:
            reason = f"the name is claimed by {' and by '.join(claims)}; uninstall one of them"
            return AlgorithmSpec(name, claims[0], family="broken", error=reason)
        return self._load_plugin(points[0])

    def _load_plugin(self, point: EntryPoint) -> AlgorithmSpec:
        try:
            target = point.load()
            spec = target if isinstance(target, AlgorithmSpec) else target.spec
            if not isinstance(spec, AlgorithmSpec):
                raise TypeError("it has no AlgorithmSpec in its attribute `spec`")
        except (Exception, SystemExit) as error:  # a stranger's import may raise anything
            reason = f"plugin {point.value!r} failed to import: {type(error).__name__}: {error}"
            return AlgorithmSpec(
                point.name, "broken.plugin:" + point.name, family="broken", error=reason
            )
        self._specs.pop(point.name, None)
        self._loaded.add(point.name)
        return self.register(replace(spec, name=point.name))


def _accepts(accepted: tuple[str, ...], space: Space | str | None) -> bool:
    name = space if isinstance(space, str) or space is None else space_name(space)
    return name is None or name in accepted


registry = Registry(BUILTIN, group=ENTRY_POINT_GROUP)

register = registry.register
get = registry.get
get_online = registry.get_online
list_algorithms = registry.list_algorithms


def make(
    name: str,
    env: Any = None,
    demonstrations: Any = None,
    *,
    policy: str | type | None = None,
    **hyperparameters: Any,
) -> Any:
    """Build a registered algorithm, ready to `learn`.

    :param name: see `list_algorithms()`
    :param env: environment id, `Env` or `VecEnv`; None where the algorithm only reads data
    :param demonstrations: a `Demonstrations`, a path to one, or `imitation` trajectories
    :param policy: policy alias or class; None picks `MlpPolicy`, `CnnPolicy` or `MultiInputPolicy`
        by the observation space, as SB3's documentation recommends
    :param hyperparameters: passed to the algorithm's constructor
    :return: an SB3 `BaseAlgorithm`
    :raises UnknownNameError: no such algorithm or environment
    :raises InapplicableError: it does not fit the spaces, or lacks what it learns from
    :raises UserError: it has no such hyperparameter
    """
    from sb3_il_plus.data import Demonstrations
    from sb3_il_plus.environments import make_env, policy_alias

    spec = get(name)
    cls = spec.load()
    _check_hyperparameters(name, cls, hyperparameters)
    if isinstance(env, str):
        env = make_env(env)
    if demonstrations is not None:
        if not spec.consumes & {"demonstrations"} and spec.family == "online_rl":
            raise InapplicableError(
                f"{name} learns from the environment's reward and reads no demonstrations; "
                "leave demonstrations out, or choose an algorithm of another family"
            )
        demonstrations = Demonstrations.coerce(demonstrations, env=env)
        hyperparameters["demonstrations"] = demonstrations
    source = env if env is not None else demonstrations
    if source is None:
        raise InapplicableError(f"{name} needs env=..., demonstrations=..., or both")
    if reason := spec.refusal(source.observation_space, source.action_space):
        raise InapplicableError(reason)
    aliases = getattr(cls, "policy_aliases", ())
    return cls(policy or policy_alias(source.observation_space, aliases), env, **hyperparameters)


def _check_hyperparameters(name: str, cls: type, hyperparameters: dict[str, Any]) -> None:
    from sb3_il_plus.persistence import constructor_arguments

    known = constructor_arguments(cls)
    for given in hyperparameters:
        if given not in known:
            hint = suggest(given, sorted(known - {"policy", "env", "demonstrations"}))
            if "generator_kwargs" in known:
                hint += "; arguments of the generator go into generator_kwargs={...}"
            raise UserError(f"{name} has no hyperparameter {given!r}{hint}")
