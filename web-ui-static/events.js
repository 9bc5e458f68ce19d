// events.js - the server's events, for as long as somebody is signed in.
//
// The browser reconnects a broken stream by itself and sends Last-Event-ID. When it gives up (an HTTP error, a server
// that is restarted) we do, with growing pauses, and everything is read anew since events may be missing.

const KINDS = ["endpoint", "desktop", "snapshot", "job", "notice"];
const PAUSE_FIRST_MS = 1000;
const PAUSE_MOST_MS = 15000;

/**
 * follow({ onEvent(kind, object), onReload(), onState("live" | "connecting" | "lost") }) → { close() }
 */
export function follow({ onEvent, onReload, onState }) {
	let source = null;
	let pause = PAUSE_FIRST_MS;
	let timer = 0;
	let closed = false;
	let wasLive = false;

	function open() {
		onState("connecting");
		source = new EventSource("/api/v1/events");
		source.onopen = () => {
			pause = PAUSE_FIRST_MS;
			onState("live");
			if (wasLive)
				onReload();
			wasLive = true;
		};
		source.onerror = () => {
			onState("lost");
			if (source.readyState !== EventSource.CLOSED || closed)
				return;
			timer = setTimeout(open, pause);
			pause = Math.min(PAUSE_MOST_MS, pause * 2);
		};
		for (const kind of KINDS)
			source.addEventListener(kind, (event) => onEvent(kind, JSON.parse(event.data)));
		source.addEventListener("reload", () => onReload());
	}

	open();
	return {
		close() {
			closed = true;
			clearTimeout(timer);
			source.close();
		},
	};
}
