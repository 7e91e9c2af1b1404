// The page: a pose that is dragged, its ids beside it, their alternatives.
"use strict";

const ALIKE = 96, SHOWN = 12, PROBES = 20, SEEN = 0.012;
const element = (id) => document.getElementById(id);

class Explorer {
  constructor(settings, tokenizer) {
    Object.assign(this, { settings, tokenizer, view: new View(settings), prefix: settings.num_tokens });
    Object.assign(this, { selected: null, hovered: null, dragged: null, open: null, preview: null });
    this.makeHandles();
    this.makeChips();
    this.makeStarts();
    this.makeControls();
    this.begin(0);
  }

  // What the page shows follows from: joints, visible, ids, prefix.

  begin(index) {
    const { settings } = this, { joints, ids } = settings.starts[index];
    this.start = index;
    this.visible = Array(settings.keypoints).fill(true);
    this.joints = joints ? Float64Array.from(joints.flat()) : this.tokenizer.decode(ids);
    const own = ids || [], made = this.tokenizer.encode(this.joints, this.visible);
    this.ids = [...own, ...made.slice(own.length)];
    this.prefix = own.length || settings.num_tokens;
    this.changed = new Set();
    this.edited = false;
    this.view.fit(this.joints);
    this.close();
    this.render();
    this.say(`${settings.starts[index].name}: drag a joint`);
    Array.from(element("starts").children).forEach((b, i) => b.setAttribute("aria-pressed", i === index));
  }

  /** Encode the pose anew; `before`: the ids that changes are counted from. */
  encode(what, before = this.ids) {
    this.ids = this.tokenizer.encode(this.joints, this.visible);
    this.edited = false;
    this.changed = new Set([...this.ids.keys()].filter((m) => this.ids[m] !== before[m]));
    this.close();
    this.render();
    const count = this.changed.size, total = this.settings.num_tokens;
    this.say(`${what}: ${count ? `${count} of ${total} ids changed` : "no id changed"}`);
  }

  /** Put ids in by hand: the pose is what they say. */
  put(m, id) {
    this.ids[m] = id;
    this.changed = new Set([m]);
    this.edited = true;
    this.preview = null;
    this.joints = this.tokenizer.decode(this.ids);
    this.render();
    this.say(`${this.tokenName(m)} is now ${id}`);
  }

  /** Move a joint by a step in model units (D); an unknown one is known from then on. */
  moveJoint(k, step) {
    const { dims, root, middle, unit } = this.settings;
    if (!this.visible[k]) this.toggle(k, false);
    for (let d = 0; d < dims; d++) {
      if (k === root) {
        // The root is the origin: the others move the other way, and the view with it.
        this.view.offset[d] += step[d];
        for (let i = d; i < this.joints.length; i += dims) if (i !== k * dims + d) this.joints[i] -= step[d];
      } else {
        const limit = dims === 2 ? unit : 1.5 * unit, place = this.joints[k * dims + d] + step[d];
        this.joints[k * dims + d] = Math.min(middle + limit, Math.max(middle - limit, place));
      }
    }
  }

  /** Mark a joint unknown, or known again where the model sees it. */
  toggle(k, encode = true) {
    const { dims, joints: names } = this.settings;
    if (this.visible[k] && this.visible.filter(Boolean).length === 1) return this.say("one joint must stay known");
    if (!this.visible[k]) this.joints.set(this.decoded.slice(k * dims, (k + 1) * dims), k * dims);
    this.visible[k] = !this.visible[k];
    if (encode) this.encode(`${names[k]} ${this.visible[k] ? "known" : "unknown, filled in by the model"}`);
    return undefined;
  }

  /** The pose (K * D) that the ids say, as many of them as are read. */
  read(ids) {
    return this.tokenizer.decode(ids.slice(0, this.prefix));
  }

  // Drawing.

