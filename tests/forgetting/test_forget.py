"""A person who was planted everywhere is found, removed, and nowhere afterwards."""

from __future__ import annotations

import copy
import hashlib
import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgetting.conftest import KEY, NAME, OTHERS, Planted

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.data.prepared.prepared import fetch_prepared
from oaml_core.errors import ConfigError, DataError
from oaml_core.evaluation.scoring.identities import identities_of
from oaml_core.evaluation.scoring.stored import read_scores
from oaml_core.forgetting import checkpoints
from oaml_core.forgetting.forget import PLACES, forget
from oaml_core.forgetting.person import person_of
from oaml_core.forgetting.receipt import verify
from oaml_core.inference.gallery.database import Gallery
from oaml_core.stages import end_night, night_status
from oaml_core.stages.added_model import add_model
from oaml_core.stages.publish_run import checked_result
from oaml_core.stages.retraining import retraining_due
from oaml_core.store.local_file import sha256_of
from oaml_core.training.checkpoints import read_checkpoint


def state_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    return {str(path): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def promote(planted: Planted) -> str:
    metrics = {"sets": {"named": {}}, "headline": {"val_accuracy_clean_combined": 0.9}}
    metrics["context"] = {"dataset_fingerprint": planted.fingerprint}
    planted.store.write_bytes("runs/first/metrics.json", json.dumps(metrics).encode())
    uri = planted.store.url("runs/first/model.onnx")
    return stages.promote(planted.config, uri, planted.store.url("runs/first/metrics.json")).version


def test_a_dry_run_finds_the_person_in_every_place_and_changes_nothing(planted: Planted, tmp_path: Path) -> None:
    promote(planted)
    before = state_of(tmp_path)
    assert set(planted.needles) == set(planted.hits())
    found = forget(planted.case(NAME))
    # These have tests of their own.
    elsewhere = ["evaluations of files", "shared work", "unfinished uploads"]
    assert [each.place for each in found.searched if not each.found] == elsewhere
    assert found.receipt is None
    assert state_of(tmp_path) == before


def test_a_name_is_meant_in_both_forms_of_its_accents() -> None:
    """macOS decomposes accents, in folder names and in what is typed there; data sets hold them composed."""
    forms = [unicodedata.normalize(form, "Zo\u00eb Br\u00fcn") for form in ("NFC", "NFD")]
    for typed in forms:
        person = person_of([typed])
        for written in forms:
            assert person.is_meant(written)
            assert person.is_in_path(f"faces/{written}/1.jpg")
            assert written not in person.redact(f"images of {written} and others")


def test_nothing_of_a_forgotten_person_is_left_in_any_byte(planted: Planted, tmp_path: Path) -> None:
    version = promote(planted)
    done = forget(planted.case(NAME), apply=True, scan=True)
    assert planted.hits() == {}
    assert done.receipt is not None
    assert done.receipt["scan"]["hits"] == []
    assert retraining_due(planted.store)["version"] == version
    end_night(planted.config, failed=False)
    assert "must be trained anew" in night_status(planted.config, 1.0).lines[0]
    (key,) = planted.manifests()
    left = fetch_prepared(planted.store.url(key.removesuffix("/manifest.json")), tmp_path / "left")
    assert left.manifest.identities == sorted(OTHERS)
    assert (len(left.train), left.manifest.num_identities) == (12, 3)
    expected = {(tmp_path / "source" / "faces" / n / f"{k}.jpg").read_bytes() for n in OTHERS for k in range(4)}
    assert {left.train.encoded(row) for row in range(12)} == expected
    for row in range(12):
        name = left.manifest.identities[left.train.labels[row]]
        assert left.train.encoded(row) in {p.read_bytes() for p in (tmp_path / "source" / "faces" / name).iterdir()}
    assert left.visibility is not None
    assert len(left.visibility) == 3
    assert left.visibility.read(2)[0].shape == (3, 112, 112)
    assert {name: len(pairs) for name, pairs in left.verification.items()} == {"named": 5, "alias": 5}


def test_an_adapted_model_of_the_person_is_named_as_what_stays(planted: Planted, tmp_path: Path) -> None:
    model, card = tmp_path / "a.onnx", tmp_path / "CARD.md"
    card.write_text("card")
    added = {}
    for name, fingerprint in (("adapted", planted.fingerprint), ("published", "")):
        model.write_text(name)
        added[name] = add_model(planted.store, name, model, card, fingerprint=fingerprint)
    done = forget(planted.case(NAME), apply=True)
    said = {each.where: each.why for each in done.remains}
    assert "learnt from the person; run `oaml model adapt` again" in said[added["adapted"]]
    assert added["published"] not in said
    again = forget(planted.case(OTHERS[0]))
    assert added["adapted"] in {each.where for each in again.remains}


def test_what_belongs_to_others_stays(planted: Planted) -> None:
    path = planted.work / "runs" / "first" / "checkpoints" / "step-0000000009.ckpt"
    before = read_checkpoint(path)
    forget(planted.case(NAME), apply=True)
    after = read_checkpoint(path)
    assert all((before["module"][k] == v).all() for k, v in after["module"].items() if k.startswith("recogniser."))
    kernels = before["module"]["head.kernel"], after["module"]["head.kernel"]
    label = int(np.flatnonzero((kernels[1] == 0).all(0).numpy())[0])
    others = [row for row in range(4) if row != label]
    assert (kernels[0][:, others] == kernels[1][:, others]).all()
    assert not after["module"]["classes.seen"][label]
    with Gallery(planted.gallery) as gallery:
        assert [person.name for person in gallery.people()] == [OTHERS[0]]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_checkpoint_that_could_not_be_cleared_is_in_the_receipt(
    planted: Planted, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """One that training removed meanwhile holds nobody; one that is there still does."""
    path = planted.work / "runs" / "first" / "checkpoints" / "step-0000000009.ckpt"
    write = checkpoints.write_checkpoint

    def fails(state: dict[str, Any], target: Path) -> None:
        if state["position"]["step"] == 9:
            if not is_there:
                path.unlink(missing_ok=True)
            raise FileNotFoundError(2, "No such file or directory", str(target))
        write(state, target)

    monkeypatch.setattr(checkpoints, "write_checkpoint", fails)
    receipt = forget(planted.case(NAME), apply=True).receipt
    assert receipt is not None
    told = [each for each in receipt["remains"] if each["where"] == str(path)]
    assert len(told) == is_there
    assert all("could not be cleared" in each["why"] and "run this again" in each["why"] for each in told)


def test_runs_still_find_their_best_checkpoint_and_scores_fit_the_new_data_set(
    planted: Planted, tmp_path: Path
) -> None:
    forget(planted.case(NAME), apply=True)
    for place in ("store", "work"):
        run = tmp_path / place / "runs" / "first"
        best = sha256_of(run / "best.ckpt")
        assert best == sha256_of(run / "checkpoints" / "step-0000000005.ckpt")
        assert read_checkpoint(run / "checkpoints" / "step-0000000009.ckpt")["best"] == {"step": 5, "sha256": best}
        assert json.loads((run / "result.json").read_text())["best"]["sha256"] == best
    assert checked_result(planted.store, "runs/first")["best_val_acc"] == 0.9
    (key,) = planted.manifests()
    left = fetch_prepared(planted.store.url(key.removesuffix("/manifest.json")), tmp_path / "left")
    kept = read_scores(tmp_path / "store" / "runs" / "first" / "evaluation" / "scores.npz")["named"]
    assert kept.digest == identities_of(left.verification["named"]).digest
    assert (kept.issame == left.verification["named"].issame).all()
    assert len(kept.values["clean"]["combined"]) == 5


def test_the_same_source_does_not_bring_the_person_back(planted: Planted, tmp_path: Path) -> None:
    forget(planted.case(NAME), apply=True)
    again = stages.prepare(replace(planted.config, work_dir=str(tmp_path / "elsewhere")))
    assert again.fingerprint != planted.fingerprint
    made = fetch_prepared(again.dataset_uri, tmp_path / "made")
    assert made.manifest.identities == sorted(OTHERS)
    assert {name: len(pairs) for name, pairs in made.verification.items()} == {"named": 5, "alias": 5}
    assert made.manifest.visibility_pairs == 3
    kept = read_scores(tmp_path / "store" / "runs" / "first" / "evaluation" / "scores.npz")["named"]
    assert kept.digest == identities_of(made.verification["named"]).digest


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@pytest.mark.parametrize("writes", [1, 5, 13, 21])
def test_killed_after_any_write_it_ends_right_when_given_again(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    promote(planted)
    case = planted.case(NAME)
    left = [writes]

    def dying(method):  # type: ignore[no-untyped-def]
        def call(*arguments, **keys):  # type: ignore[no-untyped-def]
            if not str(arguments[-1]).startswith("leases/"):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
            return method(*arguments, **keys)

        return call

    with monkeypatch.context() as patched:
        kind = type(case.store)
        for name in ("put_file", "delete"):
            patched.setattr(kind, name, dying(getattr(kind, name)))
        with pytest.raises(Killed):
            forget(case, apply=True)
    done = forget(planted.case(NAME), apply=True)
    assert done.receipt is not None
    assert planted.hits() == {}
    assert len(planted.manifests()) == 1
    assert retraining_due(planted.store) is not None
    assert checked_result(planted.store, "runs/first")["best_val_acc"] == 0.9
    scores = read_scores(tmp_path / "store" / "runs" / "first" / "evaluation" / "scores.npz")["named"]
    assert len(scores.issame) == 5


def test_a_second_person_is_found_in_checkpoints_of_the_data_set_before(planted: Planted, tmp_path: Path) -> None:
    path = planted.work / "runs" / "first" / "checkpoints" / "step-0000000009.ckpt"
    first = fetch_prepared(planted.dataset_uri, tmp_path / "first").manifest.identities
    forget(planted.case(NAME), apply=True)
    forget(planted.case(OTHERS[2]), apply=True)
    kernel = read_checkpoint(path)["module"]["head.kernel"]
    gone = np.flatnonzero((kernel == 0).all(0).numpy()).tolist()
    assert gone == sorted(first.index(name) for name in (NAME, OTHERS[2]))
    scores = read_scores(tmp_path / "store" / "runs" / "first" / "evaluation" / "scores.npz")["named"]
    report = (tmp_path / "store" / "runs" / "first" / "evaluation" / "report.html").read_text()
    assert len(scores.issame) == report.count("<image") == 3 - (len(scores.issame) == 2)


def test_one_image_is_forgotten_by_its_digest(planted: Planted, tmp_path: Path) -> None:
    image = planted.needles["image 3"]
    forget(planted.case(hashlib.sha256(image).hexdigest()), apply=True)
    (key,) = planted.manifests()
    left = fetch_prepared(planted.store.url(key.removesuffix("/manifest.json")), tmp_path / "left")
    assert (len(left.train), NAME in left.manifest.identities) == (15, True)
    assert "image 3" not in planted.hits()
    assert {"image 0", "class row", "embedding"} <= set(planted.hits())
    assert "class map" not in planted.hits(), "the map of a class may be that of this very image"


def test_pictures_tell_the_person_where_no_name_does(planted: Planted, tmp_path: Path) -> None:
    pictures = tmp_path / "source" / "faces" / NAME
    forget(planted.case(images=(pictures,)), apply=True)
    assert not {"image 0", "image 1", "image 2", "image 3", "pixels", "picture", "class row"} & set(planted.hits())


def test_a_receipt_names_nobody_and_shows_every_change_to_it(planted: Planted) -> None:
    receipt = forget(planted.case(NAME), apply=True).receipt
    assert receipt is not None
    verify(receipt, KEY.encode(), [NAME])
    assert NAME not in json.dumps(receipt)
    with pytest.raises(DataError, match="somebody else"):
        verify(receipt, KEY.encode(), [OTHERS[0]])
    with pytest.raises(DataError, match="changed"):
        verify(receipt, b"another key entirely, and long")
    changed = copy.deepcopy(receipt)
    changed["removed"].pop()
    with pytest.raises(DataError, match="changed"):
        verify(changed, KEY.encode())
    (log,) = planted.store.list("forgotten/audit/")
    entry = planted.store.read_json(log.key)
    kept = planted.store.read_bytes(entry["receipt"])
    assert entry["receipt_sha256"] == hashlib.sha256(kept).hexdigest()
    assert entry["subject"] == receipt["subject"]
    assert NAME.encode() not in planted.store.read_bytes(log.key)


def test_without_a_key_nothing_is_changed(planted: Planted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = state_of(tmp_path)
    monkeypatch.setenv("OAML_RECEIPT_KEY", "short")
    with pytest.raises(ConfigError, match="OAML_RECEIPT_KEY"):
        forget(planted.case(NAME), apply=True)
    assert state_of(tmp_path) == before


def test_somebody_who_is_nowhere_is_not_found(planted: Planted) -> None:
    assert forget(planted.case("Nobody Known")).found == 0


def test_every_place_has_a_name_of_its_own() -> None:
    assert len({place.name for place in PLACES}) == len(PLACES)


def test_the_command_says_what_would_go_then_does_it_and_checks_its_receipt(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = str(tmp_path / "receipt.json")
    where = ["--store", planted.config.store, "--work_dir", planted.config.work_dir, "--receipt", receipt]

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["forget", *words])
        shown = capsys.readouterr()
        return f"{left.value.code} {shown.out} {shown.err}"

    assert "Nothing was changed" in run(NAME, *where, "--gallery", str(planted.gallery))
    assert planted.hits()
    assert run(NAME, *where, "--gallery", str(planted.gallery), "--apply", "--scan").startswith("0 ")
    assert planted.hits() == {}
    assert run(NAME, "--verify", receipt).startswith("0 ")
    Path(receipt).write_text(Path(receipt).read_text().replace("data sets", "data set"))
    assert "changed, or signed with another key" in run("--verify", receipt)
    assert "Say whom to forget" in run(*where)
