// token_dialog.js - a token that enrols one endpoint, and what to do with it.

import { h } from "../dom.js";
import * as api from "../api.js";
import * as format from "../format.js";
import { copyButton } from "./copy.js";
import { ask, show } from "./dialog.js";
import { fail } from "./toast.js";

const TTLS = [["3600", "an hour"], ["86400", "a day"], ["604800", "a week"]];

export async function enrol() {
	const values = await ask({
		title: "Enrol an endpoint", symbol: "key",
		text: "An endpoint joins with a token. Each token admits one endpoint, once.",
		fields: [
			h("label", { class: "field" }, h("span", null, "Only for the name (may be left empty)"),
				h("input", { name: "endpoint", pattern: "[a-z0-9][a-z0-9\\-]{0,62}", title: "Lower-case letters, digits and hyphens", autocomplete: "off", spellcheck: "false" })),
			h("label", { class: "field" }, h("span", null, "Good for"),
			h("select", { name: "ttl" }, TTLS.map(([value, text]) => h("option", { value }, text))))],
		confirm: "Make a token",
	});
	if (!values)
		return;
	try {
		const order = { ttl_s: Number(values.ttl), ...(values.endpoint ? { endpoint: values.endpoint } : {}) };
		const { token, expires } = await api.post("/endpoint-tokens", order);
		show({ title: "Token for one endpoint", symbol: "key", content: tokenContent(token, expires, values.endpoint || "NAME") });
	} catch (error) {
		fail(`No token was made. ${error.message}`);
	}
}

function tokenContent(token, expires, name) {
	const command = `godwit-agent enrol --state FOLDER --server ${location.origin} --token ${token} --name ${name}`;
	return [
		h("div", { class: "command" }, h("code", { id: "enrol-token" }, token), copyButton(token)),
		h("p", null, "On the new endpoint, with its name and its state folder:"),
		h("div", { class: "command one-line" }, h("code", null, command), copyButton(command, "Copy all")),
		h("p", { class: "quiet" }, "The token also tells the endpoint how to recognise this server. "
			+ `It expires ${format.ago(expires)} (${format.moment(expires)}) and is not shown again.`),
	];
}
