// table.js - rows of objects. On a narrow screen each row becomes a card whose cells carry their titles.

import { h } from "../dom.js";
import { icon } from "./icon.js";

const SHOWN_ROWS = 100; // at first, and more with each click: nobody reads a thousand rows, but drawing them takes a second
const shownRows = new Map(); // label → how many

/**
 * table({ label, columns: [{ title, cell(row), sort?(row), class? }], rows, key(row), sort: { column, down }, onSort, redraw })
 * The first column names the row. sort belongs to the caller, so that it survives the next rendering. redraw: for tables that
 * may be long.
 */
export function table({ label, columns, rows, key, sort, onSort, redraw }) {
	const sorted = sort && columns[sort.column]?.sort ? order(rows, columns[sort.column].sort, sort.down) : rows;
	const most = redraw ? shownRows.get(label) ?? SHOWN_ROWS : Infinity;
	return [frame({ label, columns, rows: sorted.slice(0, most), key, sort, onSort }),
		sorted.length > most ? h("p", { class: "older", key: "more" },
			h("button", { type: "button", class: "button", onclick: () => { shownRows.set(label, most + SHOWN_ROWS); redraw(); } },
				`Show more (${most} of ${sorted.length})`)) : null];
}

function frame({ label, columns, rows, key, sort, onSort }) {
	return h("div", { class: "table-frame" },
		h("table", { class: "table", "aria-label": label },
			h("thead", null, h("tr", null, columns.map((column, i) => head(column, i, sort, onSort)))),
			h("tbody", null, rows.map((row) => h("tr", { key: key(row) },
				columns.map((column, i) => h(i === 0 ? "th" : "td",
					{ class: column.class, "data-title": column.title, scope: i === 0 ? "row" : null },
					column.cell(row))))))));
}

function head(column, i, sort, onSort) {
	if (!column.sort || !onSort)
		return h("th", { scope: "col", class: column.class }, column.title);
	const mine = sort?.column === i;
	return h("th", { scope: "col", class: column.class, "aria-sort": mine ? (sort.down ? "descending" : "ascending") : null },
		h("button", { type: "button", class: "sort", onclick: () => onSort({ column: i, down: mine ? !sort.down : false }) },
			column.title, icon("chevron", mine ? (sort.down ? "down" : "up") : "unsorted")));
}

function order(rows, value, down) {
	const collator = new Intl.Collator(undefined, { numeric: true });
	const compare = (a, b) => {
		const x = value(a) ?? "";
		const y = value(b) ?? "";
		return typeof x === "number" && typeof y === "number" ? x - y : collator.compare(String(x), String(y));
	};
	return [...rows].sort((a, b) => (down ? -compare(a, b) : compare(a, b)));
}
