// dom.js - elements from data, and the least change that turns what is shown into what should be shown.
//
// Text always becomes a text node: nothing that comes from the server is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "circle", "rect", "g", "line", "polyline", "title"]);
const HANDLERS = ["onclick", "onsubmit", "oninput", "onchange", "onkeydown", "onclose", "onfocusout"];

/**
 * h("button", { class: "primary", onclick: f, disabled: busy }, "Start", icon)
 * Properties: `key` names a child among its siblings for patch(); on… are handlers; false, null and undefined are left
 * out; true is an empty attribute. Children: nodes, strings, numbers, arrays of them; false and null are left out.
 */
export function h(tag, properties, ...children) {
	const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
	for (const [name, value] of Object.entries(properties ?? {})) {
		if (value === false || value === null || value === undefined)
			continue;
		if (HANDLERS.includes(name))
			element[name] = value;
		else if (name === "key")
			element.dataset.key = value;
		else
			element.setAttribute(name, value === true ? "" : String(value));
	}
	append(element, children);
	return element;
}

function append(element, children) {
	for (const child of children) {
		if (Array.isArray(child))
			append(element, child);
		else if (child !== false && child !== null && child !== undefined)
			element.append(child instanceof Node ? child : String(child));
	}
}

/**
 * Make @old look like @fresh, keeping every node that is the same in both: focus, selection, scroll positions and open
 * dialogs survive. Children with keys are matched by key, others by place and tag.
 */
export function patch(old, fresh) {
	patchAttributes(old, fresh);
	for (const name of HANDLERS)
		if (old[name] !== fresh[name])
			old[name] = fresh[name];
	patchChildren(old, fresh);
}

function patchAttributes(old, fresh) {
	for (const { name } of [...old.attributes])
		if (!fresh.hasAttribute(name) && !(name === "open" && old.tagName === "DIALOG"))
			old.removeAttribute(name);
	for (const { name, value } of fresh.attributes)
		if (old.getAttribute(name) !== value)
			old.setAttribute(name, value);
	// What a person typed stays; what the program sets is set.
	if (old.tagName === "PROGRESS" && fresh.hasAttribute("value"))
		old.value = fresh.value;
}

function keyOf(node) {
	return node.nodeType === Node.ELEMENT_NODE ? node.dataset?.key : undefined;
}

function matches(old, fresh) {
	return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
}

function patchChildren(old, fresh) {
	const keyed = new Map();
	for (const child of old.childNodes) {
		const key = keyOf(child);
		if (key !== undefined)
			keyed.set(key, child);
	}
	let at = old.firstChild;
	for (const wanted of [...fresh.childNodes]) {
		const key = keyOf(wanted);
		const found = key !== undefined ? keyed.get(key) : at;
		if (found && matches(found, wanted)) {
			if (found === at)
				at = at.nextSibling;
			else
				old.insertBefore(found, at);
			patchNode(found, wanted);
		} else {
			old.insertBefore(wanted, at);
		}
	}
	while (at) {
		const next = at.nextSibling;
		at.remove();
		at = next;
	}
}

function patchNode(old, fresh) {
	if (old.nodeType === Node.TEXT_NODE) {
		if (old.data !== fresh.data)
			old.data = fresh.data;
	} else if (!old.hasAttribute("data-own")) {
		// data-own: whoever made this element changes it by itself.
		patch(old, fresh);
	}
}

/** Say something to people who listen to the page instead of seeing it. */
export function announce(text) {
	const announcer = document.getElementById("announcer");
	announcer.textContent = "";
	setTimeout(() => { announcer.textContent = text; }, 50);
}
