"""A drawn data set of templates as IJB-C is packed, and models that describe it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from PIL import Image

from oaml_core.inference.records import FaceRecords
from oaml_core.photos.alignment import TEMPLATE

SUBJECTS, PROBES_EACH = 12, 3


class Describer:
    """Embeddings by an image's mean colours: no network, and every image another one."""

    image_size = 112

    def records(self, images):
        small = images.reshape(len(images), 4, 28, 4, 28, 3).mean((2, 4, 5)).reshape(len(images), 16)
        raw = (small - 127.5).astype(np.float32)
        norm = np.linalg.norm(raw, axis=1)
        return FaceRecords(raw / norm[:, None], np.ones((len(raw), 1, 1, 1)), np.zeros((len(raw), 0, 1, 1)), norm)


class Sleeper:
    """A model that is not asked: lists are judged first, as describing images takes hours."""

    image_size = 112

    def records(self, images):
        raise AssertionError("images are described before the lists were judged")


def write_ijb(folder):
    """Write a data set as InsightFace packs IJB-C: a template per subject in one of two galleries, and three probes."""
    (folder / "meta").mkdir()
    (folder / "loose_crop").mkdir()
    generator = np.random.default_rng(5)
    rows, points, subject_of = [], [], {}
    number = 0
    for subject in range(SUBJECTS):
        look = generator.integers(40, 215, (4, 4, 3))
        for kind in range(1 + PROBES_EACH):
            template = 10_000 - 17 * (subject * 10 + kind)  # neither ascending nor without gaps
            subject_of[template] = subject + 500
            for medium, frames in enumerate(generator.integers(1, 4, 2)):
                for _ in range(frames):
                    number += 1
                    noisy = (look + generator.normal(0, 90, look.shape)).clip(0, 255).astype(np.uint8)
                    picture = Image.fromarray(noisy).resize((112, 112), Image.Resampling.NEAREST)
                    canvas = Image.new("RGB", (140, 150))
                    canvas.paste(picture, (9, 17))
                    canvas.save(folder / "loose_crop" / f"{number}.png")
                    rows.append((f"{number}.png", template, medium + 70 * subject))
                    at = " ".join(f"{x:.6f} {y:.6f}" for x, y in TEMPLATE + np.array([9, 17]))
                    points.append(f"{number}.png {at} {generator.uniform(0.3, 1):.6f}")
    order = generator.permutation(len(rows))
    meta = folder / "meta"
    (meta / "ijbc_face_tid_mid.txt").write_text("".join("{} {} {}\n".format(*rows[i]) for i in order))
    (meta / "ijbc_name_5pts_score.txt").write_text("".join(f"{points[i]}\n" for i in order))
    templates = sorted(subject_of)
    pairs = [(a, b, int(subject_of[a] == subject_of[b])) for i, a in enumerate(templates) for b in templates[i + 1 :]]
    (meta / "ijbc_template_pair_label.txt").write_text("".join(f"{a} {b} {same}\n" for a, b, same in pairs))
    for name, chosen in (("G1", range(6)), ("G2", range(6, SUBJECTS))):
        lines = [f"{10_000 - 170 * s},{s + 500},x.jpg,{row}" for s in chosen for row in range(2)]
        (meta / f"ijbc_1N_gallery_{name}.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME,X\n" + "\n".join(lines))
    probes = [f"{10_000 - 17 * (s * 10 + k)},{s + 500},x.jpg" for s in range(SUBJECTS) for k in range(1, 4)]
    (meta / "ijbc_1N_probe_mixed.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + "\n".join(probes) + "\n")
    return SimpleNamespace(folder=folder, rows=[rows[i] for i in order], pairs=pairs, subject_of=subject_of)


def edited(file, change):
    """Write what `change` makes of the lines of a list."""
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


def lists_of(meta, ending):
    return meta / f"ijbc_{ending}"
