"""Depth networks: data, networks, losses, trainer, evaluation and report.

Of endorender it sees the datasets only, never the renderer that made them.
"""
