"""Names by which a configuration chooses implementations, open to packages of one's own.

A module registers its implementation under a name:

    @MATCHERS.register("sum")
    class SumMatcher(Matcher): ...

A package of one's own does the same, and names that module as an entry point of the group `oaml.plugins`:

    [project.entry-points."oaml.plugins"]
    sum = "my_package.sum_matcher"
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar

from oaml_core.errors import ConfigError, nearest

T = TypeVar("T")
Registered = TypeVar("Registered")
PLUGINS = "oaml.plugins"
"""Group of the entry points that bring implementations from other packages."""


class Registry(Generic[T]):
    """Implementations of one kind by name; the module of a name is imported when the name is asked for.

    Args:
        kind: singular noun for messages, such as `matcher`.
        builtin: module that registers each of OAML's own names.
        traits: OAML's own names by a class attribute that is true for them; `has` needs no import for those.
    """

    def __init__(
        self, kind: str, builtin: Mapping[str, str], traits: Mapping[str, Collection[str]] | None = None
    ) -> None:
        self.kind = kind
        self.own = tuple(builtin)
        """OAML's own names, without those of plugins."""
        self._builtin = dict(builtin)
        self._traits = dict(traits or {})
        self._found: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Return a decorator that registers a class or function as `name`.

        Raises:
            ConfigError: the name belongs to another implementation.

        Example:
            >>> import oaml_core as oaml
            >>> @oaml.register_metric("largest_impostor")
            ... def largest_impostor(scores, issame):
            ...     return scores[~issame].max()
        """

        def keep(implementation: Registered) -> Registered:
            known: Any = self._found.get(name)
            owner = self._builtin.get(name)
            module = getattr(implementation, "__module__", owner)
            if (known is not None and known is not implementation) or (owner is not None and module != owner):
                raise ConfigError(f"There is a {self.kind} {name!r} already. Register yours under another name.")
            self._found[name] = implementation  # type: ignore[assignment]
            return implementation

        return keep

    def names(self) -> list[str]:
        """Return all names: OAML's own first, then those of plugins."""
        load_plugins()
        return [*self._builtin, *sorted(self._found.keys() - self._builtin.keys())]

    def check(self, name: str, key: str) -> None:
        """Refuse an unknown name without importing its implementation.

        Args:
            name: value of the configuration.
            key: where it stands, such as `model.matcher`.

        Raises:
            ConfigError: there is no such name; the nearest is suggested.
        """
        if name in self._builtin or name in self._found:
            return
        names = self.names()
        if name not in names:
            raise ConfigError(
                f"{key} is {name!r}; there is no such {self.kind}.{nearest(name, names)} "
                f"Those there are: {', '.join(names)}."
            )

    def has(self, name: str, trait: str) -> bool:
        """Return True if the class attribute `trait` of the implementation called `name` is true.

        OAML's own implementations are not imported for it: their traits are declared with the registry.
        """
        if name in self._builtin:
            return name in self._traits.get(trait, ())
        return bool(getattr(self._found.get(name), trait, False))

    def get(self, name: str) -> T:
        """Return the implementation called `name`.

        Raises:
            ConfigError: there is no such name; the nearest is suggested.
        """
        self.check(name, self.kind)
        if name not in self._found:
            import_module(self._builtin[name])
        return self._found[name]


@cache
def load_plugins() -> None:
    """Import every entry point of the group `oaml.plugins`, once.

    Raises:
        ConfigError: one cannot be imported; the message names it and the package that brings it.
    """
    from importlib.metadata import entry_points  # needed by names that are not OAML's own alone; takes 20 ms

    for point in entry_points(group=PLUGINS):
        try:
            point.load()
        except Exception as error:
            owner = point.dist.name if point.dist else "?"
            raise ConfigError(
                f"The plugin {point.name!r} of the package {owner} cannot be loaded ({error!r}). Mend or uninstall it."
            ) from error


POOLS = "pools"
"""Trait of matchers that make an embedding of the visible places, which distillation can teach."""
_IR = ("ir_mini", "ir_18", "ir_34", "ir_50", "ir_101", "ir_152", "ir_200", "ir_se_50", "ir_se_101")
_IRESNET = tuple(f"iresnet_{depth}" for depth in (18, 34, 50, 100, 200))

BACKBONES: Registry[Callable[..., Any]] = Registry(
    "backbone",
    {
        **dict.fromkeys(_IR + _IRESNET, "oaml_core.models.backbone_ir"),
        "mobilefacenet": "oaml_core.models.mobilefacenet",
        "mobilenet": "oaml_core.models.mobilenet",
    },
)
"""`(*, image_size: int, width: int) -> Backbone`, by `model.arch`."""
MARGINS: Registry[Callable[..., Any]] = Registry(
    "margin head", dict.fromkeys(("adaface", "arcface", "cosface"), "oaml_core.models.margin")
)
"""`(config: ModelConfig) -> Margin`, by `model.head`."""
MATCHERS: Registry[Callable[..., Any]] = Registry(
    "matcher",
    {
        "qaconv": "oaml_core.models.qaconv",
        "transmatcher": "oaml_core.models.transmatcher",
        "pooled": "oaml_core.models.pooled",
        "pooled_alone": "oaml_core.models.pooled",
    },
    traits={POOLS: ("pooled", "pooled_alone")},
)
"""`(channels: int, map_size: (h, w), *, weighting, product) -> Matcher`, by `model.matcher`."""
SAMPLERS: Registry[Callable[..., Any]] = Registry(
    "sampler",
    dict.fromkeys(("pk", "pk_local", "random_identity", "graph", "shuffle"), "oaml_core.data.batches.samplers"),
)
"""`(labels, config: DataConfig, nearest, *, seed, rank, world_size) -> BatchSampler`, by `data.sampler`."""
STORES: Registry[Callable[..., Any]] = Registry("store", {"s3": "oaml_core.store.s3", "file": "oaml_core.store.folder"})
"""`(uri: str) -> Store`, by the scheme of the address."""
DETECTORS: Registry[Callable[..., Any]] = Registry("detector", {"yunet": "oaml_core.photos.yunet"})
"""`() -> Detector` of `oaml_core.photos.detection`, by `--detector`."""
_WORN = (
    "surgical", "cloth", "ffp2", "veil", "niqab", "sunglasses", "eyeglasses",
    "scarf", "hand", "phone", "microphone", "hat", "hair",
)  # fmt: skip

OCCLUDERS: Registry[Callable[[], Any]] = Registry(
    "drawn occluder", dict.fromkeys(_WORN, "oaml_core.data.augment.occluder_artwork")
)
"""`() -> Artwork`, by the names in `augment.occluders` and `evaluate.occluders`."""
METRICS: Registry[Callable[..., Any]] = Registry("metric", {})
"""`(scores [N], issame [N]) -> float`, of every set, condition and score; shown in the report and in `metrics.json`."""

register_backbone = BACKBONES.register
register_margin = MARGINS.register
register_matcher = MATCHERS.register
register_sampler = SAMPLERS.register
register_store = STORES.register
register_detector = DETECTORS.register
register_occluder = OCCLUDERS.register
register_metric = METRICS.register
