// isolation.js - the page's side of the service worker: the page offline, and threads where a server sends no headers
// for them. The service worker adds those headers (sw.js), but only to what is loaded after it took over, so such a
// page has to be loaded once more: once, never in a loop.

const MARK = 'fillmask-reloaded';
const PATIENCE = 4000; // milliseconds until the page goes on without threads

/**
 * Registers the service worker.
 * @returns {Promise<boolean>} whether the page is being loaded again
 */
export async function isolate() {
  if (!navigator.serviceWorker) return false;
  const governed = Boolean(navigator.serviceWorker.controller); // then the headers are there, or nothing brings them
  const registered = navigator.serviceWorker.register('sw.js').then(() => navigator.serviceWorker.ready, () => null);
  if (globalThis.crossOriginIsolated || governed || !remember()) return false;
  const active = await Promise.race([registered, new Promise((resolve) => setTimeout(resolve, PATIENCE, null))]);
  if (!active || !(await taken())) return false;
  location.reload();
  return true;
}

/** Notes that this tab's page has had its reload; false if it has, or if nothing can be noted. */
function remember() {
  try {
    if (sessionStorage.getItem(MARK)) return false;
    sessionStorage.setItem(MARK, 'yes');
    return sessionStorage.getItem(MARK) === 'yes';
  } catch {
    return false;
  }
}

/** Waits until the service worker answers for this page. */
function taken() {
  const { serviceWorker } = navigator;
  if (serviceWorker.controller) return Promise.resolve(true);
  return new Promise((resolve) => {
    serviceWorker.addEventListener('controllerchange', () => resolve(true), { once: true });
    setTimeout(resolve, PATIENCE, false);
  });
}

/**
 * Has the service worker keep whatever the page may need.
 * @returns {Promise<boolean>} whether the page works offline from now on
 */
export async function keepOffline() {
  if (!navigator.serviceWorker) return false;
  const { active } = await navigator.serviceWorker.ready;
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data.kept);
    active.postMessage('keep', [port2]);
  });
}

/**
 * Waits for a newer version of the site, all of whose files are there.
 * @param {(use: () => void) => void} tell gets what loads the page again with that version
 */
export async function updated(tell) {
  if (!navigator.serviceWorker) return;
  const registration = await navigator.serviceWorker.ready;
  const offer = () => registration.waiting && tell(() => {
    navigator.serviceWorker.addEventListener('controllerchange', () => location.reload(), { once: true });
    registration.waiting?.postMessage('use');
  });
  offer();
  registration.addEventListener('updatefound', () => {
    const { installing } = registration;
    installing?.addEventListener('statechange', () => installing.state === 'installed' && offer());
  });
}
