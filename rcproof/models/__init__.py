"""The paper's architectures, and each of them in every strategy."""

from rcproof.models.base import BranchNet, ChainNet
from rcproof.models.binary import BinaryNet
from rcproof.models.bpnet import ProfileNet
from rcproof.models.simulated import SimulatedNet
from rcproof.models.strategies import STRATEGIES, TASKS, build, conjoin, coupled_layers

__all__ = [
    "STRATEGIES",
    "TASKS",
    "BinaryNet",
    "BranchNet",
    "ChainNet",
    "ProfileNet",
    "SimulatedNet",
    "build",
    "conjoin",
    "coupled_layers",
]
