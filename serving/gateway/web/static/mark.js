// An empty place that was missed: drawn on the photo with a finger or a mouse, or by the numbers of its sides,
// which show on the photo as they are written.

const form = document.querySelector("[data-mark]");
const stage = document.querySelector(".stage");
if (form && stage) begin();

function begin() {
  const paper = stage.querySelector("svg");
  const draft = document.createElementNS(paper.namespaceURI, "rect");
  draft.setAttribute("class", "draft");
  paper.append(draft);
  const button = form.querySelector("[data-draw]");
  const {left, right, top, bottom} = form.elements;
  let corner = null; // where the pointer went down

  function turn(on) {
    corner = null;
    stage.classList.toggle("drawing", on);
    button.setAttribute("aria-pressed", on);
    say(on ? "Drag over the photo, from one corner of the empty place to the other." : "");
    if (on) stage.closest(".viewer").scrollIntoView({block: "nearest", behavior: "instant"});
  }

  function at(event) {
    const frame = paper.getBoundingClientRect();
    const share = (value, begin, size) => Math.min(100, Math.max(0, 100 * (value - begin) / size));
    return [share(event.clientX, frame.left, frame.width), share(event.clientY, frame.top, frame.height)];
  }

  function fill(one, other) {
    [left.value, right.value] = [one[0], other[0]].sort((a, b) => a - b).map((side) => side.toFixed(1));
    [top.value, bottom.value] = [one[1], other[1]].sort((a, b) => a - b).map((side) => side.toFixed(1));
    show();
  }

  function show() {
    const [x0, x1, y0, y1] = [left, right, top, bottom].map((side) => side.valueAsNumber / 100);
    const {width, height} = paper.viewBox.baseVal;
    draft.toggleAttribute("hidden", !(x0 < x1 && y0 < y1));
    const place = {x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height};
    if (!draft.hasAttribute("hidden")) {
      Object.entries(place).forEach(([name, value]) => draft.setAttribute(name, value));
    }
  }

  function end(event) {
    if (!corner) return;
    fill(corner, at(event));
    if (draft.hasAttribute("hidden")) return turn(true); // a tap: it has no size
    turn(false);
    say("Look whether it fits, then keep it.");
    form.querySelector(".main").focus();
  }

  button.hidden = false;
  button.addEventListener("click", () => turn(!stage.classList.contains("drawing")));
  form.addEventListener("input", show);
  document.addEventListener("keydown", ({key}) => {
    if (key === "Escape" && stage.classList.contains("drawing")) turn(false);
  });
  paper.addEventListener("pointerdown", (event) => {
    if (!stage.classList.contains("drawing") || !event.isPrimary) return;
    event.preventDefault();
    paper.setPointerCapture(event.pointerId);
    corner = at(event);
  });
  paper.addEventListener("pointermove", (event) => { if (corner) fill(corner, at(event)); });
  paper.addEventListener("pointerup", end);
  paper.addEventListener("pointercancel", () => { corner = null; });
  show();
}

function say(text) {
  form.querySelector("[data-said]").textContent = text;
}
