"use strict";
// Shows what a trace did at the moment under the pointer: whom it waited for, and that one's row. Zooms into a stretch of the run,
// and dims the traces that a search does not find.
(() => {
  const picture = document.getElementById("timeline");
  const use = document.getElementById("use");
  const { end, names, ends, sampled, waits } = JSON.parse(document.getElementById("waits").textContent);
  const WIDTH = picture.viewBox.baseVal.width;
  const rowHeight = picture.viewBox.baseVal.height / names.length;
  const tip = document.getElementById("tip");
  const drawn = (kind, parent, name) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    element.setAttribute("class", name);
    parent.append(element);
    return element;
  };
  const place = (rect, x, y, width, height) => {
    Object.entries({ x, y, width, height }).forEach(([name, value]) => rect.setAttribute(name, value));
  };
  const exact = drawn("g", picture, "exact");
  const dims = names.map(() => drawn("rect", picture, "dim"));
  const frame = drawn("rect", picture, "frame");
  const mark = (name) => drawn("rect", picture, name);
  const marks = [mark("waiter"), mark("awaited")];
  document.querySelectorAll(".script").forEach((text) => { text.hidden = false; });

  const duration = (ns) =>
    ns >= 1e9 ? (ns / 1e9).toFixed(3) + " s" : ns >= 1e6 ? (ns / 1e6).toFixed(3) + " ms" : (ns / 1e3).toFixed(1) + " \u00b5s";

  // The longest wait of a row that touches the times from `left` to `right`, and how many do.
  const find = (row, left, right) => {
    const list = waits[row];
    let [low, high] = [0, list.length / 3];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle * 3 + 1] < left) low = middle + 1; else high = middle;
    }
    let [best, count] = [-1, 0];
    for (let n = low; n * 3 < list.length && list[n * 3] <= right; n++, count++) {
      const length = list[n * 3 + 1] - list[n * 3];
      if (best < 0 || length > list[best * 3 + 1] - list[best * 3]) best = n;
    }
    return best < 0 ? null : { from: list[best * 3], to: list[best * 3 + 1], on: list[best * 3 + 2], count };
  };

  // The stretch of the run that is shown, in nanoseconds.
  let view = { from: 0, to: end };
  const x = (ns) => ns / end * WIDTH;
  const timeAt = (event) => {
    const box = picture.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    return view.from + part * (view.to - view.from);
  };

  // Slices are coarse when they are stretched; the waits themselves take their place, unless only some of them are known.
  const drawExact = () => {
    exact.replaceChildren();
    if (sampled || view.to - view.from >= end) return;
    const rect = (name, row, from, to) => {
      const [left, right] = [Math.max(from, view.from), Math.min(to, view.to)];
      if (left < right) place(drawn("rect", exact, name), x(left), row * rowHeight + 4, x(right - left), rowHeight - 6);
    };
    waits.forEach((list, row) => {
      rect("work", row, 0, ends[row]);
      for (let n = 0; n < list.length; n += 3) rect("waited", row, list[n], list[n + 1]);
    });
  };

  const reset = document.getElementById("reset");
  const shown = document.getElementById("shown");
  const zoom = (from, to) => {
    if (end === 0) return;
    // Below a microsecond there is nothing to see.
    const span = Math.min(Math.max(to - from, 1000), end);
    const start = Math.min(Math.max(from, 0), end - span);
    view = { from: start, to: start + span };
    for (const svg of [picture, use]) {
      svg.setAttribute("viewBox", `${x(start)} 0 ${x(span)} ${svg.viewBox.baseVal.height}`);
    }
    document.querySelectorAll(".axis span").forEach((text, quarter) => {
      text.textContent = quarter === 0 && start === 0 ? "0" : duration(start + span * quarter / 4);
    });
    reset.disabled = span >= end;
    shown.textContent = span >= end ? "" : `${duration(start)} to ${duration(start + span)} of ${duration(end)}`;
    drawExact();
    hide();
  };
  const scale = (by, at = (view.from + view.to) / 2) => zoom(at - (at - view.from) * by, at + (view.to - at) * by);
  const move = (by) => zoom(view.from + (view.to - view.from) * by, view.to + (view.to - view.from) * by);

  const hide = () => {
    tip.hidden = true;
    marks.forEach((rect) => rect.setAttribute("width", 0));
  };

  const show = (event) => {
    const box = picture.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top) / box.height * names.length);
    if (row < 0 || row >= names.length || end === 0) return hide();
    const at = timeAt(event);
    const near = (view.to - view.from) / box.width * 3;
    const wait = find(row, at - near, at + near);
    hide();
    tip.textContent = wait === null
      ? `${names[row]} at ${duration(at)}: no wait`
      : `${names[row]} waited for ${names[wait.on]} from ${duration(wait.from)} to ${duration(wait.to)}: ` +
        duration(wait.to - wait.from) + (wait.count > 1 ? ` (the longest of ${wait.count} here)` : "");
    if (wait !== null) {
      [row, wait.on].forEach((line, nth) => {
        const least = (view.to - view.from) / box.width * 2;
        place(marks[nth], x(wait.from), line * rowHeight, x(Math.max(wait.to - wait.from, least)), rowHeight - 1);
      });
    }
    tip.hidden = false;
    const [room, top] = [document.documentElement.clientWidth - tip.offsetWidth - 8, event.pageY + 18];
    tip.style.left = Math.max(8, Math.min(event.pageX + 12, room)) + "px";
    tip.style.top = top + "px";
  };

  // A stretch is chosen by dragging with a mouse; fingers scroll the page.
  let dragged = null;
  picture.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0 && end > 0) {
      dragged = timeAt(event);
      picture.setPointerCapture(event.pointerId);
    }
    show(event);
  });
  picture.addEventListener("pointermove", (event) => {
    if (dragged === null) return show(event);
    const [from, to] = [dragged, timeAt(event)].sort((one, other) => one - other);
    place(frame, x(from), 0, x(to - from), rowHeight * names.length);
  });
  picture.addEventListener("pointerup", (event) => {
    if (dragged === null) return;
    const [from, to] = [dragged, timeAt(event)].sort((one, other) => one - other);
    dragged = null;
    frame.setAttribute("width", 0);
    if (to - from > (view.to - view.from) / 200) zoom(from, to);
  });
  picture.addEventListener("pointercancel", () => { dragged = null; frame.setAttribute("width", 0); });
  picture.addEventListener("dblclick", () => zoom(0, end));
  picture.addEventListener("keydown", (event) => {
    const keys = {
      "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), "0": () => zoom(0, end),
      ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25),
    };
    const act = keys[event.key];
    if (act && !event.ctrlKey && !event.metaKey) { act(); event.preventDefault(); }
  });
  document.getElementById("closer").addEventListener("click", () => scale(0.5));
  document.getElementById("farther").addEventListener("click", () => scale(2));
  document.getElementById("earlier").addEventListener("click", () => move(-0.25));
  document.getElementById("later").addEventListener("click", () => move(0.25));
  reset.addEventListener("click", () => zoom(0, end));

  const labels = [...document.querySelectorAll(".names div")];
  const rows = [...document.querySelectorAll("#spent tr, #pairs tr")].filter((row) => row.cells[0].tagName === "TD");
  const found = document.getElementById("found");
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    const fits = (name) => name.toLowerCase().includes(wanted);
    names.forEach((name, row) => {
      labels[row].classList.toggle("out", !fits(name));
      place(dims[row], 0, row * rowHeight, fits(name) ? 0 : WIDTH, rowHeight);
    });
    rows.forEach((row) => { row.hidden = ![...row.cells].slice(0, row.cells.length > 3 ? 2 : 1).some((cell) => fits(cell.textContent)); });
    found.textContent = wanted === "" ? "" : `${names.filter(fits).length} of ${names.length} traces`;
  });
  picture.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
})();
