// dialog.js - questions. The browser's own <dialog> keeps the focus inside and closes on Escape.

import { h } from "../dom.js";
import { icon } from "./icon.js";

let counter = 0;

/**
 * ask({ title, text, fields, confirm, danger, symbol }) → the form's values (an object), or null when it was closed.
 * fields: nodes with names, put between the text and the buttons.
 */
export function ask({ title, text, fields = [], confirm, danger = false, symbol }) {
	return new Promise((resolve) => {
		const id = `dialog-${++counter}`;
		const dialog = h("dialog", { class: "dialog", "aria-labelledby": id, onclose: () => done() },
			h("form", { method: "dialog" },
				h("div", { class: "dialog-body" },
					symbol ? h("span", { class: `dialog-symbol ${danger ? "bad" : ""}`.trim() }, icon(symbol)) : null,
					h("div", null,
						h("h2", { id }, title),
						(Array.isArray(text) ? text : [text]).filter(Boolean).map((part) => h("p", null, part)),
						fields)),
				h("div", { class: "dialog-buttons" },
					h("button", { type: "submit", value: "", class: "button", formnovalidate: true }, "Cancel"),
					h("button", { type: "submit", value: "yes", class: danger ? "button danger" : "button primary", autofocus: !danger }, confirm))));
		function done() {
			const yes = dialog.returnValue === "yes";
			const values = yes ? Object.fromEntries(new FormData(dialog.querySelector("form"))) : null;
			dialog.remove();
			resolve(values);
		}
		document.body.append(dialog);
		dialog.showModal();
	});
}

/** Show something until it is closed. */
export function show({ title, content, symbol }) {
	const id = `dialog-${++counter}`;
	const dialog = h("dialog", { class: "dialog", "aria-labelledby": id, onclose: () => dialog.remove() },
		h("form", { method: "dialog" },
			h("div", { class: "dialog-body" },
				symbol ? h("span", { class: "dialog-symbol" }, icon(symbol)) : null,
				h("div", { class: "dialog-content" }, h("h2", { id }, title), content)),
			h("div", { class: "dialog-buttons" }, h("button", { class: "button primary", value: "yes" }, "Done"))));
	document.body.append(dialog);
	dialog.showModal();
	return dialog;
}
