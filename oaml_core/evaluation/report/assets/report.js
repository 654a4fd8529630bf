"use strict";
// Nothing here is needed to read the report: it adds a read-out on the ROC and two switches for the pictures.
const tip = document.getElementById("tip");
const LEFT = 40, RIGHT = 10, TOP = 10, BOTTOM = 34, WIDTH = 360, HEIGHT = 250;

function parse(text) {
  return text.split(";").map((part) => {
    const [name, points] = part.split(":");
    return { name, points: points.split(" ").map((pair) => pair.split(",").map(Number)) };
  });
}

// TAR at the last measured point whose FAR does not exceed the one asked for.
function tarAt(points, far) {
  let tar = 0;
  for (const [x, y] of points) { if (x > far * (1 + 1e-9)) break; tar = y; }
  return tar;
}

function readOut(svg, share, x, y) {
  const impostors = Number(svg.dataset.impostors);
  const far = Math.pow(10, (share - 1) * Math.max(1, Math.log10(impostors)));
  let cursor = svg.querySelector(".cursor");
  if (!cursor) {
    cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", TOP);
    cursor.setAttribute("y2", HEIGHT - BOTTOM);
    svg.append(cursor);
  }
  const at = LEFT + share * (WIDTH - LEFT - RIGHT);
  cursor.setAttribute("x1", at);
  cursor.setAttribute("x2", at);
  const lines = parse(svg.dataset.curves).map(({ name, points }) => `${name} ${(100 * tarAt(points, far)).toFixed(1)} %`);
  tip.textContent = [`TAR at FAR ${far.toPrecision(2)}`, ...lines].join("\n");
  tip.classList.add("on");
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, y - tip.offsetHeight - 10)}px`;
}

function leave(svg) {
  svg.querySelector(".cursor")?.remove();
  tip.classList.remove("on");
}

const clamp = (value) => Math.min(1, Math.max(0, value));

for (const svg of document.querySelectorAll("svg.roc")) {
  let share = 0.5;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    share = clamp((((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT));
    readOut(svg, share, event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", () => leave(svg));
  svg.addEventListener("blur", () => leave(svg));
  const show = () => {
    const box = svg.getBoundingClientRect();
    readOut(svg, share, box.left + (box.width * (LEFT + share * (WIDTH - LEFT - RIGHT))) / WIDTH, box.top + box.height / 2);
  };
  svg.addEventListener("focus", show);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (!step) return;
    event.preventDefault();
    share = clamp(share + step);
    show();
  });
}

for (const box of document.querySelectorAll(".switches input")) {
  box.addEventListener("change", () => document.body.classList.toggle(box.dataset.off, !box.checked));
}
