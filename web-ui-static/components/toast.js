// toast.js - notices that something ended. Good ones leave by themselves, bad ones stay until they were read.

import { h } from "../dom.js";
import { icon } from "./icon.js";

const SHOWN_MS = 6000;

export function toast({ tone = "good", text, href, linkText = "Show" }) {
	const remove = () => element.remove();
	const element = h("div", { class: `toast ${tone}`, role: tone === "bad" ? "alert" : "status" },
		icon(tone === "bad" ? "warning" : "check"),
		h("p", null, text, " ", href ? h("a", { href, onclick: remove }, linkText) : null),
		h("button", { type: "button", class: "icon-button", "aria-label": "Dismiss", onclick: remove }, icon("close")));
	document.getElementById("toasts").append(element);
	if (tone !== "bad")
		setTimeout(remove, SHOWN_MS);
}

export const fail = (text) => toast({ tone: "bad", text });
