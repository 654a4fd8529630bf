"""Whether tonight's faces look like those of the model in production."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from stored_scores import write_evaluation

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config, DataConfig, NightlyConfig
from oaml_core.data.drift.comparison import compare_measures
from oaml_core.errors import DataError
from oaml_core.stages.drift_stage import measure_drift
from pipelines import local_pipeline

LARGEST = 0.25


def normal(shift: float, count: int, seed: int) -> dict[str, np.ndarray]:
    return {"m": np.random.default_rng(seed).normal(shift, 1.0, count)}


def test_two_samples_of_one_population_are_not_taken_for_shifted() -> None:
    for seed in range(100):
        for count in (150, 2000):
            (found,) = compare_measures(normal(0, count, seed), normal(0, count, seed + 1000))
            assert not found.is_shift(LARGEST)
            assert count == 150 or found.stability_index < 0.05


def test_a_large_shift_is_found_by_few_faces() -> None:
    found = [compare_measures(normal(0, 200, seed), normal(1.0, 200, seed + 1000))[0] for seed in range(40)]
    assert all(each.is_shift(LARGEST) for each in found)
    assert all(each.p_value < 1e-6 for each in found)


def test_the_interval_holds_the_index_of_the_population() -> None:
    # By integration over the deciles of a unit normal, for a shift of 0.4.
    from scipy.stats import norm

    edges = norm.ppf(np.linspace(0, 1, 11))
    p, q = np.diff(norm.cdf(edges)), np.diff(norm.cdf(edges - 0.4))
    true = float(((p - q) * np.log(p / q)).sum())
    found = [compare_measures(normal(0, 1000, seed), normal(0.4, 1000, seed + 1000))[0] for seed in range(100)]
    assert sum(each.low <= true <= each.high for each in found) >= 88
    assert np.mean([each.stability_index for each in found]) == pytest.approx(true, rel=0.05)


def test_measures_that_too_few_faces_have_are_left_out() -> None:
    few = {"m": np.concatenate([np.zeros(50), np.full(500, np.nan)])}
    assert compare_measures(few, normal(0, 500, 1)) == []


def faces(folder: Path, change: str, seed: int, identities: int = 30, each: int = 8) -> Path:
    """Smooth coloured patches, each identity with colours of its own, changed as a broken night would be."""
    generator = np.random.default_rng(seed)
    for identity in range(identities):
        base = generator.integers(60, 200, (7, 7, 3))
        for number in range(each):
            noise = generator.integers(-20, 20, (7, 7, 3))
            image = Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).resize((112, 112), Image.BICUBIC)
            path = folder / f"p{identity:03d}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            CHANGES[change](image).save(path)
    return folder


CHANGES = {
    "same": lambda image: image,
    "dark": lambda image: image.point(lambda value: value * 0.35),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(9)),
}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A store with the data set that the model in production was trained on."""
    folder = tmp_path_factory.mktemp("nights")
    config = Config(
        name="night",
        store=str(folder / "store"),
        work_dir=str(folder / "work"),
        data=DataConfig(source=str(faces(folder / "usual", "same", 0)), held_out_share=0.0),
        nightly=NightlyConfig(drift="stop", drift_images=200),
    )
    made = stages.prepare(config)
    metrics = write_evaluation(folder / "a", {"lfw": {"clean": 0.95}}, fingerprint=made.fingerprint)
    stages.promote(config, "a", metrics)
    return config


def tonight(config: Config, folder: Path, change: str, **nightly: object) -> Config:
    source = str(faces(folder / change, change, 1))
    return replace(
        config,
        data=DataConfig(source=source, held_out_share=0.0),
        nightly=replace(config.nightly, **nightly),
        work_dir=str(folder / "work"),
    )


def test_a_night_of_the_same_kind_goes_on(usual: Config, tmp_path: Path) -> None:
    config = tonight(usual, tmp_path, "same")
    assert stages.prepare_night(config).fingerprint == stages.prepare(config).fingerprint


@pytest.mark.parametrize(("change", "measure"), [("dark", "brightness"), ("grey", "colour"), ("blurred", "sharpness")])
def test_a_broken_night_stops_before_training(usual: Config, tmp_path: Path, change: str, measure: str) -> None:
    with pytest.raises(DataError, match=rf"Tonight's faces are unlike .*{measure}.*PSI"):
        stages.prepare_night(tonight(usual, tmp_path, change))


