"""Replayed."""
