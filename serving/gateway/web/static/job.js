// A job: its photos change when they are answered, and the bar with them.

import {follow, showLine} from "./follow.js";

const place = document.querySelector("[data-job]");
if (place) {
  const bar = place.querySelector("progress");
  const said = place.querySelector("[role=status]");
  let over = bar.value;
  await follow(place.dataset.job, async (id) => {
    const line = document.querySelector(`li[data-photo="${id}"]`);
    if (!line || !["queued", "running"].includes(line.dataset.state)) return;
    await showLine(id, line);
    bar.value = over += 1;
    said.textContent = `${over} of ${bar.max} photos are answered.`;
  });
  if (over >= bar.max) location.reload();
}
