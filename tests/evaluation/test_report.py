"""The report: self-contained, complete, and drawn without an error by a browser."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from colour_model import ColourRecogniser
from simulated import simulated_set

from oaml_core.config import Config, EvaluateConfig, PromoteConfig
from oaml_core.evaluation.report.report import write_report
from oaml_core.evaluation.scoring.stored import read_scores, write_scores
from oaml_core.evaluation.verdict.comparison import ModelComparison, compare
from oaml_core.evaluation.verdict.evaluate import evaluate_model
from oaml_core.evaluation.verdict.gate import decide
from oaml_core.evaluation.verdict.results import Evaluation

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "br", "input", "line", "circle", "rect", "image", "polyline", "polygon"}


class Structure(HTMLParser):
    """Collects tags and the addresses that a page would load; notices tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.labels: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def evaluation(pairs):
    torch.manual_seed(0)
    config = Config(evaluate=EvaluateConfig(occluders=("surgical",), block_shares=(0.3,)))
    return evaluate_model(ColourRecogniser(), {"patterns": pairs}, config, examples=8)


@pytest.fixture
def page(evaluation, tmp_path):
    path = tmp_path / "report.html"
    context = {"fingerprint": "f00d", "config": {"seed": 7}, "note": "<script>alert(1)</script>"}
    write_report(evaluation, path, context, title="A & B")
    return path


def parsed(path) -> Structure:
    structure = Structure()
    structure.feed(path.read_text(encoding="utf-8"))
    structure.close()
    return structure


def test_page_is_well_formed_and_needs_no_network(page):
    structure = parsed(page)
    assert structure.open == []
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in structure.addresses)
    assert not re.search(r"@import|url\(|fetch\(", page.read_text())
    assert page.stat().st_size < 5_000_000


def test_page_says_what_was_found_and_where_it_comes_from(page, evaluation):
    text = page.read_text()
    accuracy = evaluation.sets["patterns"].conditions["surgical"].scores["combined"].accuracy
    for expected in (
        f"{100 * accuracy:.2f}",
        "surgical",
        "f00d",
        "A &amp; B",
        "Not measurable: FAR",
        "&quot;seed&quot;: 7",
    ):
        assert expected in text
    assert "<script>alert" not in text


def test_every_anchor_leads_somewhere(page):
    text = page.read_text()
    for anchor in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{anchor}"' in text


def test_every_figure_has_words_for_those_who_do_not_see_it(page):
    figures = re.findall(r'<svg role="img".*?</svg>', page.read_text(), re.S)
    assert len(figures) >= 2 + 2 + 6
    assert all("<title>" in figure for figure in figures)


def test_faces_that_must_not_be_shared_are_left_out(evaluation, tmp_path):
    path = tmp_path / "report.html"
    write_report(evaluation, path, images=False)
    assert "data:image" not in path.read_text()
    assert "<image" not in path.read_text()


def test_a_set_name_cannot_inject_markup(model, pairs, tmp_path):
    config = Config(evaluate=EvaluateConfig(occluders=(), block_shares=()))
    path = tmp_path / "report.html"
    write_report(evaluate_model(model, {"<b>bad": pairs}, config), path)
    assert "<b>bad" not in path.read_text()


def test_what_covering_costs_stands_first_with_the_figures_in_words(page, evaluation):
    text = page.read_text()
    sweep = re.findall(r'class="sweep".*?<title>(.*?)</title>', text)
    accuracy = evaluation.sets["patterns"].conditions["blocks-30"].scores["combined"].accuracy
    assert [title.split(". ")[0] for title in sweep] == [
        "Accuracy, second image covered", "TAR at FAR 0.1, second image covered",
        "Accuracy, both images covered", "TAR at FAR 0.1, both images covered",
    ]  # fmt: skip
    assert f"combined {100 * accuracy:.1f} %" in sweep[0]
    assert text.index("What covering costs") < text.index("<h3>ROC")


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Evaluation, ModelComparison]:
    """Five sets with a whole sweep, and another model's to compare with."""
    folder = tmp_path_factory.mktemp("compared")
    first = simulated_set("lfw", pairs=200)
    ours = Evaluation({name: replace(first, name=name) for name in ("lfw", "agedb_30", "calfw", "cplfw", "cfp_fp")})
    theirs = Evaluation({"lfw": simulated_set("lfw", pairs=200, strength=3.0, seed=1), "gone": first})
    for name, evaluation in (("ours", ours), ("theirs", theirs)):
        write_scores(evaluation, folder / f"{name}.npz")
    stored = [read_scores(folder / f"{name}.npz") for name in ("theirs", "ours")]
    return ours, compare(*stored, (1e-2,), name="v7")


def test_five_sets_with_a_whole_sweep_stay_small_without_a_picture_missing(compared, evaluation, tmp_path):
    ours, comparison = compared
    pictures = (evaluation.examples * 10)[: 5 * 8]
    path = tmp_path / "report.html"
    write_report(replace(ours, examples=pictures), path, {"config": {"a": "b" * 3000}}, comparison=comparison)
    text = path.read_text()
    assert len(re.findall(r'<svg role="img" class="roc"', text)) == 5 * 19
    assert len(re.findall(r'<svg role="img" class="det"', text)) == 5 * 19
    assert text.count("<image ") == 2 * len(pictures)
    assert path.stat().st_size < 5_000_000


def test_the_model_in_production_is_compared_with(compared, tmp_path):
    path = tmp_path / "report.html"
    ours, comparison = compared
    judged = decide(comparison, PromoteConfig())
    write_report(ours, path, comparison=comparison, gate=judged)
    text = path.read_text()
    better = sum(d.verdict == "better" for d in comparison.differences if d.score == "combined")
    assert better >= 3
    assert f"Version v7: better in {better}" in text
    assert "gone: the challenger was not measured on it" in text
    assert not judged.passes
    assert f"The promotion gate refuses it: {html.escape(judged.reason)}." in text


def test_numbers_of_pictures_follow_the_configuration(model, pairs):
    for count in (2, 6):
        chosen = EvaluateConfig(occluders=("surgical",), block_shares=(), sides=("second",), pictures=count)
        assert 1 <= len(evaluate_model(model, {"patterns": pairs}, Config(evaluate=chosen)).examples) <= count


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed; the page is not opened in a browser")
def test_a_browser_draws_every_figure_without_an_error(page, tmp_path):
    probe = """<script>
    window.addEventListener("load", () => {
      for (const folded of document.querySelectorAll("details")) folded.open = true;
      const empty = [...document.querySelectorAll("svg[role=img]")]
        .filter((svg) => svg.getBoundingClientRect().height < 10 ||
          !svg.querySelector("polyline,polygon,circle,image"));
      const broken = [...document.querySelectorAll("image")].filter((image) => image.getBBox().width < 10);
      document.querySelector("svg.roc").focus();
      const reachable = [...document.querySelectorAll("svg.roc, summary, nav a, .scroll")]
        .every((element) => element.tabIndex >= 0);
      document.title = JSON.stringify({ empty: empty.length, broken: broken.length,
        reachable, wide: document.documentElement.scrollWidth > innerWidth,
        read: document.querySelector("#tip").textContent });
    });</script>"""
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", probe + "</body>"))
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=390,800", "--virtual-time-budget=3000", "--dump-dom",
        probed.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)

    assert "CONSOLE" not in result.stderr
    title = re.search(r"<title>(\{.*?\})</title>", result.stdout)
    assert title is not None
    assert '"empty":0,"broken":0,"reachable":true,"wide":false' in title.group(1)
    assert "TAR at FAR" in title.group(1)
