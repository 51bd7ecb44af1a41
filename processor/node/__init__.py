"""What one process does with the shards of a namespace.

What it decides is in synchronous machines, which know no threads, clocks or clients: ``life`` (one
shard, from its assignment to its revocation). ``Node`` drives it on an asyncio loop; the simulation
drives the same machine, step by step.
"""

from processor.node.life import ShardStatus
from processor.node.node import Node, PortsFactory

__all__ = ("Node", "PortsFactory", "ShardStatus")
