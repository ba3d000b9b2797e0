// page.jsx - the sample for Next.js: a page of one sentence, which is rendered on the server too, but filled in browsers.
'use client';
import { pipeline } from 'fillmask';
import { useEffect, useState } from 'react';

async function fill() {
  const model = await pipeline('fill-mask');
  const [best] = await model('This movie was really [MASK].');
  return best.sequence;
}

export default function Page() {
  const [text, show] = useState('');
  useEffect(() => {
    fill().then((sequence) => {
      show(sequence);
      globalThis.result = sequence;
    });
  }, []);
  return <p>{text}</p>;
}
