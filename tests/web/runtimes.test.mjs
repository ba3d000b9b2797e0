// runtimes.test.mjs - one script in newer versions of Node.js, in Bun and in Deno, on both devices: it fills, trains, and
// ends by itself without dispose(). And the server of the demo page in each Node.js. tools/web_setup.sh fetches the
// programs where npm has them.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, root } from './helpers.mjs';

const tools = process.env.FILLMASK_WEB_TOOLS ?? join(root, 'build-web');
const programs = {
  'this Node.js': [process.execPath],
  'Node.js 22': [join(tools, 'node_modules/node22/bin/node')],
  'Node.js 26': [join(tools, 'node_modules/node26/bin/node')],
  Bun: [join(tools, 'node_modules/bun-program/bin/bun'), 'run'],
  Deno: [join(tools, 'node_modules/deno-program/deno'), 'run', '--allow-all', '--no-config'],
};

for (const [name, [program, ...options]] of Object.entries(programs)) {
  const skip = spawnSync(program, ['--version']).status !== 0 && `npm brings no ${name} for this machine`;
  if (name.includes('Node.js'))
    test(`${name}: the server of the demo page`, { skip }, () => {
      const script = `import { serve } from ${JSON.stringify(join(root, 'tools/serve.mjs'))};
        const { address, server } = await serve({ folder: ${JSON.stringify(join(root, 'web'))} });
        console.log(await (await fetch(address + 'demo/index.html')).text());
        server.close();
        server.closeAllConnections();`;
      const { stdout, stderr } = spawnSync(program, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 60_000 });
      assert.equal(stdout, `${readFileSync(join(root, 'web/demo/index.html'), 'utf8')}\n`, stderr);
    });
  for (const device of ['wasm', 'native'])
    test(`${name}: ${device}`, { skip }, () => {
      const script = join(root, 'tests/web/samples/script.mjs');
      const { stdout, stderr, status, signal } = spawnSync(program, [...options, script, join(root, 'web/index-node.js'), device], { encoding: 'utf8', timeout: 60_000, env: { ...process.env, FILLMASK_BIN: bin } });
      assert.deepEqual({ signal, status }, { signal: null, status: 0 }, stderr);
      assert.match(stdout, /^This movie was really (bad|good)\.\n2 steps\n$/);
    });
}
