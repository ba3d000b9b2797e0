// browser_page.mjs - the page of browser.test.mjs: starts the worker and reports what it found.
const report = (found) => fetch('/report', { method: 'POST', body: JSON.stringify(found) });
const worker = new Worker('/tests/wasm/browser_worker.mjs', { type: 'module' });
worker.onmessage = ({ data }) => report(data);
worker.onerror = (event) => report({ error: event.message ?? 'the worker failed to load' });
