"use strict";
const at = (id) => document.getElementById(id);
const photos = { first: null, second: null };

// The key comes behind the # of the address, which no server sees; then it is taken out of the address.
if (location.hash.startsWith("#key=")) {
  at("key").value = decodeURIComponent(location.hash.slice(5));
  history.replaceState(null, "", location.pathname);
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
  if (!face || !face.box) return;
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
  ready();
  try { await show(name, null); } catch { say("This file is not an image that the browser shows.", ""); }
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
  at("remarks").replaceChildren(...remarks.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  at("picture").hidden = true;
  at("people").hidden = true;
}

async function ask(path, fields) {
  const body = new FormData();
  for (const [name, file] of Object.entries(fields)) body.append(name, file);
  const answer = await fetch(path, { method: "POST", body, headers: { "X-API-Key": at("key").value } });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error.message);
  return found;
}

const percent = (share) => Math.round(100 * share) + " %";
const words = { same: "The same person", different: "Different people", undecided: "Cannot decide",
  known: "Known", unknown: "Nobody in the gallery" };

const proof = (found) => found.expected === null ? "" :
  `Of such pairs of one person ${percent(found.expected.tar)} are accepted. `;

async function answered(task) {
  say("Looking …", "");
  try { await task(); } catch (error) { say("No answer", error.message); }
}

at("compare").addEventListener("click", () => answered(async () => {
  const found = await ask("/api/v1/compare?picture=true", photos);
  const threshold = found.threshold === null ? "" : ` (threshold ${found.threshold.toFixed(3)} at FAR ${found.far})`;
  say(words[found.decision], `${found.decided_by} score ${found.score.toFixed(3)}${threshold}, ` +
    `${percent(found.visible_share)} of the face visible in both. ${proof(found)}${found.reason}`, found.faces.map((face) => face.remark));
  at("picture").src = found.picture;
  at("picture").hidden = false;
  await show("first", found.faces[0]);
  await show("second", found.faces[1]);
}));

at("identify").addEventListener("click", () => answered(async () => {
  const found = await ask("/api/v1/identify", { photo: photos.first });
  const best = found.people[0];
  say(found.decision === "known" ? best.person : words[found.decision],
    `${found.faces} faces in the gallery. ${proof(found)}${found.reason}`, [found.face.remark]);
  at("people").hidden = !best;
  at("people").tBodies[0].replaceChildren(...found.people.map((one) => {
    const row = document.createElement("tr");
    for (const text of [one.person, one.score.toFixed(3), percent(one.visible_share)]) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
  await show("first", found.face);
}));
