"use strict";
const all = (what, within = document) => [...within.querySelectorAll(what)];
const data = (id) => JSON.parse(document.getElementById(id)?.textContent || "null");
const trialSays = (key) => {
  const row = document.querySelector(`tr[data-key="${key}"]`), heads = all(".trials th");
  return row && [...row.cells].map((cell, n) => cell.textContent && `${heads[n].textContent} ${cell.textContent}`).filter(Boolean).join("\n");
};

// What a thing is, where the mouse points at it.
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
tip.setAttribute("role", "tooltip");
document.body.append(tip);
document.addEventListener("pointerover", (event) => {
  const thing = event.target.closest?.("[data-says], [data-key], .sign");
  const says = thing && (thing.dataset.says || thing.getAttribute("aria-label") || (thing.tagName === "path" && trialSays(thing.dataset.key)));
  tip.hidden = !says;
  if (says) tip.textContent = says;
});
document.addEventListener("pointermove", (event) => {
  if (tip.hidden) return;
  const room = document.documentElement;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, room.clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, room.clientHeight - tip.offsetHeight - 8))}px`;
});

// One trial, in every figure and in the table.
document.addEventListener("click", (event) => {
  const key = event.target.closest?.("[data-key]")?.dataset.key;
  if (key === undefined) return;
  const chosen = all(`[data-key="${key}"]`);
  const was = chosen.some((one) => one.classList.contains("here"));
  all(".here").forEach((one) => one.classList.remove("here"));
  if (!was) chosen.forEach((one) => one.classList.add("here"));
});

// Cards of some kinds alone.
all(".choose button").forEach((button) => button.addEventListener("click", () => {
  all(".choose button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
  const kind = button.dataset.kind;
  all(".card").forEach((card) => { card.hidden = Boolean(kind) && !card.classList.contains(kind); });
}));

// What the model believed, moment by moment.
all(".film").forEach((film) => {
  const frames = data(film.dataset.frames), slider = film.querySelector("input"), side = film.dataset.side;
  const trail = (at, heights) => at.map((x, n) => `${x} ${heights[n]}`);
  const draw = (kind, path) => film.querySelector(`.${kind}`).setAttribute("d", path);
  const upright = (x) => (x === null ? "" : `M${x} 0V${side}`);
  const rug = (places) => places.filter((x) => x !== null).map((x) => `M${x} ${side}h0`).join("");
  const show = () => {
    const frame = frames[slider.value], there = trail(frame.at, frame.high), back = trail(frame.at, frame.low).reverse();
    draw("belief", `M${[...there, ...back].join("L")}Z`);
    draw("mean", `M${trail(frame.at, frame.mean).join("L")}`);
    draw("step-old", upright(frame.old));
    draw("step-new", upright(frame.new));
    draw("rug.kept", rug(frame.kept));
    draw("rug.undone", rug(frame.undone));
    film.querySelector("output").textContent = frame.when;
  };
  slider.addEventListener("input", show);
  show();
});

// Tables that can be sorted and searched.
all(".trials table").forEach((table) => {
  const body = table.tBodies[0], number = (cell) => (cell.dataset.sort ?? cell.textContent);
  all("th", table).forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th", table).forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [one, other].map((row) => number(row.cells[column]));
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return down ? -order : order;
    });
    body.append(...rows);
  }));
});
all("input[type=search]").forEach((field) => field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  all(`#${field.dataset.table} tbody tr`).forEach((row) => {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  });
}));

// Parallel coordinates: drag along an axis to keep the trials that pass there.
all(".coordinates-area").forEach((area) => {
  const kept = new Map(), lines = all("path[data-at]", area).map((path) => [path, JSON.parse(path.dataset.at)]);
  const sift = () => lines.forEach(([path, at]) => {
    const fits = [...kept].every(([axis, [low, high]]) => at[axis] >= low && at[axis] <= high);
    path.classList.toggle("off", !fits);
  });
  all(".brush", area).forEach((brush, axis) => {
    let from = null;
    const mark = brush.querySelector("i");
    const height = (event) => {
      const box = area.getBoundingClientRect();
      return Math.min(1, Math.max(0, 1 - (event.clientY - box.top) / box.height));
    };
    brush.addEventListener("pointerdown", (event) => { from = height(event); brush.setPointerCapture(event.pointerId); });
    brush.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const ends = [from, height(event)].sort((a, b) => a - b);
      kept.set(axis, ends.map((end) => end * 1000));
      mark.style.bottom = `${ends[0] * 100}%`;
      mark.style.height = `${(ends[1] - ends[0]) * 100}%`;
      sift();
    });
    brush.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(height(event) - from) < 0.01) { kept.delete(axis); mark.style.height = 0; sift(); }
      from = null;
    });
  });
});

// Texts to take along.
all(".copied button").forEach((button) => button.addEventListener("click", async () => {
  const text = button.parentElement.querySelector("pre").textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { getSelection().selectAllChildren(button.parentElement.querySelector("pre")); }
}));
