// Boxes to accept, reject or move. Decisions stay in the browser and are saved to a file.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const KEY = `ega_jax review ${data.of}`;
const entries = []; // one for each object
const decisions = load();

function load() {
  try {
    return new Map(Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}")));
  } catch (error) {
    // A browser may forbid storage to pages from the disk; then only the saved file keeps them.
    return new Map();
  }
}

function store() {
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(decisions)));
  } catch (error) {
    byId("progress").title = `not kept in this browser: ${error.message}`;
  }
}

/** Makes an element of SVG. */
function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const clamp = (value, low, high) => Math.min(Math.max(Math.round(value), low), high);

/** Moves a box [x0, y0, x1, y1] as a whole, but not out of the picture. */
function shifted([x0, y0, x1, y1], dx, dy, [width, height]) {
  const x = clamp(x0 + dx, 0, width - 1 - (x1 - x0));
  const y = clamp(y0 + dy, 0, height - 1 - (y1 - y0));
  return [x, y, x + x1 - x0, y + y1 - y0];
}

/** Moves a corner of a box; what passes the opposite one turns it around. */
function stretched(box, corner, x, y, [width, height]) {
  const moved = [...box];
  moved[corner.x] = clamp(x, 0, width - 1);
  moved[corner.y] = clamp(y, 0, height - 1);
  const [x0, y0, x1, y1] = moved;
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

const CORNERS = [{ x: 0, y: 1 }, { x: 2, y: 1 }, { x: 0, y: 3 }, { x: 2, y: 3 }];

class Entry {
  constructor(picture, object, drawing) {
    this.picture = picture;
    this.object = object;
    this.key = JSON.stringify([picture.id, object.number]);
    const label = `box ${object.number + 1} of ${picture.name} in ${picture.id}`;
    this.group = drawing.appendChild(
      svg("g", { tabindex: 0, role: "group", "aria-label": label, class: "found-box" }),
    );
    this.rectangle = this.group.appendChild(svg("rect", { class: "prediction" }));
    const radius = Math.max(...picture.size) / 45;
    this.handles = CORNERS.map((corner) => {
      const handle = this.group.appendChild(svg("circle", { r: radius, class: "handle" }));
      this.dragWith(handle, drawing, (start, from, to) =>
        stretched(start, corner, start[corner.x] + to.x - from.x, start[corner.y] + to.y - from.y, picture.size),
      );
      return handle;
    });
    this.dragWith(this.rectangle, drawing, (start, from, to) =>
      shifted(start, to.x - from.x, to.y - from.y, picture.size),
    );
    this.group.addEventListener("keydown", (event) => this.press(event));
    // Which of several boxes a line is about.
    this.name = picture.objects.length > 1 ? `${object.number + 1}: ` : "";
    this.label = this.group.appendChild(svg("text", { "font-size": 3 * radius, "aria-hidden": "true" }));
    this.label.textContent = this.name.slice(0, -2);
    this.row = document.createElement("p");
    this.row.className = "decide";
    this.text = this.row.appendChild(document.createElement("span"));
    this.buttons = {};
    for (const [verdict, name] of [["accept", "Accept"], ["reject", "Reject"], ["undo", "Undo"]]) {
      const button = this.row.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = name;
      button.setAttribute("aria-label", `${name} ${label}`);
      button.addEventListener("click", () => this.decide(verdict));
      this.buttons[verdict] = button;
    }
  }

  get decision() {
    return decisions.get(this.key);
  }

  get box() {
    return this.decision?.box ?? this.object.box;
  }

  decide(verdict) {
    if (verdict === "undo") decisions.delete(this.key);
    // A box that was moved and is then accepted stays where it was moved to.
    else if (verdict !== "accept" || !this.decision?.box) decisions.set(this.key, { verdict });
    this.changed();
  }

  move(box) {
    const back = box.every((value, i) => value === this.object.box[i]);
    if (back) decisions.delete(this.key);
    else decisions.set(this.key, { verdict: "move", box });
    this.changed();
  }

  changed() {
    store();
    this.draw();
    progress();
  }

  press(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const verdict = { a: "accept", r: "reject", u: "undo" }[event.key.toLowerCase()];
    const size = this.picture.size;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (verdict) this.decide(verdict);
    else if (steps[event.key]) {
      const step = Math.max(1, Math.round(Math.max(...size) / 200));
      const [dx, dy] = steps[event.key].map((direction) => direction * step);
      const [, , x1, y1] = this.box;
      const moved = event.shiftKey
        ? stretched(this.box, CORNERS[3], x1 + dx, y1 + dy, size)
        : shifted(this.box, dx, dy, size);
      this.move(moved);
    } else return;
    event.preventDefault();
  }

  /** Lets a pointer drag; `to` says where the box is when it went from one place to another. */
  dragWith(element, drawing, to) {
    const place = (event) => {
      const frame = drawing.getBoundingClientRect();
      return {
        x: ((event.clientX - frame.left) / frame.width) * this.picture.size[0],
        y: ((event.clientY - frame.top) / frame.height) * this.picture.size[1],
      };
    };
    let start = null;
    element.addEventListener("pointerdown", (event) => {
      start = { box: this.box, at: place(event) };
      element.setPointerCapture(event.pointerId);
      this.group.focus();
      event.preventDefault();
    });
    element.addEventListener("pointermove", (event) => {
      if (start) this.move(to(start.box, start.at, place(event)));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, () => (start = null));
    }
  }

  draw() {
    const [x0, y0, x1, y1] = this.box;
    const places = { x: x0, y: y0, width: x1 - x0 + 1, height: y1 - y0 + 1 };
    for (const [name, value] of Object.entries(places)) this.rectangle.setAttribute(name, value);
    for (const [i, corner] of CORNERS.entries()) {
      this.handles[i].setAttribute("cx", this.box[corner.x] + (corner.x === 2 ? 1 : 0));
      this.handles[i].setAttribute("cy", this.box[corner.y] + (corner.y === 3 ? 1 : 0));
    }
    this.label.setAttribute("x", x0 + Math.max(...this.picture.size) / 40);
    this.label.setAttribute("y", y0 + Math.max(...this.picture.size) / 14);
    const verdict = this.decision?.verdict ?? "";
    const said = { accept: "✓ accepted", reject: "✗ rejected", move: "✎ moved" }[verdict] ?? "";
    this.text.textContent = `${this.name}confidence ${this.object.confidence.toFixed(3)} ${said}`;
    this.group.dataset.verdict = verdict;
    this.buttons.undo.disabled = !verdict;
    for (const name of ["accept", "reject"]) {
      this.buttons[name].setAttribute("aria-pressed", verdict === name);
    }
  }
}

function progress() {
  const counts = { accept: 0, move: 0, reject: 0 };
  for (const entry of entries) if (entry.decision) counts[entry.decision.verdict]++;
  const decided = counts.accept + counts.move + counts.reject;
  byId("progress").textContent =
    `${decided} of ${entries.length} boxes decided: ${counts.accept} accepted, ` +
    `${counts.move} moved, ${counts.reject} rejected`;
}

/** Saves the decisions as a file, as `Review.read` of data/export/reviewed.py takes them. */
function save() {
  const said = entries
    .filter((entry) => entry.decision)
    .map(({ picture, object, decision }) => ({ image: picture.id, object: object.number, ...decision }));
  const text = JSON.stringify({ review_of: data.of, decisions: said }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "review.json";
  link.click();
}

function filter() {
  for (const item of byId("gallery").children) {
    const own = entries.filter((entry) => item.contains(entry.group));
    item.hidden = byId("show").value === "open" && own.every((entry) => entry.decision);
  }
}

for (const picture of data.pictures) {
  const item = document.createElement("li");
  item.className = "card";
  const name = item.appendChild(document.createElement("span"));
  name.className = "name";
  name.textContent = picture.name;
  const id = item.appendChild(document.createElement("span"));
  id.className = "found";
  id.textContent = picture.id;
  const view = item.appendChild(document.createElement("div"));
  view.className = "view";
  view.style.aspectRatio = `${picture.size[0]} / ${picture.size[1]}`;
  const image = view.appendChild(document.createElement("img"));
  image.src = `data:image/jpeg;base64,${picture.thumbnail}`;
  image.alt = picture.id;
  image.loading = "lazy";
  const box = `0 0 ${picture.size[0]} ${picture.size[1]}`;
  const drawing = view.appendChild(svg("svg", { viewBox: box, preserveAspectRatio: "none" }));
  for (const object of picture.objects) {
    const entry = new Entry(picture, object, drawing);
    entries.push(entry);
    item.append(entry.row);
    entry.draw();
  }
  byId("gallery").append(item);
}
byId("save").addEventListener("click", save);
byId("show").addEventListener("change", filter);
byId("controls").addEventListener("submit", (event) => event.preventDefault());
progress();
document.documentElement.dataset.ready = "yes";
