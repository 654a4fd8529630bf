"use strict";
const at = (id) => document.getElementById(id);
const photos = { first: null, second: null };

// The key comes behind the # of the address, which no server sees; then it is taken out of the address.
if (location.hash.startsWith("#key=")) {
  try { at("key").value = decodeURIComponent(location.hash.slice(5)); } catch { /* no key: the field stays empty */ }
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
  let answer, found;
  try {
    answer = await fetch(address, { method, body, headers: { "X-API-Key": at("key").value.trim() } });
    const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
    found = await (isJson ? answer.json() : answer.blob());
  } catch {  // before the answer, or in the middle of it
    throw Object.assign(new Error("The connection to the service broke off, or there is none. Try again."), { isLost: true });
  }
  if (answer.ok) return found;
  const message = answer.status === 401 ? "The key is missing or wrong. Type the one that the service printed into the field Key." :
    found.error?.message ?? `The service answers ${answer.status}.`;
  throw Object.assign(new Error(message), { status: answer.status });
}

function ready() {
  at("compare").disabled = !(photos.first && photos.second);
  at("identify").disabled = !photos.first;
}

// Draws a photograph; returns false if the browser cannot, which knows fewer kinds than the service.
async function show(name, face) {
  const canvas = at("canvas-" + name), file = photos[name];
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    canvas.hidden = true;
    return false;
  }
  if (photos[name] !== file) return true;  // another one was chosen meanwhile
  const scale = Math.min(1, 640 / Math.max(picture.width, picture.height));
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  const draw = canvas.getContext("2d");
  draw.drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.hidden = false;
  if (!face) return true;
  canvas.setAttribute("aria-label", `${name === "first" ? "First" : "Second"} photograph: ${face.remark}`);
  if (!face.box) return true;
  const [left, top, right, bottom] = face.box.map((value) => value * scale);
  draw.strokeStyle = "#ffd43b";
  draw.lineWidth = 3;
  draw.strokeRect(left, top, right - left, bottom - top);
  draw.fillStyle = "#63e6be";
  for (const [x, y] of face.points) draw.fillRect(x * scale - 3, y * scale - 3, 6, 6);
  return true;
}

// Number of the latest question: the answer to an earlier one is about photographs that are no longer shown.
let asked = 0;

async function take(name, file) {
  if (!file) return;
  photos[name] = file;
  asked += 1;
  say("", "");
  ready();
  if (!await show(name, null) && photos[name] === file) {
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
    const { files } = event.dataTransfer;
    if (files.length) at(name).files = files;  // else the field says that no file is chosen
    take(name, files[0]);
  });
}

function say(answer, detail, remarks = []) {
  at("answer").textContent = answer;
  at("detail").textContent = detail;
  at("remarks").replaceChildren(...remarks.map((text) => make("li", text)));
  at("drawn").hidden = true;
  at("found").hidden = true;
}

const faces = (count) => count === 1 ? "1 face" : `${count.toLocaleString("en")} faces`;
const percent = (share) => Math.round(100 * share) + " %";
const words = { same: "The same person", different: "Different people", undecided: "Cannot decide",
  known: "Known", unknown: "Nobody whom the gallery knows" };

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

function visible(share) {
  return share === null ? "what is covered is not known" : `${percent(share)} of the face visible in both`;
}

async function answered(method, path, fields, task) {
  const number = asked += 1;
  say("Looking …", "");
  for (const button of [at("compare"), at("identify")]) button.disabled = true;
  try {
    const found = await call(method, path, { picture: true, far: at("far").value }, fields);
    if (number === asked) await task(found);
  } catch (error) {
    if (number === asked) say("No answer", capital(error.message));
  }
  if (number === asked) ready();
}

at("compare").addEventListener("click", () => answered("POST", "/api/v1/compare", photos, async (found) => {
  const threshold = found.threshold === null ? "" : ` (threshold ${found.threshold.toFixed(3)} at FAR ${found.far})`;
  say(words[found.decision], `${capital(found.decided_by)} score ${found.score.toFixed(3)}${threshold}, ` +
    `${visible(found.visible_share)}. ${evidence(found)}` +
    `${proof(found)}${sentence(found.reason)}`, found.faces.map((face, place) => `${["First", "Second"][place]}: ${face.remark}`));
  at("picture").src = found.picture;
  at("drawn").hidden = false;
  await show("first", found.faces[0]);
  await show("second", found.faces[1]);
}));

at("identify").addEventListener("click", () => answered("POST", "/api/v1/identify", { photo: photos.first }, async (found) => {
  const best = found.people[0];
  say(found.decision === "known" ? best.person : words[found.decision],
    `${faces(found.faces)} in the gallery. ${best ? evidence(best) : ""}${proof(found)}${sentence(found.reason)}`, [found.face.remark]);
  at("found").hidden = !best;
  at("found").querySelector("tbody").replaceChildren(...found.people.map((one) => {
    const row = document.createElement("tr");
    row.append(...[one.person, one.score.toFixed(3), one.visible_share === null ? "–" : percent(one.visible_share)].map((text) => make("td", text, { dir: "auto" })));
    return row;
  }));
  at("picture").src = found.picture ?? "";
  at("drawn").hidden = found.picture === null;
  await show("first", found.face);
}));
