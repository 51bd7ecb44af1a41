"""Values that events, inputs and records are made of."""
