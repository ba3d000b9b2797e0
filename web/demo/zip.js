// zip.js - several files as one to download: a ZIP archive, stored and not compressed, of less than 4 GiB.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Numbers of 2 and 4 bytes, little-endian. @param {...[number, 2 | 4]} fields */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, size]) => sum + size, 0)));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return view.buffer;
}

/**
 * @param {File[]} files
 * @param {string} folder that they lie in
 * @returns {Promise<Blob>}
 */
export async function zip(files, folder) {
  const now = new Date();
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = ((now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  const parts = [], directory = [];
  let at = 0, directorySize = 0;
  for (const file of files) {
    const name = new TextEncoder().encode(`${folder}/${file.name}`);
    const crc = crc32(new Uint8Array(await file.arrayBuffer()));
    // version 2.0, names in UTF-8, stored
    const common = [[20, 2], [0x800, 2], [0, 2], [time, 2], [date, 2], [crc, 4], [file.size, 4], [file.size, 4], [name.length, 2], [0, 2]];
    parts.push(record([0x04034b50, 4], ...common), name, file);
    directory.push(record([0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4]), name);
    at += 30 + name.length + file.size;
    directorySize += 46 + name.length;
  }
  const end = record([0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [directorySize, 4], [at, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type: 'application/zip' });
}
