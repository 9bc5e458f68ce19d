// copy.js - a button that copies a text and says so.

import { announce, h } from "../dom.js";
import { icon } from "./icon.js";

const SHOWN_MS = 1600;

export function copyButton(text, label = "Copy") {
	return h("button", { type: "button", class: "button small", "data-own": true, key: text, onclick: (event) => copy(event.currentTarget, text, label) },
		icon("copy"), h("span", null, label));
}

async function copy(button, text, label) {
	let said = "Copied";
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		said = copyOldWay(text, button) ? "Copied" : "Select and copy it by hand";
	}
	button.lastChild.textContent = said;
	announce(said);
	setTimeout(() => { button.lastChild.textContent = label; }, SHOWN_MS);
}

/** Where the clipboard may not be used (no permission): select it in a field and let the browser copy. */
function copyOldWay(text, button) {
	const field = h("textarea", { class: "visually-hidden", readonly: true });
	field.value = text;
	button.after(field);
	field.select();
	const done = document.execCommand("copy");
	field.remove();
	button.focus();
	return done;
}
