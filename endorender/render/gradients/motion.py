"""Deposits for what moves: the camera, its focal length and lights, while a path's vertices stay where they are.

A vertex x is seen in place of another one through the change of all that the path's value holds of the camera: the
pixel's filter at x's picture, the solid angle, transmittance, the turn of light at x.
"""

from types import SimpleNamespace
from typing import Any

from endorender.engine import ti
from endorender.render.device.cache import kernels
from endorender.render.gradients import derivatives
from endorender.render.gradients.derivatives import AREA, DIRECTIONAL, POINT, G
from endorender.render.gradients.tape import OWN, TOTAL, put3
from endorender.render.medium import field as fields
from endorender.render.medium.traits import Traits
from endorender.render.transport import illumination
from endorender.render.transport.emitters import E

vec3 = ti.math.vec3


@kernels
def device(kind: str, surface: str, phase: Any, traits: Traits) -> SimpleNamespace:
    """Taichi functions `put_light`, `put_camera`, `put_bend`."""
    look = fields.device(kind, surface, traits)
    lighting = illumination.device(3)
    slope = derivatives.device(kind, surface, phase, traits)

    @ti.func
    def sigma_at(m: ti.template(), x):
        p = x * m.inv
        return look.sigma(m, p, look.interpolated(m.field, p))

    @ti.func
    def put_light(world: ti.template(), tape: ti.template(), slot, e, frm, w, distance, length, point, gain):
        """Place and axis of a light: phase, fall-off, 1 / r² and transmittance from the vertex `frm` along w.

        slot: of the emitter. length, point: mm of the medium on that way, and a uniform point of those. gain: what the
        light brought, times the picture's gradient.
        """
        m, emitters = ti.static(world.medium, world.emitters)
        kind_of = ti.cast(emitters[e, E.KIND], ti.i32)
        if kind_of != DIRECTIONAL:
            cos_theta = frm.d.dot(w)
            axis = lighting.vector(emitters, e, E.AXIS)
            bend = slope.cosine_slope(cos_theta, frm.phase, world.phase)
            by = (bend * (frm.d - cos_theta * w) - 2.0 * w) / distance
            if kind_of != POINT:
                facing = -w.dot(axis)
                fall = slope.beam_slope(lighting, emitters, e, facing)
                by -= fall * (axis + facing * w) / distance
                put3(tape, slot + E.AXIS, OWN, -fall * gain * w, 0.0)
            share = (point - frm.at).dot(w) / distance  # of the light's motion, at that point of the way
            by -= length * share * slope.sigma_gradient(m, point)
            by -= length / distance * sigma_at(m, point) * w
            by *= gain
            put3(tape, slot + E.POSITION, OWN, by, 0.0)
            if kind_of >= AREA:
                # The point of the light stays the same share of its half axes.
                r = frm.at + distance * w - lighting.vector(emitters, e, E.POSITION)
                u, v = lighting.vector(emitters, e, E.U), lighting.vector(emitters, e, E.V)
                put3(tape, slot + E.U, OWN, r.dot(u) / u.norm_sqr() * by, 0.0)
                put3(tape, slot + E.V, OWN, r.dot(v) / v.norm_sqr() * by, 0.0)

    @ti.func
    def spline_slope(x):
        """d log of the quadratic B-spline at x."""
        out = -2.0 * x / (0.75 - x * x)
        if ti.abs(x) > 0.5:
            out = -2.0 * ti.math.sign(x) / ti.max(1.5 - ti.abs(x), 1e-6)
        return out

    @ti.func
    def put_camera(world: ti.template(), tape: ti.template(), once, base, o, d, far, in_camera, at_pixel, s):
        """The first vertex, `far` along d: it weighs h(u) h(v) fx fy far / z³ cosⁿ T(o, x) for x in the camera's frame.

        in_camera: d in that frame. at_pixel: (u, v) from the pixel's centre. s: uniform share of the way, for T. once:
        slot of what a view has once.
        """
        m = ti.static(world.medium)
        focal = world.view.optics
        h = ti.math.vec2(spline_slope(at_pixel[0]) * focal[0], spline_slope(at_pixel[1]) * focal[1])
        z, n = in_camera.z * far, world.view.film[0]
        plane = ti.math.vec2(in_camera.x, in_camera.y) / in_camera.z
        by = world.view.turn @ vec3(h[0], h[1], n - 3.0 - h.dot(plane)) / z + (1.0 - n) / far * d
        y = o + s * far * d
        through = sigma_at(m, y) * d
        through -= far * (1.0 - s) * slope.sigma_gradient(m, y)
        put3(tape, once + G.SHIFT, TOTAL, through - by, base)
        put3(tape, once + G.TURN, TOTAL, far * by.cross(d), base)
        put3(tape, once + G.FOCAL, TOTAL, vec3(h.dot(plane) + 2.0, 0.0, 0.0), base)

    @ti.func
    def put_bend(world: ti.template(), tape: ti.template(), once, tag, weight, base, d, w, far, phase_at):
        """A camera that moves changes the angle at the first vertex, from d to w."""
        cos_theta = d.dot(w)
        bend = slope.cosine_slope(cos_theta, phase_at, world.phase) / far
        put3(tape, once + G.SHIFT, tag, -bend * weight * (w - cos_theta * d), base)

    return SimpleNamespace(put_light=put_light, put_camera=put_camera, put_bend=put_bend)
