"""What one process does with the shards of a namespace.

What it decides is in synchronous machines, which know no threads, clocks or clients: ``life`` (one
shard, from its assignment to its revocation), ``publishing``, ``membership``. ``Node`` and the
Kafka runtime drive them on loops and in threads; the simulation drives the same, step by step.
"""

from processor.node.life import ShardStatus
from processor.node.node import Node, PortsFactory, is_quiet

__all__ = ("Node", "PortsFactory", "ShardStatus", "is_quiet")
