// Photos are sent some at a time, each with a bar; what is found on them comes in below the form.

import {follow, showLine} from "./follow.js";

const form = document.querySelector("form[data-upload]");
const results = document.querySelector("[data-results]");
const pattern = document.querySelector("#sending");
const waiting = []; // batches that are not sent yet
const counts = {chosen: 0, over: 0};
let isSending = false;

if (form) begin();

function begin() {
  const drop = form.querySelector(".drop");
  const input = form.querySelector("[type=file][multiple]");
  form.querySelector("[data-drop]").hidden = false;
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => {
    if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    take();
  });
}

function take() {
  const inputs = [...form.querySelectorAll("[type=file]")];
  const files = inputs.flatMap((input) => [...input.files]);
  if (!files.length) {
    say("Choose a photo first.");
    return inputs.at(-1).focus();
  }
  const fields = [...new FormData(form)].filter(([name]) => name !== "photos");
  const size = Number(form.dataset.batch);
  for (let first = 0; first < files.length; first += size) {
    const some = files.slice(first, first + size);
    waiting.push({files: some, lines: some.map(addLine), fields, key: makeKey()});
  }
  inputs.forEach((input) => { input.value = ""; });
  results.hidden = false;
  counts.chosen += files.length;
  sayHowFar();
  sendNext();
}

function addLine(file) {
  const line = pattern.content.cloneNode(true).querySelector("li");
  line.querySelector("img").src = URL.createObjectURL(file);
  line.querySelector("strong").textContent = file.name;
  line.querySelector("progress").setAttribute("aria-label", `Sending ${file.name}`);
  results.querySelector("ul").append(line);
  tellLine(line, "Waiting to be sent");
  return line;
}

async function sendNext() {
  if (isSending || !waiting.length) return;
  isSending = true;
  const batch = waiting.shift();
  const answer = await send(batch);
  isSending = false;
  sendNext();
  if (answer.status === 200 && answer.response?.photos) await showResults(batch, answer.response);
  else fail(batch, answer);
}

function send({files, lines, fields, key}) {
  const body = new FormData();
  fields.forEach(([name, value]) => body.append(name, value));
  files.forEach((file) => body.append("photos", file));
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.addEventListener("progress", (event) => showSent(files, lines, event));
    request.addEventListener("loadend", () => resolve(request));
    request.send(body);
  });
}

// The parts of a form go out one after the other, so bytes sent in all tell how much of each file is.
function showSent(files, lines, {loaded, total}) {
  let left = loaded - (total - files.reduce((sum, file) => sum + file.size, 0));
  files.forEach((file, place) => {
    const share = Math.min(1, Math.max(0, left / file.size));
    left -= file.size;
    lines[place].querySelector("progress").value = share;
    tellLine(lines[place], share < 1 ? `${Math.round(100 * share)} % sent` : "Sent, is being looked at");
  });
}

async function showResults({lines}, {job, photos}) {
  const place = new Map(photos.map((photo, number) => [photo.id, lines[number]]));
  const show = async (id) => {
    const line = place.get(id);
    if (!line) return;
    place.delete(id);
    URL.revokeObjectURL(line.querySelector("img").src);
    await showLine(id, line);
    counts.over += 1;
    sayHowFar();
  };
  const isOver = ({state}) => !["queued", "running"].includes(state);
  await Promise.all(photos.filter(isOver).map(({id}) => show(id)));
  if (place.size) await follow(job, show);
}

function fail(batch, {status, response}) {
  const said = response?.error ?? (status ? `The server answered ${status}.` : "There is no connection.");
  for (const line of batch.lines) {
    line.querySelector("progress").hidden = true;
    tellLine(line, status === 401 ? "You are signed out. Load the page and sign in." : `Not taken: ${said}`);
  }
  if (status && status < 500 && status !== 429) {
    counts.over += batch.files.length;
    return sayHowFar();
  }
  const again = document.createElement("button");
  again.textContent = batch.files.length > 1 ? `Send these ${batch.files.length} again` : "Send again";
  again.addEventListener("click", () => {
    again.remove();
    batch.lines.forEach((line) => { line.querySelector("progress").hidden = false; });
    waiting.push(batch);
    sendNext();
  });
  batch.lines.at(-1).querySelector(".body").append(again);
}

function tellLine(line, text) {
  line.querySelector("p").textContent = text;
}

function sayHowFar() {
  const {chosen, over} = counts;
  say(over < chosen ? `${over} of ${chosen} photos are answered.` : `All ${chosen} photos are answered.`);
}

function say(text) {
  form.querySelector("[data-said]").textContent = text;
}

// Not crypto.randomUUID, which a page of plain HTTP lacks.
function makeKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
