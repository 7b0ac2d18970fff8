"""Geometry without noise: walls that rays meet, what lies hidden behind them, and depths by extinction.

What is measured here is ground truth: no optics but extinction, no random numbers.
"""
