"use strict";
// People of the gallery: listed, renamed, merged, split, deleted, and their faces. Uses `at`, `make` and `call` of page.js.
const MOST = 200;

const tell = (text) => { at("people-said").textContent = text; };
// A name within a sentence: one that is read from right to left would take its neighbours along.
const quoted = (name) => /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/.test(name) ? `\u2068${name}\u2069` : name;

// A question in a dialog; resolves to null if it was cancelled, else to the name that was typed ("" without a field).
// With `photo` it asks for a photograph too, which `ask-photo` then holds.
function question(title, text, yes, field = null, others = [], photo = false) {
  const dialog = at("ask"), name = at("ask-name");
  at("ask-title").textContent = title;
  at("ask-text").textContent = text;
  at("ask-yes").textContent = yes;
  at("ask-field").hidden = field === null;
  name.required = field !== null;
  name.value = field ?? "";
  at("names").replaceChildren(...others.map((other) => make("option", "", { value: other })));
  at("ask-upload").hidden = !photo;
  Object.assign(at("ask-photo"), { required: photo, value: "" });
  dialog.returnValue = "";
  dialog.showModal();
  if (field !== null) name.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? name.value.trim() : null), { once: true });
  });
}

// Does something to the gallery, says how it ended, and lists the people again; the focus goes to who it was about.
async function changed(task, about) {
  let text;
  try {
    text = await task();
  } catch (error) {
    text = error.isLost ? `${error.message} The change may have been made: show the people first.` : error.message;
    // Somebody else changed the gallery meanwhile: the list shows what is no longer there.
    if (error.status !== 404) return tell(text);
  }
  try {
    await list(about);
  } catch (error) {
    text += ` The list is the former one: ${error.message}`;
  }
  tell(text);
}

