"""Artifacts become directories that engines are pointed at."""
