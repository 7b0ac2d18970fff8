"""Counter-based random numbers: SplitMix64 (Steele, Lea, Flood 2014) keyed by (seed, frame, pixel, sample).

A path owns one 64-bit counter. Its n-th number is a pure function of the key and n, so pictures have the same bytes
whatever the number of threads or the order of pixels, and a path can be replayed.
"""

from endorender.engine import ti

GAMMA = 0x9E3779B97F4A7C15
INVERSE = pow(GAMMA, -1, 1 << 64)


def mix_host(z: int) -> int:
    """`mix` on the host, for keys."""
    mask = (1 << 64) - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def key(seed: int, frame: int) -> int:
    """64-bit key of a frame."""
    mask = (1 << 64) - 1
    return mix_host((mix_host((seed + GAMMA) & mask) + (frame + 1) * GAMMA) & mask)


@ti.func
def mix(z):
    """SplitMix64's finaliser."""
    z = (z ^ (z >> ti.u64(30))) * ti.u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> ti.u64(27))) * ti.u64(0x94D049BB133111EB)
    return z ^ (z >> ti.u64(31))


@ti.func
def start(frame_key, pixel, sample):
    """Counter of one path."""
    return mix(mix(frame_key ^ ti.cast(pixel, ti.u64)) + ti.cast(sample, ti.u64) * ti.u64(0x9E3779B97F4A7C15))


@ti.func
def draw64(state: ti.template()):
    """64 random bits; advances the counter."""
    state += ti.u64(0x9E3779B97F4A7C15)
    return mix(state)


@ti.func
def drawn(start, state):
    """How often a counter was advanced from start to state."""
    return (state - start) * ti.u64(INVERSE)


@ti.func
def rand(state: ti.template()):
    """Uniform in [0, 1) with 24 bits; advances the counter."""
    return ti.cast(draw64(state) >> ti.u64(40), ti.f32) * 5.9604645e-08


@ti.func
def rand2(state: ti.template()):
    """Two uniform numbers in [0, 1) with 24 bits each, from one step of the counter."""
    bits = draw64(state)
    low = ti.cast(bits & ti.u64(0xFFFFFF), ti.f32)
    return ti.math.vec2(ti.cast(bits >> ti.u64(40), ti.f32), low) * 5.9604645e-08


# Fractional parts of multiples of the powers of 1 / 1.1347, the root of x⁶ = x + 1 (Roberts 2018), in 32 bits.
STEPS = [round((1 / 1.1347241384015194**n) % 1 * 2**32) for n in range(1, 6)]
Five = ti.types.vector(5, ti.f32)


@ti.func
def lattice(frame_key, pixel, sample):
    """Five uniform numbers in [0, 1) that fill the unit cube more evenly over a pixel's samples than random ones do.

    A Kronecker sequence, shifted by a random vector of the pixel (Cranley, Patterson 1976): each point by itself is
    uniform, so nothing is biased; samples of one pixel are no longer independent of one another.
    """
    shift = mix(frame_key ^ ti.cast(pixel, ti.u64) ^ ti.u64(0x6A09E667F3BCC909))
    out = Five(0.0)
    for n in ti.static(range(5)):
        shift = mix(shift + ti.u64(0x9E3779B97F4A7C15))
        u = ti.cast(shift >> ti.u64(32), ti.u32) + ti.cast(sample, ti.u32) * ti.u32(STEPS[n])
        out[n] = ti.cast(u >> ti.u32(8), ti.f32) * 5.9604645e-08
    return out