def test_a_night_may_be_let_pass_with_a_word(usual: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("oaml_core.stages.nightly_stage.notify", lambda text, _: told.append(text))
    config = tonight(usual, tmp_path, "dark", drift="warn")
    assert stages.prepare_night(config).fingerprint != stages.prepare(usual).fingerprint
    assert "brightness" in told[0]


def more(config: Config, folder: Path, come: int, gone: int = 0) -> Config:
    """A night whose source has other images than the usual one: some have come, the last ones have gone."""
    source = Path(shutil.copytree(str(config.data.source), folder / "more"))
    images = sorted(source.glob("*/*.png"))
    for image in images[len(images) - gone :]:
        image.unlink()
    (source / "aaa").mkdir()  # all labels move by one
    for number in range(come):
        grey = np.random.default_rng(number).integers(60, 200, (112, 112, 3), np.uint8)
        Image.fromarray(grey).save(source / "aaa" / f"{number}.png")
    data = replace(config.data, source=str(source))
    return replace(config, data=data, work_dir=str(folder / "work"))


@pytest.mark.parametrize(
    ("least", "come", "gone", "new"),
    [
        (3, 2, 0, "2 new images"),
        (3, 3, 0, None),
        (3, 2, 2, "2 new images"),
        (3, 3, 3, None),
        (3, 1, 2, None),  # someone's images have gone
        (0, 2, 0, None),
    ],
)
def test_a_night_without_enough_new_faces_uses_the_data_of_the_model_in_production(
    usual: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    least: int,
    come: int,
    gone: int,
    new: str | None,
) -> None:
    told: list[str] = []
    monkeypatch.setattr("oaml_core.stages.nightly_stage.notify", lambda text, _: told.append(text))
    config = more(usual, tmp_path, come, gone)
    config = replace(config, nightly=replace(config.nightly, least_new_images=least, drift="off"))
    found = stages.prepare_night(config)
    assert (found.fingerprint == stages.prepare(usual).fingerprint) is (new is not None)
    assert found.summary["images"] == (240 if new else 240 + come - gone)
    assert [said.partition(": nothing is trained: ")[2].partition(";")[0] for said in told] == ([new] if new else [])


def test_as_many_other_faces_as_before_are_new_faces(usual: Config, tmp_path: Path) -> None:
    config = tonight(usual, tmp_path, "same", least_new_images=100, drift="off")
    assert stages.prepare_night(config).fingerprint != stages.prepare(usual).fingerprint


@pytest.mark.parametrize("guard", ["warn", "stop"])
def test_a_night_of_too_few_faces_is_stopped_or_let_pass_as_it_is_meant(
    usual: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr("oaml_core.stages.nightly_stage.notify", lambda text, _: told.append(text))
    source = str(faces(tmp_path / "few", "same", 1, identities=12))
    data = replace(usual.data, source=source)
    config = replace(usual, data=data, work_dir=str(tmp_path / "work"), nightly=replace(usual.nightly, drift=guard))
    said = "has 96 faces, too few to tell drift: 100 are needed on both sides"
    if guard == "stop":
        with pytest.raises(DataError, match=said):
            stages.prepare_night(config)
    else:
        assert stages.prepare_night(config).summary["images"] == 96
        assert said in told[0]


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_a_measure_that_all_faces_of_the_reference_share_is_watched_on_both_sides(value: float) -> None:
    shared = {"m": np.zeros(500)}
    (same,) = compare_measures(shared, {"m": np.zeros(400)})
    assert (same.stability_index, same.is_shift(LARGEST)) == (0.0, False)
    (moved,) = compare_measures(shared, {"m": np.full(400, value)})
    assert moved.is_shift(LARGEST)
    (few,) = compare_measures(shared, {"m": np.r_[np.zeros(396), np.full(4, value)]})
    assert not few.is_shift(LARGEST)


@pytest.mark.parametrize("guard", [{"least_new_images": 1000}, {"drift": "warn"}])
def test_results_of_a_night_on_one_machine_are_shown_without_telling_people_again(
    usual: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: dict[str, object]
) -> None:
    told: list[str] = []
    monkeypatch.setattr("oaml_core.stages.nightly_stage.notify", lambda text, _: told.append(text))
    config = tonight(usual, tmp_path, "dark", **{"drift": "off", **guard})
    used = stages.prepare_night(config).dataset_uri
    assert len(told) == 1
    shown: list[str] = []

    def summary(_: Config, dataset_uri: str) -> None:
        shown.append(dataset_uri)
        raise LookupError("what follows needs a whole night")

    monkeypatch.setattr("oaml_core.stages.run_summary", summary)
    with pytest.raises(LookupError):
        local_pipeline._results(config)
    assert shown == [used]
    assert len(told) == 1


def drift_refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["drift", *words])
    assert left.value.code == 1
    return capsys.readouterr().err


def test_without_a_reference_the_command_says_so_before_it_prepares_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--store", str(tmp_path / "store"), "--work_dir", str(tmp_path / "work")]
    source = str(faces(tmp_path / "same", "same", 1, 2))
    said = drift_refused(capsys, *places, "--data.source", source)
    assert "No model is in production whose data set could be compared with; name one: --against." in said
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("option", ["--dataset", "--against"])
def test_a_mistyped_data_set_is_named_before_anything_is_prepared(
    usual: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    places = ["--store", usual.store, "--work_dir", str(tmp_path / "work")]
    source = str(tmp_path / "nowhere")
    said = drift_refused(capsys, *places, "--data.source", source, option, "s3://oaml/datasets/0123")
    assert "has no data set 0123: name one by the address that `oaml prepare` says." in said


def test_what_was_measured_is_kept_beside_the_data_set(usual: Config, tmp_path: Path) -> None:
    config = tonight(usual, tmp_path, "same")
    one, other = stages.prepare(config).fingerprint, stages.prepare(usual).fingerprint
    first = measure_drift(config, one, other)
    for part in Path(usual.store, "datasets", "files").iterdir():
        part.chmod(0o600)
    hidden = Path(usual.store, "datasets", "files").rename(Path(usual.store, "datasets", "hidden"))
    try:
        assert measure_drift(config, one, other).summary == first.summary
    finally:
        hidden.rename(Path(usual.store, "datasets", "files"))


def test_the_command_says_which_measures_moved(
    usual: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(faces(tmp_path / "dark", "dark", 1))
    words = ["drift", "--store", usual.store, "--work_dir", str(tmp_path), "--data.source", source]
    with pytest.raises(SystemExit) as left:
        main([*words, "--nightly.drift_images", "200"])
    assert left.value.code == 1
    shown = capsys.readouterr().out
    assert "| brightness |" in shown
    assert "shifted: " in shown
