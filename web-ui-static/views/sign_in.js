// sign_in.js - the door.

import * as api from "../api.js";
import { h } from "../dom.js";
import { icon } from "../components/icon.js";

let problem = null;
let busy = false;

async function submit(event, onDone, redraw) {
	event.preventDefault();
	const form = event.currentTarget;
	const { user, password } = Object.fromEntries(new FormData(form));
	busy = true;
	problem = null;
	redraw();
	try {
		const session = await api.post("/login", { user, password });
		form.reset();
		busy = false;
		onDone({ user: session.user, role: session.role, expires: session.expires });
	} catch (error) {
		busy = false;
		problem = error.message;
		redraw();
		form.elements.password.select();
	}
}

export const signIn = {
	/** Why the door is closed again; null: no reason to give. */
	because(text) {
		problem = text;
	},

	render({ onDone, redraw }) {
		return h("main", { class: "door", id: "main", key: "door" },
			h("div", { class: "door-card" },
				h("img", { src: "/logo.svg", alt: "", width: 56, height: 56 }),
				h("h1", null, "Godwit"),
				h("p", { class: "quiet" }, "Desktops that come back, wherever they are needed."),
				h("form", { onsubmit: (event) => submit(event, onDone, redraw) },
					problem ? h("p", { class: "form-problem", role: "alert", id: "sign-in-problem" }, icon("warning"), problem) : null,
					h("label", { class: "field" }, h("span", null, "User"),
						h("input", { name: "user", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, autofocus: true })),
					h("label", { class: "field" }, h("span", null, "Password"),
						h("input", { name: "password", type: "password", autocomplete: "current-password", required: true,
							"aria-describedby": problem ? "sign-in-problem" : null })),
					h("button", { type: "submit", class: "button primary wide", disabled: busy }, busy ? "Signing in…" : "Sign in"))));
	},
};
