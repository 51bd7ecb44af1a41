"""Simulated processes: what they own, run and publish, and what befalls them."""
