"""What the adjoint asks beside the path: derivatives at a point, where they are filed, and when they are settled.

See docs/gradients.md. Every change is proved beside finite differences (tests/render/test_adjoint_differences.py).
"""
