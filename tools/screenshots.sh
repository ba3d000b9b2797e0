#!/bin/sh
# screenshots.sh - `npm run screenshots`, after `npm run site`: takes the README's pictures of the demo page, in colours
# few enough to be small. The fonts are some of those that the page asks for.
set -eu
cd "$(dirname "$0")/.."
. tools/setup.sh
install "Chromium, to take pictures in" chromium
install "pngquant, to make them small, and fonts" pngquant fonts-inter fonts-urw-base35
sh tools/web_setup.sh
node tools/screenshots.mjs
for name in screenshot screenshot-phone; do
    pngquant --force --speed 1 --strip --output web/demo/$name.png 256 web/demo/$name.png
done
