"""A model is written once and found everywhere: configuration, command line, documentation, tests."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from endorender.errors import UserError, hint, unknown

T = TypeVar("T", bound=type)
REGISTRIES: dict[str, Registry] = {}
PLUGINS = "endorender.plugins"  # group of entry points: modules of other packages that register models
_loaded: list[str] = []


class Model(BaseModel):
    """Parameters of a registered model: frozen, validated once, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def load_plugins() -> None:
    """Import what other packages offer as entry points of the group PLUGINS, once.

    Asked for when a name is not known, or all are listed: nobody waits for plugins that are not used. Raises UserError
    PLUGIN where one cannot be imported; what a module has registered that failed does not stay.
    """
    if _loaded:
        return
    _loaded.append(PLUGINS)  # first: what is imported looks up names, too
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=PLUGINS), key=lambda one: one.name):
        before = {kind: set(registry._classes) for kind, registry in REGISTRIES.items()}
        try:
            entry.load()
        except BaseException as error:
            _loaded.clear()
            for kind, registry in REGISTRIES.items():
                registry._forget(set(registry._classes) - before.get(kind, set()))
            if not isinstance(error, (Exception, SystemExit)):  # Ctrl-C
                raise
            package = entry.dist.name if entry.dist else entry.value
            raise UserError(
                f"the plugin {entry.name} of the package {package} cannot be loaded ({type(error).__name__}: {error}): "
                "mend it, or uninstall that package",
                "PLUGIN",
            ) from error


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, whose models register themselves: a new file there is found by itself."""
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")


class Registry:
    """Maps the name that users write to the class behind it.

    kind: what the classes are ("phase", "light", ...), as in `endorender list KIND`. Other packages' classes are found
    by `load_plugins`.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._classes: dict[str, type] = {}
        self._cases: dict[str, list[dict[str, Any]]] = {}
        REGISTRIES[kind] = self

    def register(self, name: str, cases: list[dict[str, Any]] | None = None) -> Callable[[T], T]:
        """Class decorator. cases: parameter sets under which the tests try the model."""

        def add(cls: T) -> T:
            if name in self._classes:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            self._classes[name] = cls
            self._cases[name] = cases or [{}]
            return cls

        return add

    def _forget(self, names: Collection[str]) -> None:
        """Those of these names whose module was not imported to its end, and begins anew when it is asked for again."""
        for name in names:
            if self._classes[name].__module__ not in sys.modules:
                del self._classes[name], self._cases[name]

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(sorted(self._classes))

    def __contains__(self, name: str) -> bool:
        if name not in self._classes:
            load_plugins()
        return name in self._classes

    def __getitem__(self, name: str) -> type:
        if name not in self:
            raise UserError(unknown(self.kind, name, self), "UNKNOWN_NAME")
        return self._classes[name]

    def name_of(self, cls: type) -> str:
        """The name under which a class was registered."""
        return next(name for name, c in self._classes.items() if c is cls)

    def holds(self, model: Any) -> bool:
        """Whether this is an instance of a registered class."""
        return type(model) in self._classes.values()

    def cases(self) -> list[tuple[str, dict[str, Any]]]:
        """Every (name, parameters) that the tests of this kind run over."""
        return [(name, case) for name in self for case in self._cases[name]]

    def build(self, spec: Any) -> Any:
        """Instance from `"name"`, `{"type": name, **parameters}` or an instance (returned as it is)."""
        if self.holds(spec):
            return spec
        if isinstance(spec, str):
            spec = {"type": spec}
        if not isinstance(spec, Mapping) or "type" not in spec:
            raise UserError(
                f"a {self.kind} is a name or a mapping with the key 'type', got {reprlib.repr(spec)}", "INVALID_VALUE"
            )
        name = spec["type"]
        if not isinstance(name, str):
            raise UserError(f"the type of a {self.kind} is a word; there are: {', '.join(self)}", "INVALID_VALUE")
        return validated(self[name], {k: v for k, v in spec.items() if k != "type"}, f"{self.kind} {name}")

    def dump(self, model: Any) -> dict[str, Any]:
        """The mapping from which `build` makes an equal instance."""
        return {"type": self.name_of(type(model)), **model.model_dump(mode="json")}

    def field(self) -> Any:
        """Annotation for a configuration field that holds one model of this kind."""
        return Annotated[Any, BeforeValidator(self.build), PlainSerializer(self.dump)]


def validated(cls: type, values: Mapping[str, Any], what: str, private: Collection[str] = ()) -> Any:
    """`cls(**values)` with pydantic's complaint turned into one line that names the key.

    private: keys of which what was given is not repeated, since it may be patient data.
    """
    if any(not isinstance(key, str) for key in values):
        raise UserError(f"{what}: keys are words; valid keys: {', '.join(_keys(cls, ()))}", "INVALID_VALUE")
    try:
        return cls(**values)
    except ValidationError as error:
        for one in error.errors():  # no matter of the key at which it showed, nor of what was given
            said = one.get("ctx", {}).get("error")
            if isinstance(said, UserError) and said.code == "PLUGIN":
                raise said from None
        raise UserError(f"{what}: {one_line(error, cls, private)}", "INVALID_VALUE") from None


def one_line(error: ValidationError, cls: type | None = None, private: Collection[str] = ()) -> str:
    """`g: must be less than 1, got 1.5; colur: unknown key (did you mean 'colour'?); valid keys: colour, g`."""
    parts = []
    for e in error.errors():
        hidden = bool(e["loc"]) and e["loc"][0] in private
        # An unknown key is the user's own word.
        where = ".".join(str(p) for p in (e["loc"][:-1] if hidden and e["type"] == "extra_forbidden" else e["loc"]))
        if e["type"] == "extra_forbidden":
            known = _keys(cls, e["loc"][:-1])
            valid = f"; valid keys: {', '.join(known)}" if known else ""
            near = "" if hidden else hint(e["loc"][-1], known)
            parts.append(f"{where}: unknown key{near}{valid}")
        elif e["type"] == "missing":
            parts.append(f"{where}: missing")
        else:
            text = e["msg"].removeprefix("Value error, ")
            said = hidden or not where or isinstance(e.get("ctx", {}).get("error"), UserError) or ", got " in text
            parts.append((f"{where}: " if where else "") + text[:1].lower() + text[1:] + _got(e["input"], said))
    return "; ".join(parts)


def _got(value: Any, said: bool) -> str:
    """`, got 1.5`, unless the complaint says it, or it is too long to be of help."""
    text = "" if said else repr(value)
    return f", got {text}" if 0 < len(text) <= 120 else ""


def _keys(cls: Any, path: tuple[int | str, ...]) -> list[str]:
    """Keys of the model that lies at `path` within a model, as far as annotations tell."""
    models = _models(cls)
    for part in path:
        fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [found for annotation in fields for found in _models(annotation)] or (models if not fields else [])
    return sorted({name for m in models for name, field in m.model_fields.items() if not field.exclude})


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Models that an annotation names, in whatever container."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
