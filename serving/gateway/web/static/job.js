// A job: those of its photos that are on this page change when they are answered, and the bar with all of them.

import {follow, showLine} from "./follow.js";

const place = document.querySelector("[data-job]");
if (place) {
  const bar = place.querySelector("progress");
  const said = place.querySelector("[role=status]");
  let told = 0; // of each photo that is over, once
  await follow(place.dataset.job, async (id) => {
    told += 1;
    if (told > bar.value) {
      bar.value = told;
      said.textContent = `${told} of ${bar.max} photos are answered.`;
    }
    const line = document.querySelector(`li[data-photo="${id}"]`);
    if (line && ["queued", "running"].includes(line.dataset.state)) await showLine(id, line);
  });
  if (told >= bar.max) location.reload();
}
