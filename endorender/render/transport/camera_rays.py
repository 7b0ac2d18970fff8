"""Where paths begin: through a pixel, the camera's optics, and its lens if it has one. Shared by both integrators."""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device.cache import kernels
from endorender.render.device.rng import rand
from endorender.scene.camera import MASKS

CIRCLE, OCTAGON, CORNERS = (float(MASKS.index(name)) for name in ("circle", "octagon", "corners"))


@kernels
def device(camera: Any) -> SimpleNamespace:
    """Taichi functions `samples`, `ray` and `smooth_ray` for one class of camera."""
    camera_ray = camera.device()

    @ti.func
    def samples(pixel, q, first, last):
        """`last` if the mask lets the pixel's centre through, else `first`: then there is nothing to trace."""
        x = ti.abs(pixel % q.width - q.film[4]) / q.film[2]
        y = ti.abs(pixel // q.width - q.film[5]) / q.film[3]
        reach = 0.0
        if q.film[1] == CIRCLE:
            reach = x * x + y * y
        elif q.film[1] == OCTAGON:
            reach = ti.max(x, y, (x + y) * 0.70710678)
        elif q.film[1] == CORNERS:
            reach = x + y
        return last if reach <= 1.0 else first

    @ti.func
    def vignette(c, q):
        """Share of the light along the camera's unit direction c that vignetting leaves."""
        share = 1.0
        if q.film[0] > 0.0:
            share = ti.pow(ti.max(c.z, 0.0), q.film[0])
        return share

    @ti.func
    def smooth_ray(pixel, q, rng: ti.template()):
        """Through a pixel weighed by a quadratic B-spline three pixels wide, whose edges do not jump as a box's do.

        The place from the pixel's centre (px), unit direction in the camera's frame and in the grid's, and the share
        of light that vignetting leaves.
        """
        at = ti.math.vec2(0.0)
        for a in ti.static(range(2)):
            at[a] = rand(rng) + rand(rng) + rand(rng) - 1.5
        c = camera_ray(pixel % q.width + at[0], pixel // q.width + at[1], q.optics)
        return at, c, (q.turn @ c).normalized(), vignette(c, q)

    @ti.func
    def ray(pixel, at, q, rng: ti.template()):
        """Origin (mm) and unit direction in the grid frame, and the share of light that vignetting leaves.

        at: two uniform numbers, the place in the pixel, under a box filter. A place on the lens is drawn where there is
        one.
        """
        c = camera_ray(pixel % q.width + at[0] - 0.5, pixel // q.width + at[1] - 0.5, q.optics)
        share = vignette(c, q)
        o = q.lens
        if ti.static(camera.LENS):
            # All rays of a pixel's point meet where the ray through the lens's centre crosses the sharp plane.
            r, phi = q.film[7] * ti.sqrt(rand(rng)), 6.28318531 * rand(rng)
            start = ti.math.vec3(r * ti.cos(phi), r * ti.sin(phi), 0.0)
            c = (c * (q.film[6] / c.z) - start).normalized()
            o += q.turn @ start
        return o, (q.turn @ c).normalized(), share

    return SimpleNamespace(samples=samples, ray=ray, smooth_ray=smooth_ray)
