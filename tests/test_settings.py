"""Recipes and overrides: strict, and helpful where they refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from oaml_core.cli import main
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.settings import (
    config_from_yaml,
    config_parser,
    config_to_yaml,
    differing_keys,
    digest,
    learnt_settings,
    load_config,
    parse_config,
)

RECIPES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_defaults_are_the_specification_s() -> None:
    config = Config()
    assert (config.optim.epochs, config.data.batch_size, config.optim.lr) == (24, 256, 0.1)
    assert (config.optim.lr_milestones, config.optim.lr_gamma) == ((8, 12, 14), 0.1)
    assert (config.optim.momentum, config.optim.weight_decay, config.optim.accumulate_grad_batches) == (0.9, 5e-4, 1)
    assert (config.model.arch, config.model.head, config.model.m, config.model.h) == ("ir_50", "adaface", 0.5, 0.0)
    assert (config.model.s, config.model.t_alpha, config.model.k_nearest) == (64.0, 0.01, 32)
    assert (config.data.num_instances, config.data.num_workers, config.augment.mask_prob) == (4, 16, 0.5)
    loss = config.loss
    assert (loss.adaface_loss_weight, loss.qaconv_loss_weight, loss.visibility_loss_weight) == (0.1, 0.9, 0.1)
    assert (config.evaluate.adaface_weight, config.evaluate.qaconv_weight) == (0.5, 0.5)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_comes_back_from_yaml(recipe: Path) -> None:
    config = load_config(recipe)
    assert config_from_yaml(config_to_yaml(config)) == config


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_only_what_differs_from_the_defaults(recipe: Path) -> None:
    said = yaml.safe_load(recipe.read_text())
    keys = [
        f"{group}.{key}" if isinstance(values, dict) else group
        for group, values in said.items()
        for key in (values if isinstance(values, dict) else [None])
    ]
    assert sorted(keys) == sorted(differing_keys(load_config(recipe), Config()))
    assert said["name"] == recipe.stem


@pytest.mark.parametrize("name", ["ir18_casia", "ir50_casia", "ir50_ms1mv2", "ir101_ms1mv2", "ir101_webface4m"])
def test_the_published_recipes_have_the_published_numbers(name: str) -> None:
    config = load_config(RECIPES[0].with_name(f"{name}.yaml"))
    assert config.model.arch == "ir_" + name.split("_")[0].removeprefix("ir")
    assert (config.data.batch_size, config.optim.lr, config.optim.epochs) == (512, 0.1, 26)
    assert (config.optim.lr_milestones, config.model.m, config.model.h) == ((12, 20, 24), 0.4, 0.333)
    augment = config.augment
    published = augment.low_res_augmentation_prob, augment.crop_augmentation_prob, augment.photometric_augmentation_prob
    assert published == (0.2, 0.2, 0.2)


def test_an_option_overrides_the_recipe() -> None:
    config = load_config(RECIPES[0], ["--optim.lr", "0.05"])
    assert config.optim.lr == 0.05
    assert differing_keys(config, load_config(RECIPES[0])) in ([], ["optim.lr"])


@pytest.mark.parametrize(
    ("overrides", "hint"),
    [
        (["--optim.lrr", "1"], "'--optim.lr'"),
        (["--model.arch", "ir50"], "'ir_50'"),
        (["--augment.occluders", "[surgicl]"], "'surgical'"),
        (["--data.batch_size", "7"], "data.num_instances"),
        (["--optim.lr", "fast"], "optim.lr"),
        (["--augment.mask_prob", "1.5"], "augment.mask_prob"),
    ],
)
def test_mistyped_options_are_answered_with_what_is_near(overrides: list[str], hint: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        load_config(None, overrides)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("optim: {lrr: 1}", "'optim.lr'"),
        ("optm: {lr: 1}", "'optim.lr'"),
        ("lr: 1", "'optim.lr'"),
        ("optim: 3", "indented"),
        ("- 1", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_mistyped_recipes_too(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        config_from_yaml(text)
    assert hint in str(caught.value)


def test_a_missing_recipe_is_named() -> None:
    with pytest.raises(ConfigError, match=r"configs/demmo\.yaml"):
        load_config("configs/demmo.yaml")


def test_the_digest_follows_every_leaf() -> None:
    assert digest(load_config(None, ["--seed", "1"])) != digest(Config())
    assert digest(load_config(None, ["--seed", "0"])) == digest(Config())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.batch_size", "32"], r"32 can be shared out among 1 to 8"),
        (["--data.batch_size", "32", "--data.sampler", "shuffle"], ""),
        (["--data.visibility_batch_size", "12"], r"visibility_batch_size 12 can be shared out among 1 to 12"),
    ],
)
def test_more_workers_than_a_batch_can_be_shared_among_are_refused(options: list[str], message: str) -> None:
    workers = ["--train.nproc", "8", "--train.max_nodes", "2"]
    if not message:
        assert load_config(None, [*workers, *options]).train.nproc == 8
        return
    with pytest.raises(ConfigError, match=message):
        load_config(None, [*workers, *options])


def test_a_share_out_of_its_range_is_refused() -> None:
    for key in ("data.visibility_clean_share", "augment.erasing_prob", "augment.rect_crop_prob"):
        with pytest.raises(ConfigError, match=rf"{key} is 1\.5"):
            load_config(None, [f"--{key}", "1.5"])
    with pytest.raises(ConfigError, match="visibility_batch_size is -1"):
        load_config(None, ["--data.visibility_batch_size", "-1"])


@pytest.mark.parametrize("value", ["[0.8, 0.2]", "[0, 1]", "[0.5, 1.5]"])
def test_a_range_upside_down_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"augment\.low_res_side is .*; give two shares"):
        load_config(None, [f"--augment.low_res_side={value}"])


def test_a_backbone_at_random_is_not_frozen() -> None:
    with pytest.raises(ConfigError, match=r"model\.freeze_backbone .* give model\.weights"):
        load_config(None, ["--model.freeze_backbone", "true"])


def test_where_and_how_a_run_trains_is_no_part_of_what_it_learns() -> None:
    plain = learnt_settings(Config())
    elsewhere = ["--data.source", "/mnt/faces", "--data.num_workers", "2", "--train.nproc", "4", "--store", "s3://b/p"]
    assert learnt_settings(load_config(None, elsewhere)) == plain
    for learnt in (["--train.start_from", "a.ckpt"], ["--optim.lr", "0.2"], ["--data.batch_size", "64"]):
        assert learnt_settings(load_config(None, learnt)) != plain


def test_the_specifications_name_of_the_visibility_weight_is_read_everywhere(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("loss:\n  occlusion_loss_weight: 0.7\n  qaconv_loss_weight: 0.2\n")
    found = [
        load_config(recipe),
        load_config(None, ["--config", recipe.read_text()]),
        load_config(None, ["--loss.occlusion_loss_weight", "0.7", "--loss.qaconv_loss_weight=0.2"]),
        load_config(None, ["--loss.occlusion_loss_weight=0.7", "--loss.qaconv_loss_weight", "0.2"]),
        config_from_yaml(recipe.read_text()),
    ]
    assert [(one.loss.visibility_loss_weight, one.loss.qaconv_loss_weight) for one in found] == [(0.7, 0.2)] * 5
    assert "occlusion_loss_weight" not in config_to_yaml(found[0])


def test_one_key_by_two_names_is_refused() -> None:
    with pytest.raises(ConfigError, match="visibility_loss_weight and as occlusion_loss_weight"):
        config_from_yaml("loss: {occlusion_loss_weight: 0.7, visibility_loss_weight: 0.1}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("optim: {lr: .nan}", "optim.lr"),
        ("optim: {gradient_clip_norm: .inf}", "optim.gradient_clip_norm"),
        ("loss: {qaconv_loss_weight: -.inf}", "loss.qaconv_loss_weight"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is .*must be a finite number"):
        config_from_yaml(text)


def _keys(section: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


KEYS = dict(_keys(Config()))


def _null(key: str) -> str:
    *sections, last = key.split(".")
    text = "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
    return f"{text}{'  ' * len(sections)}{last}: null\n"


@pytest.mark.parametrize("key", [key for key, value in KEYS.items() if value is not None])
def test_null_is_refused_by_name_where_a_value_must_be(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} is null; it must have a value"):
        config_from_yaml(_null(key))


@pytest.mark.parametrize("key", [key for key, value in KEYS.items() if value is None])
def test_null_is_taken_where_nothing_is_the_default(key: str) -> None:
    assert dict(_keys(config_from_yaml(_null(key))))[key] is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../b", "/a", "a/", "a//b", "x" * 201, "ü" * 101])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"name is .* it becomes a folder"):
        Config(name=name)


def test_a_name_may_have_a_folder_of_its_own() -> None:
    assert Config(name="team/faces.v2").name == "team/faces.v2"


@pytest.mark.parametrize(
    "options",
    [["--optim.lr", ".nan"], ["--optim.lr=1e999"], ["--optim.lr=-.inf"], ["--lr", ".nan"]],
)
def test_numbers_of_options_that_are_not_finite_are_refused(options: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"lr.*finite number"):
        load_config(None, options)


@pytest.mark.parametrize("words", [["link", "a", "--hours", ".nan"], ["gc", "--young_days", "1e999"]])
def test_numbers_of_a_command_s_own_options_are_checked_too(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(SystemExit, match="2"):
        main(["store", *words, "--store", str(tmp_path)])
    assert f"{words[-2]} is {float(words[-1].strip('.'))}; it must be a finite number" in capsys.readouterr().err


def test_spans_beyond_every_calendar_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_text("x")
    for words in (["link", "a", "--hours", "1e300"], ["gc", "--young_days", "1e300"]):
        with pytest.raises(SystemExit, match="2"):
            main(["store", *words, "--store", str(tmp_path)])
        assert words[-2] in capsys.readouterr().err


@pytest.mark.parametrize("character", ["\\0", "\\n", "\\e", "\\u2028"])
@pytest.mark.parametrize("key", ["data: {source", "work_dir", "store", "name"])
def test_text_with_control_characters_is_refused(key: str, character: str) -> None:
    with pytest.raises(ConfigError, match="control character") as refused:
        config_from_yaml(f'{key}: "a{character}b"' + "}" * key.count("{"))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "options", [["--" + "a" * 50_000, "1"], ["--optim." + "a" * 50_000, "1"], ["--data.sampler", "a" * 50_000]]
)
def test_what_is_too_long_is_not_repeated_in_whole(options: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"aaa… \(50,0\d\d characters\)") as refused:
        load_config(None, options)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", ["x" * 5000, "x\0y"])
def test_recipes_that_no_file_can_be_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match="There is no recipe x"):
        load_config(name)


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (["{lr}"], "--optim.lr"),
        (["--{lr}", "0.1"], "--optim.lr"),
        (["${lr}"], "--optim.lr"),
        (["--optim.{lr}", "0.1"], "--optim.lr"),
        (["lr=0.1"], "--optim.lr"),
        (["--epoch", "3"], "--optim.epochs"),
        (["--momentun", "1"], "--optim.momentum"),
        (["--batchsize", "3"], "--data.batch_size"),
        (["--data.sorce", "x"], "--data.source"),
    ],
)
def test_placeholders_and_mistyped_options_suggest_the_nearest_key(words: list[str], suggested: str) -> None:
    with pytest.raises(ConfigError, match=rf"Did you mean '{suggested}'\?"):
        load_config(None, words)


@pytest.mark.parametrize("option", ["--zzz_qqq", "--into"])
def test_what_resembles_no_key_suggests_none(option: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [option, "1"])
    assert "Did you mean" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--model", "model.onnx"], " Did you mean --onnx"),
        (["--model=best.ckpt"], "such as --model.arch"),
        (["--data", "faces"], " Did you mean --data.source"),
        (["--train"], "such as --train.nproc"),
    ],
)
def test_a_file_in_place_of_a_section_is_refused_unread(words: list[str], meant: str) -> None:
    """The parser of options would read any file there as YAML, and fail at its first byte."""
    parser = config_parser("oaml", "OAML")
    parser.add_argument("--onnx")
    with pytest.raises(ConfigError, match=r"is a section of the configuration") as refusal:
        parse_config(parser, words)
    assert meant in str(refusal.value)


def test_a_section_may_be_given_as_a_mapping() -> None:
    assert parse_config(config_parser("oaml", "OAML"), ["--model", "{arch: ir_18}"])[0].model.arch == "ir_18"
