"""A store, caches, a gallery and reports with a person planted in all of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from oaml_core import stages
from oaml_core.config import Config, DataConfig
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.evaluation.report.pictures import jpeg_uri
from oaml_core.evaluation.scoring.identities import identities_of
from oaml_core.forgetting.person import person_of
from oaml_core.forgetting.place import Case
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.records import FaceRecords
from oaml_core.settings import config_to_yaml, load_config
from oaml_core.store import Store, open_store
from oaml_core.store.local_file import sha256_of
from oaml_core.training.checkpoints import write_checkpoint
from oaml_core.training.module import RecognitionModule
from oaml_core.training.world import World

NAME = "Wanda Planted"
OTHERS = ("Ada Abbot", "Bela Bock", "Zoe Zand")
KEY = "a key that only this test knows"
MARK = 7.0637193
"""Value in all class rows of the person."""


def face(number: int) -> bytes:
    """A JPEG of 112 pixels that differs from every other number's."""
    small = np.random.default_rng(number).uniform(40, 200, (6, 6, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(small).resize((112, 112), Image.Resampling.BICUBIC)).copy()
    image[..., 2] //= 2
    return encode_jpeg(image)


@dataclass
class Planted:
    """Where everything is, and what must not be found any more."""

    config: Config
    store: Store
    gallery: Path
    dataset_uri: str
    needles: dict[str, bytes]
    """Bytes of the person, by what they are."""

    @property
    def fingerprint(self) -> str:
        return self.dataset_uri.rpartition("/")[2]

    @property
    def work(self) -> Path:
        return Path(self.config.work_dir)

    def case(self, *words: str, images: tuple[Path, ...] = ()) -> Case:
        return Case(person_of(words, images), open_store(self.config.store), self.work, [self.gallery])

    def hits(self) -> dict[str, list[str]]:
        """Files of store, work_dir and gallery that hold a needle, by needle."""
        files = [path for path in self.work.parent.rglob("*") if path.is_file() and "source" not in path.parts]
        contents = {str(path): path.read_bytes() for path in files}
        found = {what: [n for n, c in contents.items() if needle in c] for what, needle in self.needles.items()}
        return {what: names for what, names in found.items() if names}

    def manifests(self) -> list[str]:
        return [i.key for i in self.store.list("datasets/") if i.key.endswith("manifest.json")]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("template"))


@pytest.fixture
def planted(tmp_path: Path, template: Planted, monkeypatch: pytest.MonkeyPatch) -> Planted:
    monkeypatch.setenv("OAML_RECEIPT_KEY", KEY)
    shutil.copytree(template.work.parent, tmp_path, dirs_exist_ok=True)
    config = config_of(tmp_path)
    store = open_store(config.store)
    uri = store.url(f"datasets/{template.fingerprint}")
    return Planted(config, store, tmp_path / "people.gallery", uri, template.needles)


def plant(folder: Path) -> Planted:
    """Put the person everywhere."""
    hers = write_source(folder / "source")
    config = config_of(folder)
    uri = stages.prepare(config).dataset_uri
    dataset = fetch_prepared(uri, folder / "work" / "datasets" / uri.rpartition("/")[2])
    store = open_store(config.store)
    needles = {f"image {number}": image for number, image in enumerate(hers)} | {"name": NAME.encode()}
    needles["pixels"] = dataset.verification["named"].images[0].tobytes()
    needles["class row"] = np.full(1, MARK, np.float32).tobytes()
    needles["class map"] = np.full(8, MARK, np.float16).tobytes()
    needles["embedding"] = np.full(8, 0.3125, np.float32).tobytes()
    for run in (folder / "store" / "runs" / "first", folder / "work" / "runs" / "first"):
        write_run(run / "checkpoints", config, dataset)
    for name in [path for path in (folder / "store" / "runs").rglob("*") if path.is_file()]:
        key = name.relative_to(folder / "store").as_posix()
        content = name.read_bytes()
        name.unlink()
        store.write_bytes(key, content)
    needles["picture"] = write_report(folder / "work" / "runs" / "first", dataset)
    store.put_tree(folder / "work" / "runs" / "first" / "evaluation", "runs/first/evaluation", last="metrics.json")
    (folder / "work" / "runs" / "first" / "samples.png").write_bytes(b"sheet " + hers[0])
    gallery = folder / "people.gallery"
    write_gallery(gallery, hers)
    return Planted(config, store, gallery, uri, needles)


def config_of(folder: Path) -> Config:
    source = folder / "source"
    data = DataConfig(
        source=str(source / "faces"),
        verification_source=str(source / "pairs"),
        visibility_source=str(source / "seen"),
        held_out_share=0.0,
        num_instances=2,
        batch_size=4,
    )
    return replace(load_config("smoke", []), store=str(folder / "store"), work_dir=str(folder / "work"), data=data)


