"""Correlation: workflows of ours that hand events on to whichever run holds a business key."""
