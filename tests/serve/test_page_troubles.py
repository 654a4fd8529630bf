"""The page in a real browser where something goes wrong: broken networks, a gallery that others change, wrong keys."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from browser_page import enrol, names, playwright, upload
from PIL import Image
from plain_model import covered, face_of

PEOPLE = "**/api/v1/gallery/people?*"


def test_an_answer_about_a_photograph_that_was_replaced_is_not_shown(page: Any) -> None:
    held: list[Any] = []
    page.route("**/api/v1/compare?*", lambda route: held.append(route))
    page.get_by_label("First photograph: choose").set_input_files(upload("a.png", face_of(1)))
    page.get_by_label("Second photograph: choose").set_input_files(upload("b.png", face_of(1, 1)))
    compare, answer = page.get_by_role("button", name="Compare"), page.locator("#answer")
    with page.expect_request("**/api/v1/compare?*"):
        compare.click()
    playwright.expect(answer).to_have_text("Looking …")
    page.get_by_label("Second photograph: choose").set_input_files(upload("c.png", face_of(2)))
    playwright.expect(answer).to_be_empty()
    with page.expect_response("**/api/v1/compare?*") as answered:
        held.pop().continue_()
    answered.value.finished()
    page.unroute("**/api/v1/compare?*")
    assert page.locator("#drawn").is_hidden()
    assert answer.text_content() == ""
    compare.click()
    playwright.expect(answer).to_have_text("Different people")


def test_a_photograph_that_the_browser_cannot_show_is_compared(page: Any) -> None:
    file = BytesIO()
    Image.fromarray(covered(face_of(1))).save(file, "TIFF")
    tiff = {"name": "a.tiff", "mimeType": "image/tiff", "buffer": file.getvalue()}
    page.get_by_label("First photograph: choose").set_input_files(tiff)
    playwright.expect(page.locator("#answer")).to_contain_text("not an image that the browser shows")
    page.get_by_label("Second photograph: choose").set_input_files(upload("b.png", face_of(1)))
    page.get_by_role("button", name="Compare").click()
    playwright.expect(page.locator("#answer")).to_have_text("The same person")
    assert page.locator("#remarks li").all_text_contents()[0].startswith("First: ")


def delete(page: Any, name: str) -> None:
    page.get_by_role("button", name=f"Delete {name}", exact=True).click()
    page.locator("#ask-yes").click()


@pytest.mark.parametrize("ending", ["before the answer", "in its middle", "by a proxy"])
def test_a_change_whose_answer_is_lost_is_not_called_undone(page: Any, ending: str) -> None:
    enrol(page, "Ann", face_of(1))

    def broken(route: Any) -> None:
        if route.request.method != "DELETE":
            route.continue_()
        elif ending == "before the answer":
            route.abort("connectionreset")
        else:
            status = 502 if ending == "by a proxy" else 200
            route.fulfill(status=status, content_type="application/json", body='{"fac' if status == 200 else "[]")

    page.route(PEOPLE, broken)
    delete(page, "Ann")
    said = page.locator("#people-said")
    if ending == "by a proxy":
        playwright.expect(said).to_have_text("The service answers 502.")
    else:
        playwright.expect(said).to_contain_text("The connection to the service broke off")
        playwright.expect(said).to_contain_text("may have been made")


def test_a_change_is_told_also_where_the_list_cannot_be_read_after_it(page: Any) -> None:
    enrol(page, "Ann", face_of(1))
    page.route(PEOPLE, lambda route: route.abort() if route.request.method == "GET" else route.continue_())
    delete(page, "Ann")
    playwright.expect(page.locator("#people-said")).to_contain_text("Ann is deleted. The list is the former one")


def test_a_person_whom_somebody_else_deleted_leaves_the_list(page: Any) -> None:
    for person, name in enumerate(("Ann", "Bob")):
        enrol(page, name, face_of(person))
    page.evaluate("call('DELETE', '/api/v1/gallery/people', { person: 'Ann' })")
    assert names(page) == ["Ann", "Bob"]
    delete(page, "Ann")
    playwright.expect(page.locator("#people-said")).to_contain_text("nobody called 'Ann'")
    assert names(page) == ["Bob"]


def test_a_refusal_is_in_sight_where_the_person_is_far_down_the_list(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 400})
    for person in range(4):
        enrol(page, f"Person {person}", face_of(person))
    page.get_by_label("Key").fill("wrong")
    delete(page, "Person 3")
    playwright.expect(page.locator("#people-said")).to_contain_text("The key is missing or wrong")
    playwright.expect(page.get_by_role("button", name="Delete Person 3")).to_be_in_viewport()
    playwright.expect(page.locator("#people-said")).to_be_in_viewport()


def test_names_from_right_to_left_keep_to_themselves_in_a_sentence(page: Any) -> None:
    name = "\u05d3\u05d5\u05d3 7"
    enrol(page, name, face_of(1))
    delete(page, name)
    playwright.expect(page.locator("#people-said")).to_have_text(f"\u2068{name}\u2069 is deleted.")
