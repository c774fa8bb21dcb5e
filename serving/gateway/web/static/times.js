// Times come in UTC, for those without script; here they become those of the reader's clock.

const format = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});

export function localise(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) time.textContent = format.format(at);
  }
}

