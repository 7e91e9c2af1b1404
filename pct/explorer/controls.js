// What the pointer and the keys do.
"use strict";

const ARROWS = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1] };

/** One stop of the Tab key for a row of buttons; arrow keys go from one to the next. */
function rove(box) {
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const buttons = [...box.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = buttons[(at + step + buttons.length) % buttons.length];
    buttons.forEach((button) => (button.tabIndex = button === next ? 0 : -1));
    next.focus();
  });
}

Object.assign(Explorer.prototype, {
  makeHandles() {
    const { joints, limbs } = this.settings;
    this.rings = joints.map(() => svg("circle", { class: "ring", r: 0 }, element("rings")));
    this.handles = joints.map((name, k) => {
      const handle = svg("g", { class: "joint", tabindex: 0, role: "button", style: `--c:${colour(limbs[k])}` },
        element("handles"));
      svg("circle", { class: "touch", r: 24 }, handle);
      svg("circle", { class: "dot", r: limbs[k] === "head" ? 6 : 8 }, handle);
      handle.addEventListener("focus", () => this.select(k));
      handle.addEventListener("pointerenter", () => this.hover({ joint: k }));
      handle.addEventListener("pointerleave", () => this.hover(null));
      handle.addEventListener("dblclick", () => this.toggle(k));
      handle.addEventListener("keydown", (event) => this.jointKey(k, event));
      return handle;
    });
    const stage = element("stage");
    stage.addEventListener("pointerdown", (event) => this.grab(event));
    stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => this.release());
  },

  makeChips() {
    const { tokens, joints, limbs, num_tokens } = this.settings;
    const boxes = document.querySelectorAll(".chips");
    this.chips = tokens.map(({ group, joints: about }, m) => {
      const chip = document.createElement("button");
      const name = about.length ? joints[about[0]].replace(/\bleft\b/, "L").replace(/\bright\b/, "R") : `${m + 1}`;
      Object.assign(chip, { type: "button", tabIndex: m && tokens[m - 1].group === group ? -1 : 0 });
      // Ids that are about no joint in particular pale as they say less and less.
      const share = Math.round(100 - (80 * m) / num_tokens);
      const pale = `color-mix(in oklab, var(--accent) ${share}%, var(--card))`;
      chip.style.setProperty("--c", about.length ? colour(limbs[about[0]]) : pale);
      chip.append(document.createElement("b"), Object.assign(document.createElement("span"), { textContent: name }));
      chip.addEventListener("click", () => (this.open === m ? this.close(true) : this.show(m)));
      for (const enter of ["pointerenter", "focus"]) chip.addEventListener(enter, () => this.hover({ token: m }));
      for (const leave of ["pointerleave", "blur"]) chip.addEventListener(leave, () => this.hover(null));
      boxes[group].append(chip);
      return chip;
    });
    boxes.forEach(rove);
  },

  makeStarts() {
    element("starts").append(...this.settings.starts.map(({ name, joints, ids }, index) => {
      const button = Object.assign(document.createElement("button"), { type: "button", tabIndex: index ? -1 : 0 });
      const pose = joints ? Float64Array.from(joints.flat()) : this.tokenizer.decode(ids);
      this.view.fit(pose);
      button.append(smallFigure(this.settings, this.view, pose), name);
      button.addEventListener("click", () => this.begin(index));
      return button;
    }));
    rove(element("starts"));
  },

  makeControls() {
    const on = (id, event, action) => element(id)?.addEventListener(event, action);
    rove(element("choices"));
    this.lengthSlider = element("prefix");
    on("prefix", "input", () => {
      this.prefix = Number(this.lengthSlider.value);
      this.render();
      this.say(`the first ${this.prefix} ids say this much`);
    });
    on("turn", "input", () => {
      this.view.yaw = (Number(element("turn").value) * Math.PI) / 180;
      this.render();
    });
    on("unknown", "click", () => this.toggle(this.selected));
    on("again", "click", () => this.begin(this.start));
    on("close", "click", () => this.close(true));
    on("any", "change", () => {
      const id = Number(element("any").value);
      const good = Number.isInteger(id) && id >= 0 && id < this.settings.codebook_size;
      if (good) this.put(this.open, id);
      else this.say(`ids of this codebook go from 0 to ${this.settings.codebook_size - 1}`);
    });
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.close(true));
  },

  select(k) {
    this.selected = k;
    this.renderHandles();
    this.renderHighlight();
  },

  hover(what) {
    if (this.dragged) return;
    this.hovered = what;
    this.renderHighlight();
  },

  jointKey(k, event) {
    const arrow = ARROWS[event.key], size = event.shiftKey ? 30 : 6;
    if (arrow && (this.settings.dims === 3 || !arrow[2])) {
      event.preventDefault();
      this.moveJoint(k, this.view.step(...arrow.map((v) => v * size)));
      this.encode(`${this.settings.joints[k]} moved`);
    } else if (event.key.toLowerCase() === "u" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.toggle(k);
    }
  },

  /** Where a pointer is on the stage. */
  place(event) {
    const box = element("stage").getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
  },

  grab(event) {
    if (event.button) return;
    const { x, y } = this.place(event), far = this.points.map((p) => Math.hypot(p.x - x, p.y - y));
    const nearest = far.indexOf(Math.min(...far)), touched = event.target.closest(".joint");
    if (!touched && this.settings.dims === 2) return;
    event.preventDefault();
    element("stage").setPointerCapture(event.pointerId);
    this.dragged = { joint: touched ? nearest : null, x, y, before: this.ids };
    if (touched) this.handles[nearest].focus({ preventScroll: true });
  },

  drag(event) {
    if (!this.dragged) return;
    const { x, y } = this.place(event), { joint, x: fromX, y: fromY, before } = this.dragged;
    Object.assign(this.dragged, { x, y });
    if (joint === null) {
      this.view.yaw -= ((x - fromX) / SIDE) * 4;
      this.view.pitch = Math.min(1.4, Math.max(-0.4, this.view.pitch + ((y - fromY) / SIDE) * 3));
      return void this.render();
    }
    this.moveJoint(joint, this.view.step(x - fromX, y - fromY));
    this.encode(`${this.settings.joints[joint]} moved`, before);
    performance.clearMeasures("drag to ids");
    performance.measure("drag to ids", { start: event.timeStamp, end: performance.now() });
  },

  release() {
    this.dragged = null;
    this.renderHighlight();
  },
});

{
  const settings = JSON.parse(element("settings").textContent);
  PoseTokenizer.load(settings, element("weights").textContent)
    .then((tokenizer) => (window.explorer = new Explorer(settings, tokenizer)))
    .catch((error) => {
      element("status").textContent = `This page is damaged or the browser too old to show it: ${error.message}`;
      throw error;
    });
}
