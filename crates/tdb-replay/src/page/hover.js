"use strict";
// Shows what a trace did at the moment under the pointer: whom it waited for, and that one's row.
(() => {
  const picture = document.getElementById("timeline");
  const { end, names, waits } = JSON.parse(document.getElementById("waits").textContent);
  const tip = document.getElementById("tip");
  const mark = (name) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("class", name);
    picture.append(rect);
    return rect;
  };
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

  const hide = () => {
    tip.hidden = true;
    marks.forEach((rect) => rect.setAttribute("width", 0));
  };

  const show = (event) => {
    const box = picture.getBoundingClientRect();
    const [width, height] = [picture.viewBox.baseVal.width, box.height / names.length];
    const row = Math.floor((event.clientY - box.top) / height);
    if (row < 0 || row >= names.length || end === 0) return hide();
    const at = (event.clientX - box.left) / box.width * end;
    const near = end / box.width * 3;
    const wait = find(row, at - near, at + near);
    hide();
    tip.textContent = wait === null
      ? `${names[row]} at ${duration(at)}: no wait`
      : `${names[row]} waited for ${names[wait.on]} from ${duration(wait.from)} to ${duration(wait.to)}: ` +
        duration(wait.to - wait.from) + (wait.count > 1 ? ` (the longest of ${wait.count} here)` : "");
    if (wait !== null) {
      [row, wait.on].forEach((line, nth) => {
        marks[nth].setAttribute("x", wait.from / end * width);
        marks[nth].setAttribute("width", Math.max((wait.to - wait.from) / end * width, width / box.width * 2));
        marks[nth].setAttribute("y", line * height);
        marks[nth].setAttribute("height", height - 1);
      });
    }
    tip.hidden = false;
    const [room, top] = [document.documentElement.clientWidth - tip.offsetWidth - 8, event.pageY + 18];
    tip.style.left = Math.max(8, Math.min(event.pageX + 12, room)) + "px";
    tip.style.top = top + "px";
  };

  picture.addEventListener("pointermove", show);
  picture.addEventListener("pointerdown", show);
  picture.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
})();
