"use strict";
const at = (id) => document.getElementById(id);
const photos = { first: null, second: null };

// The key comes behind the # of the address, which no server sees; then it is taken out of the address.
if (location.hash.startsWith("#key=")) {
  at("key").value = decodeURIComponent(location.hash.slice(5));
  history.replaceState(null, "", location.pathname);
}

// The text of an element, a class, and the like: text is never read as HTML.
function make(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties);
}

async function call(method, path, query = {}, fields = null) {
  const address = path + (Object.keys(query).length ? "?" + new URLSearchParams(query) : "");
  const body = fields && new FormData();
  for (const [name, value] of Object.entries(fields ?? {})) body.append(name, value);
  let answer;
  try {
    answer = await fetch(address, { method, body, headers: { "X-API-Key": at("key").value.trim() } });
  } catch {
    throw new Error("The service cannot be reached.");
  }
  const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
  if (!answer.ok) throw new Error(isJson ? (await answer.json()).error.message : `The service answers ${answer.status}.`);
  return isJson ? answer.json() : answer.blob();
}

function ready() {
  at("compare").disabled = !(photos.first && photos.second);
  at("identify").disabled = !photos.first;
}

async function show(name, face) {
  const canvas = at("canvas-" + name);
  const picture = await createImageBitmap(photos[name]);
  const scale = Math.min(1, 640 / Math.max(picture.width, picture.height));
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const draw = canvas.getContext("2d");
  draw.drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
  if (!face) return;
  canvas.setAttribute("aria-label", `${name === "first" ? "First" : "Second"} photograph: ${face.remark}`);
  if (!face.box) return;
  const [left, top, right, bottom] = face.box.map((value) => value * scale);
  draw.strokeStyle = "#ffd43b";
  draw.lineWidth = 3;
  draw.strokeRect(left, top, right - left, bottom - top);
  draw.fillStyle = "#63e6be";
  for (const [x, y] of face.points) draw.fillRect(x * scale - 3, y * scale - 3, 6, 6);
}

async function take(name, file) {
  if (!file) return;
  photos[name] = file;
  say("", "");
  ready();
  try {
    await show(name, null);
  } catch {
    at("canvas-" + name).hidden = true;
    say("This file is not an image that the browser shows.", "It can be compared if the service knows its kind.");
  }
}

for (const name of ["first", "second"]) {
  const drop = at("drop-" + name);
  at(name).addEventListener("change", (event) => take(name, event.target.files[0]));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(name, event.dataTransfer.files[0]);
  });
}

function say(answer, detail, remarks = []) {
  at("answer").textContent = answer;
  at("detail").textContent = detail;
  at("remarks").replaceChildren(...remarks.map((text) => make("li", text)));
  at("picture").hidden = true;
  at("found").hidden = true;
}

const percent = (share) => Math.round(100 * share) + " %";
const words = { same: "The same person", different: "Different people", undecided: "Cannot decide",
  known: "Known", unknown: "Nobody in the gallery" };

const capital = (text) => text && text[0].toUpperCase() + text.slice(1);
const sentence = (text) => text && capital(text) + (text.endsWith(".") ? "" : ".");

const proof = (found) => found.expected === null ? "" :
  `Of such pairs of one person ${percent(found.expected.tar)} are accepted. `;

// How many times more frequent, of a natural logarithm; 1/2 for half as frequent.
function times(log) {
  const size = Math.exp(Math.min(Math.abs(log), Math.log(1e6)));
  const shown = size < 9.95 ? size.toFixed(1) : Math.round(size).toLocaleString("en");
  return log < 0 && shown !== "1.0" ? "1/" + shown : shown;
}

// What the scores of a comparison or of a person say. An open end of the interval is null.
function evidence(found) {
  const ratio = found.log_likelihood_ratio, against = ratio < 0;
  if (ratio === null) return "";
  // Turned round where it speaks for different people, so that the words hold for both.
  const ends = found.ratio_interval?.map((end) => end === null ? null : against ? -end : end);
  const [low, high] = !ends ? [null, null] : against ? ends.reverse() : ends;
  const sure = !ends ? "" : low === null && high === null ? " (how sure that is, too few people tell)" :
    low === null ? ` (at most ${times(high)})` : high === null ? ` (at least ${times(low)})` :
    ` (95 % interval ${times(low)} to ${times(high)})`;
  return `The scores are ${times(Math.abs(ratio))} times more frequent among pairs of ` +
    `${against ? "different people" : "one person"}${sure}. `;
}

async function answered(task) {
  const buttons = [at("compare"), at("identify")];
  say("Looking …", "");
  for (const button of buttons) button.disabled = true;
  try { await task(); } catch (error) { say("No answer", error.message); }
  ready();
}

at("compare").addEventListener("click", () => answered(async () => {
  const found = await call("POST", "/api/v1/compare", { picture: true }, photos);
  const threshold = found.threshold === null ? "" : ` (threshold ${found.threshold.toFixed(3)} at FAR ${found.far})`;
  say(words[found.decision], `${capital(found.decided_by)} score ${found.score.toFixed(3)}${threshold}, ` +
    `${percent(found.visible_share)} of the face visible in both. ${evidence(found)}` +
    `${proof(found)}${sentence(found.reason)}`, found.faces.map((face) => face.remark));
  at("picture").src = found.picture;
  at("picture").hidden = false;
  await show("first", found.faces[0]);
  await show("second", found.faces[1]);
}));

at("identify").addEventListener("click", () => answered(async () => {
  const found = await call("POST", "/api/v1/identify", { picture: true }, { photo: photos.first });
  const best = found.people[0];
  say(found.decision === "known" ? best.person : words[found.decision],
    `${found.faces} faces in the gallery. ${best ? evidence(best) : ""}${proof(found)}${sentence(found.reason)}`, [found.face.remark]);
  at("found").hidden = !best;
  at("found").querySelector("tbody").replaceChildren(...found.people.map((one) => {
    const row = document.createElement("tr");
    row.append(...[one.person, one.score.toFixed(3), percent(one.visible_share)].map((text) => make("td", text)));
    return row;
  }));
  at("picture").src = found.picture ?? "";
  at("picture").hidden = found.picture === null;
  await show("first", found.face);
}));
