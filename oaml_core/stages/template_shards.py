"""One model on the templates of IJB-B or IJB-C, its images described by several processes if that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from oaml_core.config import Config
from oaml_core.settings import digest
from oaml_core.store import open_store
from oaml_core.store.local_file import sha256_of

if TYPE_CHECKING:
    from oaml_core.evaluation.scoring.shard_parts import ShardParts
    from oaml_core.evaluation.templates.benchmark import TemplateFigures
    from oaml_core.evaluation.templates.lists import TemplateLists
    from oaml_core.inference.comparer import Comparer


@dataclass(frozen=True)
class TemplateModel:
    """A model that is measured on templates.

    Args:
        model: describes faces.
        file: it was read from.
        words: how it is read, as far as the file leaves that open.
    """

    model: Comparer
    file: Path
    words: str = ""

    def parts(self, config: Config, lists: TemplateLists, shards: int) -> ShardParts:
        """Return what so many shards found, as the store of `config` has it.

        Raises:
            ConfigError: the number is below 1.
        """
        from oaml_core.evaluation.scoring.shard import EvaluationShard
        from oaml_core.evaluation.scoring.shard_parts import ShardParts
        from oaml_core.evaluation.templates.shards import digest_of

        EvaluationShard(0, shards)
        inputs = {"model": f"{sha256_of(self.file)}@{self.words}", "lists": digest_of(lists)}
        versions = {f"{name}'s version": version(name) for name in ("oaml", "numpy", "onnxruntime", "torch")}
        work = f"templates-{digest(inputs)}"
        return ShardParts(open_store(config.store), work, shards, inputs | versions, "oaml benchmark templates")

    def describe(self, lists: TemplateLists, parts: ShardParts, shard: str) -> bool:
        """Describe the images of the shard that `0/7` names, unless that was done; return True if it was done now."""
        from oaml_core.evaluation.scoring.shard import EvaluationShard
        from oaml_core.evaluation.templates.shards import describe_shard

        return describe_shard(self.model, lists, parts, EvaluationShard.parse(shard))

    def figures(
        self, lists: TemplateLists, parts: ShardParts | None = None, *, only_merge: bool = False
    ) -> TemplateFigures:
        """Return the figures of the model.

        Args:
            lists: of the data set.
            parts: what shards found; those that are missing are made here. None: nothing is shared out.
            only_merge: make no shard here.

        Raises:
            DataError: a list is damaged. ModelInputError: an image is. EvaluationError: the lists have one kind of
                pairs, or a shard is missing or of something else.
        """
        from oaml_core.evaluation.scoring.shard import EvaluationShard
        from oaml_core.evaluation.templates.benchmark import run_templates
        from oaml_core.evaluation.templates.shards import describe_shard, described_by_shards

        if parts is None:
            return run_templates(self.model, lists)
        for shard in () if only_merge else EvaluationShard.all(parts.of):
            describe_shard(self.model, lists, parts, shard)
        return run_templates(self.model, lists, described_by_shards(lists, parts))