  render() {
    const { settings, view } = this, { dims } = settings;
    const ids = this.preview === null ? this.ids : this.ids.with(this.open, this.preview);
    this.decoded = this.read(ids);
    const shown = this.joints.map((v, i) => (this.visible[Math.floor(i / dims)] ? v : this.decoded[i]));
    this.points = view.points(shown);
    if (dims === 3) drawFloor(element("floor"), settings, view, this.decoded);
    drawBones(element("given"), settings, this.points, true);
    drawBones(element("said"), settings, view.points(this.decoded));
    this.renderHandles();
    this.renderChips();
    this.renderHighlight();
    if (dims === 3) element("turn").value = (Math.atan2(Math.sin(view.yaw), Math.cos(view.yaw)) * 180) / Math.PI;
    for (const choice of element("choices").children) {
      choice.setAttribute("aria-pressed", choice.value === `${this.ids[this.open]}`);
    }
    if (this.lengthSlider) {
      this.lengthSlider.value = this.prefix;
      element("length").textContent = this.prefix;
    }
    element("code").textContent = `import torch\nfrom pct import PoseTokenizer\n\n`
      + `tokenizer = PoseTokenizer.from_pretrained(${JSON.stringify(settings.name)})\n`
      + `ids = torch.tensor([[${this.ids.slice(0, this.prefix).join(", ")}]])\n`
      + `pose = tokenizer.decode(ids)  # (1, ${settings.keypoints}, ${dims}) in model units`;
  }

