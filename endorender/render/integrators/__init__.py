"""Path loops, one file each: `volpath` (fast), `volpath_simple` (its readable oracle, apart on purpose), `adjoint`.

All solve the same equation; none calls another. `models` tells what there is and reads none: they load Taichi.
A further one is a file here and a class in `models`, or a class that is registered elsewhere:
`endorender.render.radiance(..., integrator=NAME)` finds it.
"""

from endorender.render.integrators.models import Adjoint, Integrator, Progress, Volpath, VolpathSimple, integrators

__all__ = ["Adjoint", "Integrator", "Progress", "Volpath", "VolpathSimple", "integrators"]
