"""JSON Schema of configuration files, with what the registries hold: for completion in editors and other programs.

A schema allows what can be written; whether it can be rendered (a constraint between keys, a file that is there) is
said when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from endorender.registry import Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]
DISTRIBUTION = {"$ref": "#/$defs/distribution"}


def of_model(cls: Any, leave_out: Iterable[str] = ()) -> Schema:
    """Of a pydantic model, without references; `title`s, which repeat the keys, are left out. leave_out: keys."""
    found = cls.model_json_schema()
    flat: Schema = _inlined(found, found.get("$defs", {}))
    fields = cls.model_fields
    for key in [k for k in flat.get("properties", {}) if k in leave_out or (k in fields and fields[k].exclude)]:
        del flat["properties"][key]
    flat["required"] = [key for key in flat.get("required", ()) if key in flat["properties"]]
    return flat


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    if schema.get("type") == "array" and schema.get("maxItems") == 3 and "prefixItems" in schema:
        # Colours: one number stands for three.
        about = {key: schema[key] for key in ("description", "default") if key in schema}
        three = {key: value for key, value in schema.items() if key not in (*about, "title")}
        return {**about, "anyOf": [three, schema["prefixItems"][0]]}
    return {
        key: {name: _inlined(one, definitions) for name, one in value.items()}
        if key == "properties"
        else _inlined(value, definitions)
        for key, value in schema.items()
        if key not in ("$defs", "title")
    }


def of_registry(
    registry: Registry,
    leave_out: Iterable[str] = (),
    drawn: bool = False,
    words: Iterable[str] = (),
    short: bool = True,
) -> Schema:
    """One of a registry's models: its name, "NAME:key=value,key=value" (short), or a mapping with `type`. drawn: values
    may be distributions. words: that stand for others."""
    names = "|".join([*registry, *words])
    found: list[Schema] = [{"type": "string", "pattern": f"^({names})(:.*)?$" if short else f"^({names})$"}]
    for name in registry:
        model = of_model(registry[name], leave_out)
        if drawn:
            model = varying(model)
        model["properties"] = {"type": {"const": name}, **model["properties"]}
        model["required"] = ["type", *(() if drawn else model["required"])]
        found.append(model)
    return {"anyOf": found}


def parameters(registry: Registry) -> Schema:
    """Parameters of any of a registry's models, without saying which."""
    models = [of_model(registry[name]) for name in registry]
    every = {key: value for model in models for key, value in model["properties"].items()}
    return {"type": "object", "properties": {"type": {"enum": list(registry)}, **every}, "additionalProperties": False}


def varying(schema: Schema) -> Schema:
    """An object whose values, numbers within lists among them, may each be a distribution."""
    keys = {key: _drawn(value) for key, value in schema["properties"].items()}
    return {**schema, "properties": keys, "required": []}


def _drawn(value: Any) -> Any:
    inner = dict(value) if isinstance(value, dict) else value
    for key in ("items", "additionalProperties"):
        if isinstance(inner.get(key), dict):
            inner[key] = _drawn(inner[key])
    for key in ("prefixItems", "anyOf"):
        if key in inner:
            inner[key] = [_drawn(one) for one in inner[key]]
    about = {"description": inner["description"]} if "description" in inner else {}
    return {**about, "anyOf": [inner, DISTRIBUTION]}


def distribution() -> Schema:
    """`{uniform: [0, 1]}`: one name, and its parameters."""
    from endorender.dataset.distributions import distributions

    return {
        "type": "object",
        "properties": {name: {} for name in distributions},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def either(*schemas: Schema) -> Schema:
    """One of these."""
    return {"anyOf": list(schemas)}


def render() -> Schema:
    """Of `endorender render --config FILE`."""
    from endorender.dataset.config import RenderConfig
    from endorender.dataset.developing import RESPONSES
    from endorender.dataset.patients import Patient
    from endorender.dataset.variation import PRESETS, Variation
    from endorender.dataset.viewpoint import Trajectory
    from endorender.scene import LOOKS, Response, cameras, lights, tissues
    from endorender.scene.mucosa import mucosas
    from endorender.scene.scope import scopes
    from endorender.scene.surface import coats

    text, none = {"type": "string"}, {"type": "null"}
    many = {"type": "array", "items": text}
    texts = either(text, many)
    response = varying(of_model(Response))
    response["properties"]["type"] = {"enum": list(RESPONSES)}
    lens = of_registry(cameras, ("width", "height"), drawn=True)
    light, mucosa = parameters(lights), parameters(mucosas)
    patient = of_model(Patient)
    patient["properties"] |= {"ct": text, "region": {}, "poses": text}
    patient["required"] = ["ct"]
    condition = of_model(Variation)
    condition["properties"] |= {
        "look": either({"enum": [*sorted(LOOKS), None]}, DISTRIBUTION),
        "tissue": varying(parameters(tissues)),
        "light": varying(light),
        "mucosa": varying(mucosa),
        "response": response,
        "constraints": many,
    }
    found = of_model(RenderConfig)
    found["properties"] |= {
        "ct": either(text, patient, {"type": "array", "items": either(text, patient), "minItems": 1}),
        "preset": {"enum": sorted(PRESETS)},
        "size": {"type": "string", "pattern": "^[0-9]+[xX×][0-9]+$"},
        "camera": either(lens, DISTRIBUTION),
        "light": of_registry(lights),
        "coat": of_registry(coats),
        "depth": texts,
        "response": either(text, response),
        "mucosa": either(of_registry(mucosas, words=("auto", "none")), none),
        "device": {"enum": ["auto", "cpu", "cuda", "vulkan", "metal"]},
        "region": either({"type": "integer"}, text, {"type": "array", "items": {"type": "integer"}}, none),
        "trajectory": varying(of_model(Trajectory)),
        "scope": either(of_registry(scopes, words=("auto", "none")), {"type": "number"}, none),
        "constraints": many,
        "variations": {"type": "array", "items": condition},
        "label": texts,
        "labels": texts,
        "poses": texts,
        "label_tissue": {"type": "object", "additionalProperties": of_registry(tissues)},
    }
    definitions = {"distribution": distribution()}
    return {"$schema": DIALECT, "$defs": definitions, "title": "endorender render", **found, "required": []}
