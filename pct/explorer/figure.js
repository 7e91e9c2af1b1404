// Figures: where joints lie on the stage, and poses drawn as SVG.
"use strict";

const SIDE = 600;

function svg(name, attributes = {}, parent = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

/** Between model units and the stage, a square of SIDE units; 3D poses are looked at from yaw and pitch (radians). */
class View {
  constructor(settings) {
    Object.assign(this, { settings, yaw: -0.5, pitch: 0.16, floor: 1, reach: settings.unit, offset: [0, 0, 0] });
  }

  /** Take in a pose (K * D): how far it reaches, and in 3D where its floor is. */
  fit(joints) {
    if (this.settings.dims === 2) return;
    this.reach = 1.18 * Math.max(...joints.map(Math.abs));
    this.floor = Math.max(...joints.filter((_, i) => i % 3 === 1));
    this.offset = [0, 0, 0];
  }

  turn([x, y, z]) {
    const [c, s, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const away = z * c - x * s;
    return [x * c + z * s, y * cp - away * sp, away * cp + y * sp];
  }

  point(place) {
    const { dims, middle } = this.settings;
    const [x, y, depth] = dims === 2 ? [...place, 0] : this.turn(place.map((v, i) => v + this.offset[i]));
    const scale = SIDE / 2 / this.reach, shift = dims === 2 ? middle : 0;
    return { x: (x - shift) * scale + SIDE / 2, y: (y - shift) * scale + SIDE / 2, depth };
  }

  points(joints) {
    const { dims, keypoints } = this.settings;
    return Array.from({ length: keypoints }, (_, k) => this.point(Array.from(joints.slice(k * dims, (k + 1) * dims))));
  }

  /** A step on the stage (and, in 3D, away from the viewer) to one in model units. */
  step(dx, dy, away = 0) {
    const scale = (2 * this.reach) / SIDE, [right, down] = [dx * scale, dy * scale];
    if (this.settings.dims === 2) return [right, down];
    const [c, s, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const flat = away * scale * cp - down * sp;
    return [right * c - flat * s, down * cp + away * scale * sp, right * s + flat * c];
  }
}

/** The limb that a bone belongs to: an end on an arm or a leg decides. */
function limbOfBone(settings, [a, b]) {
  const [one, other] = [settings.limbs[a], settings.limbs[b]];
  return /arm|leg/.test(one) ? one : /arm|leg/.test(other) ? other : one === other ? one : "torso";
}

const colour = (limb) => `var(--${limb.replace(" ", "-")})`;

/** Draw the bones of a pose into an SVG group, far ones first; `plain` gives them one colour. */
function drawBones(group, settings, points, plain = false) {
  const bones = settings.edges.map((edge) => ({ edge, depth: points[edge[0]].depth + points[edge[1]].depth }));
  bones.sort((a, b) => b.depth - a.depth);
  group.replaceChildren(...bones.map(({ edge: [a, b], depth }) => svg("line", {
    x1: points[a].x, y1: points[a].y, x2: points[b].x, y2: points[b].y,
    style: plain ? "" : `stroke:${colour(limbOfBone(settings, [a, b]))}`,
    // Near bones are thicker, so that front and back can be told apart.
    ...(settings.dims === 3 && { "stroke-width": `${(plain ? 16 : 8) * (1 - 0.3 * Math.tanh(depth))}` }),
  })));
}

/** Draw the floor of a 3D pose with a grid of half a unit, and the pose's shadow. */
function drawFloor(group, settings, view, joints) {
  const nodes = [], reach = 1.5;
  const line = (from, to, name) => {
    const [a, b] = [view.point(from), view.point(to)];
    nodes.push(svg("line", { x1: a.x, y1: a.y, x2: b.x, y2: b.y, class: name }));
  };
  for (let at = -reach; at <= reach; at += 0.5) {
    line([at, view.floor, -reach], [at, view.floor, reach], "grid");
    line([-reach, view.floor, at], [reach, view.floor, at], "grid");
  }
  const fallen = (k) => [joints[3 * k], view.floor, joints[3 * k + 2]];
  for (const [a, b] of settings.edges) line(fallen(a), fallen(b), "shadow");
  group.replaceChildren(...nodes);
}

/** A small picture of a pose, framed by `frame` (a pose's points), over another pose in grey if one is given. */
function smallFigure(settings, view, joints, below = null, frame = null) {
  const points = view.points(joints), around = frame || points;
  const [xs, ys] = [around.map((p) => p.x), around.map((p) => p.y)];
  const middle = (v) => (Math.min(...v) + Math.max(...v)) / 2, spread = (v) => Math.max(...v) - Math.min(...v);
  const side = Math.max(spread(xs), spread(ys)) * 1.24 + 24;
  const box = [middle(xs) - side / 2, middle(ys) - side / 2, side, side].join(" ");
  const picture = svg("svg", { viewBox: box, "aria-hidden": "true", class: "small" });
  if (below) drawBones(svg("g", { class: "given" }, picture), settings, view.points(below), true);
  drawBones(svg("g", { class: "said" }, picture), settings, points);
  return picture;
}
