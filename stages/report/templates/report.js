"use strict";
const gallery = document.getElementById("gallery");
const controls = document.getElementById("controls");
const count = document.getElementById("count");
const viewer = document.getElementById("viewer");
const items = [...gallery.children];
const original = new Map(items.map((item, index) => [item, index]));
let current = null;
let opener = null;

const shows = {
  "": () => true,
  joint: (d) => d.joint === "1" && d.plain === "0",
  missed: (d) => d.joint === "0" && d.plain === "0",
  memorised: (d) => d.memorised === "1",
  wrong: (d) => d.colour === "0",
  drift: (d) => d.plain === "1" && d.found === "1",
};

function update() {
  const chosen = Object.fromEntries(new FormData(controls));
  const shown = items.filter((item) => {
    const d = item.dataset;
    const fits = ["method", "epoch", "prompt"].every((key) => !chosen[key] || d[key] === chosen[key]) && shows[chosen.show](d);
    item.hidden = !fits;
    return fits;
  });
  const sign = chosen.direction === "up" ? 1 : -1;
  const value = (item) => (item.dataset[chosen.sort] === "" ? null : Number(item.dataset[chosen.sort]));
  const sorted = [...items].sort((a, b) => {
    if (chosen.sort === "order") return original.get(a) - original.get(b);
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null) || original.get(a) - original.get(b);
    return sign * (x - y) || original.get(a) - original.get(b);
  });
  gallery.append(...sorted);
  count.textContent = shown.length + (shown.length === 1 ? " picture" : " pictures");
}

function visible() {
  return [...gallery.children].filter((item) => !item.hidden);
}

function row(name, value) {
  const box = document.createElement("div");
  const term = document.createElement("dt");
  const text = document.createElement("dd");
  term.textContent = name;
  text.textContent = value;
  box.append(term, text);
  return box;
}

function open(item, from) {
  current = item;
  opener = from || opener;
  const d = item.dataset;
  const image = item.querySelector("img");
  document.getElementById("viewer-title").textContent = d.title;
  const picture = document.getElementById("viewer-picture");
  picture.src = image.getAttribute("src");
  picture.alt = image.alt;
  const near = document.getElementById("viewer-near");
  near.hidden = !d.nearest;
  if (d.nearest) {
    const nearest = document.getElementById("viewer-nearest");
    nearest.src = d.nearest;
    nearest.alt = "The training picture that is most like it";
    document.getElementById("viewer-nearest-text").textContent = "Nearest training picture, " + d.near;
  }
  const facts = document.getElementById("viewer-data");
  facts.replaceChildren(...JSON.parse(d.facts).map(([name, value]) => row(name, value)));
  if (!viewer.open) viewer.showModal();
}

function step(by) {
  const list = visible();
  const at = list.indexOf(current);
  const next = list[(at + by + list.length) % list.length];
  if (next) open(next);
}

controls.addEventListener("change", update);
controls.addEventListener("submit", (event) => event.preventDefault());
gallery.addEventListener("click", (event) => {
  const link = event.target.closest("a.sample");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link.closest("li"), link);
});
document.getElementById("grids").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-open]");
  if (button) open(document.getElementById(button.dataset.open), button);
});
document.getElementById("viewer-close").addEventListener("click", () => viewer.close());
document.getElementById("viewer-next").addEventListener("click", () => step(1));
document.getElementById("viewer-previous").addEventListener("click", () => step(-1));
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") step(1);
  if (event.key === "ArrowLeft") step(-1);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => { if (opener) opener.focus(); });
if (new URLSearchParams(location.search).has("sort")) {
  for (const [key, value] of new URLSearchParams(location.search)) if (controls.elements[key]) controls.elements[key].value = value;
  update();
}
