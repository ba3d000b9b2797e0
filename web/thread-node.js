// thread-node.js - a thread of the core in Node.js. Apart from thread.js so that no bundle for browsers meets node:.
import { parentPort } from 'node:worker_threads';
import { serve } from './thread.js';

serve(parentPort, (use) => parentPort.once('message', use));
