"""Entities: their classes, how they are named, and the code that runs their operations."""
