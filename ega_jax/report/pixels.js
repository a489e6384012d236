// What was packed, unpacked; and boxes with the evaluator's arithmetic (ega_jax/localization).

/** Inflates base64 of what zlib compressed, to bytes. */
async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Unpacks an 8-bit map, see `pack_levels` of evaluation/gallery.py: values and side. */
async function unpackLevels(text) {
  const values = await inflate(text);
  const side = Math.round(Math.sqrt(values.length));
  // Sums wrap around at 256, as the differences did.
  for (let i = side; i < values.length; i++) values[i] += values[i - side];
  for (let i = 0; i < values.length; i++) if (i % side) values[i] += values[i - 1];
  return { values, side };
}

/** Unpacks the boxes of all images at all levels, see `_boxes` of report/pictures.py. */
async function unpackBoxes(text, levels) {
  const boxes = new Uint16Array((await inflate(text)).buffer);
  for (let i = 4; i < boxes.length; i++) if (i % (levels * 4) >= 4) boxes[i] += boxes[i - 4];
  return boxes;
}

/**
 * Finds the level at which every threshold cuts a map whose highest level is `highest`, and the
 * place of its box among those of the different levels; see `levels_at` of localization/boxes.py.
 */
function levelsAt(thresholds, highest) {
  let place = -1;
  let last = -1;
  return thresholds.map((threshold) => {
    const level = Math.trunc(threshold * highest);
    if (level !== last) place++;
    last = level;
    return { level, place };
  });
}

/** Computes the IoU of two boxes [x0, y0, x1, y1], whose corners count as pixels of them. */
function boxIou(box, other) {
  const width = Math.min(box[2], other[2]) - Math.max(box[0], other[0]) + 1;
  const height = Math.min(box[3], other[3]) - Math.max(box[1], other[1]) + 1;
  const both = Math.max(width, 0) * Math.max(height, 0);
  const area = ([x0, y0, x1, y1]) => (x1 - x0 + 1) * (y1 - y0 + 1);
  return both / (area(box) + area(other) - both);
}

/** Draws a map over a picture: what is above the level stands out. */
function paintMap(canvas, { values, side }, level) {
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(side, side);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    pixels.data[4 * i] = 255;
    pixels.data[4 * i + 1] = 220 - value * 0.75;
    pixels.data[4 * i + 2] = 0;
    pixels.data[4 * i + 3] = value > level ? 40 + value * 0.4 : value * 0.2;
  }
  context.putImageData(pixels, 0, 0);
}

/** Draws the outline of a true mask over a picture. */
function paintOutline(canvas, { values, side }) {
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  for (let i = 0; i < values.length; i++) {
    const around = [i % side ? i - 1 : -1, (i + 1) % side ? i + 1 : -1, i - side, i + side];
    if (values[i] && around.some((k) => !values[k])) context.fillRect(i % side, Math.floor(i / side), 1, 1);
  }
}

/** Makes an element of SVG. */
function svg(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Puts a box with both corners inside it into a rectangle. */
function placeBox(rectangle, [x0, y0, x1, y1]) {
  rectangle.setAttribute("x", x0);
  rectangle.setAttribute("y", y0);
  rectangle.setAttribute("width", x1 - x0 + 1);
  rectangle.setAttribute("height", y1 - y0 + 1);
}
