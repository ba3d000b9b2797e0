// sw.js - the site's service worker. It keeps the site's files, so that the page works offline, and adds the headers
// that cross-origin isolation needs where the server sends none. Files are kept under their hashes: an update fetches
// what has changed, all of it before it takes over, and a page never gets files of two versions.
importScripts('site.js'); // globalThis.site, which tools/site.mjs wrote

const { files, headers } = globalThis.site;
const scope = new URL(self.registration.scope);
const NAME = `fillmask ${scope.pathname}`;

/** The path of a file of the site; null for all others. */
function pathOf(url) {
  const { origin, pathname } = new URL(url);
  if (origin !== scope.origin || !pathname.startsWith(scope.pathname)) return null;
  const path = pathname.slice(scope.pathname.length) || 'index.html';
  return Object.hasOwn(files, path) || path === 'site.js' ? path : null;
}

const keyOf = (path) => new URL(`${path}?${encodeURIComponent(files[path].sha256)}`, scope).href;

function isolated(response) {
  const all = new Headers(response.headers);
  for (const [name, value] of Object.entries(headers)) all.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers: all });
}

async function answer(request, path) {
  if (path === 'site.js') return new Response(`globalThis.site = ${JSON.stringify(globalThis.site)};\n`, { headers: { 'content-type': 'text/javascript' } });
  const kept = await (await caches.open(NAME)).match(keyOf(path));
  return kept ?? fetch(request);
}

self.addEventListener('fetch', (event) => {
  const path = event.request.method === 'GET' ? pathOf(event.request.url) : null;
  if (path) event.respondWith(answer(event.request, path).then(isolated));
});

/** Fetches a file of this very version, from the browser's own cache if that has it. */
async function whole(path) {
  const integrity = `sha256-${files[path].sha256}`;
  const url = new URL(path, scope);
  return fetch(url, { integrity }).catch(() => fetch(url, { integrity, cache: 'reload' }));
}

async function keepAll() {
  const cache = await caches.open(NAME);
  for (const path of Object.keys(files)) {
    if (await cache.match(keyOf(path))) continue;
    const response = await whole(path);
    if (!response.ok) throw new Error(`${path}: the server answered ${response.status}.`);
    await cache.put(keyOf(path), response);
  }
}

// The first one takes over at once, for the headers, and keeps the files when the page asks for it. A later one waits
// with all of its files until no page of the older is open, or until the user wants it.
self.addEventListener('install', (event) => event.waitUntil(self.registration.active ? keepAll() : self.skipWaiting()));

self.addEventListener('activate', (event) => event.waitUntil((async () => {
  const cache = await caches.open(NAME);
  const wanted = new Set(Object.keys(files).map(keyOf));
  for (const { url } of await cache.keys()) if (!wanted.has(url)) await cache.delete(url);
  await self.clients.claim();
})()));

self.addEventListener('message', (event) => {
  if (event.data === 'use') self.skipWaiting();
  if (event.data !== 'keep') return;
  const tell = (kept) => event.ports[0].postMessage({ kept });
  event.waitUntil(keepAll().then(() => tell(true), () => tell(false)));
});
