"""Path loops, one file each: `volpath` (fast), `volpath_simple` (its readable oracle, apart on purpose), `adjoint`.

All solve the same equation; none calls another.
"""