  renderHandles() {
    this.handles.forEach((handle, k) => {
      const { x, y } = this.points[k], known = this.visible[k];
      handle.setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)})`);
      handle.classList.toggle("unknown", !known);
      handle.classList.toggle("selected", k === this.selected);
      handle.setAttribute("aria-label", `${this.settings.joints[k]}, ${known ? "known" : "unknown, filled in"}, `
        + `${Math.round(x / 6)} across, ${Math.round(y / 6)} down`);
    });
    const button = element("unknown"), k = this.selected;
    button.disabled = k === null;
    if (k !== null) button.textContent = `Mark ${this.settings.joints[k]} ${this.visible[k] ? "unknown" : "known"}`;
  }

  renderChips() {
    this.chips.forEach((chip, m) => {
      chip.firstChild.textContent = this.ids[m];
      chip.classList.toggle("changed", this.changed.has(m));
      chip.classList.toggle("off", m >= this.prefix);
      chip.setAttribute("aria-expanded", m === this.open);
      const state = (this.changed.has(m) ? ", changed" : "") + (m >= this.prefix ? ", not read" : "");
      chip.setAttribute("aria-label", `${this.tokenName(m)}: id ${this.ids[m]}${state}`);
    });
  }

  /** Ring the joints that the id under the pointer moves, and set off the ids that are about the joint there. */
  renderHighlight() {
    const token = this.hovered?.token ?? this.open, joint = this.hovered?.joint ?? this.selected;
    const moved = token === null || token === undefined ? null : this.moves(token);
    this.rings.forEach((ring, k) => {
      const share = moved ? moved[k] / Math.max(...moved, 1e-9) : 0;
      ring.setAttribute("r", share > 0.15 ? 9 + 15 * share : 0);
      ring.setAttribute("cx", this.points[k].x);
      ring.setAttribute("cy", this.points[k].y);
    });
    this.chips.forEach((chip, m) => {
      chip.classList.toggle("linked", joint !== null && this.settings.tokens[m].joints.includes(joint));
    });
    const tip = element("tip"), k = this.hovered?.joint ?? (this.dragged ? this.dragged.joint : null);
    const known = k !== null && this.visible[k] ? "" : " (unknown)";
    tip.textContent = k === null ? "" : this.settings.joints[k] + known;
    if (tip.textContent) {
      const { x, y } = this.points[k];
      tip.setAttribute("x", Math.min(SIDE - 70, Math.max(70, x)));
      tip.setAttribute("y", y < 50 ? y + 38 : y - 22);
    }
  }

  /** How far each joint (K) moves, on the mean, where other ids stand in the place of this one. */
  moves(m) {
    const { keypoints, dims } = this.settings, base = this.read(this.ids);
    const total = new Float64Array(keypoints);
    for (const id of this.tokenizer.alike(m, this.ids[m], PROBES)) {
      this.gaps(base, this.read(this.ids.with(m, id)), dims).forEach((gap, k) => (total[k] += gap));
    }
    return total;
  }

  gaps(a, b, dims) {
    return Array.from({ length: a.length / dims }, (_, k) =>
      Math.hypot(...Array.from({ length: dims }, (_, d) => a[k * dims + d] - b[k * dims + d])));
  }

  tokenName(m) {
    const { joints } = this.settings.tokens[m];
    return `token ${m + 1}${joints.length ? `, ${this.settings.joints[joints[0]]}` : ""}`;
  }

  say(text) {
    const { settings } = this, { dims, report_scale, report_unit } = settings;
    const gaps = this.gaps(this.joints, this.decoded, dims).filter((_, k) => this.visible[k]);
    const mean = (gaps.reduce((a, b) => a + b, 0) / gaps.length) * report_scale;
    const gap = this.edited ? "" : ` Colour and grey lie ${mean.toFixed(1)} ${report_unit} apart`
      + `${report_unit === "px" ? " in a crop of 256" : ""}.`;
    element("status").textContent = `${text[0].toUpperCase()}${text.slice(1)}.${gap}`;
  }

  // Alternatives of an id.

  /** Ids near the present one whose poses differ most from each other, the smallest change first. */
  alternatives(m) {
    const { dims } = this.settings, base = this.read(this.ids);
    const all = this.tokenizer.alike(m, this.ids[m], ALIKE).map((id) => {
      const joints = this.read(this.ids.with(m, id)), moved = Math.max(...this.gaps(base, joints, dims));
      return { id, joints, moved, apart: moved };
    });
    // What cannot be seen is no alternative, unless there is nothing else.
    const least = SEEN * this.settings.unit, seen = all.filter(({ moved }) => moved > least);
    const found = seen.length ? seen : all;
    const chosen = [];
    while (chosen.length < SHOWN - 1 && found.length) {
      const best = found.splice(found.reduce((b, one, i) => (one.apart > found[b].apart ? i : b), 0), 1)[0];
      if (chosen.length && best.apart < least) break;
      chosen.push(best);
      for (const one of found) one.apart = Math.min(one.apart, Math.max(...this.gaps(best.joints, one.joints, dims)));
    }
    chosen.sort((a, b) => a.moved - b.moved);
    return { base, choices: [{ id: this.ids[m], joints: base, moved: 0 }, ...chosen] };
  }

  show(m) {
    this.open = m;
    if (m >= this.prefix) this.prefix = this.settings.num_tokens;
    const { base, choices } = this.alternatives(m), { settings, view } = this;
    element("alternatives-title").textContent = `Other ids for ${this.tokenName(m)}`;
    element("any").value = this.ids[m];
    const frame = view.points(base);
    element("choices").replaceChildren(...choices.map(({ id, joints, moved }, i) => {
      const button = document.createElement("button");
      const far = `${(moved * settings.report_scale).toFixed(0)} ${settings.report_unit}`;
      Object.assign(button, { type: "button", value: id, tabIndex: i ? -1 : 0 });
      button.setAttribute("aria-label", i ? `id ${id}, moves a joint by ${far}` : `id ${id}, as it was`);
      button.append(smallFigure(settings, view, joints, base, frame), Object.assign(document.createElement("b"),
        { textContent: id }), i ? far : "as it was");
      button.addEventListener("click", () => this.put(m, id));
      button.addEventListener("pointerenter", (e) => e.pointerType === "mouse" && this.look(id));
      button.addEventListener("pointerleave", () => this.look(null));
      return button;
    }));
    element("alternatives").hidden = false;
    this.render();
    element("choices").firstChild.focus({ preventScroll: true });
  }

  look(id) {
    this.preview = this.open === null ? null : id;
    this.render();
  }

  close(focus = false) {
    if (this.open === null) return;
    const m = this.open;
    element("alternatives").hidden = true;
    Object.assign(this, { open: null, preview: null });
    if (focus) {
      this.render();
      this.chips[m].focus();
    }
  }
}
