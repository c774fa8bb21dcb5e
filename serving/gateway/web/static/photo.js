// One photo: it is enlarged about the middle of what is seen, and shown anew once it is answered.

import {follow} from "./follow.js";

const frame = document.querySelector(".window");
let middle = [0.5, 0.5]; // of what is seen, as shares of the whole

function remember() {
  middle = [
    (frame.scrollLeft + frame.clientWidth / 2) / frame.scrollWidth,
    (frame.scrollTop + frame.clientHeight / 2) / frame.scrollHeight,
  ];
}

function keepMiddle() {
  frame.scrollTo({
    left: middle[0] * frame.scrollWidth - frame.clientWidth / 2,
    top: middle[1] * frame.scrollHeight - frame.clientHeight / 2,
    behavior: "instant",
  });
}

if (frame) {
  const choices = [...document.querySelectorAll("[name=zoom]")];
  frame.addEventListener("scroll", remember, {passive: true});
  choices.forEach((choice) => choice.addEventListener("change", keepMiddle));
  frame.addEventListener("keydown", (event) => {
    const step = {"+": 1, "=": 1, "-": -1}[event.key];
    const next = choices[choices.findIndex((choice) => choice.checked) + step];
    if (!next) return;
    next.checked = true;
    keepMiddle();
  });
}

const open = document.querySelector("[data-follow]");
if (open) follow(open.dataset.follow, () => location.reload());
