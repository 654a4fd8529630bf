"""Judges what the checks have seen: one finding a question, each with what to do about it."""

from __future__ import annotations

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.batches.samplers import build_batch_sampler
from oaml_core.data.check.identities import alike_findings, images_finding, labels_finding, twins_finding
from oaml_core.data.check.report import Finding, Verdict
from oaml_core.data.check.seen import Seen
from oaml_core.data.sources.repeated_pairs import same_contents
from oaml_core.data.sources.training_source import COPY_AGAIN, IS_THERE, NO_BYTES, NOT_THERE
from oaml_core.data.sources.verification import BENCHMARKS, FEWEST_OF_A_KIND, FOLDS, folds_of
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.decoding.decode import NOT_SQUARE
from oaml_core.decoding.header import OTHER_FORMAT
from oaml_core.errors import ConfigError, DataError

BLUER = 2.0
"""Mean blue above mean red by so much, of 255, means swapped channels: skin is redder than blue."""


def findings(seen: Seen) -> list[Finding]:
    """Return all lines of the report's table."""
    lines = [
        _readable(seen),
        *_faces(seen),
        _size(seen),
        _values(seen),
        _channel_order(seen),
        labels_finding(seen),
        *alike_findings(seen),
        images_finding(seen),
        _batches(seen),
        *_verification(seen),
        _duplicates(seen),
        twins_finding(seen),
        *_visibility(seen),
    ]
    lines += [Finding("source", note, "warning") for note in seen.inputs.training.notes]
    lines += [Finding("source", note, "warning") for note in seen.inputs.leftovers.warnings]
    return lines + [Finding("source", note) for note in seen.inputs.leftovers.counted]


def _readable(seen: Seen) -> Finding:
    broken, total = len(seen.set_aside), seen.images + len(seen.set_aside)
    held, held_broken = seen.held_out, len(seen.held_out_set_aside)
    result = f"{seen.images + held:,} of {total + held + held_broken:,} training images"
    if held or held_broken:
        result += f", {held:,} of them held out for verification"
    tolerated = seen.config.data.broken_images_tolerated
    oblong = sum(NOT_SQUARE in item.reason for item in seen.set_aside)
    if broken > tolerated * total and 2 * oblong > broken:
        remedy = (
            f"{amount(oblong, 'is', 'are')} not square, so no aligned faces: data.align true finds and aligns "
            "the faces of photographs, and so does `oaml align FOLDER OUT`"
        )
        return Finding("readable", result, "stop", remedy)
    if not seen.images:
        remedy = ", ".join(_mending(seen))
        return Finding("readable", result, "stop", "There is nothing to train on" + (f": {remedy}" if remedy else ""))
    if broken > tolerated * total:
        remedy = (
            f"{broken / total:.3%} cannot be used, {tolerated:.3%} may be: {', '.join(_mending(seen))}, or raise "
            "data.broken_images_tolerated"
        )
        return Finding("readable", result, "stop", remedy)
    set_aside = broken + held_broken > 0
    return Finding(
        "readable", result, "warning" if set_aside else "ok", "The others are set aside" if set_aside else ""
    )


def _mending(seen: Seen) -> list[str]:
    """Say what to do about the images that are set aside: entries of lists, images that are not there, broken ones."""
    source = seen.inputs.training
    entries = set(source.damaged)
    others = [item.reason for item in seen.set_aside if (item.name, item.reason) not in entries]
    absent = sum(NOT_THERE in reason for reason in others)
    remedies = [source.mend] if len(others) < len(seen.set_aside) else []
    if spelled := sum(IS_THERE in reason for reason in others):
        has = amount(spelled, "file has", "files have")
        remedies.append(f"write names as the files have them ({has} another ending, case, accents or folder)")
    if absent > spelled:
        is_listed = amount(absent - spelled, "image is", "images are")
        remedies.append(f"copy what is missing ({is_listed} listed and not there), or remove the lines")
    without = sum(reason.startswith(NO_BYTES) for reason in others)
    if without:
        remedies.append("write the tables again with the images in them (`datasets` has `embed_external_files`)")
    foreign = sum(OTHER_FORMAT in reason for reason in others)
    if foreign:
        remedies.append(f"save images of other formats as JPEG or PNG and remove what is no image ({foreign:,})")
    oblong = sum(NOT_SQUARE in reason for reason in others)
    if oblong:
        remedies.append(f"align photographs by `oaml align FOLDER OUT` or data.align true ({oblong:,} not square)")
    if absent + without + foreign + oblong < len(others):
        remedies.append(COPY_AGAIN)
    return list(dict.fromkeys(remedies))


