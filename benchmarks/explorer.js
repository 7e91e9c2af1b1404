// Runs the network of an explorer page under node: PAGE with poses as JSON on stdin; ids, joints and time on stdout.
//
//   node benchmarks/explorer.js explorer.html < poses.json
//
// poses.json: {"joints": [[x, y, ...] of each pose, in model units], "visible": [[true, ...]], "prefix": m}
"use strict";
const { readFileSync } = require("node:fs");

const page = readFileSync(process.argv[2], "utf8");
const between = (start) => page.slice(page.indexOf(start) + start.length).split("</script>")[0];
const settings = JSON.parse(between('<script type="application/json" id="settings">'));
const weights = between('<script type="text/plain" id="weights">');
const PoseTokenizer = new Function(`${between("<script>")}; return PoseTokenizer;`)();

PoseTokenizer.load(settings, weights).then((tokenizer) => {
  const { joints, visible, prefix } = JSON.parse(readFileSync(0, "utf8"));
  const start = performance.now();
  const ids = joints.map((pose, i) => tokenizer.encode(pose, visible[i]));
  const encoded = performance.now();
  const decoded = ids.map((row) => Array.from(tokenizer.decode(row.slice(0, prefix))));
  const times = { encode_ms: (encoded - start) / ids.length, decode_ms: (performance.now() - encoded) / ids.length };
  process.stdout.write(JSON.stringify({ ids, joints: decoded, ...times }));
});
