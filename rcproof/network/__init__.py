"""Networks as data: a graph of registered operations, the layers it names, and what runs it."""

from rcproof.network.execution import Execution
from rcproof.network.graph import Graph, Node, Ref
from rcproof.network.network import Network

__all__ = ["Execution", "Graph", "Network", "Node", "Ref"]
