// Style and script of a report's page. Without the script everything can be read; with it, tables of images are sorted and
// filtered.
#pragma once

namespace tvmap {

inline constexpr const char* page_style = R"(
:root { color-scheme: light; }
body { counter-reset: figure; font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 64rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 1rem 0; }
h2 { font-size: 1.4rem; margin: 2.5rem 0 .5rem; border-bottom: 2px solid #1b2f6b; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 48rem; }
a { color: #1b2f6b; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #dcdcdc; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 600; }
thead th { border-bottom: 2px solid #404040; vertical-align: bottom; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.images thead th { position: sticky; top: 0; background: #fff; }
table.images tbody th { font-weight: 400; }
table.images th button { font: inherit; font-weight: 600; background: none; border: 0; padding: 0; color: inherit; }
.scripted table.images th button { cursor: pointer; text-decoration: underline dotted; }
th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
.images-box { max-height: 32rem; overflow: auto; border: 1px solid #dcdcdc; }
.filter { display: none; }
.scripted .filter { display: block; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { color: #505050; max-width: 48rem; }
figcaption::before { counter-increment: figure; content: "Figure " counter(figure) ". "; }
.flips { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.flip { border: 0; margin: 0; padding: 0; min-width: 0; }
.flip legend { font-weight: 600; max-width: 24rem; overflow-wrap: anywhere; }
.flip label { margin-right: .8rem; }
.flip .pictures img { display: none; width: 24rem; max-width: 100%; height: auto; image-rendering: pixelated; }
.flip input:nth-of-type(1):checked ~ .pictures img:nth-of-type(1),
.flip input:nth-of-type(2):checked ~ .pictures img:nth-of-type(2),
.flip input:nth-of-type(3):checked ~ .pictures img:nth-of-type(3),
.flip input:nth-of-type(4):checked ~ .pictures img:nth-of-type(4),
.flip input:nth-of-type(5):checked ~ .pictures img:nth-of-type(5),
.flip input:nth-of-type(6):checked ~ .pictures img:nth-of-type(6) { display: block; }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto; font-size: .85rem; }
@media print { .images-box { max-height: none; } .filter { display: none; } figure { break-inside: avoid; } }
)";

inline constexpr const char* page_script = R"(
'use strict';
document.documentElement.classList.add('scripted');
for (const box of document.querySelectorAll('.images-part')) {
  const table = box.querySelector('table'), body = table.tBodies[0];
  const number = text => text === 'inf' ? Infinity : text === '-inf' ? -Infinity : parseFloat(text);
  const compare = (a, b, column) => {
    const [x, y] = [a, b].map(row => row.cells[column].textContent);
    if (column === 0) return x.localeCompare(y, 'en', {numeric: true});
    const [u, v] = [number(x), number(y)];
    return Number.isNaN(u) || Number.isNaN(v) ? Number.isNaN(u) - Number.isNaN(v) : u < v ? -1 : u > v ? 1 : 0;
  };
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of heads) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(a, b, column));
    body.append(...rows);
  }));
  const count = box.querySelector('.count');
  box.querySelector('input').addEventListener('input', event => {
    const wanted = event.target.value.toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = shown + ' of ' + body.rows.length + ' images';
  });
}
)";

}  // namespace tvmap
