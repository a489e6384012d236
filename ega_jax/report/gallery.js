// The gallery of a report: thresholds move boxes, IoU and what is correct; the address keeps state.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const sliders = [...document.querySelectorAll(".threshold")];
const cards = [];
let shown = []; // cards that the filters leave, in order
let opened = null;

const SORTS = {
  order: ["order of the data", null],
  // Pictures without an object have none and come last.
  "iou-up": ["IoU, lowest first", (a, b) => (a.found[0].iou ?? 2) - (b.found[0].iou ?? 2)],
  "iou-down": ["IoU, highest first", (a, b) => (b.found[0].iou ?? -1) - (a.found[0].iou ?? -1)],
  "confidence-up": ["confidence, lowest first", (a, b) => a.confidence - b.confidence],
  "confidence-down": ["confidence, highest first", (a, b) => b.confidence - a.confidence],
};
const SHOWS = {
  all: ["all images", () => true],
  "wrong-class": ["wrong class", (card) => card.found.some((one) => one.classified === false)],
  "wrong-box": ["wrong box", (card) => card.found.some((one) => one.correct === false)],
  "right-box": ["right box", (card) => card.found.every((one) => one.correct === true)],
};
if (data.runs.length > 1) {
  for (const [number, run] of data.runs.entries()) {
    const only = (card) =>
      card.found.every((one, other) => one.correct === (number === other));
    SHOWS[`only-${number}`] = [`right box in ${run.name} alone`, only];
  }
}

/** Finds the box of an image in a run at the run's threshold, and compares it with the truth. */
function locate(run, number) {
  const { label, object } = data.images[number];
  const predicted = run.predictions && run.predictions[number];
  const found = { predicted, classified: predicted === undefined ? null : predicted === label };
  if (!run.unpacked || !object) return found;
  const highest = run.highest[number];
  run.cuts[highest] ??= levelsAt(run.thresholds, highest);
  const { level, place } = run.cuts[highest][run.at];
  const start = (number * run.levels + place) * 4;
  found.level = level;
  found.box = [...run.unpacked.subarray(start, start + 4)];
  if (run.truths) {
    found.iou = Math.max(...run.truths[number].map((truth) => boxIou(found.box, truth)));
    found.correct = found.iou >= Number(byId("iou").value);
  }
  return found;
}