function button(text, label, action, kind = "plain") {
  const made = make("button", text, { type: "button", className: kind });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

const known = () => [...at("people").children].map((item) => item.dataset.name);

async function rename(person) {
  const name = await question("Rename", `${quoted(person)} gets another name.`, "Rename", person);
  if (name === null || name === person) return;
  await changed(async () => {
    await call("POST", "/api/v1/gallery/rename", { person, to: name });
    return `${quoted(person)} is called ${quoted(name)} now.`;
  }, name);
}

async function merge(person) {
  const others = known().filter((name) => name !== person);
  const into = await question("Merge", `All faces of ${quoted(person)} go to another person. The name ${quoted(person)} is deleted.`,
    "Merge", "", others);
  if (into === null) return;
  await changed(async () => {
    const found = await call("POST", "/api/v1/gallery/merge", { person, into });
    return `${faces(found.faces)} of ${quoted(person)} went to ${quoted(into)}.`;
  }, into);
}

async function remove(person, count) {
  const sure = await question("Delete", `${quoted(person)} and ${faces(count)} are deleted for good.`, "Delete");
  if (sure === null) return;
  await changed(async () => {
    await call("DELETE", "/api/v1/gallery/people", { person });
    return `${quoted(person)} is deleted.`;
  });
}

async function moveFace(person, key) {
  const to = await question("Move", `Face ${key} goes from ${quoted(person)} to another person, who is made if new.`, "Move", "",
    known().filter((name) => name !== person));
  if (to === null) return;
  await changed(async () => {
    await call("POST", `/api/v1/gallery/faces/${key}/move`, { person: to });
    return `Face ${key} belongs to ${quoted(to)} now.`;
  }, to);
}

async function removeFace(person, key) {
  const sure = await question("Delete", `Face ${key} of ${quoted(person)} is deleted for good.`, "Delete");
  if (sure === null) return;
  await changed(async () => {
    await call("DELETE", `/api/v1/gallery/faces/${key}`);
    return `Face ${key} is deleted.`;
  }, person);
}

async function replaceFace(person, key, kept) {
  at("ask-keep").checked = kept;
  const sure = await question("Replace", `The face of another photograph of ${quoted(person)} is put in place of face ${key}, ` +
    "which is deleted for good.", "Replace", null, [], true);
  if (sure === null) return;
  const photo = at("ask-photo").files[0];
  tell("Looking …");
  await changed(async () => {
    const found = await call("PUT", `/api/v1/gallery/faces/${key}`, { keep_image: at("ask-keep").checked }, { photo });
    return `Face ${found.key} of ${quoted(person)} is there in place of face ${key}.`;
  }, person);
}

async function split(person, keys) {
  const to = await question("Split", `${faces(keys.length)} of ${quoted(person)} (${keys.join(", ")}) ` +
    `${keys.length === 1 ? "goes" : "go"} to a new person.`, "Split", "");
  if (to === null) return;
  await changed(async () => {
    const chosen = keys.map((key) => ["key", key]);
    const found = await call("POST", "/api/v1/gallery/split", [["person", person], ["to", to], ...chosen]);
    return `${faces(found.faces)} of ${quoted(person)} went to ${quoted(to)}.`;
  }, to);
}

// The button that splits the chosen faces of a list off; some must be chosen, and some must be left.
function splitItem(person, list) {
  const item = make("li", "");
  const chosen = () => [...list.querySelectorAll("input:checked")].map((box) => Number(box.value));
  const part = button("Split", `Give the chosen faces of ${person} to a new person`, () => split(person, chosen()));
  const count = () => {
    const some = chosen().length;
    part.disabled = !some || some === list.querySelectorAll("input").length;
  };
  list.addEventListener("change", count);
  count();
  item.append(make("span", `Choose faces that are of somebody else than ${quoted(person)}, and split them off.`), part);
  return item;
}

async function faceItem(person, face, isOneOfSeveral) {
  const item = document.createElement("li");
  if (isOneOfSeveral) {
    const box = make("input", "", { type: "checkbox", value: face.key });
    box.setAttribute("aria-label", `Choose face ${face.key} of ${person}`);
    item.append(box);
  }
  if (face.kept) {
    try {
      const picture = URL.createObjectURL(await call("GET", `/api/v1/gallery/faces/${face.key}/image`));
      const shown = make("img", "", { src: picture, alt: `Face ${face.key} of ${person}` });
      shown.addEventListener("load", () => URL.revokeObjectURL(picture));
      item.append(shown);
    } catch { /* a key that may not see pictures: the words are there */ }
  }
  item.append(make("span", `${face.key}: ${face.remark}, added ${face.added.slice(0, 10)}`),
    button("Replace", `Replace face ${face.key} by another photograph`, () => replaceFace(person, face.key, face.kept)),
    button("Move", `Move face ${face.key} to another person`, () => moveFace(person, face.key)),
    button("Delete", `Delete face ${face.key}`, () => removeFace(person, face.key), "danger"));
  return item;
}

async function unfold(item, toggle, person) {
  const open = item.querySelector("ul");
  if (open) {
    open.remove();
    toggle.setAttribute("aria-expanded", "false");
    return;
  }
  try {
    const found = await call("GET", "/api/v1/gallery/faces", { person });
    const shown = make("ul", "");
    shown.setAttribute("aria-label", `Faces of ${person}`);
    shown.append(...await Promise.all(found.map((face) => faceItem(person, face, found.length > 1))));
    if (found.length > 1) shown.append(splitItem(person, shown));
    item.querySelector("ul")?.remove();
    item.append(shown);
    toggle.setAttribute("aria-expanded", "true");
  } catch (error) {
    tell(error.message);
  }
}

function personItem(one) {
  const item = make("li", ""), line = make("div", "", { className: "person" });
  item.dataset.name = one.name;
  const toggle = button(faces(one.faces), `Show ${faces(one.faces)} of ${one.name}`, () => unfold(item, toggle, one.name));
  toggle.setAttribute("aria-expanded", "false");
  line.append(make("b", one.name, { dir: "auto" }), toggle,
    button("Rename", `Rename ${one.name}`, () => rename(one.name)),
    button("Merge", `Merge ${one.name} into another person`, () => merge(one.name)),
    button("Delete", `Delete ${one.name}`, () => remove(one.name, one.faces), "danger"));
  item.append(line);
  return item;
}

let listed = 0;

async function list(about) {
  const number = listed += 1;
  const found = await call("GET", "/api/v1/gallery/people", { part: at("part").value.trim(), most: MOST });
  if (number !== listed) return;  // asked again meanwhile: the later answer is the one to show
  at("people").replaceChildren(...found.map(personItem));
  const more = found.length === MOST ? `The first ${MOST} people. Write a part of the name to see others.` : "";
  tell(more || (found.length === 1 ? "1 person." : `${found.length} people.`));
  // The list was made anew: what had the focus is gone, and a keyboard would start at the top of the page.
  if (about === undefined) at("part").focus();
  else [...at("people").children].find((item) => item.dataset.name === about)?.querySelector("button").focus();
}

at("look").addEventListener("submit", async (event) => {
  event.preventDefault();
  try { await list(); } catch (error) { tell(error.message); }
});

at("enrol").addEventListener("submit", async (event) => {
  event.preventDefault();
  const person = at("enrol-name").value.trim(), photo = at("enrol-photo").files[0];
  tell("Looking …");
  await changed(async () => {
    const found = await call("POST", "/api/v1/gallery/faces", { person, keep_image: at("enrol-keep").checked }, { photo });
    at("enrol-photo").value = "";
    return found.added ? `Face ${found.key} of ${quoted(person)} was added.` : `${quoted(person)} has this photograph already.`;
  }, person);
});
