"""Messages between instances: the command that carries one, and those to other namespaces."""
