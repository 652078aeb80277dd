"""Replayed: file operations, order and paths of three skillsets, not their text."""
