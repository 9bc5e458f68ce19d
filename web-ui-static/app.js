// app.js - the beginning: who is signed in, which page, and drawing it again when something changed.

import * as api from "./api.js";
import * as format from "./format.js";
import * as router from "./router.js";
import * as store from "./store.js";
import { announce, h, patch } from "./dom.js";
import { startTheme } from "./components/theme.js";
import { shell } from "./components/shell.js";
import { empty, heading, loading } from "./components/page.js";
import { forget } from "./components/progress.js";
import { toast } from "./components/toast.js";
import { desktop } from "./views/desktop.js";
import { desktops } from "./views/desktops.js";
import { endpoint } from "./views/endpoint.js";
import { endpoints } from "./views/endpoints.js";
import { job } from "./views/job.js";
import { jobs } from "./views/jobs.js";
import { notices } from "./views/notices.js";
import { overview } from "./views/overview.js";
import { server } from "./views/server.js";
import { signIn } from "./views/sign_in.js";
import { snapshot } from "./views/snapshot.js";
import { snapshots } from "./views/snapshots.js";

const CLOCK_MS = 5000; // "40 s ago" grows this often

router.route("/", overview);
router.route("/desktops", desktops);
router.route("/desktops/:name", desktop);
router.route("/endpoints", endpoints);
router.route("/endpoints/:name", endpoint);
router.route("/snapshots", snapshots);
router.route("/snapshots/:id", snapshot);
router.route("/jobs", jobs);
router.route("/jobs/:id", job);
router.route("/notices", notices);
router.route("/server", server);

const app = document.getElementById("app");

/** A view is { title(params), render(params, redraw) → node, enter?(params, redraw), public? }. */
function draw() {
	const { view, params, path } = router.current();
	if (!store.state.session) {
		document.title = "Sign in · Godwit";
		patch(app, h("div", { id: "app" }, signIn.render({ onDone: signedIn, redraw })));
		return;
	}
	document.title = `${view ? view.title(params) : "Not found"} · Godwit`;
	const content = h("div", { class: "page", key: path }, problem(), body(view, params));
	patch(app, h("div", { id: "app" }, shell({ path, content, onSignOut: signOut })));
}

function body(view, params) {
	if (!store.state.loaded)
		return store.state.problem ? null : loading();
	return view ? view.render(params, redraw) : h("div", null, heading({ title: "Not found" }), empty({
		symbol: "search", title: "There is no such page", text: "The address may be mistyped, or what it named is gone.",
		action: h("a", { class: "button primary", href: "#/" }, "Back to the overview"),
	}));
}

function problem() {
	return store.state.problem ? h("div", { class: "banner bad", role: "alert", key: "problem" }, h("p", null, store.state.problem),
		h("button", { type: "button", class: "button small", onclick: store.load }, "Try again")) : null;
}

let scheduled = false;
let drawTook = 0;

/** Draw soon: once for all that changes within a frame, and never more than a quarter of the time with a large fleet. */
function redraw() {
	if (scheduled)
		return;
	scheduled = true;
	setTimeout(() => requestAnimationFrame(() => {
		const began = performance.now();
		scheduled = false;
		draw();
		drawTook = performance.now() - began;
	}), drawTook > 8 ? drawTook * 3 : 0);
}

function navigate() {
	const { view, params } = router.current();
	if (store.state.session)
		view?.enter?.(params, redraw);
	draw();
	window.scrollTo(0, 0);
	// A new page begins at its heading, for the keyboard as for the eye.
	document.querySelector("#main h1")?.focus({ preventScroll: true });
}

// ---- Jobs that end while somebody watches ----

store.watch((kind, object, before) => {
	redraw();
	if (kind !== "job" || !before || !store.jobIsActive(before) || store.jobIsActive(object))
		return;
	forget(object);
	const title = format.jobTitle(object);
	const href = `#/jobs/${object.id}`;
	if (object.state === "done")
		toast({ text: `${title} is done.`, href });
	else if (object.state === "failed")
		toast({ tone: "bad", text: `${title} failed: ${object.error ?? "no reason was given"}`, href, linkText: "Details" });
	else
		toast({ tone: "warn", text: `${title} was cancelled.`, href });
	announce(`${title} ${object.state}`);
});

// ---- Signing in and out ----

function signedIn(session) {
	store.start(session);
	navigate();
}

async function signOut() {
	try {
		await api.post("/logout");
	} catch {
		// The server ends the session by itself; this page forgets it now.
	}
	leave(null);
}

function leave(reason) {
	store.stop();
	signIn.because(reason);
	draw();
}

api.whenSignedOut((error) => {
	if (store.state.session)
		leave(error.message);
});

router.onNavigate(navigate);
startTheme(redraw);
setInterval(() => { if (store.state.session && !document.hidden) redraw(); }, CLOCK_MS);

try {
	signedIn(await api.get("/session"));
} catch (error) {
	if (error.status !== 401)
		signIn.because(error.message);
	draw();
}
