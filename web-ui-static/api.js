// api.js - requests to the server that served this page. The session is a cookie that scripts can't read.

export class ApiError extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
}

/** Called when the server says that the session is over. */
let onSignedOut = () => {};
export function whenSignedOut(callback) {
	onSignedOut = callback;
}

const UNREACHABLE = "The server can't be reached. Check the network; this page tries again by itself.";

async function problemOf(response) {
	try {
		const problem = await response.json();
		const text = problem.detail || problem.title;
		if (text)
			return sentence(text);
	} catch {
		// No problem document: the status has to do.
	}
	return `The server answered ${response.status} ${response.statusText}.`;
}

function sentence(text) {
	const capital = text.charAt(0).toUpperCase() + text.slice(1);
	return /[.!?]$/.test(capital) ? capital : capital + ".";
}

async function request(method, path, body, more) {
	const headers = { Accept: "application/json", "X-Godwit-Request": "1", ...more };
	if (body !== undefined)
		headers["Content-Type"] = "application/json";
	let response;
	try {
		response = await fetch("/api/v1" + path, {
			method,
			headers,
			body: body === undefined ? undefined : JSON.stringify(body),
			credentials: "same-origin",
			cache: "no-store",
		});
	} catch {
		throw new ApiError(0, UNREACHABLE);
	}
	if (!response.ok) {
		const error = new ApiError(response.status, await problemOf(response));
		if (response.status === 401 && path !== "/login" && path !== "/session")
			onSignedOut(error);
		throw error;
	}
	const text = await response.text();
	return text ? JSON.parse(text) : null;
}

export const get = (path) => request("GET", path);

/** The key makes a repeated request harmless: the server answers it with the first one's result. */
export const post = (path, body = {}) =>
	request("POST", path, body, { "Idempotency-Key": randomKey() });

function randomKey() {
	return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One page of a list: { items, next }; next is where the following page begins, or null. */
export function page(path, after = null, limit = 1000) {
	const query = new URLSearchParams({ limit: String(limit) });
	if (after)
		query.set("after", after);
	return get(`${path}?${query}`);
}

/** Every item of a list. */
export async function list(path) {
	const items = [];
	let after = null;
	do {
		const { items: more, next } = await page(path, after);
		items.push(...more);
		after = next;
	} while (after);
	return items;
}