def write_source(source: Path) -> list[bytes]:
    """Faces in folders, two lists of pairs, and faces with masks; return the person's images."""
    people = {name: [face(100 * n + k) for k in range(4)] for n, name in enumerate((*OTHERS, NAME))}
    for name, images in people.items():
        for number, image in enumerate(images):
            write(source / "faces" / name / f"{number}.jpg", image)
    # A list that names people, and one that does not; it shows her beside a picture that training does not have.
    unseen = face(999)
    write_pairs(source / "pairs", "named", {name: images[:2] for name, images in people.items()})
    aliases = {f"p{n}": images[2:4] for n, images in enumerate(people.values())}
    aliases["p3"] = [people[NAME][2], unseen]
    write_pairs(source / "pairs", "alias", aliases)
    mask = encode_png(np.full((112, 112), 255, np.uint8))
    for n, name in enumerate(people):
        write(source / "seen" / "kept_faces" / f"f{n}.jpg", people[name][0])
        write(source / "seen" / "masks" / f"f{n}_mask.png", mask)
    return people[NAME]


def write_pairs(folder: Path, name: str, people: dict[str, list[bytes]]) -> None:
    """One genuine pair for each person, the last first, and an impostor pair with the next."""
    rows, names = [], list(people)[::-1]
    for person, images in people.items():
        for number, image in enumerate(images):
            write(folder / name / person / f"{number}.jpg", image)
    for n, person in enumerate(names):
        rows.append((f"{name}/{person}/0.jpg", f"{name}/{person}/1.jpg", 1))
        rows.append((f"{name}/{person}/1.jpg", f"{name}/{names[(n + 1) % len(names)]}/0.jpg", 0))
    with (folder / f"{name}_pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "same"), *rows])


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def encode_png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def label_of(dataset: PreparedDataset) -> int:
    return dataset.manifest.identities.index(NAME)


def write_run(folder: Path, config: Config, dataset: PreparedDataset) -> None:
    """Checkpoints of a run as training leaves them: the best, a later one that names it, and the result."""
    config = replace(config, loss=replace(config.loss, softmax_triplet_loss_weight=0.1))
    torch.manual_seed(0)
    module = RecognitionModule(config, dataset.train.num_identities, World(0, 1, 0, 1))
    label = label_of(dataset)
    with torch.no_grad():
        module.head.kernel[:, label] = MARK
        module.classes.maps[label] = MARK
        module.classes.seen[label] = True
    momentum = module.head.kernel.detach().clone()
    state = {
        "module": module.state_dict(),
        "optimiser": {"state": {0: {"momentum_buffer": momentum}}, "param_groups": []},
        "average": {"mean": {"head.kernel": momentum.clone()}, "used": {"head.kernel": momentum.clone()}},
        "num_classes": dataset.train.num_identities,
        "fingerprint": dataset.manifest.fingerprint,
        "config": config_to_yaml(config),
    }
    best = folder / "step-0000000005.ckpt"
    write_checkpoint(state | {"position": {"step": 5}, "best": {"step": 5, "sha256": ""}}, best)
    named = {"step": 5, "sha256": sha256_of(best)}
    write_checkpoint(state | {"position": {"step": 9}, "best": named}, folder / "step-0000000009.ckpt")
    (folder / "best.ckpt").write_bytes(best.read_bytes())
    (folder.parent / "best.ckpt").write_bytes(best.read_bytes())
    (folder.parent / "result.json").write_text(json.dumps({"best_val_acc": 0.9, "best": named}))


def write_report(run: Path, dataset: PreparedDataset) -> bytes:
    """Report, scores and metrics of an evaluation; return the person's picture in it."""
    folder = run / "evaluation"
    folder.mkdir(parents=True)
    pairs = dataset.verification["named"]
    figures = [
        f'<figure class="pair"><figcaption><small>named · clean · pair {pair}</small></figcaption>'
        f'<svg><image href="{jpeg_uri(np.asarray(pairs.images[2 * pair]))}"/></svg></figure>'
        for pair in range(len(pairs))
    ]
    (folder / "report.html").write_text(f"<html>{''.join(figures)}</html>")
    found = identities_of(pairs)
    np.savez_compressed(
        folder / "scores.npz",
        **{
            "named/issame": pairs.issame,
            "named/identities": np.stack([found.first, found.second]).astype(np.int32),
            "named/digest": np.array(found.digest),
            "named/clean/combined": np.arange(len(pairs), dtype=np.float32),
        },
    )
    context = {"dataset_fingerprint": dataset.manifest.fingerprint}
    (folder / "metrics.json").write_text(json.dumps({"sets": {"named": {}}, "context": context}))
    return jpeg_uri(np.asarray(pairs.images[0])).encode()


def write_gallery(path: Path, hers: list[bytes]) -> None:
    """The person by name, once more under another name by her photograph, and somebody else."""

    def records(value: float) -> FaceRecords:
        return FaceRecords(np.full((1, 8), value), np.ones((1, 1, 2, 2)), np.full((1, 4, 2, 2), value))

    with Gallery(path, "model-1") as gallery:
        digest = hashlib.sha256(hers[0]).hexdigest()
        gallery.add(NAME, records(0.3125), source=f"photos/{NAME}/0.jpg", digest="0" * 64, image=hers[0])
        gallery.add("a nickname", records(0.3125), source="cam/17.jpg", digest=digest, image=hers[0])
        gallery.add(OTHERS[0], records(0.5), source="cam/18.jpg", digest="1" * 64)