/** Makes a view of an image in a run: picture, map, boxes. */
function makeView(number, run) {
  const { id, size, thumbnail, object } = data.images[number];
  const element = document.createElement("span");
  element.className = "view";
  element.style.aspectRatio = `${size[0]} / ${size[1]}`;
  element.style.setProperty("--ratio", size[0] / size[1]); // for what has a height to keep to
  const picture = document.createElement("img");
  picture.src = `data:image/jpeg;base64,${thumbnail}`;
  picture.alt = id;
  picture.loading = "lazy";
  const [canvas, outline] = ["map", "truth"].map((name) => {
    const layer = document.createElement("canvas");
    layer.className = name;
    return layer;
  });
  const side = run.mapSize;
  const frame = { viewBox: `0 0 ${side} ${side}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  const drawing = svg("svg", frame);
  for (const truth of (object && run.truths && run.truths[number]) || []) {
    const rectangle = drawing.appendChild(svg("rect", { class: "truth" }));
    placeBox(rectangle, truth);
  }
  const box = drawing.appendChild(svg("rect", { class: "prediction" }));
  element.append(picture, canvas, outline, drawing);
  return { element, canvas, outline, box, visible: false };
}

/** Draws what was found into a view, and the map if somebody can see it. */
async function drawView(view, number, run, found) {
  view.box.toggleAttribute("hidden", !found.box);
  if (found.box) placeBox(view.box, found.box);
  const { mask } = data.images[number];
  if (mask && view.visible && !view.outlined) {
    view.outlined = true;
    paintOutline(view.outline, await unpackLevels(mask));
  }
  const wanted = view.visible && byId("map").checked && found.level !== undefined;
  view.canvas.hidden = !wanted;
  if (!wanted) return;
  run.unpackedMaps[number] ??= unpackLevels(run.maps[number]);
  paintMap(view.canvas, await run.unpackedMaps[number], found.level);
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Says what was found of an image in a run. */
function describe(number, run, found) {
  const { label } = data.images[number];
  const parts = [];
  if (found.predicted !== undefined) {
    const mark = found.classified ? "✓" : "✗";
    parts.push(`${mark} ${found.predicted} ${percent(run.probabilities[number])}`);
  }
  if (found.iou !== undefined) parts.push(`${found.correct ? "✓" : "✗"} IoU ${found.iou.toFixed(3)}`);
  if (!data.images[number].object) parts.push(`${label} has no object`);
  return parts;
}

function makeCard(number) {
  const image = data.images[number];
  const item = document.createElement("li");
  const button = item.appendChild(document.createElement("button"));
  button.type = "button";
  button.className = "card";
  button.dataset.id = image.id;
  const views = data.runs.map((run) => makeView(number, run));
  const row = button.appendChild(document.createElement("span"));
  row.className = "views";
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = image.label;
  const texts = views.map((view) => {
    const column = row.appendChild(document.createElement("span"));
    const text = document.createElement("span");
    text.className = "found";
    column.append(view.element, text);
    return text;
  });
  button.prepend(name);
  const confidence = data.runs[0].probabilities ? data.runs[0].probabilities[number] : 0;
  const card = { number, item, button, views, texts, confidence, found: [] };
  button.addEventListener("click", () => open(card));
  return card;
}

function drawCard(card) {
  for (const [i, run] of data.runs.entries()) {
    const found = card.found[i];
    drawView(card.views[i], card.number, run, found);
    card.texts[i].textContent = describe(card.number, run, found).join("\n");
    card.views[i].element.classList.toggle("right", found.correct === true);
    card.views[i].element.classList.toggle("wrong", found.correct === false);
  }
}

/** Moves everything to the sliders' thresholds. */
function update() {
  for (const slider of sliders) {
    const run = data.runs[slider.dataset.run];
    run.at = Number(slider.value);
    const threshold = run.thresholds[run.at];
    const text = String(Number(threshold.toPrecision(6)));
    slider.closest("label").querySelector("output").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    const cursor = document.querySelectorAll(".cursor")[slider.dataset.run];
    if (cursor) {
      const x = Number(cursor.dataset.left) + threshold * cursor.dataset.width;
      cursor.setAttribute("transform", `translate(${x} 0)`);
    }
  }
  for (const card of cards) {
    card.found = data.runs.map((run) => locate(run, card.number));
    drawCard(card);
  }
  choose();
  if (opened) showOpened();
}

/** Shows the images that the filters leave, and says how many are right. */
function choose() {
  const wanted = SHOWS[byId("show").value][1];
  const name = byId("class").value;
  const ofClass = cards.filter((card) => !name || data.images[card.number].label === name);
  shown = [];
  for (const card of cards) card.item.hidden = true;
  for (const card of ofClass) {
    if (!wanted(card)) continue;
    card.item.hidden = false;
    shown.push(card);
  }
  const sort = SORTS[byId("sort").value][1];
  if (sort) shown.sort(sort);
  const texts = [`${shown.length} of ${cards.length} images shown.`];
  for (const [i, run] of data.runs.entries()) {
    const scored = ofClass.filter((card) => card.found[i].correct !== undefined);
    if (!scored.length) continue;
    const right = scored.filter((card) => card.found[i].correct).length;
    const whose = data.runs.length > 1 ? `${run.name}: right` : "Right";
    const which = name ? `${scored.length} of ${name}` : `the ${scored.length} images`;
    texts.push(`${whose} boxes in ${percent(right / scored.length)} of ${which} here.`);
  }
  byId("summary").textContent = texts.join(" ");
}

/** Puts the cards in order; not while a slider moves, under whose hand they would jump. */
function arrange() {
  const hidden = cards.filter((card) => card.item.hidden);
  byId("gallery").append(...[...shown, ...hidden].map((card) => card.item));
  byId("status").textContent = byId("summary").textContent;
}

// One image, large.

function open(card) {
  opened = { card, views: data.runs.map((run) => makeView(card.number, run)) };
  for (const view of opened.views) view.visible = true;
  byId("one-views").replaceChildren(...opened.views.map((view) => view.element));
  if (!byId("one").open) byId("one").showModal();
  showOpened();
  remember();
}

function showOpened() {
  const { card, views } = opened;
  const image = data.images[card.number];
  byId("one-name").textContent = image.id;
  const facts = [["class", image.label], ["size", `${image.size[0]} × ${image.size[1]}`]];
  for (const [i, run] of data.runs.entries()) {
    const found = card.found[i];
    drawView(views[i], card.number, run, found);
    const parts = describe(card.number, run, found);
    if (found.box) parts.push(`box ${found.box.join(", ")} of a map of ${run.mapSize} pixels`);
    facts.push([data.runs.length > 1 ? run.name : "found", parts.join("; ")]);
  }
  const list = byId("one-facts");
  list.replaceChildren();
  for (const [term, text] of facts) {
    list.appendChild(document.createElement("dt")).textContent = term;
    list.appendChild(document.createElement("dd")).textContent = text;
  }
}

function step(by) {
  if (!opened || !shown.length) return;
  const at = shown.indexOf(opened.card);
  open(shown[(at + by + shown.length) % shown.length]);
}

byId("before").addEventListener("click", () => step(-1));
byId("after").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => byId("one").close());
byId("one").addEventListener("close", () => {
  const { card } = opened;
  opened = null;
  card.button.focus();
  remember();
});
byId("one").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

function changed() {
  for (const id of LAYERS) byId("images").parentElement.classList.toggle(`no-${id}`, !byId(id).checked);
  update();
  arrange();
  remember();
}

function fill(select, choices) {
  for (const [value, [text]] of Object.entries(choices)) select.add(new Option(text, value));
}

async function start() {
  const known = (key) => data.runs.every((run) => run[key]);
  for (const key of Object.keys(SORTS)) {
    if (key.startsWith("iou") && !known("truths")) delete SORTS[key];
    if (key.startsWith("confidence") && !known("probabilities")) delete SORTS[key];
  }
  for (const key of Object.keys(SHOWS)) {
    if (/box|only/.test(key) && !known("truths")) delete SHOWS[key];
    if (/class/.test(key) && !known("predictions")) delete SHOWS[key];
  }
  fill(byId("sort"), SORTS);
  fill(byId("show"), SHOWS);
  const names = [...new Set(data.images.map((image) => image.label))].sort();
  for (const name of names) byId("class").add(new Option(name, name));
  for (const run of data.runs) {
    run.cuts = {};
    run.unpackedMaps = {};
    if (run.boxes) run.unpacked = await unpackBoxes(run.boxes, run.levels);
  }
  for (const number of data.images.keys()) cards.push(makeCard(number));
  byId("gallery").append(...cards.map((card) => card.item));
  const byItem = new Map(cards.map((card) => [card.item, card]));
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const card = byItem.get(target);
        for (const view of card.views) view.visible = isIntersecting;
        if (card.found.length) drawCard(card);
      }
    },
    { rootMargin: "200px" },
  );
  for (const card of cards) watcher.observe(card.item);

  let waiting = false;
  byId("controls").addEventListener("input", (event) => {
    if (!event.target.matches(".threshold") || waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      update();
    });
  });
  byId("controls").addEventListener("change", changed);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", recall);
  if (location.hash.length > 1) recall();
  else changed();
  document.documentElement.dataset.ready = "yes";
}

start();
