// store.js - what the server told us: four maps, filled by lists and kept current by events.

import * as api from "./api.js";
import { follow } from "./events.js";

const RECENT = 300; // snapshots and jobs that are loaded at a time; showOlder() loads the next ones

const keys = { endpoint: "name", desktop: "name", snapshot: "id", job: "id", notice: "id" };

export const state = {
	session: null,  // { user, role, expires }
	server: null,   // GET /server
	endpoint: new Map(),
	desktop: new Map(),
	snapshot: new Map(),
	job: new Map(),
	notice: new Map(),
	older: { snapshot: null, job: null, notice: null }, // where those begin that are not loaded; null: all are
	loaded: false,
	connection: "connecting",
	problem: null,  // why the last load failed
};

const watchers = new Set();
export function watch(callback) {
	watchers.add(callback);
	return () => watchers.delete(callback);
}

/** Derived lists, made once after each change. */
let derived = new Map();
function derive(name, make) {
	if (!derived.has(name))
		derived.set(name, make());
	return derived.get(name);
}

function changed(kind, object, before) {
	derived = new Map();
	for (const callback of watchers)
		callback(kind, object, before);
}

/** Take what a request answered without waiting for its event. */
export function put(kind, object) {
	const key = object[keys[kind]];
	const before = state[kind].get(key);
	state[kind].set(key, object);
	changed(kind, object, before);
}

function replace(kind, items) {
	state[kind] = new Map(items.map((item) => [item[keys[kind]], item]));
}

let loading = null;
/** Read everything. Several calls at once are one. */
export function load() {
	loading ??= loadAll().finally(() => { loading = null; });
	return loading;
}

async function loadAll() {
	try {
		const [server, endpoints, desktops, snapshots, jobs, notices] = await Promise.all([
			api.get("/server"), api.list("/endpoints"), api.list("/desktops"),
			api.page("/snapshots", null, RECENT), api.page("/jobs", null, RECENT), api.page("/notices", null, RECENT),
		]);
		state.server = server;
		replace("endpoint", endpoints);
		replace("desktop", desktops);
		replace("snapshot", snapshots.items);
		replace("job", jobs.items);
		replace("notice", notices.items);
		state.older = { snapshot: snapshots.next, job: jobs.next, notice: notices.next };
		state.loaded = true;
		state.problem = null;
	} catch (error) {
		state.problem = error.message;
		if (error.status === 0)
			setTimeout(load, 3000);
	}
	changed(null);
}

/** Load the snapshots or jobs before those that are here. */
export async function showOlder(kind) {
	const { items, next } = await api.page(`/${kind}s`, state.older[kind], RECENT);
	for (const item of items)
		state[kind].set(item[keys[kind]], item);
	state.older[kind] = next;
	changed(null);
}

let stream = null;
export function start(session) {
	state.session = session;
	stream = follow({
		onEvent: (kind, object) => put(kind, object),
		onReload: () => load(),
		onState: (connection) => {
			state.connection = connection;
			changed(null);
		},
	});
	load();
	// The store's figures are in no event.
	serverTimer = setInterval(refreshServer, 30000);
}

let serverTimer = 0;
async function refreshServer() {
	try {
		state.server = await api.get("/server");
		changed(null);
	} catch {
		// The connection's state is shown already.
	}
}

export function stop() {
	stream?.close();
	clearInterval(serverTimer);
	stream = null;
	for (const kind of Object.keys(keys))
		state[kind] = new Map();
	derived = new Map();
	Object.assign(state, { session: null, server: null, loaded: false, problem: null });
}

/** One object, from what we know or else from the server; it is kept. */
export async function fetchOne(kind, path, key) {
	const known = state[kind].get(key);
	if (known)
		return known;
	const object = await api.get(`${path}/${encodeURIComponent(key)}`);
	put(kind, object);
	return object;
}

// ---- Questions that several views ask ----

const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0); // names, ids and times are ASCII
const sorted = (kind, compare) => derive(kind, () => [...state[kind].values()].sort(compare));
export const endpoints = () => sorted("endpoint", (a, b) => byText(a.name, b.name));
export const desktops = () => sorted("desktop", (a, b) => byText(a.name, b.name));
export const snapshots = () => sorted("snapshot", (a, b) => byText(b.id, a.id));
export const jobs = () => sorted("job", (a, b) => byText(b.created, a.created) || byText(b.id, a.id));

export const notices = () => sorted("notice", (a, b) => Number(b.id) - Number(a.id));
export const unreadNotices = () => derive("unread", () => notices().filter((notice) => !notice.read));

function grouped(name, list, key) {
	return derive(name, () => {
		const groups = new Map();
		for (const item of list()) {
			const group = groups.get(item[key]);
			if (group)
				group.push(item);
			else
				groups.set(item[key], [item]);
		}
		return groups;
	});
}

export const jobIsActive = (job) => job.state === "queued" || job.state === "running";
export const activeJobs = () => jobs().filter(jobIsActive);
export const desktopsOn = (endpoint) => grouped("desktopsOn", desktops, "endpoint").get(endpoint) ?? [];
/** Memory that desktops have there, MiB: a desktop that was taken away from a silent endpoint does not count. */
export const memoryUsed = (endpoint) => desktopsOn(endpoint).reduce((sum, desktop) => sum + (desktop.machine?.memory_mib ?? 0), 0);
export const snapshotsOf = (desktop) => grouped("snapshotsOf", snapshots, "desktop").get(desktop) ?? [];
export const jobsOf = (desktop) => grouped("jobsOf", jobs, "desktop").get(desktop) ?? [];
/** The job that works on this desktop now. */
export function jobOf(desktop) {
	const job = desktop.job ? state.job.get(desktop.job) : null;
	return job && jobIsActive(job) ? job : null;
}

const TROUBLED = { lost: "is lost", fenced: "is fenced", error: "has an error", "io-error": "has a disk error" };
export const desktopTrouble = (desktop) => TROUBLED[desktop.state] ?? null;

export const mayChange = () => ["admin", "operator"].includes(state.session?.role);
export const mayEnrol = () => state.session?.role === "admin";
