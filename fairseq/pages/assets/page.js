// Sorting, values under the pointer and the arrow keys, hiding of runs, themes; on a served page, looking for a newer one.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tip = document.getElementById("tip"), said = document.getElementById("said");
  const hidden = new Set(); // colours whose curves are hidden
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    if (text !== null) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const shown = (value) => {
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e6) return value.toLocaleString("en");
    return size >= 1e6 || (size < 1e-3 && size > 0) ? value.toExponential(3) : String(+value.toPrecision(5));
  };

  // -- tables ---------------------------------------------------------------------------------------------------------

  const key = (cell) => {
    if (!cell || "missing" in cell.dataset) return null;
    if ("v" in cell.dataset) return Number(cell.dataset.v);
    return cell.textContent.trim() || null;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true }));
  function sort(table, column, descending) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : (descending ? -1 : 1) * compare(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }
  function onSort(button) {
    const heading = button.closest("th"), table = button.closest("table");
    sort(table, heading.cellIndex, heading.getAttribute("aria-sort") === "ascending");
  }

  // -- charts ---------------------------------------------------------------------------------------------------------

  const data = (figure) => (figure.data ??= JSON.parse(figure.querySelector("script").textContent));
  const visible = (figure) => data(figure).series.filter((series) => !hidden.has(series.color));
  const nearest = (points, x) => {
    let best = 0;
    points.forEach(([each], place) => { if (Math.abs(each - x) < Math.abs(points[best][0] - x)) best = place; });
    return best;
  };
  const valueAt = (series, x) => { // of a step: what held at x
    if (!series.step) return nearest(series.points, x);
    let place = 0;
    series.points.forEach(([each], index) => { if (each <= x) place = index; });
    return place;
  };
  function lines(figure, x) {
    const { xLabel } = data(figure);
    return [`${xLabel} ${shown(x)}`, ...visible(figure).map((series) => {
      const place = valueAt(series, x), [at, value] = series.points[place];
      const spread = series.spread?.[place], other = at !== x && !series.step ? ` (at ${shown(at)})` : "";
      return [series.style, `${series.name}: ${shown(value)}${spread ? ` \u00b1 ${shown(spread)}` : ""}${other}`];
    })];
  }
  function show(text, left, top) {
    tip.replaceChildren(...text.map((line) => {
      if (!Array.isArray(line)) return make("div", line);
      const row = make("div", null);
      row.append(make("i", null, { class: "swatch", style: line[0] }), make("span", line[1]));
      return row;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(left + 14, innerWidth - box.width - 4))}px`;
    tip.style.top = `${Math.max(4, top + 14 + box.height > innerHeight ? top - box.height - 10 : top + 14)}px`;
  }
  function hide() {
    tip.hidden = true;
    all(".cursor").forEach((cursor) => cursor.remove());
  }
  function point(figure, x, y, spoken) { // the value nearest to x (and, where points have names, to y)
    const svg = figure.querySelector("svg"), { x: [x0, x1], y: [y0, y1], box: [left, top, right, bottom] } = data(figure);
    const series = visible(figure);
    if (!series.length) return hide();
    let text, at;
    if (series[0].names) {
      const away = (p) => Math.hypot((p[0] - x) / (x1 - x0), y === null ? 0 : (p[1] - y) / (y1 - y0));
      const points = series.flatMap((one) => one.points.map((p, place) => ({ one, p, place })));
      const best = points.reduce((a, b) => (away(b.p) < away(a.p) ? b : a));
      const spread = best.one.spread?.[best.place];
      at = best.p[0];
      text = [[best.one.style, best.one.names[best.place]], `${data(figure).xLabel} ${shown(at)}`,
        `${shown(best.p[1])}${spread ? ` \u00b1 ${shown(spread)}` : ""}`];
    } else {
      const found = series.map((one) => one.points[nearest(one.points, x)][0]);
      at = series.every((one) => one.step) ? Math.round(x) : found.reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a));
      text = lines(figure, at);
    }
    figure.at = at;
    all(".cursor").forEach((cursor) => cursor.remove());
    const place = left + ((at - x0) / (x1 - x0)) * (right - left);
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
    cursor.setAttribute("d", `M${place} ${top}V${bottom}`);
    cursor.setAttribute("class", "cursor");
    svg.append(cursor);
    const area = svg.getBoundingClientRect();
    show(text, area.left + (place / svg.viewBox.baseVal.width) * area.width, area.top + area.height / 3);
    if (spoken) said.textContent = text.map((line) => (Array.isArray(line) ? line[1] : line)).join("; ");
  }
  function onPointer(event, figure) {
    const svg = figure.querySelector("svg"), area = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    const { x: [x0, x1], y: [y0, y1], box: [left, top, right, bottom] } = data(figure);
    const px = ((event.clientX - area.left) / area.width) * view.width, py = ((event.clientY - area.top) / area.height) * view.height;
    const x = x0 + ((px - left) / (right - left)) * (x1 - x0), y = y0 + ((bottom - py) / (bottom - top)) * (y1 - y0);
    point(figure, Math.min(Math.max(x, x0), x1), y, false);
  }
  function onArrow(event, figure) {
    const xs = [...new Set(visible(figure).flatMap((series) => series.points.map(([x]) => x)))].sort((a, b) => a - b);
    if (!xs.length) return;
    const place = figure.at === undefined ? -1 : nearest(xs.map((x) => [x]), figure.at);
    const next = { ArrowRight: place + 1, ArrowLeft: place < 0 ? xs.length - 1 : place - 1, Home: 0, End: xs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    point(figure, xs[Math.min(Math.max(next, 0), xs.length - 1)], null, true);
  }
  function fillValues(details) { // the values of a chart as a table, made when it is opened
    if (!details.open || details.querySelector("table")) return;
    const { xLabel, series } = data(details.closest("figure"));
    const box = make("div", null, { class: "scroll", tabindex: "0", role: "region", "aria-label": "values" });
    const table = make("table", null), head = table.createTHead().insertRow(), body = table.createTBody();
    ["series", xLabel, "value"].forEach((name) => head.append(make("th", name, { scope: "col" })));
    series.forEach((one) => one.points.forEach(([x, y], place) => {
      const row = body.insertRow(), spread = one.spread?.[place];
      row.append(make("td", one.names?.[place] ?? one.name), make("td", shown(x), { class: "n" }),
        make("td", `${shown(y)}${spread ? ` \u00b1 ${shown(spread)}` : ""}`, { class: "n" }));
    }));
    box.append(table);
    details.append(box);
  }

  // -- maps of errors -------------------------------------------------------------------------------------------------

  function square(map, column, row, spoken) {
    const { rows, columns, values, cell: [width, height] } = data(map), svg = map.querySelector("svg"), area = svg.getBoundingClientRect();
    map.square = [column = Math.min(Math.max(column, 0), columns.length - 1), row = Math.min(Math.max(row, 0), rows.length - 1)];
    const value = values[row][column], text = [rows[row], `update ${shown(columns[column])}: ${value === null ? "-" : shown(value)}`];
    show(text, area.left + (column + 0.5) * width, area.top + (row + 1) * height);
    if (spoken) said.textContent = text.join("; ");
  }
  function onMapPointer(event, map) {
    const area = map.querySelector("svg").getBoundingClientRect(), [width, height] = data(map).cell;
    square(map, Math.floor((event.clientX - area.left) / width), Math.floor((event.clientY - area.top) / height), false);
  }
  function onMapKey(event, map) {
    const [column, row] = map.square ?? [-1, 0], step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    square(map, column + step[0], row + step[1], true);
  }

  // -- everything that listens ----------------------------------------------------------------------------------------

  function filter(input) {
    const words = input.value.toLowerCase();
    const table = input.closest("details").querySelector("table");
    for (const row of table.tBodies[0].rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(words);
  }
  function onlyDiffering(input) {
    for (const table of all("table.settings", input.closest("section")))
      for (const row of table.tBodies[0].rows) row.hidden = input.checked && !("differs" in row.dataset);
  }
  function toggle(button) {
    const color = Number(button.dataset.color), pressed = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!pressed));
    if (pressed) hidden.add(color); else hidden.delete(color);
    applyHidden();
  }
  function applyHidden() {
    const runs = all("section").filter((section) => section.querySelector(".legend"));
    for (const section of runs) for (const group of all("svg [data-color]", section)) group.style.display = hidden.has(Number(group.dataset.color)) ? "none" : "";
    for (const button of all(".legend button")) button.setAttribute("aria-pressed", String(!hidden.has(Number(button.dataset.color))));
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches(".sort")) onSort(button);
    else if (button?.matches("[data-color]")) toggle(button);
    else if (button?.id === "theme") setTheme(theme() === "dark" ? "light" : "dark");
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches(".filter")) filter(event.target);
    if (event.target.matches(".only-differing")) onlyDiffering(event.target);
  });
  const graphic = (event) => [event.target.closest?.(".chart svg")?.closest("figure"), event.target.closest?.(".errors svg")?.closest(".errors")];
  for (const name of ["pointermove", "pointerdown"]) document.addEventListener(name, (event) => {
    const [figure, map] = graphic(event);
    if (figure) onPointer(event, figure); else if (map) onMapPointer(event, map); else if (!tip.hidden) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const [figure, map] = graphic(event);
    if (figure) onArrow(event, figure); else if (map) onMapKey(event, map);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.addEventListener("toggle", (event) => { if (event.target.matches?.("details.values")) fillValues(event.target); }, true);

  // -- themes, print --------------------------------------------------------------------------------------------------

  const root = document.documentElement;
  const theme = () => root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  function setTheme(name) {
    root.dataset.theme = name;
    try { localStorage.setItem("fairseq-theme", name); } catch { /* a page from disk may have no storage */ }
    label();
  }
  function label() {
    const button = document.getElementById("theme");
    button.textContent = theme() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `${button.textContent} theme`);
    button.removeAttribute("aria-pressed");
  }
  try { const kept = localStorage.getItem("fairseq-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch { /* as above */ }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
  const openTarget = () => { // a link to a closed cell opens it
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.matches("details")) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open], .values, .bulk)");
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  // -- a run under way ------------------------------------------------------------------------------------------------

  function state() { // what a reader has done to the page
    const tables = all("table.sortable").map((table) => {
      const heading = table.querySelector("th[aria-sort]");
      return heading && [heading.cellIndex, heading.getAttribute("aria-sort") === "descending"];
    });
    return { tables, open: all("main details").map((details) => details.open), differing: all(".only-differing").map((box) => box.checked) };
  }
  function restore(before) {
    all("table.sortable").forEach((table, place) => { if (before.tables[place]) sort(table, ...before.tables[place]); });
    all("main details").forEach((details, place) => { details.open = before.open[place] ?? details.open; });
    all(".only-differing").forEach((box, place) => { box.checked = before.differing[place] ?? false; onlyDiffering(box); });
    applyHidden();
  }
  async function refresh(version) {
    try {
      const answer = await fetch("version"), now = await answer.text();
      if (answer.ok && now !== version) {
        const fresh = new DOMParser().parseFromString(await (await fetch("./")).text(), "text/html");
        const before = state(), focused = document.activeElement?.closest("main");
        if (!focused && tip.hidden && !String(getSelection())) {
          for (const part of ["main", "footer", "header .note"]) document.querySelector(part)?.replaceWith(fresh.querySelector(part));
          restore(before);
          version = now;
        }
      }
    } catch { /* the server may have ended; it may come back */ }
    setTimeout(refresh, 2000, version);
  }
  if ("live" in root.dataset) refresh(null);
})();
