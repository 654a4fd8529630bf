"""A step that is not finite leaves no trace."""

from __future__ import annotations

import torch
from lightning.fabric import Fabric

from oaml_core.config import Config, DataConfig, LossConfig, ModelConfig, OptimConfig
from oaml_core.data.batches.training_faces import TrainingBatch
from oaml_core.losses.finite import Skipped
from oaml_core.training.module import RecognitionModule
from oaml_core.training.optimisation import build_optimiser
from oaml_core.training.resume import Position
from oaml_core.training.step import Stepper
from oaml_core.training.world import World

CONFIG = Config(
    data=DataConfig(batch_size=4, num_instances=2),
    model=ModelConfig(arch="ir_mini", width=4, sample_rate=0.5),
    loss=LossConfig(max_skipped_steps=1),
    optim=OptimConfig(accumulate_grad_batches=2, lr=0.01, gradient_clip_norm=1.0),
)


def test_weights_and_statistics_are_what_they_were_before_and_training_goes_on() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    module = RecognitionModule(CONFIG, 6, World(0, 1, 0, 1))
    model, optimiser = fabric.setup(module, build_optimiser(CONFIG, module))
    model.mark_forward_method("training_step")
    stepper = Stepper(CONFIG, fabric, module, model, optimiser, World(0, 1, 0, 1), batches_per_epoch=4)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 112, 112), generator=generator, dtype=torch.uint8)
    batch = TrainingBatch(images, torch.ones(4, 1, 7, 7), torch.tensor([0, 0, 1, 1]), torch.arange(4))
    first = next(parameter for parameter in module.recogniser.backbone.parameters())

    def changed(before: dict[str, torch.Tensor]) -> set[str]:
        return {
            n for n, value in module.state_dict().items() if value.is_floating_point() and (value != before[n]).any()
        }

    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert stepper.take(batch, Position(batch=0, step=0)).skipped is None
    assert changed(before), "batch normalisation follows the batch"
    # A fault within one of the two batches of a step: activations are infinite, and so are their statistics.
    kept = first.detach().clone()
    first.data.fill_(float("inf"))
    taken = stepper.take(batch, Position(batch=1, step=1))
    first.data.copy_(kept)
    assert taken.skipped == Skipped("adaface", 1)
    assert not changed(before)
    stepper.take(batch, Position(batch=2, step=2))
    taken = stepper.take(batch, Position(batch=3, step=3))
    assert taken.skipped is None
    assert taken.norm is not None
    assert taken.norm.isfinite()
    assert {"recogniser.backbone.input_layer.0.weight", "head.rows", "head.margin.batch_mean"} <= changed(before)
    assert all(value.isfinite().all() for value in module.state_dict().values())
