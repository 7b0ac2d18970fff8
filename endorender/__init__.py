"""Cinematic path tracing of CT for endoscopic depth."""

__version__ = "0.1.0"
