// The state, in the address: a link to it shows the same.

const LAYERS = ["truth", "prediction", "map"];
let remembered = null;

function remember() {
  const state = new URLSearchParams();
  for (const slider of sliders) state.append("t", data.runs[slider.dataset.run].thresholds[slider.value]);
  for (const id of ["iou", "sort", "class", "show"]) if (byId(id)) state.set(id, byId(id).value);
  state.set("draw", LAYERS.filter((id) => byId(id).checked).join("."));
  if (opened) state.set("image", data.images[opened.card.number].id);
  remembered = `#${state}`;
  history.replaceState(null, "", remembered);
}

/** Sets what the address says; what it does not name stays. */
function recall() {
  if (location.hash === remembered) return;
  const state = new URLSearchParams(location.hash.slice(1));
  for (const [i, text] of state.getAll("t").entries()) {
    if (!sliders[i]) continue;
    const { thresholds } = data.runs[sliders[i].dataset.run];
    const distance = thresholds.map((threshold) => Math.abs(threshold - Number(text)));
    const nearest = distance.indexOf(Math.min(...distance));
    if (nearest >= 0) sliders[i].value = nearest;
  }
  for (const id of ["iou", "sort", "class", "show"]) {
    const field = byId(id);
    const known = field && [...field.options].some((option) => option.value === state.get(id));
    if (known) field.value = state.get(id);
  }
  if (state.has("draw")) {
    const drawn = state.get("draw").split(".");
    for (const id of LAYERS) byId(id).checked = drawn.includes(id);
  }
  changed();
  const card = cards.find((one) => data.images[one.number].id === state.get("image"));
  if (card) open(card);
  else if (state.has("class")) byId("images").scrollIntoView();
}