def _faces(seen: Seen) -> list[Finding]:
    """Say how many photographs show a face, where faces were looked for."""
    if not seen.config.data.align:
        return []
    inputs, points = seen.inputs, seen.inputs.training.landmarks
    used = np.concatenate([inputs.selected, inputs.held_out])
    found = 0 if points is None else int(np.isfinite(points[used]).all((1, 2)).sum())
    without = len(inputs.rejected)
    result = f"found in {found:,} of {found + without:,} photographs"
    if not without:
        return [Finding("faces", result)]
    return [Finding("faces", result, "warning", "The others are set aside: listed as such in checks.json")]


def _size(seen: Seen) -> Finding:
    wanted = seen.config.data.image_size
    sizes = ", ".join(f"{count:,} of {side}×{side}" for side, count in seen.sides.most_common(3))
    if set(seen.sides) <= {wanted}:
        return Finding("dtype, shape", f"uint8, {sizes or 'none'}")
    return Finding("dtype, shape", f"uint8, {sizes}", "warning", f"They are resized to {wanted}×{wanted} when read")


def _values(seen: Seen) -> Finding:
    result = f"{seen.low} to {seen.high}" if seen.images else "none"
    if seen.blank:
        remedy = (
            f"{amount(len(seen.blank), 'image shows', 'images show')} nothing, the first is {seen.blank[0]}: remove it"
        )
        return Finding("value range", result, "warning", remedy)
    if seen.images and seen.high < 64:
        return Finding("value range", result, "warning", "All images are dark; were they scaled before encoding?")
    return Finding("value range", result)


def _channel_order(seen: Seen) -> Finding:
    red, green, blue = seen.total / max(1, seen.images * seen.config.data.image_size**2)
    result = f"mean R {red:.0f}, G {green:.0f}, B {blue:.0f} as data.channel_order {seen.config.data.channel_order}"
    if blue > red + BLUER:
        other = "rgb" if seen.config.data.channel_order == "bgr" else "bgr"
        remedy = f"Faces are redder than blue: set data.channel_order {other} unless these are not"
        return Finding("channel order", result, "warning", remedy)
    return Finding("channel order", result)


def _verification(seen: Seen) -> list[Finding]:
    lines = [_verification_set(name, pairs) for name, pairs in seen.good_sets.items()]
    lines += [Finding("verification", note) for pairs in seen.good_sets.values() for note in pairs.notes]
    lines += [Finding("verification", note, "warning") for pairs in seen.good_sets.values() for note in pairs.warnings]
    lines += [line for name, pairs in seen.good_sets.items() for line in _same_contents(seen, name, pairs)]
    lines += [Finding("verification", problem, "stop") for problem in seen.bad_sets]
    lines += [Finding("verification", note, "warning") for note in seen.inputs.notes]
    if seen.inputs.unproven is not None:
        remedy = f"{seen.inputs.unproven}; data.held_out_share 0 trains without any proof"
        return [*lines, Finding("verification", "no set", "stop", remedy)]
    if not lines:
        remedy = "Nothing will prove the model: put .bin files (lfw.bin, agedb_30.bin, …) or <name>_pairs.csv there"
        return [Finding("verification", "no set", "warning", remedy)]
    return [*lines, *_missing_benchmarks(seen)]


def _verification_set(name: str, pairs: VerificationSource) -> Finding:
    count, genuine = len(pairs), int(pairs.issame.sum())
    result = f"{name}: {amount(count, 'pair', 'pairs')}"
    for kind, number in (("genuine", genuine), ("impostor", count - genuine)):
        if number < FEWEST_OF_A_KIND:
            remedy = (
                f"{number} of them {'is' if number == 1 else 'are'} {kind}, and accuracy and error rates need "
                f"{FEWEST_OF_A_KIND} of each kind: add {kind} pairs to {name}, or remove it"
            )
            return Finding("verification", result, "stop", remedy)
    if count >= FOLDS:
        return Finding("verification", result)
    remedy = f"It is cut into {amount(folds_of(count), 'fold')}, not {FOLDS}, and measures little: add pairs to {name}"
    return Finding("verification", result, "warning", remedy)


