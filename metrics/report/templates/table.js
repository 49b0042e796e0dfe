// Sorting and filtering. Without this script the page is the same tables in the board's own order.
"use strict";

const form = document.getElementById("filters");
const sections = [...document.querySelectorAll("section.setting")];

function cellOf(row, column) {
  return row.querySelector(`:scope > [data-column="${column}"]`);
}

function compare(a, b, column, numeric) {
  const [x, y] = [a, b].map((row) => cellOf(row, column)?.dataset.sort ?? "");
  if (x === "" || y === "") return (x === "") - (y === ""); // what has no value stands last, whatever the direction
  return numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
}

function sortBy(table, head, direction) {
  const body = table.tBodies[0];
  const numeric = head.classList.contains("number");
  const sign = direction === "descending" ? -1 : 1;
  const empty = (row) => (cellOf(row, head.dataset.column)?.dataset.sort ?? "") === "";
  const rows = [...table.boardOrder];
  if (direction) {
    rows.sort((a, b) => {
      const order = compare(a, b, head.dataset.column, numeric);
      return empty(a) || empty(b) ? order : sign * order;
    });
  }
  body.append(...rows);
  for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
  if (direction) head.setAttribute("aria-sort", direction);
  table.classList.toggle("sorted", Boolean(direction));
}

// The first press shows the best first, the second the worst, the third the board's own order.
function nextDirection(head) {
  const first = head.dataset.better === "higher" ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  return { [first]: second, [second]: "" }[head.getAttribute("aria-sort")] ?? first;
}

function makeSortable(table) {
  table.boardOrder = [...table.tBodies[0].rows];
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head, nextDirection(head)));
  }
}

function wanted() {
  const value = (id) => document.getElementById(id).value;
  const checked = (id) => document.getElementById(id).checked;
  const facets = [...form.querySelectorAll("[data-facet]")].filter((select) => select.value !== "");
  return {
    text: value("search").trim().toLowerCase(),
    verdict: value("verdict"),
    controls: checked("controls"),
    unscored: checked("unscored"),
    isSetting: (section) => facets.every((s) => section.getAttribute(`data-facet-${s.dataset.facet}`) === s.value),
  };
}

// Controls follow the attacks that they control; one that is searched for by name shows alone.
function filterSection(section, want) {
  const rows = [...section.querySelectorAll("tbody > tr")];
  const heading = section.querySelector("h2").textContent.toLowerCase();
  const name = (row) => cellOf(row, "name").dataset.sort;
  const isControl = (row) => row.classList.contains("control");
  const isFound = (row) => heading.includes(want.text) || name(row).toLowerCase().includes(want.text);
  const isScored = (row) => want.unscored || !row.classList.contains("unscored");
  const isWanted = (row) => isFound(row) && isScored(row) && (!want.verdict || row.dataset.verdict === want.verdict);
  const attacks = new Set(rows.filter((row) => !isControl(row) && isWanted(row)).map(name));
  const follows = (row) => (row.dataset.of === "" ? attacks.size > 0 : attacks.has(row.dataset.of));
  const isShown = (row) => {
    if (!isControl(row)) return attacks.has(name(row)) && isWanted(row);
    return want.controls && isScored(row) && (follows(row) || (want.text !== "" && isWanted(row)));
  };
  const inSetting = want.isSetting(section);
  for (const row of rows) row.hidden = !(inSetting && isShown(row));
  const shown = rows.filter((row) => !row.hidden).length;
  section.hidden = shown === 0;
  return shown;
}

function applyFilters() {
  const counts = sections.map((section) => filterSection(section, wanted()));
  const rows = counts.reduce((sum, count) => sum + count, 0);
  const settings = counts.filter(Boolean).length;
  document.getElementById("shown").textContent = `${rows} rows in ${settings} of ${sections.length} settings`;
}

for (const section of sections) makeSortable(section.querySelector("table"));
form.addEventListener("input", applyFilters);
form.addEventListener("reset", () => setTimeout(applyFilters)); // after the fields are reset
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("more").open = matchMedia("(min-width: 40rem)").matches;
form.hidden = false;
applyFilters();
