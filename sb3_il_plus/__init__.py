"""Imitation learning and offline RL as ordinary Stable-Baselines3 algorithms.

The public names, and nothing else. They load on first use, so that importing the package, or asking
the command line for help, does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AIRL": "sb3_il_plus.adapters.airl",
    "AWAC": "sb3_il_plus.offline.awac",
    "AlgorithmSpec": "sb3_il_plus.spec",
    "BC": "sb3_il_plus.adapters.bc",
    "BCQ": "sb3_il_plus.offline.bcq",
    "BCO": "sb3_il_plus.adapters.bco",
    "ConditionalBC": "sb3_il_plus.conditional.bc",
    "DAgger": "sb3_il_plus.adapters.dagger",
    "CRR": "sb3_il_plus.offline.crr",
    "CQL": "sb3_il_plus.offline.cql",
    "CalQL": "sb3_il_plus.offline.cal_ql",
    "DecisionTransformer": "sb3_il_plus.offline.decision_transformer",
    "Demonstrations": "sb3_il_plus.data.demonstrations",
    "DemonstrationAlgorithm": "sb3_il_plus.algorithm",
    "Density": "sb3_il_plus.adapters.density",
    "DiscreteAWAC": "sb3_il_plus.offline.discrete_awac",
    "DiscreteBCQ": "sb3_il_plus.offline.discrete_bcq",
    "DiscreteCQL": "sb3_il_plus.offline.discrete_cql",
    "DiscreteCRR": "sb3_il_plus.offline.discrete_crr",
    "DiscreteIQL": "sb3_il_plus.offline.discrete_iql",
    "EDAC": "sb3_il_plus.offline.edac",
    "Expert": "sb3_il_plus.experts.expert",
    "GAIL": "sb3_il_plus.adapters.gail",
    "IQL": "sb3_il_plus.offline.iql",
    "MCEIRL": "sb3_il_plus.adapters.mce_irl",
    "GAIfO": "sb3_il_plus.adapters.gaifo",
    "OfflineOnlineReplayBuffer": "sb3_il_plus.data.replay_mixing",
    "OfflineDQN": "sb3_il_plus.offline.offline_dqn",
    "OfflineSAC": "sb3_il_plus.offline.offline_sac",
    "OfflineTD3": "sb3_il_plus.offline.offline_td3",
    "PercentileBC": "sb3_il_plus.adapters.percentile_bc",
    "PreferenceComparisons": "sb3_il_plus.adapters.preference_comparisons",
    "ReBRAC": "sb3_il_plus.offline.rebrac",
    "SACN": "sb3_il_plus.offline.sac_n",
    "SQIL": "sb3_il_plus.adapters.sqil",
    "TD3BC": "sb3_il_plus.offline.td3_bc",
    "TransitionSampler": "sb3_il_plus.data.batches",
    "VecEnvRecorder": "sb3_il_plus.data.vec_env",
    "XQL": "sb3_il_plus.offline.xql",
    "collect": "sb3_il_plus.data.collect",
    "convert": "sb3_il_plus.data.formats",
    "evaluate": "sb3_il_plus.evaluation",
    "fill_replay_buffer": "sb3_il_plus.data.replay_mixing",
    "finetune": "sb3_il_plus.finetuning.recipe",
    "fitted_q_evaluation": "sb3_il_plus.offline.evaluation",
    "get": "sb3_il_plus.registry",
    "human_dagger": "sb3_il_plus.human.dagger",
    "initial_state_value": "sb3_il_plus.offline.evaluation",
    "list_algorithms": "sb3_il_plus.registry",
    "load_expert": "sb3_il_plus.experts.loading",
    "load_reward": "sb3_il_plus.adapters.reward_files",
    "load_model": "sb3_il_plus.persistence",
    "make": "sb3_il_plus.registry",
    "make_dataset": "sb3_il_plus.datasets",
    "normalized_score": "sb3_il_plus.data.reference_scores",
    "preset": "sb3_il_plus.tables.presets",
    "record": "sb3_il_plus.human.record",
    "register": "sb3_il_plus.registry",
    "train_on_reward": "sb3_il_plus.adapters.reward_files",
    "train_expert": "sb3_il_plus.experts.training",
}

__all__ = sorted([*_HOME, "__version__"])

if TYPE_CHECKING:
    from sb3_il_plus.adapters.airl import AIRL as AIRL
    from sb3_il_plus.adapters.bc import BC as BC
    from sb3_il_plus.adapters.bco import BCO as BCO
    from sb3_il_plus.adapters.dagger import DAgger as DAgger
    from sb3_il_plus.adapters.density import Density as Density
    from sb3_il_plus.adapters.gaifo import GAIfO as GAIfO
    from sb3_il_plus.adapters.gail import GAIL as GAIL
    from sb3_il_plus.adapters.mce_irl import MCEIRL as MCEIRL
    from sb3_il_plus.adapters.percentile_bc import PercentileBC as PercentileBC
    from sb3_il_plus.adapters.preference_comparisons import (
        PreferenceComparisons as PreferenceComparisons,
    )
    from sb3_il_plus.adapters.reward_files import load_reward as load_reward
    from sb3_il_plus.adapters.reward_files import train_on_reward as train_on_reward
    from sb3_il_plus.adapters.sqil import SQIL as SQIL
    from sb3_il_plus.algorithm import DemonstrationAlgorithm as DemonstrationAlgorithm
    from sb3_il_plus.conditional.bc import ConditionalBC as ConditionalBC
    from sb3_il_plus.data.batches import TransitionSampler as TransitionSampler
    from sb3_il_plus.data.collect import collect as collect
    from sb3_il_plus.data.demonstrations import Demonstrations as Demonstrations
    from sb3_il_plus.data.formats import convert as convert
    from sb3_il_plus.data.reference_scores import normalized_score as normalized_score
    from sb3_il_plus.data.replay_mixing import (
        OfflineOnlineReplayBuffer as OfflineOnlineReplayBuffer,
    )
    from sb3_il_plus.data.replay_mixing import fill_replay_buffer as fill_replay_buffer
    from sb3_il_plus.data.vec_env import VecEnvRecorder as VecEnvRecorder
    from sb3_il_plus.datasets import make_dataset as make_dataset
    from sb3_il_plus.evaluation import evaluate as evaluate
    from sb3_il_plus.experts.expert import Expert as Expert
    from sb3_il_plus.experts.loading import load_expert as load_expert
    from sb3_il_plus.experts.training import train_expert as train_expert
    from sb3_il_plus.finetuning.recipe import finetune as finetune
    from sb3_il_plus.human.dagger import human_dagger as human_dagger
    from sb3_il_plus.human.record import record as record
    from sb3_il_plus.offline.awac import AWAC as AWAC
    from sb3_il_plus.offline.bcq import BCQ as BCQ
    from sb3_il_plus.offline.cal_ql import CalQL as CalQL
    from sb3_il_plus.offline.cql import CQL as CQL
    from sb3_il_plus.offline.crr import CRR as CRR
    from sb3_il_plus.offline.decision_transformer import DecisionTransformer as DecisionTransformer
    from sb3_il_plus.offline.discrete_awac import DiscreteAWAC as DiscreteAWAC
    from sb3_il_plus.offline.discrete_bcq import DiscreteBCQ as DiscreteBCQ
    from sb3_il_plus.offline.discrete_cql import DiscreteCQL as DiscreteCQL
    from sb3_il_plus.offline.discrete_crr import DiscreteCRR as DiscreteCRR
    from sb3_il_plus.offline.discrete_iql import DiscreteIQL as DiscreteIQL
    from sb3_il_plus.offline.edac import EDAC as EDAC
    from sb3_il_plus.offline.evaluation import fitted_q_evaluation as fitted_q_evaluation
    from sb3_il_plus.offline.evaluation import initial_state_value as initial_state_value
    from sb3_il_plus.offline.iql import IQL as IQL
    from sb3_il_plus.offline.offline_dqn import OfflineDQN as OfflineDQN
    from sb3_il_plus.offline.offline_sac import OfflineSAC as OfflineSAC
    from sb3_il_plus.offline.offline_td3 import OfflineTD3 as OfflineTD3
    from sb3_il_plus.offline.rebrac import ReBRAC as ReBRAC
    from sb3_il_plus.offline.sac_n import SACN as SACN
    from sb3_il_plus.offline.td3_bc import TD3BC as TD3BC
    from sb3_il_plus.offline.xql import XQL as XQL
    from sb3_il_plus.persistence import load_model as load_model
    from sb3_il_plus.registry import get as get
    from sb3_il_plus.registry import list_algorithms as list_algorithms
    from sb3_il_plus.registry import make as make
    from sb3_il_plus.registry import register as register
    from sb3_il_plus.spec import AlgorithmSpec as AlgorithmSpec
    from sb3_il_plus.tables.presets import preset as preset


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sb3_il_plus' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
