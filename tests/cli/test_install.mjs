// test_install.mjs - where the default model is found, and what `cmake --install` puts in place.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { bin, folder, json, path, refused, root, run, trainModel, write, writeData } from './helper.mjs';

const build = dirname(bin);
const skip = !existsSync(join(build, 'cmake_install.cmake')) && `${build} is not a build folder of CMake`;
const sanitised = !skip && /^FILLMASK_SANITIZE:\w+=.+$/m.test(readFileSync(join(build, 'CMakeCache.txt'), 'utf8'));

before(() => {
  writeData();
  trainModel('tiny');
  if (skip) return;
  const { status, stderr } = spawnSync('cmake', ['--install', build, '--prefix', path('first')], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  renameSync(path('first'), path('prefix')); // an installed tree may be moved
});

const info = (options) => JSON.parse(run(['info', '--json'], options).out);

test('FILLMASK_MODEL names the default model', () => {
  for (const command of [['info'], ['fill', 'The [MASK].'], ['tokenize', 'The movie'], ['eval', '--data', 'data.jsonl', '-q'],
    ['quantize', '-o', 'small', '-q']])
    json(command, { env: { FILLMASK_MODEL: 'tiny' } });
  assert.equal(info({ env: { FILLMASK_MODEL: 'tiny' } }).model, 'tiny');
  refused(['info'], 1, { env: { FILLMASK_MODEL: 'missing' } }, /missing\/config\.json could not be opened/);
});

test('the name of a model may not be empty', () => {
  for (const command of [['info', ''], ['fill', '-m', '', 'The [MASK].'], ['score', '-m', '', 'The movie.'], ['embed', '-m', '', 'The movie.'], ['augment', '-m', '', 'The movie.'],
    ['tokenize', '-m', '', 'The movie'], ['eval', '-m', '', '--data', 'data.jsonl'], ['quantize', '-m', '', '-o', 'small'], ['train', '-m', '', '--data', 'data.jsonl', '-o', 'out']])
    refused(command, 1, /The name of the model is empty; give a model folder, or leave it out for the default\./);
});

test('the source tree has a default model, or the error says what to do', () => {
  const named = join(root, 'weights', 'default');
  if (!existsSync(named)) return refused(['info'], 1, /No model is named and there is no default; give a model folder with -m, or set FILLMASK_MODEL/);
  const model = join(root, 'weights', readFileSync(named, 'utf8').trim());
  assert.equal(realpathSync(info().model), realpathSync(model));
});

test('the fine-tuned model goes by its name, and its card says what its log does', () => {
  const tuned = join(root, 'weights', 'fillmask-small-en-imdb');
  const shown = JSON.parse(run(['info', '--json', 'fillmask-small-en-imdb']).out);
  assert.equal(realpathSync(shown.model), realpathSync(tuned));
  assert.ok(statSync(join(tuned, 'model.safetensors')).size < 8e6);
  const card = readFileSync(join(tuned, 'README.md'), 'utf8');
  const log = readFileSync(join(tuned, 'metrics.jsonl'), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
  for (const { step, epoch, eval: e } of log.filter((line) => line.eval))
    assert.ok(card.includes(`| ${epoch.toFixed(2)} | ${step} | ${e.loss.toFixed(4)} | ${Math.exp(e.loss).toFixed(2)} | ${e.accuracy.toFixed(4)} |`));
  assert.match(run(['fill', '-m', 'fillmask-small-en-imdb', '-k', '1', 'This movie was really [MASK].']).out, /good|bad/);
});

test('an installed program finds the model that was installed with it', { skip }, () => {
  const program = path('prefix', 'bin', 'fillmask');
  const weights = path('prefix', 'share', 'fillmask', 'weights');
  mkdirSync(weights, { recursive: true });
  cpSync(path('tiny'), join(weights, 'tiny'), { recursive: true });
  write('prefix/share/fillmask/weights/default', 'tiny\n');
  symlinkSync(program, path('fillmask'));
  for (const name of [program, path('fillmask')])
    assert.equal(realpathSync(info({ program: name }).model), realpathSync(join(weights, 'tiny')));
  assert.equal(info({ program, env: { FILLMASK_MODEL: 'tiny' } }).model, 'tiny');
  // The models beside it go by their names, unless there is a folder of that name here.
  cpSync(path('tiny'), join(weights, 'other'), { recursive: true });
  const named = (name) => JSON.parse(run(['info', '--json', name], { program }).out).model;
  assert.equal(realpathSync(named('other')), realpathSync(join(weights, 'other')));
  assert.equal(named('tiny'), 'tiny');
  assert.match(run(['fill', '-m', 'other', 'The movie [MASK] good.'], { program }).out, /was/);
  refused(['fill', '-m', 'nowhere', 'The [MASK].'], 1, { program }, /nowhere\/config\.json could not be opened/);
});

test('a C program is built against what was installed', { skip: skip || (sanitised && 'the library is sanitised') }, () => {
  write('use.c', `#include <fillmask.h>
    #include <stdio.h>
    int main(int argc, char **argv)
    {
        fm_error err;
        fm_model *model;
        fm_fill_result result;
        static const char text[] = "The movie [MASK] good.";
        if (argc < 2 || fm_model_open(&model, argv[1], NULL, &err) || fm_fill(model, text, sizeof text - 1, NULL, NULL, NULL, &result, &err))
            return 1;
        printf("%s\\n", fm_tokenizer_token(fm_model_tokenizer(model), result.mask[0].top[0].tokens[0]));
        fm_fill_result_free(&result);
        fm_model_close(model);
        return 0;
    }
  `);
  const compiled = spawnSync('sh', ['-c', 'cc -std=c11 -Wall -Werror use.c $(pkg-config --cflags --libs fillmask) -o use && ./use tiny'], {
    cwd: folder, encoding: 'utf8', env: { ...process.env, PKG_CONFIG_PATH: path('prefix', 'lib', 'pkgconfig') },
  });
  assert.equal(compiled.stderr, '');
  assert.equal(compiled.stdout, 'was\n');
});
