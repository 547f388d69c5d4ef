"""The built-in algorithms: a table of specs, and nothing else.

`spec.py` says what the columns mean. A plugin has the same record in its own package.
"""

from sb3_il_plus.spec import AlgorithmSpec

_VECTORS = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
_ALL = (*_VECTORS, "Dict", "Image")

IMITATION = (
    AlgorithmSpec(
        name="bc",
        entry_point="sb3_il_plus.adapters.bc:BC",
        family="imitation",
        summary="Behavioural cloning: supervised learning of the expert's actions",
        paper="Pomerleau 1989; Bain and Sammut 1995",
        consumes=frozenset({"demonstrations"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="gradient update",
        requires=("imitation",),
    ),
    AlgorithmSpec(
        name="bco",
        entry_point="sb3_il_plus.adapters.bco:BCO",
        family="imitation",
        summary="BCO: finds the actions between the expert's states, then clones them",
        paper="Torabi, Warnell and Stone 2018, arXiv:1805.01954",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="environment step",
        requires=("imitation",),
        reads_actions=False,
    ),
    AlgorithmSpec(
        name="conditional_bc",
        entry_point="sb3_il_plus.conditional.bc:ConditionalBC",
        family="imitation",
        summary="Conditional BC: clones an expert that is told what to do, for every command",
        paper="Codevilla et al. 2018, arXiv:1710.02410; Codevilla et al. 2019, arXiv:1904.08980",
        consumes=frozenset({"demonstrations"}),
        action_spaces=_VECTORS,
        observation_spaces=("Dict",),
        timestep="gradient update",
        observation_entries=("command",),
        limits="a command is the entry 'command' of a Dict observation",
    ),
    AlgorithmSpec(
        name="dagger",
        entry_point="sb3_il_plus.adapters.dagger:DAgger",
        family="imitation",
        summary="DAgger: the expert labels the states that the learner itself visits",
        paper="Ross, Gordon and Bagnell 2011, arXiv:1011.0686",
        consumes=frozenset({"environment", "expert"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="environment step",
        requires=("imitation",),
    ),
    AlgorithmSpec(
        name="gail",
        entry_point="sb3_il_plus.adapters.gail:GAIL",
        family="imitation",
        summary="GAIL: RL on the reward of a discriminator between expert and learner",
        paper="Ho and Ermon 2016, arXiv:1606.03476",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="environment step",
        requires=("imitation",),
    ),
    AlgorithmSpec(
        name="gaifo",
        entry_point="sb3_il_plus.adapters.gaifo:GAIfO",
        family="imitation",
        summary="GAIfO: GAIL whose discriminator sees states and next states, but no actions",
        paper="Torabi, Warnell and Stone 2018, arXiv:1807.06158",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="environment step",
        requires=("imitation",),
        reads_actions=False,
    ),
    AlgorithmSpec(
        name="airl",
        entry_point="sb3_il_plus.adapters.airl:AIRL",
        family="imitation",
        summary="AIRL: as GAIL, with a reward that can be recovered and retrained on",
        paper="Fu, Luo and Levine 2018, arXiv:1710.11248",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="environment step",
        requires=("imitation",),
    ),
    AlgorithmSpec(
        name="sqil",
        entry_point="sb3_il_plus.adapters.sqil:SQIL",
        family="imitation",
        summary="SQIL: off-policy RL with reward 1 in demonstrations and 0 in own steps",
        paper="Reddy, Dragan and Levine 2020, arXiv:1905.11108",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=("Box", "Discrete"),
        observation_spaces=(*_VECTORS, "Image"),
        timestep="environment step",
        requires=("imitation",),
        limits="off-policy generators act in Box or Discrete, and upstream's buffers hold arrays",
    ),
    AlgorithmSpec(
        name="density",
        entry_point="sb3_il_plus.adapters.density:Density",
        family="imitation",
        summary="Density: RL on the logarithm of a kernel density of the demonstrations",
        paper="Parzen 1962 (kernel densities); Gleave et al. 2022, arXiv:2211.11972 (imitation)",
        consumes=frozenset({"demonstrations", "environment"}),
        action_spaces=_VECTORS,
        observation_spaces=(*_VECTORS, "Dict"),
        timestep="environment step",
        requires=("imitation",),
        limits="the density of pixels says little of what an image shows",
    ),
    AlgorithmSpec(
        name="mce_irl",
        entry_point="sb3_il_plus.adapters.mce_irl:MCEIRL",
        family="imitation",
        summary="MCE-IRL: the reward whose soft-optimal policy visits states as the expert does",
        paper="Ziebart 2010, PhD thesis, chapters 9 and 10",
        consumes=frozenset({"demonstrations", "environment", "model"}),
        action_spaces=("Discrete",),
        observation_spaces=_VECTORS,
        timestep="gradient update",
        requires=("imitation",),
        reads_actions=False,
        limits="it plans with the numbered states and actions of a tabular environment",
    ),
)

PREFERENCES = (
    AlgorithmSpec(
        name="preference_comparisons",
        entry_point="sb3_il_plus.adapters.preference_comparisons:PreferenceComparisons",
        family="preferences",
        summary="Preference comparisons: RL on a reward that agrees with preferred fragments",
        paper="Christiano et al. 2017, arXiv:1706.03741",
        consumes=frozenset({"environment", "rewards"}),
        action_spaces=_VECTORS,
        observation_spaces=_VECTORS,
        timestep="environment step",
        requires=("imitation",),
        limits="upstream's reward nets read one array",
    ),
)


def _online(
    name: str,
    entry_point: str,
    summary: str,
    action_spaces: tuple[str, ...],
    observation_spaces: tuple[str, ...] = _ALL,
    requires: tuple[str, ...] = (),
    limits: str = "",
) -> AlgorithmSpec:
    """An algorithm of SB3 or sb3-contrib: it trains experts and is the RL reference in tables."""
    return AlgorithmSpec(
        name=name,
        entry_point=entry_point,
        family="online_rl",
        summary=summary,
        consumes=frozenset({"environment", "rewards"}),
        action_spaces=action_spaces,
        observation_spaces=observation_spaces,
        timestep="environment step",
        requires=requires,
        limits=limits,
    )


_CONTINUOUS = "its actor gives the components of a continuous action"
_VALUED = "it values each choice of a Discrete action"

ONLINE_RL = (
    _online("a2c", "stable_baselines3:A2C", "Advantage actor critic", _VECTORS),
    _online(
        "ddpg",
        "stable_baselines3:DDPG",
        "Deep deterministic policy gradient",
        ("Box",),
        limits=_CONTINUOUS,
    ),
    _online("dqn", "stable_baselines3:DQN", "Deep Q network", ("Discrete",), limits=_VALUED),
    _online("ppo", "stable_baselines3:PPO", "Proximal policy optimisation", _VECTORS),
    _online("sac", "stable_baselines3:SAC", "Soft actor critic", ("Box",), limits=_CONTINUOUS),
    _online("td3", "stable_baselines3:TD3", "Twin delayed DDPG", ("Box",), limits=_CONTINUOUS),
    _online(
        "ars",
        "sb3_contrib:ARS",
        "Augmented random search",
        ("Box", "Discrete"),
        _VECTORS,
        limits="sb3-contrib has a LinearPolicy and an MlpPolicy alone for it, each of one action",
    ),
    _online(
        "crossq",
        "sb3_contrib:CrossQ",
        "SAC without target networks, with batch normalisation",
        ("Box",),
        _VECTORS,
        requires=("sb3_contrib.crossq",),
        limits=f"sb3-contrib has an MlpPolicy alone for it, and {_CONTINUOUS}",
    ),
    _online(
        "maskable_ppo",
        "sb3_contrib:MaskablePPO",
        "PPO with invalid actions masked",
        ("Discrete", "MultiDiscrete", "MultiBinary"),
        limits="a mask forbids choices, and a continuous action is none",
    ),
    _online("qrdqn", "sb3_contrib:QRDQN", "Quantile regression DQN", ("Discrete",), limits=_VALUED),
    _online(
        "recurrent_ppo",
        "sb3_contrib:RecurrentPPO",
        "PPO with an LSTM",
        ("Box", "Discrete", "MultiDiscrete"),
        ("Box", "Discrete", "MultiBinary", "Dict", "Image"),
        limits="sb3-contrib's LSTM refuses the input size of MultiDiscrete, and MultiBinary "
        "actions fail since its version 2.9",
    ),
    _online("tqc", "sb3_contrib:TQC", "Truncated quantile critics", ("Box",), limits=_CONTINUOUS),
    _online("trpo", "sb3_contrib:TRPO", "Trust region policy optimisation", _VECTORS),
)


def _offline(
    name: str, entry_point: str, summary: str, paper: str, action_spaces: tuple[str, ...]
) -> AlgorithmSpec:
    """An algorithm that learns from fixed data with rewards."""
    limit = _CONTINUOUS if action_spaces == ("Box",) else _VALUED
    return AlgorithmSpec(
        name=name,
        entry_point=f"sb3_il_plus.offline.{entry_point}",
        family="offline_rl",
        summary=summary,
        paper=paper,
        consumes=frozenset({"demonstrations", "rewards"}),
        action_spaces=action_spaces,
        observation_spaces=_VECTORS,
        timestep="gradient update",
        limits=f"its networks read vectors, and {limit}",
    )


OFFLINE_RL = (
    _offline(
        "td3_bc",
        "td3_bc:TD3BC",
        "TD3+BC: TD3 whose actor also clones the data's actions",
        "Fujimoto and Gu 2021, arXiv:2106.06860",
        ("Box",),
    ),
    _offline(
        "rebrac",
        "rebrac:ReBRAC",
        "ReBRAC: TD3+BC with penalties of its own for actor and critics, and layer norms",
        "Tarasov et al. 2023, arXiv:2305.09836",
        ("Box",),
    ),
    _offline(
        "sac_n",
        "sac_n:SACN",
        "SAC-N: SAC with the lowest of many critics",
        "An et al. 2021, arXiv:2110.01548",
        ("Box",),
    ),
    _offline(
        "edac",
        "edac:EDAC",
        "EDAC: SAC-N whose critics are made to disagree where there is no data",
        "An et al. 2021, arXiv:2110.01548",
        ("Box",),
    ),
    _offline(
        "bcq",
        "bcq:BCQ",
        "BCQ: the best of the actions that a model of the data's behaviour proposes",
        "Fujimoto, Meger and Precup 2019, arXiv:1812.02900",
        ("Box",),
    ),
    _offline(
        "crr",
        "crr:CRR",
        "CRR: cloning of the actions that are better than the policy's own",
        "Wang et al. 2020, arXiv:2006.15134",
        ("Box",),
    ),
    _offline(
        "xql",
        "xql:XQL",
        "XQL: values of the best actions by Gumbel regression, then cloning of those",
        "Garg et al. 2023, arXiv:2301.02328",
        ("Box",),
    ),
    _offline(
        "offline_sac",
        "offline_sac:OfflineSAC",
        "SAC on fixed data, with nothing that keeps it near the data: the naive reference",
        "Haarnoja et al. 2018, arXiv:1812.05905",
        ("Box",),
    ),
    _offline(
        "offline_td3",
        "offline_td3:OfflineTD3",
        "TD3 on fixed data, with nothing that keeps it near the data: the naive reference",
        "Fujimoto, van Hoof and Meger 2018, arXiv:1802.09477",
        ("Box",),
    ),
    _offline(
        "iql",
        "iql:IQL",
        "IQL: expectile regression of values, then cloning of the better actions",
        "Kostrikov, Nair and Levine 2022, arXiv:2110.06169",
        ("Box",),
    ),
    _offline(
        "awac",
        "awac:AWAC",
        "AWAC: cloning of actions, weighted by their advantage over the policy's own",
        "Nair et al. 2020, arXiv:2006.09359",
        ("Box",),
    ),
    _offline(
        "cql",
        "cql:CQL",
        "CQL: SAC, with critics that are kept low where there is no data",
        "Kumar et al. 2020, arXiv:2006.04779",
        ("Box",),
    ),
    _offline(
        "offline_dqn",
        "offline_dqn:OfflineDQN",
        "Offline DQN: double DQN on fixed data, the naive reference",
        "van Hasselt, Guez and Silver 2016, arXiv:1509.06461",
        ("Discrete",),
    ),
    _offline(
        "discrete_cql",
        "discrete_cql:DiscreteCQL",
        "Discrete CQL: double DQN, with values that are kept low where there is no data",
        "Kumar et al. 2020, arXiv:2006.04779",
        ("Discrete",),
    ),
    _offline(
        "discrete_bcq",
        "discrete_bcq:DiscreteBCQ",
        "Discrete BCQ: double DQN among the choices that the data makes often enough",
        "Fujimoto et al. 2019, arXiv:1910.01708",
        ("Discrete",),
    ),
    _offline(
        "discrete_iql",
        "discrete_iql:DiscreteIQL",
        "Discrete IQL: IQL with an actor that gives probabilities of choices",
        "Kostrikov, Nair and Levine 2022, arXiv:2110.06169",
        ("Discrete",),
    ),
    _offline(
        "discrete_awac",
        "discrete_awac:DiscreteAWAC",
        "Discrete AWAC: cloning of choices, weighted by their advantage over the policy's",
        "Nair et al. 2020, arXiv:2006.09359",
        ("Discrete",),
    ),
    _offline(
        "discrete_crr",
        "discrete_crr:DiscreteCRR",
        "Discrete CRR: cloning of choices that are better than the policy's own",
        "Wang et al. 2020, arXiv:2006.15134",
        ("Discrete",),
    ),
    AlgorithmSpec(
        name="decision_transformer",
        entry_point="sb3_il_plus.offline.decision_transformer:DecisionTransformer",
        family="offline_rl",
        summary="Decision Transformer: the next action of an episode that earns what is asked for",
        paper="Chen et al. 2021, arXiv:2106.01345",
        consumes=frozenset({"demonstrations", "rewards"}),
        action_spaces=("Box", "Discrete"),
        observation_spaces=_VECTORS,
        timestep="gradient update",
        limits="its network reads vectors, and acts in Box or Discrete",
    ),
    AlgorithmSpec(
        name="percentile_bc",
        entry_point="sb3_il_plus.adapters.percentile_bc:PercentileBC",
        family="offline_rl",
        summary="Percentage BC: cloning of the best episodes alone, the reference of offline RL",
        paper="Chen et al. 2021, arXiv:2106.01345",
        consumes=frozenset({"demonstrations", "rewards"}),
        action_spaces=_VECTORS,
        observation_spaces=_ALL,
        timestep="gradient update",
        requires=("imitation",),
    ),
)

BUILTIN = IMITATION + PREFERENCES + OFFLINE_RL + ONLINE_RL
