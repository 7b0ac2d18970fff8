"""The material of the wall as Blender's nodes: mottled, flushed, with vessels, scattering below a bumpy wet surface."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.cycles_looks import Look


class Nodes:
    """A material's node tree, built by calls."""

    def __init__(self, tree) -> None:
        self.tree = tree

    def add(self, kind: str, inputs: dict[Any, Any] | None = None, **settings: Any):
        """A node. inputs: numbers, or sockets to link from, by name or index."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in settings.items():
            setattr(node, name, value)
        for name, value in (inputs or {}).items():
            if hasattr(value, "links"):
                self.tree.links.new(value, node.inputs[name])
            else:
                node.inputs[name].default_value = value
        return node

    def noise(self, at, mm: float, w: float, detail: float = 3.0):
        """Socket of smooth noise about 0.5 whose features are `mm` large."""
        return self._noise(at, mm, w, detail).outputs["Fac"]

    def _noise(self, at, mm: float, w: float, detail: float):
        inputs = {"Vector": self.moved(at, w), "Scale": 1 / mm, "Detail": detail, "Roughness": 0.55}
        return self.add("TexNoise", inputs, noise_dimensions="3D")

    def moved(self, at, w: float):
        """Socket: the place where another realisation of a texture lies. A fourth dimension would cost three times."""
        return self.add("VectorMath", {0: at, 1: (7.1 * w, -3.7 * w, 5.3 * w)}, operation="ADD").outputs[0]

    def warped(self, at, mm: float, by: float, w: float):
        """Socket: places moved to and fro by up to `by` mm, over `mm`."""
        drawn = self._noise(at, mm, w, 2.0).outputs["Color"]
        drawn = self.add("VectorMath", {0: drawn, 1: (0.5, 0.5, 0.5)}, operation="SUBTRACT").outputs[0]
        drawn = self.add("VectorMath", {0: drawn, 3: 2 * by}, operation="SCALE").outputs[0]
        return self.add("VectorMath", {0: at, 1: drawn}, operation="ADD").outputs[0]

    def step(self, value, low: float, high: float, to: tuple[float, float] = (0.0, 1.0)):
        """Socket: smooth step of a value."""
        inputs = {"Value": value, "From Min": low, "From Max": high, "To Min": to[0], "To Max": to[1]}
        return self.add("MapRange", inputs, interpolation_type="SMOOTHSTEP").outputs["Result"]

    def times(self, a, b):
        """Socket: product."""
        return self.add("Math", {0: a, 1: b}, operation="MULTIPLY").outputs[0]

    def mix(self, share, a, b):
        """Socket: colour between a and b, by share. Colours are RGB or sockets."""
        node = self.tree.nodes.new("ShaderNodeMix")
        node.data_type = "RGBA"
        sockets = {s.identifier: s for s in node.inputs}
        for name, value in (("Factor_Float", share), ("A_Color", a), ("B_Color", b)):
            if hasattr(value, "links"):
                self.tree.links.new(value, sockets[name])
            else:
                sockets[name].default_value = value if isinstance(value, float) else (*value, 1.0)
        return next(s for s in node.outputs if s.identifier == "Result_Color")


def mucosa(bpy, look: Look):
    """The wall's material."""
    made = bpy.data.materials.new("mucosa")
    made.use_nodes = True
    made.node_tree.nodes.clear()
    n, w = Nodes(made.node_tree), look.texture
    at = n.add("TexCoord").outputs["Object"]
    colour = n.mix(n.step(n.noise(at, look.mottle_mm, w), 0.35, 0.65), look.base, look.second)
    flushed = n.step(n.noise(at, look.flush_mm, w + 10), 0.48, 0.72, (0.0, look.flush_share))
    colour = n.mix(flushed, colour, look.flush)
    for size, width, strength in (
        (look.vessel_mm, look.vessel_width, look.vessel_strength),
        (look.vessel_mm / 2.6, 1.2 * look.vessel_width, 0.6 * look.vessel_strength),
    ):
        drawn = n.times(_vessels(n, at, size, width, w + size), strength)
        colour = n.mix(drawn, colour, look.vessel)
    grain = n.step(n.noise(at, 0.9, w + 30, 2.0), 0.2, 0.8, (1 - look.grain, 1 + look.grain))
    colour = n.add("VectorMath", {0: colour, 3: grain}, operation="SCALE").outputs[0]
    normal = None
    for k, (mm, height) in enumerate(look.bumps):
        inputs = {"Height": n.noise(at, mm, w + 40 + k, 2.0), "Distance": height, "Strength": 1.0}
        normal = n.add("Bump", inputs | ({"Normal": normal} if normal else {})).outputs["Normal"]
    # The film of mucus lies smoother than the wall under it, and thins out in places.
    film = n.add("Bump", {"Height": n.noise(at, 2.2, w + 50, 1.0), "Distance": look.film_mm, "Strength": 1.0})
    wet = n.step(n.noise(at, 7.0, w + 60), 0.3, 0.6, (0.45 * look.coat, look.coat))
    skin = n.add(
        "BsdfPrincipled",
        {
            "Base Color": colour,
            "Roughness": look.roughness,
            "Specular IOR Level": look.specular,
            "Subsurface Weight": look.subsurface,
            "Subsurface Radius": look.radius,
            "Subsurface Scale": 1.0,
            "Subsurface Anisotropy": look.anisotropy,
            "Coat Weight": wet,
            "Coat Roughness": look.coat_roughness,
            "Coat IOR": look.coat_ior,
            "Coat Normal": film.outputs["Normal"],
            "Normal": normal,
        },
        subsurface_method="RANDOM_WALK",
    )
    made.node_tree.links.new(skin.outputs["BSDF"], n.add("OutputMaterial").inputs["Surface"])
    return made


def _vessels(n: Nodes, at, mm: float, width: float, w: float):
    """Socket, 0..1: winding lines, `width` of their distance `mm`, that taper and come and go."""
    inputs = {"Vector": n.moved(n.warped(at, 0.8 * mm, 0.55 * mm, w), w), "Scale": 1 / mm}
    cells = n.add("TexVoronoi", inputs, feature="DISTANCE_TO_EDGE")
    there = n.step(n.noise(at, 1.5 * mm, w + 5), 0.42, 0.62)
    return n.times(n.step(cells.outputs["Distance"], 0.25 * width, width, (1.0, 0.0)), there)
