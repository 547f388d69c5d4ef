"""The built-in algorithms of offline RL: the part of the catalog that learns from fixed data."""

from sb3_il_plus.catalog_spaces import ALL, CONTINUOUS, VALUED, VECTORS
from sb3_il_plus.spec import AlgorithmSpec


def _offline(
    name: str, entry_point: str, summary: str, paper: str, action_spaces: tuple[str, ...]
) -> AlgorithmSpec:
    """An algorithm that learns from fixed data with rewards."""
    limit = CONTINUOUS if action_spaces == ("Box",) else VALUED
    return AlgorithmSpec(
        name=name,
        entry_point=f"sb3_il_plus.offline.{entry_point}",
        family="offline_rl",
        summary=summary,
        paper=paper,
        consumes=frozenset({"demonstrations", "rewards"}),
        action_spaces=action_spaces,
        observation_spaces=(*VECTORS, "Dict"),
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
        "cal_ql",
        "cal_ql:CalQL",
        "Cal-QL: CQL whose values stay above the data's returns, to go on online",
        "Nakamoto et al. 2023, arXiv:2303.05479",
        ("Box",),
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
        observation_spaces=VECTORS,
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
        action_spaces=VECTORS,
        observation_spaces=ALL,
        timestep="gradient update",
        requires=("imitation",),
    ),
)
