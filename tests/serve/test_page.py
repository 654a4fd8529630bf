"""The page in a real browser: uploads, clicks, keyboard, camera, phone, light and dark."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from browser_page import enrol, names, playwright, upload
from plain_model import covered, face_of


def test_two_photographs_are_compared_and_the_first_is_searched(page: Any) -> None:
    assert page.url.endswith("/")  # the key is out of the address
    compare, identify = (page.get_by_role("button", name=name) for name in ("Compare", "Who is the first?"))
    assert compare.is_disabled()
    page.get_by_label("First photograph: choose").set_input_files(upload("a.png", face_of(1)))
    playwright.expect(identify).to_be_enabled()
    assert compare.is_disabled()
    page.get_by_label("Second photograph: choose").set_input_files(upload("b.png", covered(face_of(1, 1))))
    compare.click()
    answer = page.locator("#answer")
    playwright.expect(answer).to_have_text("The same person")
    detail = page.locator("#detail").text_content()
    assert detail.startswith("Combined score")
    assert "50 % of the face visible in both" in detail
    assert "mouth" in page.locator("#remarks").text_content()
    assert page.locator("#picture").evaluate("one => one.complete && one.naturalWidth > 100")
    page.get_by_label("Second photograph: choose").set_input_files(upload("c.png", face_of(2)))
    playwright.expect(answer).to_be_empty()
    compare.click()
    playwright.expect(answer).to_have_text("Different people")
    page.get_by_label("Strangers taken for the same").select_option("1 in 1,000")
    compare.click()
    playwright.expect(answer).to_have_text("Cannot decide")
    playwright.expect(page.locator("#detail")).to_contain_text("measured are 0.01")
    page.get_by_label("Strangers taken for the same").select_option("1 in 100")
    enrol(page, "Ann", face_of(1, 5), keep=True)
    enrol(page, "Bob", face_of(2, 5))
    identify.click()
    playwright.expect(answer).to_have_text("Ann")
    playwright.expect(page.locator("#picture")).to_be_visible()
    assert page.locator("#found tbody tr").count() == 2


def test_people_are_renamed_merged_moved_and_deleted_by_the_keyboard_alone(page: Any) -> None:
    for name, person in (("Ann", 1), ("Bob", 2), ("<b>Cy</b>", 3)):
        enrol(page, name, face_of(person), keep=person == 1)
    assert names(page) == ["<b>Cy</b>", "Ann", "Bob"]

    def press(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).focus()
        page.keyboard.press("Enter")

    said = page.locator("#people-said")
    press("Rename Bob")
    page.keyboard.type("Bill")  # the old name is selected
    page.keyboard.press("Enter")
    playwright.expect(said).to_have_text("Bob is called Bill now.")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Show 1 face of Bill"
    press("Rename Bill")
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    playwright.expect(said).to_contain_text("'Ann' is there already")
    press("Delete Bill")
    page.keyboard.press("Escape")
    assert names(page) == ["<b>Cy</b>", "Ann", "Bill"]
    press("Merge <b>Cy</b> into another person")
    page.keyboard.type("Bill")
    page.keyboard.press("Enter")
    playwright.expect(said).to_have_text("1 face of <b>Cy</b> went to Bill.")
    press("Show 1 face of Ann")
    picture = page.get_by_alt_text("Face 1 of Ann")
    playwright.expect(picture).to_be_visible()
    press("Move face 1 to another person")
    page.keyboard.type("Eve")
    page.keyboard.press("Enter")
    playwright.expect(said).to_have_text("Face 1 belongs to Eve now.")
    assert names(page) == ["Bill", "Eve"]
    press("Delete Bill")
    page.keyboard.press("Enter")
    playwright.expect(said).to_have_text("Bill is deleted.")
    assert names(page) == ["Eve"]
    page.reload()
    page.get_by_label("Key").fill("k")
    page.get_by_label("Part of the name").fill("EV")
    page.keyboard.press("Enter")
    playwright.expect(said).to_have_text("1 person.")


def test_faces_are_split_off_and_replaced_by_the_keyboard_alone(page: Any) -> None:
    for picture in range(3):
        enrol(page, "Ann", face_of(1, picture), keep=picture == 0)

    def press(name: str, key: str = "Enter") -> None:
        page.get_by_label(name, exact=True).focus()
        page.keyboard.press(key)

    said, ask = page.locator("#people-said"), page.locator("#ask")
    part = page.get_by_label("Give the chosen faces of Ann to a new person")
    press("Show 3 faces of Ann")
    playwright.expect(part).to_be_disabled()
    for key in (1, 2, 3):
        press(f"Choose face {key} of Ann", "Space")
    playwright.expect(part).to_be_disabled()  # a person without faces would be left
    press("Choose face 1 of Ann", "Space")
    playwright.expect(part).to_be_enabled()
    press("Give the chosen faces of Ann to a new person")
    playwright.expect(ask).to_contain_text("2 faces of Ann (2, 3) go to a new person.")
    assert not page.locator("#ask-photo").is_visible()
    page.keyboard.press("Escape")
    assert names(page) == ["Ann"]
    press("Give the chosen faces of Ann to a new person")
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    playwright.expect(said).to_contain_text("'Ann' is there already")
    press("Give the chosen faces of Ann to a new person")
    page.keyboard.type("Bea")
    page.keyboard.press("Enter")
    playwright.expect(said).to_have_text("2 faces of Ann went to Bea.")
    assert names(page) == ["Ann", "Bea"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Show 2 faces of Bea"

    press("Show 1 face of Ann")
    assert page.get_by_label("Choose face").count() == 0
    press("Replace face 1 by another photograph")
    assert ask.get_by_label("keep the aligned face").is_checked()  # as that of the face that goes
    assert not page.locator("#ask-name").is_visible()
    page.get_by_role("button", name="Replace", exact=True).last.press("Enter")
    playwright.expect(ask).to_be_visible()  # a photograph is missing
    ask.get_by_label("Photograph").set_input_files(upload("b.png", face_of(1, 9)))
    ask.get_by_label("keep the aligned face").press("Space")
    page.locator("#ask-yes").press("Enter")
    playwright.expect(said).to_have_text("Face 4 of Ann is there in place of face 1.")
    press("Show 1 face of Ann")
    playwright.expect(page.get_by_label("Replace face 4 by another photograph")).to_be_visible()
    assert page.get_by_alt_text("Face 4 of Ann").count() == 0  # it was not kept
    press("Replace face 4 by another photograph")
    playwright.expect(ask).to_be_visible()
    assert page.locator("#ask-photo").input_value() == ""
    ask.get_by_label("Photograph").set_input_files(upload("grey.png", np.full((20, 30, 3), 90, np.uint8)))
    page.locator("#ask-yes").press("Enter")
    playwright.expect(said).to_contain_text("30 × 20 pixels")
    press("Rename Ann")
    assert not page.locator("#ask-photo").is_visible()
    page.keyboard.press("Escape")


def test_a_photograph_from_the_camera_is_compared(page: Any) -> None:
    page.get_by_role("button", name="Use the camera").first.click()
    page.get_by_role("button", name="Take the photograph").click()
    playwright.expect(page.locator("#canvas-first")).to_be_visible()
    assert not page.locator("#camera").is_visible()
    assert page.evaluate("document.getElementById('camera-picture').srcObject") is None


def test_a_wrong_key_and_a_file_that_is_no_picture_are_told(page: Any) -> None:
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Show people").click()
    playwright.expect(page.locator("#people-said")).to_contain_text("The key is missing or wrong")
    page.get_by_label("First photograph: choose").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    playwright.expect(page.locator("#answer")).to_contain_text("not an image")


NARROW = """() => ({
  wide: document.documentElement.scrollWidth > innerWidth,
  small: [...document.querySelectorAll("button, input, nav a")].filter((one) => one.offsetParent)
    .filter((one) => one.getBoundingClientRect().height < 20 || one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.outerHTML.slice(0, 60)),
  unnamed: [...document.querySelectorAll("input, canvas, img")].filter((one) => !(one.labels?.length
    || one.getAttribute("aria-label") || one.alt)).map((one) => one.outerHTML.slice(0, 60)),
})"""
CONTRAST = """() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
      .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (one) => {
    const found = getComputedStyle(one).backgroundColor;
    return found === "rgba(0, 0, 0, 0)" ? ground(one.parentElement) : found;
  };
  return Math.min(...[...document.querySelectorAll("p, label, h1, h2, h3, button, a, span, b, li")]
    .filter((one) => one.offsetParent && one.textContent.trim()).map((one) => {
      const pair = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_can_be_read_by_day_and_night(page: Any, scheme: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    name = "A name that is long enough to want two lines " * 3
    enrol(page, name, face_of(1))
    enrol(page, name, face_of(1, 1), keep=True)
    page.get_by_label(f"Show 2 faces of {name.strip()}").click()
    page.get_by_label("First photograph: choose").set_input_files(upload("a.png", face_of(1)))
    page.get_by_role("button", name="Who is the first?").click()
    playwright.expect(page.locator("#answer")).not_to_be_empty()
    playwright.expect(page.get_by_role("button", name="Replace face 2")).to_be_visible()
    assert page.evaluate(NARROW) == {"wide": False, "small": [], "unnamed": []}
    assert page.evaluate(CONTRAST) >= 4.5
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(ground.split("(")[1].split(",")[0]) < 128) == (scheme == "dark")


@pytest.mark.parametrize(
    ("ratio", "interval", "words"),
    [
        (None, None, ""),
        (240, None, "The scores are 240 times more frequent among pairs of one person. "),
        (240, (90, 651), "240 times more frequent among pairs of one person (95 % interval 90 to 651). "),
        (
            1 / 240,
            (1 / 651, 1 / 90),
            "240 times more frequent among pairs of different people (95 % interval 90 to 651). ",
        ),
        (2.5, (0.5, None), "pairs of one person (at least 1/2.0). "),
        (1 / 30, (None, 1 / 9), "30 times more frequent among pairs of different people (at least 9.0). "),
        (1, (None, None), "too few people tell"),
    ],
)
def test_the_likelihood_ratio_is_told_with_its_interval(page: Any, ratio: Any, interval: Any, words: str) -> None:
    ends = interval and [None if end is None else math.log(end) for end in interval]
    found = {"log_likelihood_ratio": ratio and math.log(ratio), "ratio_interval": ends}
    assert words in page.evaluate("found => evidence(found)", found)
