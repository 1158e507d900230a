"""Measuring an artifact where it runs: measurements, profiles, and the ways to run an artifact."""