def _same_contents(seen: Seen, name: str, pairs: VerificationSource) -> list[Finding]:
    digests = seen.shown.get(name, {})
    told = same_contents(name, [digests.get(number) for number in range(2 * len(pairs))], pairs.issame)
    remedy = "They count as the set has them: remove the copies, unless the set is a published one"
    return [Finding("verification", result, "warning", remedy) for result in told]


def _missing_benchmarks(seen: Seen) -> list[Finding]:
    """Name the benchmarks that are absent, where some of the five are there."""
    missing = [name for name in BENCHMARKS if name not in seen.good_sets]
    if not missing or len(missing) == len(BENCHMARKS):
        return []
    there = len(BENCHMARKS) - len(missing)
    remedy = f"Published tables report all five; means over the sets are not comparable without {', '.join(missing)}"
    return [Finding("benchmarks", f"{there} of {', '.join(BENCHMARKS)}", "warning", remedy)]


def _batches(seen: Seen) -> Finding:
    """Plan batches of the usable images as training does."""
    data, train = seen.config.data, seen.config.train
    counts = seen.counts[seen.counts >= data.min_images_per_identity]
    labels = np.repeat(np.arange(len(counts)), counts)
    people = int((counts > 0).sum())
    refusal: Verdict = "stop" if seen.before_training else "warning"
    if people < 2:
        remedy = "Telling people apart takes two: add another person"
        return Finding("batches", amount(people, "identity", "identities"), refusal, remedy)
    workers = (train.nproc or 1) * train.max_nodes
    try:
        sampler = build_batch_sampler(
            data,
            labels,
            seed=seen.config.seed,
            world_size=workers,
            nearest=lambda classes, count: np.zeros((len(classes), count), np.int64),
        )
    except (ConfigError, DataError) as error:
        return Finding("batches", amount(people, "identity", "identities"), refusal, str(error))
    if len(labels) < data.batch_size and data.sampler == "shuffle":
        remedy = f"A batch repeats images; data.batch_size {len(labels)} would not"
        return Finding("batches", f"{amount(data.batch_size, 'image')} of {len(labels):,}", "warning", remedy)
    return Finding("batches", f"{len(sampler):,} an epoch of data.batch_size {data.batch_size:,}")


def _duplicates(seen: Seen) -> Finding:
    if not seen.good_sets:
        return Finding("training = verification", "not compared: no verification set")
    same = sum(item.distance is None for item in seen.duplicates)
    if not seen.duplicates:
        return Finding("training = verification", "no image in both")
    alike = amount(len(seen.duplicates) - same, "image that looks", "images that look")
    result = f"{amount(same, 'equal file')}, {alike} the same"
    return Finding("training = verification", result, "warning", "Leave them out by data.subset, or results flatter")


def _visibility(seen: Seen) -> list[Finding]:
    source = seen.inputs.visibility
    if source is None:
        return []
    total = seen.visibility_pairs + len(seen.pairs_set_aside)
    lines = [_masks(seen, total)]
    for alone, one, more, missing in (
        (source.faces_alone, "face without a mask", "faces without a mask", "masks/{name}_mask.png"),
        (source.masks_alone, "mask without a face", "masks without a face", "kept_faces/{name}.jpg"),
    ):
        if alone:
            named = ", ".join(alone[:5]) + (" …" if len(alone) > 5 else "")
            lines.append(Finding("masks", f"{amount(len(alone), one, more)}: {named}", "warning", f"Add {missing}"))
    if seen.visibility_pairs:
        bins = " ".join(f"{count / seen.visibility_pairs:.0%}" for count in seen.coverage)
        empty = seen.coverage[0] > 0.5 * seen.visibility_pairs
        remedy = "Most masks show nothing visible: 255 must mean visible, 0 occluded" if empty else ""
        lines.append(Finding("mask coverage", f"visible 0 to 100 %: {bins}", "warning" if empty else "ok", remedy))
    return lines


def _masks(seen: Seen, total: int) -> Finding:
    result = f"{seen.visibility_pairs:,} of {total:,} pairs usable"
    if len(seen.pairs_set_aside) > seen.config.data.broken_images_tolerated * total:
        return Finding("masks", result, "stop", "Repair or remove the others, or raise data.broken_images_tolerated")
    if seen.grey_masks:
        grey = amount(seen.grey_masks, "mask has", "masks have")
        return Finding("masks", result, "warning", f"{grey} many values between 0 (covered) and 255 (visible)")
    return Finding("masks", result)
