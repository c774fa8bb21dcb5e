// The photos of a job, each shown as soon as it is over: told by events, or else found out by asking.

import {localise} from "./times.js";

const OVER = ["done", "failed", "dead"];
const PAUSE_MS = 2000;

// Calls `show(id)` once for each photo of the job that is over; resolves when all are over and shown.
export async function follow(job, show) {
  const shown = new Map();
  const tell = (photo) => {
    if (OVER.includes(photo.state) && !shown.has(photo.id)) shown.set(photo.id, show(photo.id));
  };
  await listen(job, tell).catch(() => ask(job, tell));
  await Promise.all(shown.values());
}

function listen(job, tell) {
  return new Promise((resolve, reject) => {
    if (!window.EventSource) return reject();
    const source = new EventSource(`/api/jobs/${job}/events`);
    source.addEventListener("photo", (event) => tell(JSON.parse(event.data)));
    source.addEventListener("job", () => resolve(source.close()));
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) reject(); // else the browser connects again by itself
    });
  });
}

async function ask(job, tell) {
  for (;;) {
    const answer = await fetch(`/api/jobs/${job}`, {headers: {Accept: "application/json"}}).catch(() => null);
    if (answer?.ok) {
      const {photos} = await answer.json();
      photos.forEach(tell);
      if (photos.every((photo) => OVER.includes(photo.state))) return;
    } else if (answer && answer.status < 500 && answer.status !== 429) {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

// Puts the line of a photo, as the server writes it, in the place of what is there.
export async function showLine(id, line) {
  const answer = await fetch(`/photos/${id}/row`).catch(() => null);
  if (!answer?.ok) return line;
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  const fresh = holder.content.querySelector("li");
  localise(fresh);
  line.replaceWith(fresh);
  return fresh;
}
